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
    let file = seen(d);
    let script =
        format!("{before} sleep 1000 & echo $! > $0.new; echo $$ >> $0.new; mv $0.new $0; wait; wait");
    let command = serde_json::json!(["/bin/sh", "-c", script, file.display().to_string()]);
    d.service(
        "a",
        &["trap", "TERM"],
        &format!("{more}[hooks]\npre_start = [{{ command = {command}, {keys} }}]\n"),
    )?;
    let pids = wait_for(d.t.seconds(), || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(Some(text.lines().flat_map(str::parse).collect::<Vec<i32>>()).filter(|p| p.len() == 2))
    })
    .context("the hook does not run")?;
    ensure!(pids.iter().all(|p| alive(*p)), "the hook has ended: {pids:?}");
    ensure!(d.instance("a.1")?["detail"] == "pre-start hooks of a.1.1", "{}", d.instance("a.1")?);
    Ok(pids)
}

fn gone(pids: &[i32]) -> Result<()> {
    let gone = wait_for(2, || Ok((!pids.iter().any(|p| alive(*p))).then_some(())));
    gone.with_context(|| format!("of the hook there is still one of {pids:?}"))
}
