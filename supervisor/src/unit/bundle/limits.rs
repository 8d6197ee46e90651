//! Limits as a configuration says them, for both cgroup layouts. Pure.

use serde_json::{Map, Value, json};

use super::apply::{list, object};
use super::{Failure, Host};
use crate::memory::limits as memory;
use crate::unit::service::{IoMax, Limits, Service};

/// Microseconds of one accounting period of the processor controller, the kernel's default.
const PERIOD: u64 = 100_000;
/// `cpu.shares` of a group that asks for nothing, which is `cpu.weight` 100 (cgroup-v2.rst).
const SHARES_DEFAULT: u64 = 1024;
/// Processes of a container that asks for nothing.
const PIDS_DEFAULT: u64 = 2048;
/// What systemd gives: programs that call select(2) break above 1024, others raise their own.
const NOFILE_SOFT: u64 = 1024;
const NOFILE_HARD: u64 = 524_288;

/// `process.rlimits` and `process.oomScoreAdj`: never the daemon's own.
pub(super) fn put_process(
    process: &mut Map<String, Value>,
    limits: &Limits,
    host: Host,
) -> Result<(), Failure> {
    match limits.oom_score_adj {
        Some(n) => drop(process.insert("oomScoreAdj".into(), json!(n))),
        None => drop(process.entry("oomScoreAdj").or_insert(json!(0))),
    }
    let rlimits = list(process, "rlimits")?;
    let given = rlimits.iter().any(|r| r["type"] == "RLIMIT_NOFILE");
    let (soft, hard) = match limits.nofile {
        Some(n) => (n, n),
        None if given => return Ok(()),
        None => (NOFILE_SOFT.min(host.nofile), NOFILE_HARD.min(host.nofile)),
    };
    rlimits.retain(|r| r["type"] != "RLIMIT_NOFILE");
    rlimits.push(json!({ "type": "RLIMIT_NOFILE", "soft": soft, "hard": hard }));
    Ok(())
}

/// `linux.resources`.
pub(super) fn put_resources(
    resources: &mut Map<String, Value>,
    service: &Service,
    host: Host,
) -> Result<(), Failure> {
    let limits = &service.limits;
    let Limits {
        memory, swap, cpu_millis, cpu_weight, cpus, pids, cpu_burst, memory_request, io_max, ..
    } = limits;
    if let Some(key) = memory::needs_v2(limits).filter(|_| !host.unified) {
        let text = format!("{key} needs the controllers of cgroup v2, and those of this host are v1's");
        return Err(Failure::new("needs-cgroup-v2", text));
    }
    if memory.is_some() || swap.is_some() {
        put_memory(object(resources, "memory")?, *memory, *swap, host)?;
        unset(resources, &["memory.max", "memory.swap.max"]);
    }
    if let Some(request) = memory_request.filter(|_| !host.unified) {
        object(resources, "memory")?.insert("reservation".into(), json!(request));
    }
    if let Some(millis) = cpu_millis {
        let cpu = object(resources, "cpu")?;
        cpu.insert("period".into(), json!(PERIOD));
        cpu.insert("quota".into(), json!(millis.saturating_mul(PERIOD / 1000)));
        // Would be more than the new quota, which the kernel refuses.
        cpu.remove("burst");
        if let Some(burst) = cpu_burst {
            cpu.insert("burst".into(), json!(u64::try_from(burst.as_micros()).unwrap_or(u64::MAX)));
        }
        unset(resources, &["cpu.max", "cpu.max.burst"]);
    }
    if let Some(weight) = cpu_weight {
        let cpu = object(resources, "cpu")?;
        cpu.remove("shares");
        unset(resources, &["cpu.weight", "cpu.weight.nice"]);
        // Runtimes disagree on the formula from shares: for v2 it is in the kernel's own words, below.
        if !host.unified {
            let shares = (weight * SHARES_DEFAULT / 100).max(2);
            object(resources, "cpu")?.insert("shares".into(), json!(shares));
        }
    }
    if let Some(cpus) = cpus {
        object(resources, "cpu")?.insert("cpus".into(), json!(cpus));
        unset(resources, &["cpuset.cpus"]);
    }
    super::pressure::check(service, host)?;
    put_disks(resources, io_max)?;
    if host.unified {
        put_files(resources, service)?;
    }
    if pids.is_some() {
        unset(resources, &["pids.max"]);
    }
    let counted = |r: &Map<String, Value>| r.get("unified").is_some_and(|u| u.get("pids.max").is_some());
    let given = counted(resources);
    let section = object(resources, "pids")?;
    match pids {
        Some(u64::MAX) => drop(section.insert("limit".into(), json!(-1))),
        Some(n) => drop(section.insert("limit".into(), json!(n))),
        None if given || section.contains_key("limit") => {}
        None => drop(section.insert("limit".into(), json!(PIDS_DEFAULT))),
    }
    if section.is_empty() {
        resources.remove("pids");
    }
    Ok(())
}

