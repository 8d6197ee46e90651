//! Probes that a container tells: who is heard, what follows, and what is told while no daemon is there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::trial::wait_for;

const STARTUP: &str = "[probes.startup]\npush = true\nperiod = '200ms'\n";
const READINESS: &str = "[probes.readiness]\npush = true\nperiod = '200ms'\n";

/// What a service tells from inside, by another process of its container.
fn tell(d: &mut Daemon<'_, '_>, what: &[&str]) -> Result<()> {
    let mut line = vec!["exec", "web", "--", PROBE, "notify"];
    line.extend(what);
    d.ctl(&line)?.ok().map(|_| ())
}

fn ready(d: &Daemon<'_, '_>, ready: bool) -> Result<Value> {
    let what = if ready { "ready" } else { "not ready" };
    d.until_it("web.1", what, |i| i["state"] == "running" && i["ready"] == ready)
}

/// The notify socket of a run, from the host.
fn socket(d: &Daemon<'_, '_>) -> Result<PathBuf> {
    let now = d.instance("web.1")?;
    Ok(d.run.join("notify").join(now["run"].as_str().context("no run")?).join("socket"))
}

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("push.ready", "READY=1, STATUS= and STOPPING=1 of sd_notify").daemon(|d| {
            d.resident("web", &format!("{STARTUP}{READINESS}"))?;
            std::thread::sleep(Duration::from_millis(500));
            let now = ready(d, false)?;
            ensure!(now["detail"].as_str().is_some_and(|t| t.contains("READY=1 has not come")), "{now}");
            tell(d, &["STATUS=warming up"])?;
            d.until_it("web.1", "its status", |i| {
                i["detail"].as_str().is_some_and(|t| t.ends_with("says: warming up"))
            })?;
            tell(d, &["READY=1", "STATUS=serves"])?;
            ready(d, true)?;
            d.until_it("web.1", "its status", |i| i["detail"] == "says: serves")?;
            let shown = d.ctl(&["status", "web"])?.ok()?.stdout;
            ensure!(shown.contains("says: serves") && shown.contains("READY=1"), "{shown}");
            tell(d, &["STOPPING=1"])?;
            let now = ready(d, false)?;
            ensure!(now["restarts"] == 0, "it was restarted: {now}");
            d.explains("web.1", &["STOPPING=1"])
        }),
        sup("push.first-process", "a process that tells before the daemon knows that it runs").daemon(|d| {
            d.service("web", &["all", "notify", "READY=1", "--", "trap", "TERM"], STARTUP)?;
            ready(d, true).map(|_| ())
        }),
        sup("push.strangers", "only the container's own processes are heard").daemon(|d| {
            d.resident("web", STARTUP)?;
            let link = d.t.dir.join("s");
            std::os::unix::fs::symlink(socket(d)?, &link)?;
            let stranger = std::os::unix::net::UnixDatagram::unbound()?;
            stranger.send_to(b"READY=1\nSTATUS=mine", &link).context("a message of this process")?;
            std::thread::sleep(Duration::from_millis(700));
            let now = ready(d, false)?;
            ensure!(!now.to_string().contains("mine"), "a stranger was heard: {now}");
            tell(d, &["READY=1"])?;
            ready(d, true)?;
            fs::remove_file(&link).context("the link")
        }),
        sup("push.watchdog", "WATCHDOG=1 that does not come, WATCHDOG=trigger").seconds(100).daemon(|d| {
            let keys = format!("[probes.liveness]\npush = true\nperiod = '3s'\n{SOON}");
            d.resident("web", &keys)?;
            let env = d.ctl(&["exec", "web", "--", PROBE, "env"])?.ok()?.stdout;
            ensure!(env.contains("WATCHDOG_USEC=3000000"), "{env}");
            for _ in 0..6 {
                tell(d, &["WATCHDOG=1"])?;
                std::thread::sleep(Duration::from_secs(1));
            }
            let now = d.is("web.1", "running")?;
            ensure!(now["restarts"] == 0, "it told and was restarted: {now}");
            tell(d, &["WATCHDOG=trigger"])?;
            d.until_it("web.1", "restarted", |i| {
                i["state"] == "running" && i["restarts"].as_u64() >= Some(1)
            })?;
            d.explains("web.1", &["WATCHDOG=trigger"])?;
            // A host under pressure excuses silence for a minute.
            d.until_it("web.1", "restarted again", |i| i["restarts"].as_u64() >= Some(2))?;
            d.explains("web.1", &["no WATCHDOG=1 within 3 s"])
        }),
        sup("push.extend", "EXTEND_TIMEOUT_USEC holds the startup probe back").seconds(40).daemon(|d| {
            let keys = format!("{}failure_threshold = 3\n{SOON}", STARTUP.replace("200ms", "1s"));
            d.service("web", &["all", "notify", "EXTEND_TIMEOUT_USEC=9000000", "--", "trap", "TERM"], &keys)?;
            d.ready("web.1")?;
            std::thread::sleep(Duration::from_secs(6));
            let now = d.is("web.1", "running")?;
            ensure!(now["restarts"] == 0, "it was given up: {now}");
            d.until_it("web.1", "restarted", |i| i["restarts"].as_u64() >= Some(1))?;
            d.explains("web.1", &["startup probe failed 3 times in a row: READY=1 has not come"])
        }),
        sup("push.extend-stop", "EXTEND_TIMEOUT_USEC holds the kill of a stop back").seconds(60).daemon(
            |d| {
                let keys = format!("[stop]\ngrace = '3s'\n{READINESS}");
                let ends = |told: &'static [&'static str]| {
                    let mut line = vec!["all", "notify", "READY=1", "--", "trap", "TERM", "--", "notify"];
                    line.extend(told);
                    line.extend(["--", "echo", "told", "--", "sleep", "9000", "--", "echo", "done"]);
                    line
                };
                d.service("web", &ends(&["STOPPING=1"]), &keys)?;
                ready(d, true)?;
                d.post("/v1/services/web/stop?wait=true")?;
                ensure!(!d.log("web.1")?.iter().any(|l| l == "done"), "its grace is longer than it is");
                d.service("web", &ends(&["STOPPING=1", "EXTEND_TIMEOUT_USEC=60000000"]), &keys)?;
                d.post("/v1/services/web/start")?;
                ready(d, true)?;
                d.post("/v1/services/web/stop")?;
                d.until("web.1", "stopping")?;
                wait_for(d.t.seconds(), || {
                    Ok((d.log("web.1")?.iter().filter(|l| *l == "told").count() == 2).then_some(()))
                })?;
                // The next daemon knows of it.
                d.crash_and_start()?;
                d.until("web.1", "held")?;
                d.says("web.1", "done")?;
                let killed = d.events()?.iter().filter(|e| e["kind"] == "killed").count();
                ensure!(killed == 1, "killed {killed} times, want the first one only");
                let told =
                    d.events()?.iter().any(|e| e["kind"] == "stop-extended" && e["instance"] == "web.1");
                ensure!(told, "that it got longer is not told");
                Ok(())
            },
        ),
        sup("push.no-daemon", "what is told while no daemon is there").seconds(40).daemon(|d| {
            d.service(
                "web",
                &["all", "sleep", "2500", "--", "notify", "READY=1", "STATUS=here", "--", "trap", "TERM"],
                READINESS,
            )?;
            d.until("web.1", "running")?;
            d.kill9()?;
            wait_for(d.t.seconds(), || Ok(d.log("web.1")?.iter().any(|l| l == "ready").then_some(())))
                .context("it told nothing")?;
            d.start()?;
            ready(d, true)?;
            d.until_it("web.1", "its status", |i| i["detail"] == "says: here")?;
            // And what a daemon has heard, the next one knows.
            d.crash_and_start()?;
            let now = d.is("web.1", "running")?;
            ensure!(now["ready"] == true && now["restarts"] == 0, "{now}");
            d.until_it("web.1", "its status", |i| i["detail"] == "says: here")?;
            let said = || d.run.join("notify").join("web.1.1.said");
            ensure!(said().exists(), "{} is not there", said().display());
            tell(d, &["STOPPING=1"])?;
            ready(d, false)?;
            let dir = socket(d)?;
            d.request("DELETE", "/v1/services/web?wait=true", None)?.done()?;
            ensure!(!dir.parent().is_some_and(|p| p.exists()), "its notify directory is left");
            let left = crate::oracle::names(&d.run.join("notify"));
            ensure!(left.is_empty(), "left beside it: {left:?}");
            Ok(())
        }),
    ]
}
