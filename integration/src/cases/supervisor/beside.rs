//! A run that has ended is taken away beside the next one, where nothing of it can be in the way: what is there meanwhile,
//! and that nothing of it stays.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::again::Gate;
use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, texts};
use crate::oracle;
use crate::os;
use crate::trial::wait_for;

/// Comes back at once.
const AT_ONCE: &str = "[restart]\ndelay = '0s'\nmax_delay = '0s'\n";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("beside.next-run-first", "restart: the next run before the clean-up").daemon(|d| {
            let gate = second_run(d, "delete")?;
            there(d, &["a.1.1", "a.1.2"])?;
            ensure!(d.instance("a.1")?["restarts"] == 1, "restarts: {}", d.instance("a.1")?);
            // There are never three: the next one waits until the first is gone.
            die(d)?;
            d.until_it("a.1", "between two runs", |i| i["state"] == "backoff" && i["run"] == "a.1.2")?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            d.is("a.1", "backoff")?;
            gate.open()?;
            d.until_it("a.1", "run 3", |i| i["state"] == "running" && i["run"] == "a.1.3")?;
            there(d, &["a.1.3"])?;
            ensure!(exits(d)? == ["a.1.1", "a.1.2"], "exits: {:?}", exits(d)?);
            Ok(())
        }),
        sup("beside.stop-waits-for-both", "stop while the run before is there").daemon(|d| {
            let gate = second_run(d, "delete")?;
            let stop = d.ctl_running(&["stop", "a"])?;
            d.until("a.1", "stopping")?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            d.is("a.1", "stopping")?;
            gate.open()?;
            stop.wait()?.ok()?;
            d.is("a.1", "held")?;
            there(d, &[])
        }),
        sup("beside.daemon-killed", "adoption with the run before still there").seconds(40).daemon(|d| {
            let gate = second_run(d, "delete")?;
            let pid = d.pid_of("a.1")?;
            for _ in 0..2 {
                d.crash_and_start()?;
                ensure!(d.is("a.1", "running")?["run"] == "a.1.2" && d.pid_of("a.1")? == pid, "restarted");
            }
            gate.open()?;
            there(d, &["a.1.2"])?;
            ensure!(exits(d)? == ["a.1.1"], "exits: {:?}", exits(d)?);
            // And an adopted run is restarted in the same way.
            die(d)?;
            d.until_it("a.1", "run 3", |i| i["state"] == "running" && i["run"] == "a.1.3")?;
            there(d, &["a.1.3"])
        }),
        sup("beside.killed-while-made", "kill between the end and the next start").seconds(40).daemon(|d| {
            let gate = Gate::new(d, "start")?;
            gate.open()?;
            d.resident("a", &format!("{}{AT_ONCE}", gate.key()))?;
            gate.close()?;
            die(d)?;
            d.until_it("a.1", "starting run 2", |i| i["state"] == "starting" && i["run"] == "a.1.2")?;
            d.crash_and_start()?;
            gate.open()?;
            d.until_it("a.1", "run 2", |i| i["state"] == "running" && i["run"] == "a.1.2")?;
            there(d, &["a.1.2"])?;
            ensure!(exits(d)? == ["a.1.1"], "exits: {:?}", exits(d)?);
            Ok(())
        }),
        sup("beside.hooks-in-order", "restart: hooks of the end before those of the start").daemon(|d| {
            let (gate, said) = (Gate::new(d, "delete")?, d.t.dir.join("said"));
            let hook = |kind: &str| {
                let line = format!("echo {kind} $KNARR_RUN $KNARR_EXIT_SIGNAL >> {}", said.display());
                format!("{kind} = [{{ command = ['/bin/sh', '-c', '{line}'] }}]\n")
            };
            let hooks = format!("[hooks]\n{}{}", hook("pre_start"), hook("post_stop"));
            d.resident("a", &format!("{}{AT_ONCE}{hooks}", gate.key()))?;
            die(d)?;
            d.until("a.1", "backoff")?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            ensure!(
                d.is("a.1", "backoff")?["run"] == "a.1.1",
                "made before its hooks: {}",
                d.instance("a.1")?
            );
            gate.open()?;
            d.until_it("a.1", "run 2", |i| i["state"] == "running" && i["run"] == "a.1.2")?;
            let said = fs::read_to_string(&said)?;
            ensure!(said == "pre_start a.1.1\npost_stop a.1.1 9\npre_start a.1.2\n", "hooks: {said}");
            Ok(())
        }),
    ]
}

/// A service whose first run has been killed and cannot be taken away, and whose second one runs.
fn second_run(d: &Daemon<'_, '_>, verb: &str) -> Result<Gate> {
    let gate = Gate::new(d, verb)?;
    d.resident("a", &format!("{}{AT_ONCE}", gate.key()))?;
    die(d)?;
    d.until_it("a.1", "run 2", |i| i["state"] == "running" && i["run"] == "a.1.2")?;
    Ok(gate)
}

fn die(d: &Daemon<'_, '_>) -> Result<()> {
    os::kill(d.pid_of("a.1")?, libc::SIGKILL);
    Ok(())
}

/// Waits until these runs and no others have something on the host.
fn there(d: &Daemon<'_, '_>, runs: &[&str]) -> Result<()> {
    let places = ["keepers", "bundles", "runtime"];
    let now = || places.map(|p| oracle::names(&d.run.join(p)));
    wait_for(20, || Ok(now().iter().all(|n| n == runs).then_some(())))
        .with_context(|| format!("in {places:?}: {:?}, want {runs:?}", now()))
}

/// The runs whose ends are on record, oldest first.
fn exits(d: &Daemon<'_, '_>) -> Result<Vec<String>> {
    let mut all = texts(&d.get("/v1/services/a")?["exits"], "run");
    all.sort();
    Ok(all)
}
