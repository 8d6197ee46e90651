//! The cgroup v2 table: which file and value each field of `linux.resources` becomes
//! (Documentation/admin-guide/cgroup-v2.rst). Pure. May use: `spec`, `error`, the cgroup module's own types.
#![forbid(unsafe_code)]

use super::limits::{self, at, only_v1};
use super::plan::Sink;
use crate::error::{Error, Result, quoted};
use crate::spec;

fn max_or(bytes: i64) -> String {
    if bytes < 0 { "max".into() } else { bytes.to_string() }
}

/// `memory`. The swap file counts swap alone and is missing on kernels without swap accounting, where "no
/// swap" and "any swap" are true anyway.
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
        check_before_update,
    } = m;
    let b = limits::memory(m)?;
    if let Some(v) = b.limit {
        let not_below = (v > 0 && *check_before_update == Some(true)).then_some("memory.current");
        out.put_guarded("memory.max", max_or(v), at("memory/limit"), not_below);
    }
    if let Some(v) = limits::swap_alone(b) {
        let field = if b.swap.is_some() { at("memory/swap") } else { at("memory/limit") };
        match v <= 0 {
            true => out.put_if_there("memory.swap.max", max_or(v), field),
            false => out.put("memory.swap.max", max_or(v), field),
        }
    }
    if let Some(v) = b.reservation {
        out.put("memory.low", max_or(v), at("memory/reservation"));
    }
    kernel_memory(kernel, kernel_tcp, out);
    if swappiness.is_some() {
        return Err(only_v1("memory/swappiness", "cgroup v2 has no swappiness"));
    }
    if *disable_oom_killer == Some(true) {
        return Err(only_v1("memory/disableOOMKiller", "cgroup v2 cannot disable the OOM killer"));
    }
    if *use_hierarchy == Some(false) {
        return Err(only_v1("memory/useHierarchy", "cgroup v2 is always hierarchical"));
    }
    Ok(())
}

/// The kernel removed these limits (5.16); every runtime accepts and does not apply them.
pub(super) fn kernel_memory(kernel: &Option<i64>, kernel_tcp: &Option<i64>, out: &mut Sink) {
    for (name, value) in [("memory/kernel", kernel), ("memory/kernelTCP", kernel_tcp)] {
        if value.is_some() {
            out.warn(format!("{}: not applied, the kernel has no separate kernel memory limit", at(name)));
        }
    }
}

/// `cpu` without cpus and mems.
pub(super) fn cpu(c: &spec::Cpu, out: &mut Sink) -> Result<()> {
    let t = limits::cpu(c)?;
    if let Some(shares) = t.shares {
        if !(2..=262_144).contains(&shares) {
            out.warn(format!(
                "{}: {shares} is outside of 2 to 262144, the nearest is used",
                at("cpu/shares")
            ));
        }
        out.put("cpu.weight", limits::weight_of_shares(shares), at("cpu/shares"));
    }
    // After the weight, which an idle group refuses.
    if let Some(idle) = t.idle {
        out.put("cpu.idle", idle, at("cpu/idle"));
    }
    if t.quota.is_some() || t.period.is_some() {
        let quota = t.quota.map_or("max".into(), max_or);
        let field = if t.quota.is_some() { "cpu/quota" } else { "cpu/period" };
        out.put("cpu.max", format!("{quota} {}", t.period.unwrap_or(100_000)), at(field));
    }
    if let Some(burst) = t.burst {
        out.put("cpu.max.burst", burst, at("cpu/burst"));
    }
    let realtime = [
        ("cpu/realtimeRuntime", t.realtime_runtime.is_some()),
        ("cpu/realtimePeriod", t.realtime_period.is_some()),
    ];
    match realtime.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(only_v1(field, "cgroup v2 has no realtime CPU limits")),
        None => Ok(()),
    }
}

/// `cpu.cpus` and `cpu.mems`.
pub(super) fn cpuset(c: &spec::Cpu, out: &mut Sink) {
    for (file, value, field) in [("cpuset.cpus", &c.cpus, "cpu/cpus"), ("cpuset.mems", &c.mems, "cpu/mems")] {
        if !value.is_empty() {
            out.put(file, value, at(field));
        }
    }
}

