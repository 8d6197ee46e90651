//! Start, stop, restart, kill, remove, replicas, and what `ps` and `status` say meanwhile.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, alive, texts};
use crate::oracle;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = by_hand();
    all.extend(replicas());
    all.extend(stopping());
    all
}

fn by_hand() -> Vec<Case> {
    vec![
        sup("life.start-stop", "start, stop").daemon(|d| {
            d.resident("web", "")?;
            let pid = d.pid_of("web.1")?;
            d.ctl(&["stop", "web"])?.ok()?;
            ensure!(!alive(pid), "process {pid} runs after a stop that was waited for");
            let now = d.is("web.1", "held")?;
            ensure!(now["pid"].is_null() && now["last_exit"] == 0, "after a stop: {now}");
            d.ctl(&["start", "web"])?.ok()?;
            let now = d.is("web.1", "running")?;
            ensure!(now["run"] == "web.1.2" && now["restarts"] == 0, "after a start by hand: {now}");
            Ok(())
        }),
        sup("life.restart", "restart by hand").daemon(|d| {
            d.resident("web", "")?;
            let pid = d.pid_of("web.1")?;
            d.ctl(&["restart", "web"])?.ok()?;
            let now = d.is("web.1", "running")?;
            ensure!(d.pid_of("web.1")? != pid, "the same process after a restart");
            ensure!(now["run"] == "web.1.2" && now["restarts"] == 0, "no failure, yet counted: {now}");
            Ok(())
        }),
        sup("life.ps-json", "ps --json").daemon(|d| {
            d.resident("web", "")?;
            d.service("job", &["exit", "0"], "[restart]\npolicy = 'no'")?;
            d.until("job.1", "exited")?;
            let all = d.ctl(&["ps", "--json"])?.ok()?.json()?;
            ensure!(texts(&all, "instance") == ["job.1", "web.1"], "ps: {all}");
            ensure!(texts(&all, "state") == ["exited", "running"], "ps: {all}");
            let pid = all[1]["pid"].as_i64().unwrap_or(0) as i32;
            ensure!(alive(pid), "ps names process {pid}, which is not there");
            Ok(())
        }),
        sup("life.ps-table", "ps").daemon(|d| {
            d.resident("web", "")?;
            let text = d.ctl(&["ps"])?.ok()?.stdout;
            ensure!(text.contains("web.1") && text.contains("running"), "ps printed {text:?}");
            ensure!(!text.contains('\u{1b}'), "colours where no terminal is: {text:?}");
            Ok(())
        }),
        sup("life.status", "status").daemon(|d| {
            d.resident("web", "description = 'a web server'\n")?;
            let s = d.ctl(&["status", "web", "--json"])?.ok()?.json()?;
            let s = if s.is_array() { s[0].clone() } else { s };
            ensure!(s["description"] == "a web server" && s["goal"] == "up", "status: {s}");
            ensure!(s["instances"][0]["state"] == "running", "status: {s}");
            let file = s["file"].as_str().unwrap_or("");
            ensure!(file.ends_with("web.toml"), "status names the file {file:?}");
            Ok(())
        }),
        sup("life.remove", "rm").daemon(|d| {
            d.resident("web", "")?;
            let pid = d.pid_of("web.1")?;
            d.ctl(&["rm", "web"])?.ok()?;
            wait_for(10, || Ok(d.find("web.1")?.is_none().then_some(()))).context("rm")?;
            ensure!(!alive(pid), "the process runs after rm");
            ensure!(!d.services.join("web.toml").exists(), "the service file is there after rm");
            ensure!(!d.state.join("logs/web.1").exists(), "the log is there after rm");
            d.request("GET", "/v1/services/web", None)?.is(404)?;
            Ok(())
        }),
        sup("life.unknown-name", "unknown names").daemon(|d| {
            d.resident("web", "")?;
            for verb in ["start", "stop", "restart", "status", "explain", "rm", "logs"] {
                let out = d.ctl(&[verb, "wbe"])?.fails()?;
                ensure!(out.stderr.contains("wbe"), "{verb} does not name it: {}", out.stderr);
            }
            d.is("web.1", "running").map(|_| ())
        }),
        sup("life.events-of-a-life", "events").daemon(|d| {
            d.resident("web", "")?;
            d.ctl(&["stop", "web"])?.ok()?;
            let kinds: Vec<String> =
                d.events()?.iter().map(|e| e["kind"].as_str().unwrap_or("").into()).collect();
            for kind in ["started", "stopped"] {
                ensure!(kinds.iter().any(|k| k == kind), "no event {kind}: {kinds:?}");
            }
            Ok(())
        }),
        sup("life.version", "version").daemon(|d| {
            let v = d.ctl(&["version", "--json"])?.ok()?.json()?.to_string();
            ensure!(v.contains("\"version\"") && v.contains(&d.pid()?.to_string()), "version: {v}");
            Ok(())
        }),
    ]
}

