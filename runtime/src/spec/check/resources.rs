//! Rules for cgroup resources that no host can change: config-linux.md, "Control groups", and the ranges of the
//! kernel's files. Shared by config.json and the document of `update --resources`. Pure.

use super::devices::{MAX_MAJOR, MAX_MINOR};
use super::process::MAX_CPU;
use super::{Findings, devices, number_list};
use crate::error::quoted;
use crate::spec::at::At;
use crate::spec::types::*;
use std::collections::BTreeMap;

/// Largest memory node a kernel can be built for (NODES_SHIFT is at most 10).
pub(super) const MAX_NODE: u32 = 1023;

/// Files of a v2 cgroup that move or hold processes: not settings, and ours to write.
const UNIFIED_REFUSED: [&str; 6] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.type",
    "cgroup.subtree_control",
    "cgroup.freeze",
    "cgroup.kill",
];

pub(super) fn check(f: &mut Findings, at: &At<'_>, resources: &Resources) {
    let Resources { devices, memory, cpu, pids, block_io, hugepage_limits, network, rdma, unified } =
        resources;
    for (i, rule) in devices.iter().enumerate() {
        devices::rule(f, &at.key("devices").item(i), rule);
    }
    if let Some(m) = memory {
        memory_limits(f, &at.key("memory"), m);
    }
    if let Some(c) = cpu {
        cpu_limits(f, &at.key("cpu"), c);
    }
    if let Some(Pids { limit: Some(limit) }) = pids {
        // 0 is what runtimes of the Go family write as 1: the program itself.
        f.within(&at.key("pids").key("limit"), *limit, -1, i64::MAX.into());
    }
    if let Some(b) = block_io {
        block_limits(f, &at.key("blockIO"), b);
    }
    huge_pages(f, &at.key("hugepageLimits"), hugepage_limits);
    if let Some(Network { class_id: _, priorities }) = network {
        for (i, InterfacePriority { name, priority: _ }) in priorities.iter().enumerate() {
            f.interface(&at.key("network").key("priorities").item(i).key("name"), name);
        }
    }
    for (device, Rdma { hca_handles, hca_objects }) in rdma {
        let here = at.key("rdma");
        if device.is_empty() || device.contains(|c: char| c.is_whitespace() || c.is_control()) {
            f.fail(&here.key(device), format!("not the name of an RDMA device: got {}", quoted(device)));
        }
        if hca_handles.is_none() && hca_objects.is_none() {
            f.fail(&here.key(device), "want hcaHandles or hcaObjects, got neither");
        }
    }
    unified_files(f, &at.key("unified"), unified);
}

fn memory_limits(f: &mut Findings, at: &At<'_>, memory: &Memory) {
    let Memory {
        limit,
        reservation,
        swap,
        kernel,
        kernel_tcp,
        swappiness,
        disable_oom_killer: _,
        use_hierarchy: _,
        check_before_update: _,
    } = memory;
    for (key, bytes) in [
        ("limit", limit),
        ("reservation", reservation),
        ("swap", swap),
        ("kernel", kernel),
        ("kernelTCP", kernel_tcp),
    ] {
        if let Some(bytes) = bytes
            && *bytes < -1
        {
            f.fail(&at.key(key), format!("out of range: got {bytes}, want bytes, or -1 for no limit"));
        }
    }
    if let (Some(limit), Some(swap)) = (limit, swap)
        && *swap > 0
        && swap < limit
    {
        let got = format!("got swap {swap} and limit {limit}");
        f.fail(&at.key("swap"), format!("memory and swap together below memory alone: {got}"));
    }
    if let (Some(limit), Some(reservation)) = (limit, reservation)
        && *limit > 0
        && reservation > limit
    {
        // An example of the runtime-spec itself is like this, and the kernel takes it.
        f.warn(&at.key("reservation"), format!("no effect: {reservation} is above the limit {limit}"));
    }
    // Engines write -1 as an unsigned number when nothing was asked for.
    if let Some(swappiness) = swappiness
        && *swappiness != u64::MAX
    {
        f.within(&at.key("swappiness"), *swappiness, 0, 100);
    }
}

