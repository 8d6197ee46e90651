//! Ways to die, or to suffer, for want of memory and processes, and ways that only look like it: each is named rightly. Those of
//! an own limit, a limit above, a child and a SIGKILL are in `memory`, those of a group above all containers in `ladder`.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::probes::while_there;
use super::sup;
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::{Daemon, texts};
use crate::host::Need;

const NO: &str = "[restart]\npolicy = 'no'\n";
const MEMORY: [Need; 1] = [Need::CgroupAny("memory")];
const MEMORY_V2: [Need; 1] = [Need::CgroupV2Controller("memory")];

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = ends();
    all.extend(strains());
    all
}

/// No event says that somebody was killed for memory.
fn not_for_memory(d: &Daemon<'_, '_>) -> Result<()> {
    let events = Value::from(d.events()?);
    let blamed = |k: &String| k.starts_with("oom") || k == "memory-verdict";
    ensure!(!texts(&events, "kind").iter().any(blamed), "{events}");
    Ok(())
}

fn ends() -> Vec<Case> {
    vec![
        sup("deaths.tmpfs", "files in memory count").needs(MEMORY).daemon(|d| {
            let keys = "[limits]\nmemory = '24MiB'\nswap = 0\n[[mounts]]\ntype = 'tmpfs'\ntarget = '/data'\n";
            d.service("filler", &["fill", "/data/file", "200"], &format!("{NO}{keys}"))?;
            d.until("filler.1", "failed")?;
            d.explains(
                "filler",
                &["the memory limit of 24 MiB was hit", "memory-verdict", "culprit: it hit its own limit"],
            )?;
            // The twin: as many bytes as there is room for.
            d.service("modest", &["fill", "/data/file", "8"], &format!("{NO}{keys}"))?;
            d.says("modest.1", "8 MiB")?;
            d.is("modest.1", "running").map(drop)
        }),
        sup("deaths.group", "a child takes all with it").needs(MEMORY_V2).daemon(|d| {
            d.resident("a", &format!("[limits]\nmemory = '32MiB'\nswap = 0\n{NO}"))?;
            let out = d.ctl(&["exec", "a.1", PROBE, "mem", "200"])?;
            ensure!(out.code == Some(137), "the command was to be killed: {out:?}");
            let now = d.until("a.1", "failed")?;
            ensure!(now["last_exit"] == 137, "{now}");
            d.explains("a", &["the memory limit of 32 MiB was hit", "processes, the last was"])
        }),
        sup("deaths.by-probe", "a kill by a probe is none for memory").needs(MEMORY).daemon(|d| {
            let probe = while_there("liveness", "nowhere", "failure_threshold = 1");
            let keys = format!("{NO}[limits]\nmemory = '64MiB'\n{probe}[probes]\non_unhealthy = 'stop'\n");
            d.service("deaf", &["ignore-term"], &format!("{keys}[stop]\ngrace = '100ms'\n"))?;
            d.until("deaf.1", "failed")?;
            let why = d.why("deaf")?["summary"].to_string();
            ensure!(why.contains("liveness probe failed") && !why.contains("memory"), "{why}");
            not_for_memory(d)
        }),
    ]
}

/// The whole machine runs out: one without a limit pays, and everybody else goes on.
fn of_the_host(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.end()?;
    // The ladder would be faster than the kernel.
    d.options = ["--pressure-available", "0"].map(String::from).to_vec();
    d.start()?;
    d.resident("calm", "[limits]\nmemory = '64MiB'\n")?;
    d.service("hog", &["mem", "1000000", "hold"], NO)?;
    d.until("hog.1", "failed")?;
    d.explains("hog", &["the memory of the host ran out", "memory-verdict"])?;
    ensure!(d.instance("hog.1")?["last_exit"] == 137, "{}", d.instance("hog.1")?);
    let calm = d.is("calm.1", "running")?;
    ensure!(calm["restarts"] == 0, "{calm}");
    let why = d.why("calm")?["summary"].to_string();
    ensure!(!why.contains("memory"), "{why}");
    Ok(())
}

fn strains() -> Vec<Case> {
    vec![
        sup("deaths.host", "the machine runs out of memory")
            .needs([Need::CgroupV2Controller("memory"), Need::OwnMachine])
            .seconds(240)
            .daemon(of_the_host),
        sup("deaths.pids", "a limit of processes ends nobody").daemon(|d| {
            d.service("bomb", &["forkbomb"], &format!("[limits]\npids = 20\n{NO}"))?;
            d.explains("bomb", &["runs since", "refused a new process", "for its limit of pids"])?;
            d.is("bomb.1", "running")?;
            d.resident("calm", "")?;
            let why = d.why("calm")?["summary"].to_string();
            ensure!(!why.contains("refused"), "{why}");
            not_for_memory(d)
        }),
        sup("deaths.memory-high", "memory_high slows down and ends nobody").needs(MEMORY_V2).daemon(|d| {
            let keys =
                "[limits]\nmemory = '256MiB'\nmemory_high = '16MiB'\nswap = 0\n[pressure]\nrungs = []\n";
            d.service("slow", &["mem", "100", "hold"], &format!("{keys}{NO}"))?;
            d.explains("slow", &["runs since", "slowed down", "for using more than memory_high"])?;
            d.is("slow.1", "running")?;
            not_for_memory(d)
        }),
        sup("deaths.stuck-at-high", "at_high: what memory_high holds at a standstill")
            .needs(MEMORY_V2)
            .seconds(120)
            .daemon(|d| {
                let keys = "[limits]\nmemory = '256MiB'\nmemory_high = '16MiB'\nswap = 0\n";
                d.service("stuck", &["mem", "100", "hold"], &format!("{keys}[pressure]\nrungs = []\n{NO}"))?;
                let pid = d.until("stuck.1", "running")?["pid"].clone();
                d.explains("stuck", &["memory-high-raised", "lifted until its next start"])?;
                // It goes on where it stood.
                d.says("stuck.1", "100 MiB")?;
                ensure!(d.is("stuck.1", "running")?["pid"] == pid, "it was restarted");
                let keys = format!("{keys}[pressure]\nrungs = []\nat_high = 'restart'\n");
                d.service("again", &["mem", "100", "hold"], &keys)?;
                d.until_it("again.1", "restarted", |i| i["run"] != "again.1.1")?;
                d.explains("again", &["memory-high-restart"])?;
                not_for_memory(d)
            }),
    ]
}