/// What only cgroup v2 has, in its own words.
fn put_files(resources: &mut Map<String, Value>, service: &Service) -> Result<(), Failure> {
    let limits = &service.limits;
    let max = resources.get("memory").and_then(|m| m.get("limit")).and_then(Value::as_u64);
    let given = |file: &str| resources.get("unified").is_some_and(|u| u.get(file).is_some());
    // A word of the bundle holds against what follows by itself.
    let own = limits.oom_group.is_none() && given("memory.oom.group");
    let files: Vec<_> = memory::files(limits, max, service.job.is_none())
        .into_iter()
        .filter(|(f, _)| !(own && *f == "memory.oom.group"))
        .collect();
    if files.iter().any(|(file, _)| *file == "memory.low") {
        object(resources, "memory")?.remove("reservation");
    }
    for (file, text) in files {
        object(resources, "unified")?.insert(file.into(), json!(text));
    }
    Ok(())
}

/// Each disk by its number, in the words that both layouts have.
fn put_disks(resources: &mut Map<String, Value>, disks: &[IoMax]) -> Result<(), Failure> {
    for disk in disks {
        let number = crate::sys::file::block_device(&disk.device).map_err(|e| {
            Failure::new("device-missing", format!("limits.io_max: {}: {e}", disk.device.display()))
        })?;
        let IoMax { device: _, read_bps, write_bps, read_iops, write_iops } = disk;
        let section = object(resources, "blockIO")?;
        for (name, rate) in [
            ("throttleReadBpsDevice", read_bps),
            ("throttleWriteBpsDevice", write_bps),
            ("throttleReadIOPSDevice", read_iops),
            ("throttleWriteIOPSDevice", write_iops),
        ] {
            if let Some(rate) = rate {
                let (major, minor) = number;
                let all = list(section, name)?;
                all.retain(|d| d["major"] != major || d["minor"] != minor);
                all.push(json!({ "major": major, "minor": minor, "rate": rate }));
            }
        }
    }
    if !disks.is_empty() {
        unset(resources, &["io.max"]);
    }
    Ok(())
}

/// The specification's `swap` is memory and swap together. Without a word about swap there is none, where it can be
/// limited; a bundle that gave some keeps giving as much.
fn put_memory(
    section: &mut Map<String, Value>,
    memory: Option<u64>,
    swap: Option<u64>,
    host: Host,
) -> Result<(), Failure> {
    let number = |section: &Map<String, Value>, key: &str| section.get(key).and_then(Value::as_u64);
    let (old, old_sum) = (number(section, "limit"), number(section, "swap"));
    let limit = memory.or(old).ok_or_else(|| {
        Failure::new(
            "bundle-invalid",
            "limits.swap needs a limit of memory, and neither file nor bundle has one",
        )
    })?;
    let unlimited = section.get("swap").and_then(Value::as_i64) == Some(-1);
    let beside = match (old, old_sum) {
        (Some(old), Some(sum)) => sum.saturating_sub(old),
        _ => 0,
    };
    section.insert("limit".into(), json!(limit));
    match swap {
        Some(swap) => drop(section.insert("swap".into(), json!(limit.saturating_add(swap)))),
        None if unlimited => {}
        None if host.swap => drop(section.insert("swap".into(), json!(limit.saturating_add(beside)))),
        None => drop(section.remove("swap")),
    }
    if number(section, "reservation").is_some_and(|n| n > limit) {
        section.insert("reservation".into(), json!(limit));
    }
    Ok(())
}

/// What a bundle says in the kernel's own words would win over the service file.
fn unset(resources: &mut Map<String, Value>, files: &[&str]) {
    if let Some(unified) = resources.get_mut("unified").and_then(Value::as_object_mut) {
        unified.retain(|name, _| !files.contains(&name.as_str()));
        if unified.is_empty() {
            resources.remove("unified");
        }
    }
}
