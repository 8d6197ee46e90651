//! New limits for a group in use: what a request changes and what depends on it, writes in an order the kernel takes,
//! and the way back when one is refused. Merging is pure. May use: `sys::fs`, `spec`, the cgroup module's types.
#![forbid(unsafe_code)]

use super::create::{Making, write_limits};
use super::limits::set;
use super::{Cgroup, Dir, Layout, Plan, Write, v1};
use crate::error::Result;
use crate::spec::{BlockIo, Cpu, HugepageLimit, Memory, Network, Pids, Resources};
use crate::sys::{errno, fs};

/// The limits in force once `new` is applied on top of `old`: what a field of `new` does not say stays. 0 is how Go
/// programs say nothing, for the fields in which it cannot be meant. Device rules stay.
pub fn merge(old: &Resources, new: &Resources) -> Resources {
    let Resources { devices: _, memory, cpu, pids, block_io, hugepage_limits, network, rdma, unified } = new;
    let mut out = old.clone();
    // A file that was set through `unified` and is now set by a field has its value from the field.
    out.unified.retain(|file, _| !says(new, file));
    if let Some(m) = memory {
        merge_memory(out.memory.get_or_insert_default(), m);
    }
    if let Some(c) = cpu {
        merge_cpu(out.cpu.get_or_insert_default(), c);
    }
    if let Some(p @ Pids { limit: Some(_) }) = pids {
        out.pids = Some(p.clone());
    }
    if let Some(b) = block_io {
        merge_block_io(out.block_io.get_or_insert_default(), b);
    }
    replace(&mut out.hugepage_limits, hugepage_limits, |h: &HugepageLimit| h.page_size.clone());
    if let Some(Network { class_id, priorities }) = network {
        let n = out.network.get_or_insert_default();
        n.class_id = class_id.filter(|id| *id != 0).or(n.class_id);
        replace(&mut n.priorities, priorities, |p| p.name.clone());
    }
    out.rdma.extend(rdma.clone());
    out.unified.extend(unified.clone());
    out
}

/// Whether a field beside `unified` sets this v2 file.
fn says(new: &Resources, file: &str) -> bool {
    let memory = new.memory.as_ref();
    let cpu = new.cpu.as_ref();
    match file {
        "memory.max" => memory.is_some_and(|m| set(m.limit).is_some()),
        "memory.swap.max" => memory.is_some_and(|m| set(m.limit).is_some() || set(m.swap).is_some()),
        "memory.low" => memory.is_some_and(|m| set(m.reservation).is_some()),
        "cpu.max" => cpu.is_some_and(|c| set(c.period).is_some() || set(c.quota).is_some()),
        "cpu.max.burst" => cpu.is_some_and(|c| c.burst.is_some()),
        "cpu.weight" => cpu.is_some_and(|c| set(c.shares).is_some()),
        "cpu.idle" => cpu.is_some_and(|c| c.idle.is_some()),
        "cpuset.cpus" => cpu.is_some_and(|c| !c.cpus.is_empty()),
        "cpuset.mems" => cpu.is_some_and(|c| !c.mems.is_empty()),
        "pids.max" => new.pids.as_ref().is_some_and(|p| p.limit.is_some()),
        _ => false,
    }
}

fn merge_memory(out: &mut Memory, new: &Memory) {
    let Memory {
        limit,
        reservation,
        swap,
        kernel,
        kernel_tcp,
        swappiness,
        disable_oom_killer,
        use_hierarchy,
        check_before_update,
    } = new;
    out.limit = set(*limit).or(out.limit);
    out.reservation = set(*reservation).or(out.reservation);
    out.swap = match (set(*limit), set(*swap)) {
        // Unlimited memory is unlimited swap too, as on cgroup v1, unless the caller says otherwise.
        (Some(-1), None) => Some(-1),
        (_, swap) => swap.or(out.swap),
    };
    out.kernel = kernel.or(out.kernel);
    out.kernel_tcp = kernel_tcp.or(out.kernel_tcp);
    out.swappiness = swappiness.filter(|s| *s != u64::MAX).or(out.swappiness);
    out.disable_oom_killer = disable_oom_killer.or(out.disable_oom_killer);
    out.use_hierarchy = use_hierarchy.or(out.use_hierarchy);
    out.check_before_update = check_before_update.or(out.check_before_update);
}

