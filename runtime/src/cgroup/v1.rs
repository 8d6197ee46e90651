//! Everything about cgroup v1: its table of files, its device lists, cpusets that must be filled by hand, its
//! freezer. May use: `sys::fs`, `spec`, `error`, the cgroup module's own types. Nothing outside of this module
//! and `stats_v1` knows a v1 file name, so that v1 can be dropped by removing it.
#![forbid(unsafe_code)]

use super::device::{ALL, MKNOD, Node, READ, Rule, WRITE};
use super::limits::{self, at};
use super::plan::Sink;
use super::v2::kernel_memory;
use crate::error::{Code, Error, Result};
use crate::spec;
use crate::sys::{errno, fs};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// `memory`. The limit goes before the sum of memory and swap, which may never be the smaller one; lifting both
/// goes the other way round.
pub(super) fn memory(m: &spec::Memory, out: &mut Sink) -> Result<()> {
    let spec::Memory {
        limit: _,
        reservation: _,
        swap: _,
        kernel,
        kernel_tcp,
        swappiness,
        disable_oom_killer,
        use_hierarchy,
        // The kernel itself refuses a limit below the usage with EBUSY.
        check_before_update: _,
    } = m;
    let b = limits::memory(m)?;
    match (b.limit, b.swap) {
        (Some(-1), Some(s)) if s > 0 => {
            let text = "cgroup v1 cannot limit memory and swap together without a memory limit";
            return Err(Error::spec(at("memory/swap"), text));
        }
        (Some(-1), None) => out.put_if_there("memory.memsw.limit_in_bytes", -1, at("memory/limit")),
        (_, Some(-1)) => out.put_if_there("memory.memsw.limit_in_bytes", -1, at("memory/swap")),
        _ => {}
    }
    if let Some(v) = b.limit {
        out.put("memory.limit_in_bytes", v, at("memory/limit"));
    }
    if let Some(v) = b.swap.filter(|s| *s > 0) {
        out.put("memory.memsw.limit_in_bytes", v, at("memory/swap"));
    }
    if let Some(v) = b.reservation {
        out.put("memory.soft_limit_in_bytes", v, at("memory/reservation"));
    }
    kernel_memory(kernel, kernel_tcp, out);
    match swappiness {
        // What engines write for "not set".
        Some(u64::MAX) | None => {}
        Some(n) if *n > 100 => {
            let text = format!("out of range, got {n}, want 0 to 100");
            return Err(Error::spec(at("memory/swappiness"), text));
        }
        Some(n) => out.put("memory.swappiness", n, at("memory/swappiness")),
    }
    if let Some(on) = use_hierarchy {
        out.put("memory.use_hierarchy", u8::from(*on), at("memory/useHierarchy"));
    }
    if *disable_oom_killer == Some(true) {
        out.put("memory.oom_control", 1, at("memory/disableOOMKiller"));
    }
    Ok(())
}

/// `cpu` without cpus and mems.
pub(super) fn cpu(c: &spec::Cpu, out: &mut Sink) -> Result<()> {
    let t = limits::cpu(c)?;
    if let Some(shares) = t.shares {
        // The kernel would silently use the nearest value.
        if !(2..=262_144).contains(&shares) {
            let text = format!("out of range, got {shares}, want 2 to 262144");
            return Err(Error::spec(at("cpu/shares"), text));
        }
        out.put("cpu.shares", shares, at("cpu/shares"));
    }
    // After the shares, which an idle group refuses.
    if let Some(v) = t.idle {
        out.put("cpu.idle", v, at("cpu/idle"));
    }
    if let Some(v) = t.period {
        out.put("cpu.cfs_period_us", v, at("cpu/period"));
    }
    if let Some(v) = t.quota {
        out.put("cpu.cfs_quota_us", v, at("cpu/quota"));
    }
    if let Some(v) = t.burst {
        out.put("cpu.cfs_burst_us", v, at("cpu/burst"));
    }
    if let Some(v) = t.realtime_period {
        out.put("cpu.rt_period_us", v, at("cpu/realtimePeriod"));
    }
    if let Some(v) = t.realtime_runtime {
        out.put("cpu.rt_runtime_us", v, at("cpu/realtimeRuntime"));
    }
    Ok(())
}

