//! Limits as another implementation reads them: cgroups-rs finds the hierarchies, the files and their units by itself.
//! It only reads here; what it says is compared with config.json.

use anyhow::{Context, Result, ensure};
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::hierarchies::{V1, V2};
use cgroups_rs::fs::hugetlb::HugeTlbController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Cgroup, Hierarchy, MaxValue};
use serde_json::{Value, json};

use super::{MIB, add, resources};
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

/// The container's group in the hierarchy of a controller. The path is that of its first process, not that of our
/// configuration.
fn load(t: &mut Trial<'_>, controller: &str) -> Result<Cgroup> {
    let (_, v2) = t.yard.host.controller(controller).context("no such controller")?;
    let groups = procfs::process::Process::new(t.pid()?)?.cgroups()?;
    let ours = |g: &procfs::ProcessCGroup| match v2 {
        true => g.hierarchy == 0,
        false => g.controllers.iter().any(|c| c == controller),
    };
    let group = groups.0.into_iter().find(ours).context("the process is in no such group")?;
    // The library's own guess counts a hybrid host as v1 altogether.
    let hierarchy: Box<dyn Hierarchy> = if v2 { Box::new(V2::new()) } else { Box::new(V1::new()) };
    Ok(Cgroup::load(hierarchy, group.pathname.trim_start_matches('/')))
}

/// A number of config.json, below `linux.resources`.
fn asked(t: &Trial<'_>, pointer: &str) -> Result<i64> {
    t.spec["linux"]["resources"].pointer(pointer).and_then(Value::as_i64).with_context(|| pointer.to_string())
}

/// Requires that the library says what config.json says.
fn same(what: &str, got: i64, want: i64) -> Result<()> {
    ensure!(got == want, "the library reads {what} {got}, config.json says {want}");
    Ok(())
}

fn pids(t: &mut Trial<'_>) -> Result<()> {
    let group = load(t, "pids")?;
    let pids: &PidController = group.controller_of().context("the library knows no pids controller")?;
    let MaxValue::Value(limit) = pids.get_pid_max()? else {
        anyhow::bail!("the library reads no limit of processes")
    };
    same("pids.limit", limit, asked(t, "/pids/limit")?)?;
    ensure!(pids.get_pid_current()? >= 1, "the library counts no process in the group");
    Ok(())
}

fn memory(t: &mut Trial<'_>) -> Result<()> {
    let group = load(t, "memory")?;
    let memory: &MemController = group.controller_of().context("the library knows no memory controller")?;
    let stat = memory.memory_stat();
    same("memory.limit", stat.limit_in_bytes, asked(t, "/memory/limit")?)?;
    same("memory.reservation", stat.soft_limit_in_bytes, asked(t, "/memory/reservation")?)?;
    ensure!(stat.usage_in_bytes > 0, "the library sees no memory in use");
    Ok(())
}

fn cpu(t: &mut Trial<'_>) -> Result<()> {
    let group = load(t, "cpu")?;
    let cpu: &CpuController = group.controller_of().context("the library knows no cpu controller")?;
    same("cpu.quota", cpu.cfs_quota()?, asked(t, "/cpu/quota")?)?;
    same("cpu.period", cpu.cfs_period()?.try_into()?, asked(t, "/cpu/period")?)?;
    let weight = if group.v2() { "/unified/cpu.weight" } else { "/cpu/shares" };
    let want = t.spec["linux"]["resources"].pointer(weight).context(weight)?;
    let want = want.as_str().map_or_else(|| Ok(want.as_i64().unwrap_or(-1)), str::parse)?;
    same(weight, cpu.shares()?.try_into()?, want)
}

/// Shares are converted by a formula that differs between versions; on v2 the weight itself is given.
fn weight(t: &mut Trial<'_>) -> Result<()> {
    let (_, v2) = t.yard.host.controller("cpu").context("cpu")?;
    if v2 {
        add(&mut t.spec, &json!({"unified": {"cpu.weight": "77"}}));
    } else {
        t.spec["linux"]["resources"]["cpu"]["shares"] = 300.into();
    }
    Ok(())
}

fn cpuset(t: &mut Trial<'_>) -> Result<()> {
    let group = load(t, "cpuset")?;
    let cpuset: &CpuSetController =
        group.controller_of().context("the library knows no cpuset controller")?;
    let cpus = cpuset.cpuset().cpus;
    ensure!(cpus == [(1, 1)], "the library reads the processors {cpus:?}, config.json says 1");
    Ok(())
}

fn hugetlb(t: &mut Trial<'_>) -> Result<()> {
    let group = load(t, "hugetlb")?;
    let huge: &HugeTlbController =
        group.controller_of().context("the library knows no hugetlb controller")?;
    let got = huge.limit_in_bytes("2MB")?.try_into()?;
    same("hugepageLimits", got, asked(t, "/hugepageLimits/0/limit")?)
}

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    let read = |controller: &'static str, asked: Value, look: fn(&mut Trial<'_>) -> Result<()>| {
        case(format!("cgroup.library-{controller}"))
            .checks("an independent library reads the same limits")
            .needs([Need::LibraryCgroup(controller)])
            .spec(resources(asked))
            .probe(["trap", "TERM"])
            .running(look)
    };
    vec![
        read("pids", json!({"pids": {"limit": 33}}), pids),
        read("memory", json!({"memory": {"limit": 48 * MIB, "reservation": 24 * MIB}}), memory),
        read("cpu", json!({"cpu": {"quota": 30000, "period": 60000}}), cpu).prepare(weight),
        read("cpuset", json!({"cpu": {"cpus": "1"}}), cpuset).needs([Need::TwoCpus]),
        read("hugetlb", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}), hugetlb),
    ]
}