fn cpu_limits(f: &mut Findings, at: &At<'_>, cpu: &Cpu) {
    let Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, cpus, mems, idle } = cpu;
    // 0 is what some engines write for shares, quota and period that nobody set.
    if let Some(shares) = shares.filter(|s| *s != 0) {
        f.within(&at.key("shares"), shares, 2, 262_144);
    }
    if let Some(quota) = quota
        && *quota != 0
        && *quota != -1
        && *quota < 1000
    {
        f.fail(
            &at.key("quota"),
            format!("out of range: got {quota}, want at least 1000 microseconds, or -1 for no limit"),
        );
    }
    if let (Some(quota), Some(burst)) = (quota, burst)
        && *quota > 0
        && i128::from(*burst) > i128::from(*quota)
    {
        f.fail(&at.key("burst"), format!("above the quota: got burst {burst} and quota {quota}"));
    }
    if let Some(period) = period.filter(|p| *p != 0) {
        f.within(&at.key("period"), period, 1000, 1_000_000);
    }
    if let Some(runtime) = realtime_runtime {
        f.within(&at.key("realtimeRuntime"), *runtime, -1, i64::MAX.into());
    }
    if let (Some(runtime), Some(period)) = (realtime_runtime, realtime_period)
        && *period != 0
        && i128::from(*runtime) > i128::from(*period)
    {
        let got = format!("got runtime {runtime} and period {period}");
        f.fail(&at.key("realtimeRuntime"), format!("above the period: {got}"));
    }
    for (key, list, max) in [("cpus", cpus, MAX_CPU), ("mems", mems, MAX_NODE)] {
        if let Err(text) = number_list(list, max) {
            f.fail(&at.key(key), format!("not a list of {key}: {text}"));
        }
    }
    if let Some(idle) = idle {
        f.within(&at.key("idle"), *idle, 0, 1);
    }
}

fn block_limits(f: &mut Findings, at: &At<'_>, block: &BlockIo) {
    let BlockIo {
        weight,
        leaf_weight,
        weight_device,
        throttle_read_bps_device,
        throttle_write_bps_device,
        throttle_read_iops_device,
        throttle_write_iops_device,
    } = block;
    weights(f, at, *weight, *leaf_weight);
    for (i, WeightDevice { major, minor, weight, leaf_weight }) in weight_device.iter().enumerate() {
        let list = at.key("weightDevice");
        let here = list.item(i);
        numbers(f, &here, *major, *minor);
        weights(f, &here, *weight, *leaf_weight);
        if weight.is_none() && leaf_weight.is_none() {
            f.fail(&here, "want weight or leafWeight, got neither");
        }
    }
    for (key, list) in [
        ("throttleReadBpsDevice", throttle_read_bps_device),
        ("throttleWriteBpsDevice", throttle_write_bps_device),
        ("throttleReadIOPSDevice", throttle_read_iops_device),
        ("throttleWriteIOPSDevice", throttle_write_iops_device),
    ] {
        for (i, ThrottleDevice { major, minor, rate: _ }) in list.iter().enumerate() {
            numbers(f, &at.key(key).item(i), *major, *minor);
        }
    }
}

/// 10 to 1000 in the units of cgroup v1, which the spec speaks; 0 is what engines write for "not set".
fn weights(f: &mut Findings, at: &At<'_>, weight: Option<u16>, leaf: Option<u16>) {
    for (key, weight) in [("weight", weight), ("leafWeight", leaf)] {
        if let Some(weight) = weight.filter(|w| *w != 0) {
            f.within(&at.key(key), weight, 10, 1000);
        }
    }
}

fn numbers(f: &mut Findings, at: &At<'_>, major: i64, minor: i64) {
    f.within(&at.key("major"), major, 0, MAX_MAJOR);
    f.within(&at.key("minor"), minor, 0, MAX_MINOR);
}

fn huge_pages(f: &mut Findings, at: &At<'_>, limits: &[HugepageLimit]) {
    let mut seen = BTreeMap::new();
    for (i, HugepageLimit { page_size, limit: _ }) in limits.iter().enumerate() {
        let here = at.item(i);
        if !is_page_size(page_size) {
            let rule = "want a power of two with KB, MB or GB such as 2MB";
            f.fail(&here.key("pageSize"), format!("no such page size: got {}, {rule}", quoted(page_size)));
        }
        f.once(at, "pageSize", &mut seen, page_size, i);
    }
}

fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    number.is_some_and(|n| {
        n.bytes().all(|b| b.is_ascii_digit())
            && !n.starts_with('0')
            && n.parse::<u32>().is_ok_and(u32::is_power_of_two)
    })
}

/// Each key is a file in the cgroup's directory. The spec wants unknown ones written, so only names that are no
/// file of a controller, or that would move processes, are refused.
fn unified_files(f: &mut Findings, at: &At<'_>, unified: &BTreeMap<String, String>) {
    for key in unified.keys() {
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let shaped =
            key.contains('.') && !key.contains("..") && !key.starts_with('.') && key.chars().all(name);
        if !shaped || key.len() > super::NAME_MAX || UNIFIED_REFUSED.contains(&key.as_str()) {
            let rule = "want a setting such as memory.high";
            f.fail(&at.key(key), format!("not an allowed cgroup file: got {}, {rule}", quoted(key)));
        }
    }
}