/// `blockIO`. Which weight files exist depends on the I/O schedulers of the kernel.
pub(super) fn block_io(b: &spec::BlockIo, out: &mut Sink) -> Result<()> {
    let spec::BlockIo {
        weight,
        leaf_weight,
        weight_device,
        throttle_read_bps_device,
        throttle_write_bps_device,
        throttle_read_iops_device,
        throttle_write_iops_device,
    } = b;
    let both = |bfq: &str, old: &str, value: String| vec![(bfq.into(), value.clone()), (old.into(), value)];
    if let Some(w) = limits::io_weight("blockIO/weight", *weight)? {
        out.put_first(both("blkio.bfq.weight", "blkio.weight", w.to_string()), at("blockIO/weight"));
    }
    if let Some(w) = limits::io_weight("blockIO/leafWeight", *leaf_weight)? {
        out.put("blkio.leaf_weight", w, at("blockIO/leafWeight"));
    }
    for (i, d) in weight_device.iter().enumerate() {
        let spec::WeightDevice { major, minor, weight, leaf_weight } = d;
        let here = format!("blockIO/weightDevice/{i}");
        let node = limits::device_number(&here, *major, *minor)?;
        let (w_field, l_field) = (format!("{here}/weight"), format!("{here}/leafWeight"));
        if let Some(w) = limits::io_weight(&w_field, *weight)? {
            let files = both("blkio.bfq.weight_device", "blkio.weight_device", format!("{node} {w}"));
            out.put_first(files, at(&w_field));
        }
        if let Some(w) = limits::io_weight(&l_field, *leaf_weight)? {
            out.put("blkio.leaf_weight_device", format!("{node} {w}"), at(&l_field));
        }
    }
    let lists = [
        ("throttleReadBpsDevice", "read_bps", throttle_read_bps_device),
        ("throttleWriteBpsDevice", "write_bps", throttle_write_bps_device),
        ("throttleReadIOPSDevice", "read_iops", throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "write_iops", throttle_write_iops_device),
    ];
    for (name, key, list) in lists {
        for (i, spec::ThrottleDevice { major, minor, rate }) in list.iter().enumerate() {
            let here = format!("blockIO/{name}/{i}");
            let node = limits::device_number(&here, *major, *minor)?;
            out.put(format!("blkio.throttle.{key}_device"), format!("{node} {rate}"), at(&here));
        }
    }
    Ok(())
}

/// `hugepageLimits`; the reservation limit too where the kernel has it (5.7).
pub(super) fn hugetlb(list: &[spec::HugepageLimit], out: &mut Sink) -> Result<()> {
    for (i, spec::HugepageLimit { page_size, limit }) in list.iter().enumerate() {
        limits::page_size(&format!("hugepageLimits/{i}/pageSize"), page_size)?;
        let field = at(&format!("hugepageLimits/{i}/limit"));
        out.put(format!("hugetlb.{page_size}.limit_in_bytes"), limit, field.clone());
        out.put_if_there(format!("hugetlb.{page_size}.rsvd.limit_in_bytes"), limit, field);
    }
    Ok(())
}

/// `network.classID`.
pub(super) fn net_cls(class_id: Option<u32>, out: &mut Sink) {
    if let Some(id) = class_id.filter(|id| *id != 0) {
        out.put("net_cls.classid", id, at("network/classID"));
    }
}

/// `network.priorities`.
pub(super) fn net_prio(list: &[spec::InterfacePriority], out: &mut Sink) -> Result<()> {
    for (i, spec::InterfacePriority { name, priority }) in list.iter().enumerate() {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let field = at(&format!("network/priorities/{i}/name"));
            return Err(Error::spec(
                field,
                format!("not an interface name, got {}", crate::error::quoted(name)),
            ));
        }
        let field = at(&format!("network/priorities/{i}"));
        out.put("net_prio.ifpriomap", format!("{name} {priority}"), field);
    }
    Ok(())
}

/// What a v1 list can hold: a default and exceptions from it.
type Exception = (Node, Option<u32>, Option<u32>, u8);

