//! Hooks that take their time: a stop does not wait for those before the start, and a hook that is cut short leaves nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, alive};
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("hooks.stop-cuts-short", "hooks.pre_start, a stop meanwhile").daemon(|d| {
            let pids = stuck(d, "", "timeout = '10m'", "")?;
            let begun = Instant::now();
            d.ctl(&["stop", "a"])?.ok()?;
            ensure!(begun.elapsed() < Duration::from_secs(5), "the stop took {:?}", begun.elapsed());
            gone(&pids)?;
            d.explains("a", &["SIGTERM to its pre-start hook", "cut short by the stop", "stopped by hand"])?;
            ensure!(d.log("a.1").unwrap_or_default().is_empty(), "the container ran");
            d.is("a.1", "held").map(|_| ())
        }),
        sup("hooks.stop-kills", "hooks.pre_start that do not end at SIGTERM").daemon(|d| {
            let pids = stuck(d, "trap '' TERM;", "timeout = '10m'", "[stop]\ngrace = '500ms'\n")?;
            d.ctl(&["stop", "a"])?.ok()?;
            gone(&pids)?;
            d.explains(
                "a",
                &["SIGTERM to its pre-start hook", "did not end within its grace of 500 ms, killed"],
            )
        }),
        sup("hooks.restart-cuts-short", "hooks.pre_start, a restart meanwhile").daemon(|d| {
            let pids = stuck(d, "test -e $0.second && exit 0;", "timeout = '10m'", "")?;
            std::fs::write(seen(d).with_extension("second"), "")?;
            d.ctl(&["restart", "a"])?.ok()?;
            gone(&pids)?;
            ensure!(d.is("a.1", "running")?["run"] == "a.1.2", "{}", d.instance("a.1")?);
            Ok(())
        }),
        sup("hooks.remove-cuts-short", "hooks.pre_start, the service is removed meanwhile").daemon(|d| {
            let pids = stuck(d, "", "timeout = '10m'", "")?;
            d.ctl(&["rm", "a"])?.ok()?;
            gone(&pids)
        }),
        sup("hooks.stop-ends-other-sessions", "hooks.pre_start whose child has a session of its own").daemon(
            |d| {
                let pids = stuck_in_sessions(d, "timeout = '10m'", "")?;
                d.ctl(&["stop", "a"])?.ok()?;
                gone(&pids)?;
                d.is("a.1", "held").map(|_| ())
            },
        ),
        sup("hooks.timeout-ends-other-sessions", "hooks timeout, a child with a session of its own").daemon(
            |d| {
                let pids = stuck_in_sessions(d, "timeout = '1s'", "[restart]\npolicy = 'no'\n")?;
                d.until("a.1", "failed")?;
                gone(&pids)
            },
        ),
        // A hook is over when its program has ended, whatever else it has begun.
        sup("hooks.nothing-goes-on", "hooks that leave a process in the background").daemon(|d| {
            let file = seen(d);
            for kind in ["pre_start", "post_start", "pre_stop", "post_stop"] {
                let script = format!("setsid sleep 1000 & echo $! >> {}", file.display());
                let hook = serde_json::json!(["/bin/sh", "-c", script]);
                d.resident("a", &format!("[hooks]\n{kind} = [{{ command = {hook} }}]\n"))?;
                d.ctl(&["stop", "a"])?.ok()?;
                d.ctl(&["rm", "a"])?.ok()?;
            }
            let text = std::fs::read_to_string(&file)?;
            let pids: Vec<i32> = text.lines().flat_map(str::parse).collect();
            ensure!(pids.len() == 4, "not every hook has run: {pids:?}");
            gone(&pids)
        }),
        sup("hooks.of-a-killed-daemon", "hooks.pre_start under way when the daemon is killed").daemon(|d| {
            let pids = stuck_in_sessions(d, "timeout = '10m'", "")?;
            d.kill9()?;
            ensure!(pids.iter().all(|p| alive(*p)), "the hook has ended with its daemon: {pids:?}");
            std::fs::remove_file(seen(d))?;
            d.start()?;
            gone(&pids)?;
            let again = written(d)?;
            d.ctl(&["stop", "a"])?.ok()?;
            gone(&again)
        }),
        // Not only the shell, also what it has begun.
        sup("hooks.timeout-kills-all", "hooks timeout").daemon(|d| {
            let pids = stuck(d, "", "timeout = '1s'", "[restart]\npolicy = 'no'\n")?;
            d.until("a.1", "failed")?;
            d.explains("a", &["no end within 1 s, killed"])?;
            gone(&pids)
        }),
    ]
}

/// Where the hook writes its processes.
fn seen(d: &Daemon<'_, '_>) -> PathBuf {
    d.t.dir.join("hook")
}

/// A service whose pre-start hook hangs, with a child. Gives both processes.
fn stuck(d: &Daemon<'_, '_>, before: &str, keys: &str, more: &str) -> Result<Vec<i32>> {
    let child = format!("{before} sleep 1000");
    stuck_with(d, &child, keys, more)
}

/// The same, and the child has left the session and the process group of the hook.
fn stuck_in_sessions(d: &Daemon<'_, '_>, keys: &str, more: &str) -> Result<Vec<i32>> {
    let pids = stuck_with(d, "setsid sleep 1000", keys, more)?;
    let child = procfs::process::Process::new(pids[0])?;
    wait_for(d.t.seconds(), || Ok((child.stat()?.session == pids[0]).then_some(())))
        .context("the child is still in the session of the hook")?;
    Ok(pids)
}

fn stuck_with(d: &Daemon<'_, '_>, child: &str, keys: &str, more: &str) -> Result<Vec<i32>> {
    let file = seen(d);
    let script = format!("{child} & echo $! > $0.new; echo $$ >> $0.new; mv $0.new $0; wait; wait");
    let command = serde_json::json!(["/bin/sh", "-c", script, file.display().to_string()]);
    d.service(
        "a",
        &["trap", "TERM"],
        &format!("{more}[hooks]\npre_start = [{{ command = {command}, {keys} }}]\n"),
    )?;
    let pids = written(d)?;
    ensure!(d.instance("a.1")?["detail"] == "pre-start hooks of a.1.1", "{}", d.instance("a.1")?);
    Ok(pids)
}

/// Both processes of the hook that hangs, as it wrote them down.
fn written(d: &Daemon<'_, '_>) -> Result<Vec<i32>> {
    let file = seen(d);
    let pids = wait_for(d.t.seconds(), || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(Some(text.lines().flat_map(str::parse).collect::<Vec<i32>>()).filter(|p| p.len() == 2))
    })
    .context("the hook does not run")?;
    ensure!(pids.iter().all(|p| alive(*p)), "the hook has ended: {pids:?}");
    Ok(pids)
}

fn gone(pids: &[i32]) -> Result<()> {
    let gone = wait_for(2, || Ok((!pids.iter().any(|p| alive(*p))).then_some(())));
    gone.with_context(|| format!("of the hook there is still one of {pids:?}"))
}
