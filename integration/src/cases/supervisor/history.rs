//! What instances have used over time: the history that the daemon keeps in memory, against the files that this case reads
//! itself.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, http};
use crate::host::Need;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("history.samples", "docs/api.md#history")
            .needs([Need::CgroupAny("memory")])
            .seconds(60)
            .daemon(samples),
    ]
}

/// A daemon that takes a sample each second.
pub fn each_second(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.end()?;
    d.options = ["--full-pass", "1"].map(String::from).to_vec();
    d.start()
}

/// A service that keeps a processor busy.
pub fn busy(d: &Daemon<'_, '_>, name: &str) -> Result<()> {
    let keys = "[logs]\nmax_size = '64KiB'\nmax_files = 2\n[stop]\ngrace = '100ms'\n";
    d.service(name, &["lines", "1000000000", "100"], keys)
}

/// The history of one instance.
fn history(d: &Daemon<'_, '_>, instance: &str) -> Result<Value> {
    let all = d.get(&format!("/v1/services/{instance}/history"))?;
    let found = all.as_array().into_iter().flatten().find(|h| h["instance"] == instance).cloned();
    found.with_context(|| format!("no {instance} in {all}"))
}

/// Waits until the samples of an instance are as wanted.
fn until(
    d: &Daemon<'_, '_>,
    instance: &str,
    what: &str,
    fits: impl Fn(&[Value]) -> Result<bool>,
) -> Result<Vec<Value>> {
    let mut last = Vec::new();
    wait_for(d.t.seconds(), || {
        last = history(d, instance)?["samples"].as_array().cloned().context("no samples")?;
        Ok(fits(&last)?.then(|| last.clone()))
    })
    .with_context(|| format!("{instance}: never {what}: {last:?}"))
}

fn samples(d: &mut Daemon<'_, '_>) -> Result<()> {
    each_second(d)?;
    d.resident("web", "[limits]\nmemory = '64MiB'\n")?;
    busy(d, "busy")?;
    until(d, "busy.1", "busy", |all| Ok(all.iter().any(|s| s["cpu"].as_f64() > Some(0.05))))?;
    let (mount, v2) = d.t.yard.host.controller("memory").context("no memory controller")?;
    let file = if v2 { "memory.current" } else { "memory.usage_in_bytes" };
    let path = mount.join(d.parent.trim_start_matches('/')).join("payload/web.1.1").join(file);
    let current = || -> Result<u64> { Ok(std::fs::read_to_string(&path)?.trim().parse()?) };
    // Nothing happens in it: what the kernel says is what the next sample says.
    let all = until(d, "web.1", "three samples, the last as the kernel has it", |all| {
        Ok(all.len() >= 3 && all.last().and_then(|s| s["memory"].as_u64()) == Some(current()?))
    })?;
    for pair in all.windows(2) {
        ensure!(pair[0]["at"].as_str() <= pair[1]["at"].as_str(), "the order: {all:?}");
    }
    for sample in &all {
        ensure!(sample["run"] == 1 && sample["memory"].as_u64() <= Some(64 << 20), "{sample}");
        for share in ["cpu_pressure", "memory_pressure", "io_pressure"] {
            ensure!(sample[share].as_f64().is_none_or(|s| (0.0..=1.0).contains(&s)), "{share}: {sample}");
        }
    }
    let last = all.last().context("a sample")?;
    ensure!(last["cpu"].as_f64().is_some_and(|cpu| cpu < 0.05), "it waits for a signal and uses {last}");
    if let Some(tree) = &d.t.yard.host.v2 {
        let stalls = tree.join(d.parent.trim_start_matches('/')).join("payload/web.1.1/memory.pressure");
        ensure!(stalls.exists() == last["memory_pressure"].is_number(), "PSI: {last}");
    }
    let whole = history(d, "web.1")?;
    ensure!(whole["every"] == 1.0 && whole["kept"] == 120 && whole["memory_max"] == 64 << 20, "{whole}");
    // Of a service all instances; the socket for looking answers as well.
    let other = http(&d.run.join("knarrd-ro.sock"), "GET", "/v1/services/web/history", None)?;
    ensure!(other.is(200)?.json()?[0]["instance"] == "web.1", "the other socket");
    d.request("GET", "/v1/services/nobody/history", None)?.is(404)?;

    // The samples of the run before stay, with its number.
    d.post("/v1/services/web/restart?wait=true")?;
    until(d, "web.1", "two samples of the next run", |all| {
        let of = |run: u32| all.iter().filter(|s| s["run"] == run).count();
        Ok(of(1) >= 3 && of(2) >= 2)
    })?;
    // Without a container there is nothing to sample, and what the file says are the limits.
    d.post("/v1/services/web/stop?wait=true")?;
    let held = history(d, "web.1")?;
    let kept = held["samples"].as_array().context("samples")?.len();
    let before = history(d, "busy.1")?["samples"].as_array().map_or(0, Vec::len);
    until(d, "busy.1", "two more", |all| Ok(all.len() >= before + 2))?;
    let after = history(d, "web.1")?;
    ensure!(after["samples"].as_array().map(Vec::len) == Some(kept), "{after}");
    ensure!(after["memory_max"] == 64 << 20, "the limit of the file: {after}");
    // It is in memory only; of a run that an earlier daemon began nobody knows what it used before the first sample.
    d.crash_and_start()?;
    let all = until(d, "busy.1", "two samples of the next daemon", |all| Ok(all.len() >= 2))?;
    ensure!(all[0]["cpu"].is_null() && all[1]["cpu"].is_number(), "{all:?}");
    ensure!(history(d, "web.1")?["samples"].as_array().is_some_and(Vec::is_empty), "from an earlier daemon");
    Ok(())
}