/// The device rules as lines of `devices.deny` and `devices.allow`: first the default, then its exceptions.
///
/// # Errors
/// A rule that takes something out of a wider exception. The kernel would accept the line and do nothing.
pub(super) fn devices(rules: &[Rule], out: &mut Sink) -> Result<()> {
    let (allow_all, exceptions) = reduce(rules)?;
    let (first, rest) =
        if allow_all { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    out.put(first, "a", at("devices"));
    for (node, major, minor, access) in exceptions {
        let kind = if node == Node::Block { 'b' } else { 'c' };
        let number = |n: Option<u32>| n.map_or("*".into(), |n| n.to_string());
        let letters: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .iter()
            .filter(|(b, _)| access & b != 0)
            .map(|x| x.1)
            .collect();
        out.put(rest, format!("{kind} {}:{} {letters}", number(major), number(minor)), at("devices"));
    }
    Ok(())
}

fn reduce(rules: &[Rule]) -> Result<(bool, Vec<Exception>)> {
    let mut allow_all = false;
    let mut list: Vec<Exception> = Vec::new();
    for rule in rules {
        if rule.is_total() {
            allow_all = rule.allow;
            list.clear();
            continue;
        }
        for node in [Node::Char, Node::Block].into_iter().filter(|n| rule.node.is_none_or(|m| m == *n)) {
            match rule.allow == allow_all {
                true => remove(rule, node, &mut list)?,
                false => add((node, rule.major, rule.minor, rule.access), &mut list),
            }
        }
    }
    Ok((allow_all, list))
}

fn add(new: Exception, list: &mut Vec<Exception>) {
    match list.iter_mut().find(|e| (e.0, e.1, e.2) == (new.0, new.1, new.2)) {
        Some(old) => old.3 |= new.3,
        None => list.push(new),
    }
}

fn remove(rule: &Rule, node: Node, list: &mut Vec<Exception>) -> Result<()> {
    let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    let covers = |a: Option<u32>, b: Option<u32>| a.is_none() || a == b;
    for e in list.iter_mut().filter(|e| e.0 == node && e.3 & rule.access != 0) {
        if !meets(rule.major, e.1) || !meets(rule.minor, e.2) {
            continue;
        }
        if !covers(rule.major, e.1) || !covers(rule.minor, e.2) {
            let text =
                "the device list of cgroup v1 cannot make an exception from a wider rule that stands before";
            return Err(Error::spec(rule.field(), text).code(Code::Unsupported));
        }
        e.3 &= ALL & !rule.access;
    }
    list.retain(|e| e.3 != 0);
    Ok(())
}

/// The two files of a cpuset that must hold something before a process can enter.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Gives a new cpuset directory what its parent has: v1 makes it empty, and nobody could enter. A parent that
/// somebody left empty is filled first, up to but without the mount's root.
pub(super) fn fill_cpuset(dir: &Path, mount: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for file in CPUSET {
        let mut value = fs::read_kernel(parent.join(file), 1 << 16)?;
        if value.trim_ascii().is_empty() && parent != mount && parent.starts_with(mount) {
            fill_cpuset(parent, mount)?;
            value = fs::read_kernel(parent.join(file), 1 << 16)?;
        }
        let fd = fs::open(dir.join(file), fs::OFlags::WRONLY, 0)?;
        fs::write_once(&fd, &value)?;
    }
    Ok(())
}

/// Whether this hierarchy has the freezer.
pub(super) fn is_freezer(key: &str) -> bool {
    key.split(',').any(|c| c == "freezer")
}

/// Whether this hierarchy is the cpuset one.
pub(super) fn is_cpuset(key: &str) -> bool {
    key.split(',').any(|c| c == "cpuset")
}

/// Whether the freezer holds this directory or is about to.
pub(super) fn frozen<D: AsFd>(dir: D) -> Result<bool> {
    Ok(fs::read_file_at(&dir, FREEZER_FILE)?.trim() != "THAWED")
}

/// Freezes or thaws and waits; `false` when the time ran out. The kernel advances a FREEZING group when its
/// state is read, and an extra write catches processes that were forked meanwhile.
pub(super) fn set_frozen<D: AsFd>(dir: D, on: bool, until: Instant) -> Result<bool> {
    let want = if on { "FROZEN" } else { "THAWED" };
    let mut pause = Duration::from_micros(50);
    loop {
        fs::write_file_at(&dir, FREEZER_FILE, want.as_bytes())?;
        if fs::read_file_at(&dir, FREEZER_FILE)?.trim() == want {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// What to write to have a file's `old` content back, where that is not its own first line.
pub(super) fn way_back(file: &str, old: &str) -> Option<String> {
    match file {
        OOM_FILE => super::tree::value_of(old, "oom_kill_disable").map(|n| n.to_string()),
        _ => None,
    }
}

/// Whether a file has one line an interface.
pub(super) fn is_keyed(file: &str) -> bool {
    file == "net_prio.ifpriomap"
}

/// Whether a file limits traffic of devices, where 0 means no limit.
pub(super) fn is_throttle(file: &str) -> bool {
    file.starts_with("blkio.throttle.")
}

/// Why the kernel refused a value, where one cause is usual; `parent` reads a file of the parent directory.
pub(super) fn cause(n: i32, file: &str, parent: impl Fn(&str) -> String) -> Option<String> {
    match (n, file) {
        (errno::EINVAL, "cpu.cfs_quota_us" | "cpu.cfs_period_us") => Some(format!(
            "the parent cgroup has quota {} in period {}",
            parent("cpu.cfs_quota_us"),
            parent("cpu.cfs_period_us")
        )),
        (errno::EINVAL, "cpu.rt_runtime_us" | "cpu.rt_period_us") => {
            Some(format!("the parent cgroup has {} us of realtime", parent("cpu.rt_runtime_us")))
        }
        (errno::EINVAL, "cpu.shares") => Some(super::create::IDLE.to_string()),
        (errno::EPERM, "devices.allow") => Some("the parent cgroup does not allow this device".into()),
        (errno::EINVAL, "devices.allow" | "devices.deny") => {
            Some("the parent cgroup denies by default, or there are cgroups below".into())
        }
        _ => None,
    }
}

/// State of the freezer.
pub(super) const FREEZER_FILE: &str = "freezer.state";
/// The usage in bytes.
pub(super) const USAGE_FILE: &str = "memory.usage_in_bytes";
/// OOM kills counted for this directory alone (`oom_kill` of `memory.oom_control`, Linux 4.13).
pub(super) const OOM_FILE: &str = "memory.oom_control";
/// Where an event descriptor is tied to a file.
pub(super) const EVENT_CONTROL: &str = "cgroup.event_control";
/// The limit in bytes.
pub(super) const LIMIT_FILE: &str = "memory.limit_in_bytes";
/// The limit of memory and swap together in bytes.
pub(super) const SWAP_FILE: &str = "memory.memsw.limit_in_bytes";
/// The greatest usage so far in bytes.
pub(super) const PEAK_FILE: &str = "memory.max_usage_in_bytes";

#[cfg(test)]
mod tests {
    use super::super::device::rules;
    use super::super::device::tests::{GRID, lists, rule};
    use super::super::device_oracle::naive;
    use super::*;

    /// The kernel's decision (security/device_cgroup.c): one exception must speak about all letters.
    fn kernel(allow_all: bool, list: &[Exception], node: Node, major: u32, minor: u32, access: u8) -> bool {
        let hits =
            |e: &&Exception| e.0 == node && e.1.is_none_or(|n| n == major) && e.2.is_none_or(|n| n == minor);
        match allow_all {
            true => !list.iter().filter(hits).any(|e| e.3 & access != 0),
            false => list.iter().filter(hits).any(|e| access & !e.3 == 0),
        }
    }

    #[test]
    fn lists_mean_what_the_rules_mean() {
        let mut reduced = 0;
        for list in lists() {
            let rules = rules(&list).unwrap();
            let Ok((allow_all, exceptions)) = reduce(&rules) else { continue };
            reduced += 1;
            for (major, minor) in GRID {
                for node in [Node::Block, Node::Char] {
                    for access in 1..=ALL {
                        let got = kernel(allow_all, &exceptions, node, major, minor, access);
                        let want = naive(&rules, node, major, minor, access);
                        // Several letters at once may be refused where each alone is granted, never the reverse.
                        let fine = if access.is_power_of_two() { got == want } else { want || !got };
                        assert!(fine, "{list:?} {node:?} {major}:{minor} {access}: {got}");
                    }
                }
            }
        }
        assert!(reduced >= 9, "{reduced}");
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused() {
        let rules = rules(&[rule(true, "b", 8, -1, "rw"), rule(false, "b", 8, 1, "w")]).unwrap();
        let e = reduce(&rules).unwrap_err();
        assert_eq!((e.kind(), e.field_path()), (Code::Unsupported, Some("/linux/resources/devices/1")));
    }

    #[test]
    fn lines() {
        let mut out = Sink::new("devices".into());
        devices(&rules(&[rule(true, "b", 8, -1, "wr")]).unwrap(), &mut out).unwrap();
        let lines: Vec<String> =
            out.writes.iter().map(|w| format!("{} {}", w.files[0].0, w.files[0].1)).collect();
        assert_eq!(&lines[..3], ["devices.deny a", "devices.allow b 8:* rw", "devices.allow c *:* m"]);
        assert!(lines.contains(&"devices.allow c 136:* rwm".to_string()));
    }
}