fn merge_cpu(out: &mut Cpu, new: &Cpu) {
    let Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, cpus, mems, idle } = new;
    out.shares = set(*shares).or(out.shares);
    out.quota = set(*quota).or(out.quota);
    out.burst = burst.or(out.burst);
    out.period = set(*period).or(out.period);
    out.realtime_runtime = set(*realtime_runtime).or(out.realtime_runtime);
    out.realtime_period = set(*realtime_period).or(out.realtime_period);
    out.idle = idle.or(out.idle);
    for (old, new) in [(&mut out.cpus, cpus), (&mut out.mems, mems)] {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
}

fn merge_block_io(out: &mut BlockIo, new: &BlockIo) {
    let BlockIo {
        weight,
        leaf_weight,
        weight_device,
        throttle_read_bps_device,
        throttle_write_bps_device,
        throttle_read_iops_device,
        throttle_write_iops_device,
    } = new;
    out.weight = set(*weight).or(out.weight);
    out.leaf_weight = set(*leaf_weight).or(out.leaf_weight);
    replace(&mut out.weight_device, weight_device, |d| (d.major, d.minor));
    for (old, new) in [
        (&mut out.throttle_read_bps_device, throttle_read_bps_device),
        (&mut out.throttle_write_bps_device, throttle_write_bps_device),
        (&mut out.throttle_read_iops_device, throttle_read_iops_device),
        (&mut out.throttle_write_iops_device, throttle_write_iops_device),
    ] {
        replace(old, new, |d| (d.major, d.minor));
    }
}

/// Entries of `new` take the place of those with the same key.
fn replace<T: Clone, K: PartialEq>(old: &mut Vec<T>, new: &[T], key: impl Fn(&T) -> K) {
    old.retain(|o| !new.iter().any(|n| key(n) == key(o)));
    old.extend_from_slice(new);
}

/// What must be written for `new`, given the `merged` limits: the fields of `new`, and those that the kernel's files
/// tie to them.
pub fn linked(new: &Resources, merged: &Resources) -> Resources {
    let mut out = Resources { devices: Vec::new(), ..new.clone() };
    if let (Some(m), Some(all)) = (&mut out.memory, &merged.memory)
        && (set(m.limit).is_some() || set(m.swap).is_some())
    {
        // v2 counts swap apart from memory, so the one value needs the other.
        (m.limit, m.swap) = (all.limit, all.swap);
        m.check_before_update = all.check_before_update;
    }
    if let (Some(c), Some(all)) = (&mut out.cpu, &merged.cpu) {
        if set(c.quota).is_some() || set(c.period).is_some() || c.burst.is_some() {
            (c.quota, c.period, c.burst) = (all.quota, all.period, all.burst);
        }
        if set(c.realtime_runtime).is_some() || set(c.realtime_period).is_some() {
            (c.realtime_runtime, c.realtime_period) = (all.realtime_runtime, all.realtime_period);
        }
        // The kernel gives a group that is no longer idle the default weight.
        if c.idle == Some(0) {
            c.shares = all.shares;
        }
    }
    out
}

/// What an update has done, and how to undo it.
#[derive(Debug)]
pub struct Applied {
    /// Effects the caller may not expect, one sentence each.
    pub warnings: Vec<String>,
    /// The values as they were, in the order of writing.
    old: Vec<Write>,
}

