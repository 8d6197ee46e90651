//! The host goes down: all containers are stopped in order, in bounded time, and come back with the next boot. A program of the
//! case stands in for systemctl(1) and says what that says then; the same with a real systemd: `ci/guest/package`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};

use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, alive};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("shutdown.order", "the host goes down").seconds(60).steps(|t| {
            let mut d = under_a_manager(t, "stopping", &[])?;
            let told = in_order(&mut d).and_then(|()| d.finish().context("taking everything down"));
            if told.is_err() {
                d.testify();
            }
            told
        }),
        sup("shutdown.total", "--shutdown-total").seconds(60).steps(|t| {
            let mut d = under_a_manager(t, "stopping", &["--shutdown-total", "1"])?;
            d.resident("db", "")?;
            d.service("deaf", &["ignore-term"], "depends_on = ['db']\n[stop]\ngrace = '10m'\n")?;
            d.ready("deaf.1")?;
            let pids = [d.pid_of("db.1")?, d.pid_of("deaf.1")?];
            d.end()?;
            ensure!(!pids.iter().any(|pid| alive(*pid)), "containers go on");
            d.start()?;
            told_of(&d, "killed-at-shutdown", "deaf.1")?;
            let run = d.until("deaf.1", "running")?["run"].clone();
            // Nobody waits ten minutes for the end of the case.
            d.service("deaf", &["ignore-term"], "depends_on = ['db']\n[stop]\ngrace = '0s'\n")?;
            d.ctl(&["kill", "-s", "KILL", "deaf"])?.ok()?;
            d.until_it("deaf.1", "another run", |i| i["run"] != run && i["state"] == "running")?;
            d.finish()
        }),
        sup("shutdown.daemon-only", "the daemon is stopped, and the host goes on").seconds(60).steps(|t| {
            // A restart of the unit, and an operator who leaves containers to the init system.
            let ways: [(&str, &[&str]); 3] =
                [("running", &[]), ("degraded", &[]), ("stopping", &["--shutdown-total", "0"])];
            for (word, options) in ways {
                let mut d = under_a_manager(t, word, options)?;
                d.resident("a", "")?;
                let pid = d.pid_of("a.1")?;
                d.end()?;
                ensure!(alive(pid), "{word} {options:?}: the container has ended");
                d.start()?;
                ensure!(d.pid_of("a.1")? == pid && d.instance("a.1")?["restarts"] == 0, "it was restarted");
                d.finish()?;
            }
            Ok(())
        }),
    ]
}

/// A daemon that runs under a service manager which says this about the host.
fn under_a_manager<'t, 'y>(
    t: &'t mut crate::trial::Trial<'y>,
    word: &str,
    options: &[&str],
) -> Result<Daemon<'t, 'y>> {
    let mut d = Daemon::new(t)?;
    let dir = d.t.dir.join("bin");
    fs::create_dir_all(&dir)?;
    let program = dir.join("systemctl");
    // What systemd's own exits with when the answer is not "running".
    fs::write(
        &program,
        format!("#!/bin/sh\n[ \"$*\" = is-system-running ] || exit 64\necho {word}\nexit 1\n"),
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH").unwrap_or_default();
    d.env.push(("PATH", format!("{}:{path}", dir.display())));
    d.options = options.iter().map(|o| o.to_string()).collect();
    d.start()?;
    Ok(d)
}

/// The number of an event about an instance.
fn told_of(d: &Daemon<'_, '_>, kind: &str, instance: &str) -> Result<u64> {
    let all = d.events()?;
    let found = all.iter().find(|e| e["kind"] == kind && e["instance"] == instance);
    found.and_then(|e| e["seq"].as_u64()).with_context(|| format!("no {kind} of {instance} in {all:?}"))
}

fn in_order(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("db", "")?;
    d.service("app", &["ignore-term"], "depends_on = ['db']\n[stop]\ngrace = '300ms'\n")?;
    d.ready("app.1")?;
    d.resident("web", "depends_on = ['app']\n")?;
    // Two that nothing of this is about: one stopped by hand, one that has done its work.
    d.resident("held", "")?;
    d.ctl(&["stop", "held"])?.ok()?;
    d.service("job", &["exit", "0"], "[restart]\npolicy = 'on-failure'\n")?;
    d.until("job.1", "exited")?;
    let pids = ["db.1", "app.1", "web.1"].map(|i| d.pid_of(i));
    d.end()?;
    for pid in pids {
        let pid = pid?;
        ensure!(!alive(pid), "process {pid} goes on");
    }
    d.reboot()?;
    d.start()?;
    // Each was told and had its own grace, who depends on others before them.
    let ends = ["web.1", "app.1", "db.1"].map(|i| told_of(d, "stopped", i));
    let ends: Vec<u64> = ends.into_iter().collect::<Result<_>>()?;
    ensure!(ends.is_sorted(), "the order of the ends is {ends:?}");
    for (name, signals) in [("web", 1), ("db", 1)] {
        let heard = d.log(&format!("{name}.1"))?.iter().filter(|l| l.contains("TERM")).count();
        ensure!(heard == signals, "{name} heard {heard} signals");
    }
    let why = d.get("/v1/services/app")?["exits"].to_string();
    ensure!(why.contains("SIGKILL") || why.contains("137"), "{why}");
    // What was wanted is wanted, and nothing counts as a failure.
    for name in ["db.1", "app.1", "web.1"] {
        let now = d.until(name, "running")?;
        ensure!(now["restarts"] == 0, "{now}");
    }
    let starts = ["db.1", "app.1", "web.1"].map(|i| last(d, "started", i));
    let starts: Vec<u64> = starts.into_iter().collect::<Result<_>>()?;
    ensure!(starts.is_sorted(), "the order of the starts is {starts:?}");
    d.is("held.1", "held")?;
    d.is("job.1", "exited").map(drop)
}

fn last(d: &Daemon<'_, '_>, kind: &str, instance: &str) -> Result<u64> {
    let all = d.events()?;
    let found = all.iter().rfind(|e| e["kind"] == kind && e["instance"] == instance);
    found.and_then(|e| e["seq"].as_u64()).with_context(|| format!("no {kind} of {instance} in {all:?}"))
}