fn replicas() -> Vec<Case> {
    vec![
        sup("life.replicas", "replicas").daemon(|d| {
            d.service("web", &["trap", "TERM"], "replicas = 3")?;
            for r in 1..=3 {
                d.until(&format!("web.{r}"), "running")?;
            }
            let first = d.pid_of("web.1")?;
            d.service("web", &["trap", "TERM"], "replicas = 1")?;
            gone(d, &["web.2", "web.3"])?;
            ensure!(d.pid_of("web.1")? == first, "the one that stays was restarted");
            d.service("web", &["trap", "TERM"], "replicas = 2")?;
            d.until("web.2", "running")?;
            ensure!(d.pid_of("web.1")? == first, "the one that stays was restarted");
            Ok(())
        }),
        sup("life.replicas-none", "replicas").daemon(|d| {
            d.resident("web", "")?;
            d.service("web", &["trap", "TERM"], "replicas = 0")?;
            gone(d, &["web.1"])?;
            d.service("web", &["trap", "TERM"], "")?;
            d.until("web.1", "running").map(|_| ())
        }),
        sup("life.one-replica-by-hand", "stop NAME.REPLICA").daemon(|d| {
            d.service("web", &["trap", "TERM"], "replicas = 2")?;
            d.until("web.1", "running")?;
            d.until("web.2", "running")?;
            d.ctl(&["stop", "web.2"])?.ok()?;
            d.is("web.2", "held")?;
            d.is("web.1", "running")?;
            d.ctl(&["start", "web.2"])?.ok()?;
            d.is("web.2", "running").map(|_| ())
        }),
    ]
}

/// Waits until `ps` does not know these any more.
fn gone(d: &Daemon<'_, '_>, instances: &[&str]) -> Result<()> {
    for i in instances {
        wait_for(d.t.seconds(), || Ok(d.find(i)?.is_none().then_some(())))
            .with_context(|| format!("{i} is there"))?;
    }
    Ok(())
}

fn stopping() -> Vec<Case> {
    vec![
        sup("life.stop-signal", "stop signal").daemon(|d| {
            d.service("web", &["trap", "TERM", "USR1"], "[stop]\nsignal = 'USR1'")?;
            d.ready("web.1")?;
            d.ctl(&["stop", "web"])?.ok()?;
            d.says("web.1", "SIGUSR1")
        }),
        sup("life.grace-then-kill", "grace time").daemon(|d| {
            d.service("deaf", &["ignore-term"], "[stop]\ngrace = '1s'")?;
            d.ready("deaf.1")?;
            let begun = std::time::Instant::now();
            d.ctl(&["stop", "deaf"])?.ok()?;
            let took = begun.elapsed().as_secs_f64();
            ensure!(took >= 1.0, "killed after {took:.2} s, before its grace time of 1 s was over");
            let now = d.is("deaf.1", "held")?;
            ensure!(now["last_exit"] == 137, "last exit {}, want 137", now["last_exit"]);
            d.explains("deaf", &["grace"])
        }),
        sup("life.kill-is-no-stop", "kill").daemon(|d| {
            d.resident("web", super::SOON)?;
            let pid = d.pid_of("web.1")?;
            d.ctl(&["kill", "web", "--signal", "KILL"])?.ok()?;
            let now = d.until_it("web.1", "restarted", |i| {
                i["state"] == "running" && i["pid"].as_i64().is_some_and(|p| p as i32 != pid)
            })?;
            ensure!(now["restarts"] == 1 && now["last_exit"] == 137, "after a kill: {now}");
            Ok(())
        }),
        sup("life.stop-takes-all-processes", "stop").daemon(|d| {
            // The first process ends at once; what it left in its pid namespace ends with it.
            d.service("tree", &["fork", "3"], "[restart]\npolicy = 'no'")?;
            d.until("tree.1", "exited")?;
            let left: Vec<_> =
                d.groups().into_iter().filter(|g| g.to_string_lossy().contains("tree.1.")).collect();
            wait_for(5, || Ok(left.iter().all(|g| !g.exists()).then_some(())))
                .with_context(|| format!("groups of a run that ended are left: {left:?}"))
        }),
        sup("life.end-leaves-services", "end of the daemon").daemon(|d| {
            d.resident("web", "")?;
            let pid = d.pid_of("web.1")?;
            d.end()?;
            ensure!(alive(pid), "the end of the daemon ended a service");
            ensure!(!oracle::names(&d.run).iter().any(|n| n.ends_with(".sock")), "a socket is left behind");
            d.start()?;
            ensure!(d.pid_of("web.1")? == pid, "the service was restarted");
            restarts(&d.instance("web.1")?, 0)
        }),
    ]
}

/// Requires a count of restarts.
pub fn restarts(instance: &Value, count: u64) -> Result<()> {
    ensure!(instance["restarts"] == count, "restarts {}, want {count}", instance["restarts"]);
    Ok(())
}