impl Cgroup {
    /// Writes the limits of a plan that was made for this group ([`super::limits_plan`]), and tells the unit of systemd
    /// that has the group.
    ///
    /// # Errors
    /// The first refused value, with its field. All others have their old values again; what could not be restored is
    /// in the error's hint.
    pub fn update(&self, layout: &Layout, plan: &Plan) -> Result<Applied> {
        let writes = self.in_order(&plan.writes);
        let mut applied = Applied { warnings: plan.warnings.clone(), old: Vec::new() };
        applied.warnings.extend(writes.iter().filter_map(|w| self.below_usage(w)));
        // Before systemd hears of it: it writes files, too.
        applied.old = writes.iter().filter_map(|w| self.old(w)).collect();
        match self.apply(layout, plan, &writes) {
            Ok(()) => Ok(applied),
            Err(e) => Err(match self.roll_back(&applied) {
                Ok(()) => e,
                Err(left) => e.hint(format!("and the old values are not all back: {left}")),
            }),
        }
    }

    fn apply(&self, layout: &Layout, plan: &Plan, writes: &[Write]) -> Result<()> {
        if let Some(unit) = &self.unit {
            unit.update(writes)?;
        }
        if let Some(group) = plan.groups.iter().find(|g| g.key.is_empty() && !plan.needed.is_empty()) {
            Making::nothing().enable(layout, plan, group)?;
        }
        write_limits(&self.dirs, writes)
    }

    /// Takes an update back, last write first.
    ///
    /// # Errors
    /// The first value that could not be restored; the others are.
    pub fn roll_back(&self, applied: &Applied) -> Result<()> {
        let told = self.unit.as_ref().map_or(Ok(()), |unit| unit.update(&applied.old));
        let mut left: Vec<&Write> = applied.old.iter().rev().collect();
        let mut first_error = told.err();
        // Some values depend on each other: what is refused at first may be taken after the others.
        for last in [false, true] {
            left.retain(|w| match self.restore(w) {
                Ok(()) => false,
                Err(e) if last => {
                    first_error.get_or_insert(e);
                    true
                }
                Err(_) => true,
            });
        }
        first_error.map_or(Ok(()), Err)
    }

    fn restore(&self, w: &Write) -> Result<()> {
        let (Some(dir), Some((file, value))) = (self.dir_of(w), w.files.first()) else { return Ok(()) };
        fs::write_file_at(dir.fd()?, file, value.as_bytes())
    }

    /// The write that brings the value back which the file of `w` has now; `None` for one that tells nothing.
    fn old(&self, w: &Write) -> Option<Write> {
        let dir = self.dir_of(w)?.fd().ok()?;
        for (file, value) in &w.files {
            match fs::read_file_at(dir, file) {
                Err(e) if e.is(errno::ENOENT) => continue,
                old => {
                    let files = vec![(file.clone(), way_back(file, &old.ok()?, value)?)];
                    return Some(Write { files, ..w.clone() });
                }
            }
        }
        None
    }

    /// The writes with that of the swap limit in front of the memory limit's when it grows: v1 refuses a sum below its
    /// part, and what memory gives up needs somewhere to go.
    fn in_order(&self, writes: &[Write]) -> Vec<Write> {
        let mut out = writes.to_vec();
        let place = |of: fn(&str) -> bool| out.iter().position(|w| w.files.iter().any(|(f, _)| of(f)));
        let limit = place(|f| f == "memory.max" || f == v1::LIMIT_FILE);
        let swap = place(|f| f == "memory.swap.max" || f == v1::SWAP_FILE);
        if let (Some(limit), Some(swap)) = (limit, swap) {
            let grows = self.grows(&out[swap]);
            if grows == (limit < swap) {
                out.swap(limit, swap);
            }
        }
        out
    }

    fn grows(&self, w: &Write) -> bool {
        let Some((file, value)) = w.files.first() else { return false };
        let old = self.dir_of(w).and_then(|d| fs::read_file_at(d.fd().ok()?, file).ok());
        old.is_some_and(|old| bytes(value) > bytes(&old))
    }

