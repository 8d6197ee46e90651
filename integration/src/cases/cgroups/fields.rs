//! Limits that few configurations have: those of cgroup v1 alone, and those that want a machine of the suite's own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{MIB, disk, resources};
use crate::case::{Case, case};
use crate::host::Need;

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case("cgroup.v1-use-hierarchy")
            .checks("config-linux.md#memory useHierarchy")
            .needs([Need::V1("memory")])
            .spec(resources(json!({"memory": {"limit": 64 * MIB, "useHierarchy": true}})))
            .created(|t| t.cgroup("memory")?.holds(("memory.use_hierarchy", "1"), ("", ""))),
        case("cgroup.use-hierarchy-not-on-v2")
            .checks("config-linux.md#memory useHierarchy")
            .needs([Need::NoV1("memory"), Need::CgroupV2Controller("memory")])
            .spec(|s| resources(json!({"memory": {"limit": 64 * MIB}}))(s))
            .wrong(|s| s["linux"]["resources"]["memory"]["useHierarchy"] = false.into())
            .refused("/linux/resources/memory/useHierarchy", "cgroup v2"),
        case("cgroup.kernel-memory-is-said")
            .checks("config-linux.md#memory kernel, kernelTCP")
            .needs([Need::CgroupAny("memory")])
            .spec(resources(json!({"memory": {"limit": 64 * MIB, "kernel": MIB, "kernelTCP": MIB}})))
            .steps(|t| {
                let out = t.run()?.ok()?;
                // A limit that would have an effect would leave no room for a program.
                if t.runtime.strict {
                    for field in ["/linux/resources/memory/kernel:", "/linux/resources/memory/kernelTCP:"] {
                        ensure!(out.log.contains(field), "no word about {field} {}", out.log);
                    }
                }
                Ok(())
            }),
        case("cgroup.v1-realtime")
            .checks("config-linux.md#cpu realtimeRuntime, realtimePeriod")
            .needs([Need::V1("cpu"), Need::CgroupFile("cpu", "cpu.rt_runtime_us", "none")])
            .steps(|t| {
                // A group shares what the one above has; that is for whoever made it to say.
                let group = t.cgroup("cpu")?.dir;
                let above = group.parent().context("no group above")?.join("cpu.rt_runtime_us");
                fs::create_dir_all(above.parent().context("no directory")?)?;
                fs::write(&above, "20000").context("the group above")?;
                resources(json!({"cpu": {"realtimeRuntime": 10000, "realtimePeriod": 500000}}))(&mut t.spec);
                t.create()?;
                t.cgroup("cpu")?.holds(("cpu.rt_runtime_us", "10000"), ("", ""))?;
                t.cgroup("cpu")?.holds(("cpu.rt_period_us", "500000"), ("", ""))?;
                Ok(())
            }),
        case("cgroup.io-weight-of-a-device")
            .checks("config-linux.md#block-io weightDevice")
            .needs([
                Need::OwnMachine,
                Need::Disk,
                Need::CgroupFile("blkio", "blkio.bfq.weight", "io.bfq.weight"),
            ])
            .steps(|t| {
                // The weight of a device counts for the scheduler that the device has.
                let scheduler = scheduler()?;
                let before = chosen(&fs::read_to_string(&scheduler)?);
                fs::write(&scheduler, "bfq").context("bfq for the disk")?;
                let (major, minor) = disk()?;
                resources(json!({"blockIO": {"weight": 300,
                    "weightDevice": [{"major": major, "minor": minor, "weight": 600}]}}))(
                    &mut t.spec
                );
                t.create()?;
                let group = t.cgroup("blkio").or_else(|_| t.cgroup("io"))?;
                let text = group.read(if group.v2 { "io.bfq.weight" } else { "blkio.bfq.weight_device" })?;
                ensure!(text.lines().any(|l| l == format!("{major}:{minor} 600")), "{text}");
                ensure!(!group.v2 || text.starts_with("default 300"), "{text}");
                t.remove()?;
                fs::write(&scheduler, before)?;
                Ok(())
            }),
        case("cgroup.v1-network")
            .checks("config-linux.md#network classID, priorities")
            .needs([Need::V1("net_cls"), Need::V1("net_prio")])
            .spec(resources(json!({"network": {
                "classID": 0x0010_0001, "priorities": [{"name": "lo", "priority": 5}]}})))
            .created(|t| {
                t.cgroup("net_cls")?.holds(("net_cls.classid", "1048577"), ("", ""))?;
                let priorities = t.cgroup("net_prio")?.read("net_prio.ifpriomap")?;
                ensure!(priorities.lines().any(|l| l == "lo 5"), "{priorities}");
                let inside = t.cgroup("net_cls")?.read("cgroup.procs")?;
                ensure!(inside.trim() == t.pid()?.to_string(), "inside is {inside:?}");
                Ok(())
            }),
    ]
}

/// The scheduler file of the disk.
fn scheduler() -> Result<PathBuf> {
    let (major, minor) = disk()?;
    let dir = fs::canonicalize(Path::new("/sys/dev/block").join(format!("{major}:{minor}")))?;
    Ok(dir.join("queue/scheduler"))
}

/// The word in brackets.
fn chosen(text: &str) -> String {
    let rest = text.split_once('[').map_or("", |(_, rest)| rest);
    rest.split(']').next().unwrap_or("none").to_string()
}