/// `pids`.
pub(super) fn pids(p: &spec::Pids, out: &mut Sink) -> Result<()> {
    if let Some(max) = limits::pids(p)? {
        out.put("pids.max", max, at("pids/limit"));
    }
    Ok(())
}

/// `blockIO`. Weights go to the BFQ scheduler's file when the kernel has it, else to `io.weight`.
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
    let leaf = |field: &str| only_v1(field, "cgroup v2 has no leaf weight");
    if let Some(w) = limits::io_weight("blockIO/weight", *weight)? {
        weight_files("", w, at("blockIO/weight"), out);
    }
    if leaf_weight.is_some_and(|w| w != 0) {
        return Err(leaf("blockIO/leafWeight"));
    }
    for (i, d) in weight_device.iter().enumerate() {
        let spec::WeightDevice { major, minor, weight, leaf_weight } = d;
        let here = format!("blockIO/weightDevice/{i}");
        let node = limits::device_number(&here, *major, *minor)?;
        if let Some(w) = limits::io_weight(&format!("{here}/weight"), *weight)? {
            weight_files(&format!("{node} "), w, at(&format!("{here}/weight")), out);
        }
        if leaf_weight.is_some_and(|w| w != 0) {
            return Err(leaf(&format!("{here}/leafWeight")));
        }
    }
    let lists = [
        ("throttleReadBpsDevice", "rbps", throttle_read_bps_device),
        ("throttleWriteBpsDevice", "wbps", throttle_write_bps_device),
        ("throttleReadIOPSDevice", "riops", throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "wiops", throttle_write_iops_device),
    ];
    for (name, key, list) in lists {
        for (i, spec::ThrottleDevice { major, minor, rate }) in list.iter().enumerate() {
            let here = format!("blockIO/{name}/{i}");
            let node = limits::device_number(&here, *major, *minor)?;
            // cgroup v1, whose units these are, takes 0 for "no limit".
            let rate = if *rate == 0 { "max".into() } else { rate.to_string() };
            out.put("io.max", format!("{node} {key}={rate}"), at(&here));
        }
    }
    Ok(())
}

fn weight_files(prefix: &str, weight: u16, field: String, out: &mut Sink) {
    let io = limits::weight_of_blkio(weight);
    out.put_first(
        vec![
            ("io.bfq.weight".into(), format!("{prefix}{weight}")),
            ("io.weight".into(), format!("{prefix}{io}")),
        ],
        field,
    );
}

/// `hugepageLimits`; the reservation limit too where the kernel has it (5.7), or a process could fail late.
pub(super) fn hugetlb(list: &[spec::HugepageLimit], out: &mut Sink) -> Result<()> {
    for (i, spec::HugepageLimit { page_size, limit }) in list.iter().enumerate() {
        limits::page_size(&format!("hugepageLimits/{i}/pageSize"), page_size)?;
        let field = at(&format!("hugepageLimits/{i}/limit"));
        out.put(format!("hugetlb.{page_size}.max"), limit, field.clone());
        out.put_if_there(format!("hugetlb.{page_size}.rsvd.max"), limit, field);
    }
    Ok(())
}

/// One entry of `unified`: (controller, lines to write, one at a time). The key must be a plain file name of a
/// controller; control files would let a config move or kill processes.
pub(super) fn unified(key: &str, value: &str) -> Result<(String, Vec<String>)> {
    const CORE: [&str; 3] = ["cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure"];
    let field = format!("{}/unified/{}", limits::BASE, limits::pointer_step(key));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let controller = match key.split_once('.') {
        Some((c, rest)) if !c.is_empty() && !rest.is_empty() && key.chars().all(plain) => c,
        _ => {
            let text = format!(
                "not an allowed cgroup file, got {}, want the form \"controller.file\" without slashes",
                quoted(key)
            );
            return Err(Error::spec(field, text));
        }
    };
    if key.contains("..") || (controller == "cgroup" && !CORE.contains(&key)) {
        let text = format!("not an allowed cgroup file, got {}", quoted(key));
        return Err(Error::spec(field, text).hint(format!("of cgroup.* only {} can be set", CORE.join(", "))));
    }
    // The kernel reads one setting per write; an empty value is a setting too, and an empty write is none.
    let lines: Vec<String> = value.lines().filter(|l| !l.is_empty()).map(str::to_string).collect();
    Ok((controller.to_string(), if lines.is_empty() { vec!["\n".into()] } else { lines }))
}