    /// v2 takes a memory limit below the usage and makes it true; v1 refuses it.
    fn below_usage(&self, w: &Write) -> Option<String> {
        let (_, value) = w.files.iter().find(|(f, _)| f == "memory.max")?;
        let usage = fs::read_file_at(self.dir_of(w)?.fd().ok()?, "memory.current").ok()?;
        (bytes(value) < bytes(&usage)).then(|| {
            format!(
                "{}: {value} is below the {} bytes in use: the kernel takes back what it can, and kills processes of \
                 the container if that is not enough",
                w.field,
                usage.trim()
            )
        })
    }

    fn dir_of(&self, w: &Write) -> Option<&Dir> {
        self.dirs.iter().find(|d| d.key == w.key)
    }
}

/// A size as files of either version write it.
fn bytes(value: &str) -> u64 {
    value.trim().parse().unwrap_or(u64::MAX)
}

/// What to write to have the `old` content back after `written` was: for files with a line a device the line of that
/// device. `None` for a file that cannot be read or tells nothing.
fn way_back(file: &str, old: &str, written: &str) -> Option<String> {
    if let Some(value) = v1::way_back(file, old) {
        return Some(value);
    }
    let key = written.split_whitespace().next().unwrap_or_default();
    let keyed = key.contains(':') || matches!(file, "rdma.max" | "misc.max") || v1::is_keyed(file);
    if keyed {
        let same = |l: &&str| l.split_whitespace().next() == Some(key);
        return Some(old.lines().find(same).map_or_else(|| unset(file, key), str::to_string));
    }
    let first = old.lines().next().unwrap_or_default();
    match first {
        "" => None,
        // Not a weight but what an idle group shows.
        "0" if file == "cpu.weight" => None,
        line => Some(line.to_string()),
    }
}

/// The line that takes the setting of one device away.
fn unset(file: &str, key: &str) -> String {
    let value = match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.latency" => "target=max",
        "rdma.max" => "hca_handle=max hca_object=max",
        "misc.max" => "max",
        _ if v1::is_throttle(file) => "0",
        _ => "default",
    };
    format!("{key} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{ThrottleDevice, read};

    fn r(text: &str) -> Resources {
        read::resources(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_said_stays() {
        let old = r(r#"{"memory":{"limit":100000,"swap":300000,"reservation":50000,"swappiness":10},
            "cpu":{"shares":512,"quota":20000,"period":50000,"burst":1000,"cpus":"0-1","mems":"0","idle":0},
            "pids":{"limit":7},"blockIO":{"weight":100},"devices":[{"allow":true,"access":"r"}],
            "unified":{"memory.high":"9","memory.max":"1","cpu.weight":"2"}}"#);
        for nothing in [
            "{}",
            r#"{"memory":{},"cpu":{},"pids":{},"blockIO":{},"network":{}}"#,
            r#"{"memory":{"limit":0,"swap":0,"reservation":0,"swappiness":18446744073709551615},
                "cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0,"realtimePeriod":0,"cpus":"","mems":""},
                "blockIO":{"weight":0}}"#,
        ] {
            let merged = merge(&old, &r(nothing));
            assert_eq!(Resources { network: None, ..merged }, old, "{nothing}");
        }
        let new =
            r(r#"{"memory":{"limit":200000},"cpu":{"quota":30000},"devices":[{"allow":false,"access":"r"}],
            "unified":{"memory.high":"10"}}"#);
        let merged = merge(&old, &new);
        let (m, c) = (merged.memory.clone().unwrap(), merged.cpu.clone().unwrap());
        assert_eq!((m.limit, m.swap, m.reservation), (Some(200_000), Some(300_000), Some(50_000)));
        assert_eq!((c.shares, c.quota, c.period), (Some(512), Some(30_000), Some(50_000)));
        assert_eq!(merged.devices, old.devices);
        let unified: Vec<_> = merged.unified.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(unified, [("cpu.weight", "2"), ("memory.high", "10")]);
    }

    #[test]
    fn unlimited_memory_lifts_the_swap_limit() {
        let old = r(r#"{"memory":{"limit":100000,"swap":300000}}"#);
        let swap = |new: &str| merge(&old, &r(new)).memory.unwrap().swap;
        assert_eq!(swap(r#"{"memory":{"limit":-1}}"#), Some(-1));
        assert_eq!(swap(r#"{"memory":{"limit":-1,"swap":0}}"#), Some(-1));
        assert_eq!(swap(r#"{"memory":{"limit":-1,"swap":500000}}"#), Some(500_000));
        assert_eq!(swap(r#"{"memory":{"reservation":5000}}"#), Some(300_000));
    }

    #[test]
    fn devices_are_told_apart() {
        let old =
            r(r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":1,
            "rate":2}]},"hugepageLimits":[{"pageSize":"2MB","limit":1},{"pageSize":"1GB","limit":2}]}"#);
        let new = r(r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":9}]},
            "hugepageLimits":[{"pageSize":"1GB","limit":3}]}"#);
        let merged = merge(&old, &new);
        let rates: Vec<_> = merged.block_io.unwrap().throttle_read_bps_device;
        let dev = |minor, rate| ThrottleDevice { major: 8, minor, rate };
        assert_eq!(rates, [dev(1, 2), dev(0, 9)]);
        let pages: Vec<_> = merged.hugepage_limits.iter().map(|h| (h.page_size.as_str(), h.limit)).collect();
        assert_eq!(pages, [("2MB", 1), ("1GB", 3)]);
    }

    #[test]
    fn only_what_is_tied_is_written_again() {
        let old = r(r#"{"memory":{"limit":100000,"swap":300000,"reservation":50000},
            "cpu":{"shares":512,"quota":20000,"period":50000,"burst":1000,"cpus":"0","idle":1},"pids":{"limit":7}}"#);
        let written = |new: &str| {
            let new = r(new);
            linked(&new, &merge(&old, &new))
        };
        let w = written(r#"{"memory":{"limit":200000}}"#);
        let m = w.memory.unwrap();
        assert_eq!((m.limit, m.swap, m.reservation), (Some(200_000), Some(300_000), None));
        assert!(w.cpu.is_none() && w.pids.is_none());
        let c = written(r#"{"cpu":{"period":40000}}"#).cpu.unwrap();
        assert_eq!((c.quota, c.period, c.burst), (Some(20_000), Some(40_000), Some(1000)));
        assert_eq!((c.shares, c.cpus.as_str(), c.idle), (None, "", None));
        assert_eq!(written(r#"{"cpu":{"idle":0}}"#).cpu.unwrap().shares, Some(512));
        assert_eq!(written(r#"{"cpu":{"idle":1}}"#).cpu.unwrap().shares, None);
        assert!(written(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).devices.is_empty());
    }

    #[test]
    fn ways_back() {
        let io = "8:16 rbps=max wbps=1 riops=max wiops=max\n";
        for (file, old, written, want) in [
            ("memory.max", "max\n", "1", Some("max")),
            ("cpu.max", "max 100000\n", "1000 10000", Some("max 100000")),
            ("io.max", io, "8:16 rbps=5", Some("8:16 rbps=max wbps=1 riops=max wiops=max")),
            ("io.max", io, "8:0 rbps=5", Some("8:0 rbps=max wbps=max riops=max wiops=max")),
            ("io.weight", "default 100\n8:0 50\n", "7", Some("default 100")),
            ("io.weight", "default 100\n8:0 50\n", "8:0 7", Some("8:0 50")),
            ("io.weight", "default 100\n", "8:0 7", Some("8:0 default")),
            (
                "rdma.max",
                "a hca_handle=1 hca_object=max\n",
                "b hca_handle=1",
                Some("b hca_handle=max hca_object=max"),
            ),
            ("blkio.throttle.read_bps_device", "8:0 10\n", "8:16 5", Some("8:16 0")),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "1", Some("0")),
            ("net_prio.ifpriomap", "lo 0\neth0 3\n", "eth0 5", Some("eth0 3")),
            ("cpu.weight", "0\n", "5", None),
            ("memory.reclaim", "", "5", None),
        ] {
            assert_eq!(way_back(file, old, written).as_deref(), want, "{file} {old} {written}");
        }
    }
}
