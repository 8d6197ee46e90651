//! Probes: who is looked at, what follows, and what a daemon that comes back still knows.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = liveness();
    all.extend(readiness());
    all.extend(daemon());
    all.extend(dependents());
    all
}

/// A probe that passes while a file is there; the root file system is the case's own directory.
pub fn while_there(role: &str, file: &str, more: &str) -> String {
    format!("[probes.{role}]\nexec = ['{PROBE}', 'stat', '/{file}']\nperiod = '100ms'\n{more}\n")
}

fn file(d: &Daemon<'_, '_>, name: &str) -> PathBuf {
    d.t.rootfs().join(name)
}

pub fn put(d: &Daemon<'_, '_>, name: &str) -> Result<()> {
    fs::write(file(d, name), "").context("write into the root file system")
}

pub fn take(d: &Daemon<'_, '_>, name: &str) -> Result<()> {
    fs::remove_file(file(d, name)).context("remove from the root file system")
}

/// The events of one instance of these kinds, in order.
pub fn told(d: &Daemon<'_, '_>, instance: &str, kinds: &[&str]) -> Result<Vec<String>> {
    let of = |e: &Value| e["instance"] == instance && kinds.iter().any(|k| e["kind"] == *k);
    let all = d.events()?;
    Ok(all.iter().filter(|e| of(e)).filter_map(|e| e["kind"].as_str().map(str::to_owned)).collect())
}

pub fn until_ready(d: &Daemon<'_, '_>, instance: &str, ready: bool) -> Result<Value> {
    let what = if ready { "ready" } else { "unready" };
    d.until_it(instance, what, |i| i["state"] == "running" && i["ready"] == ready)
}

/// The last answer of a probe of a service's first instance.
pub fn last_answer(d: &Daemon<'_, '_>, service: &str, role: &str) -> Result<Value> {
    let status = d.get(&format!("/v1/services/{service}"))?;
    let probe = status["probes"].as_array().into_iter().flatten().find(|p| p["probe"] == role);
    let probe = probe.with_context(|| format!("no probe {role}: {status}"))?;
    Ok(probe["looks"].as_array().and_then(|l| l.last()).cloned().unwrap_or(Value::Null))
}

fn liveness() -> Vec<Case> {
    vec![
        sup("probe.unhealthy-restarts", "liveness: restart through the policy, explained").daemon(|d| {
            put(d, "well")?;
            d.resident("web", &format!("{}{SOON}", while_there("liveness", "well", "failure_threshold = 2")))?;
            wait_for(d.t.seconds(), || {
                Ok((last_answer(d, "web", "liveness")?["verdict"] == "pass").then_some(()))
            })?;
            let first = d.pid_of("web.1")?;
            ensure!(d.is("web.1", "running")?["ready"] == true, "it passes and is not ready");
            take(d, "well")?;
            d.until_it("web.1", "restarted", |i| i["restarts"].as_u64() >= Some(1))?;
            put(d, "well")?;
            until_ready(d, "web.1", true)?;
            ensure!(d.pid_of("web.1")? != first, "the same process goes on");
            d.explains("web.1", &["unhealthy", "liveness probe failed 2 times in a row: exit code 1", "stopping"])?;
            let exits = d.get("/v1/services/web")?["exits"].to_string();
            ensure!(exits.contains("unhealthy (liveness probe failed 2 times in a row"), "{exits}");
            Ok(())
        }),
        sup("probe.unhealthy-stop", "on_unhealthy = stop").daemon(|d| {
            let keys = format!("{}[probes]\non_unhealthy = 'stop'\n", while_there("liveness", "well", "failure_threshold = 1"));
            d.service("web", &["trap", "TERM"], &keys)?;
            d.until("web.1", "failed")?;
            d.explains("web.1", &["liveness probe failed once", "on_unhealthy stop"])?;
            d.crash_and_start()?;
            d.is("web.1", "failed").map(|_| ())
        }),
        sup("probe.unhealthy-none", "on_unhealthy = none").daemon(|d| {
            put(d, "well")?;
            let keys = format!("{}[probes]\non_unhealthy = 'none'\n", while_there("liveness", "well", "failure_threshold = 2"));
            d.resident("web", &keys)?;
            let pid = d.pid_of("web.1")?;
            take(d, "well")?;
            until_ready(d, "web.1", false)?;
            put(d, "well")?;
            until_ready(d, "web.1", true)?;
            ensure!(d.pid_of("web.1")? == pid, "it was restarted");
            let kinds = told(d, "web.1", &["unhealthy", "healthy"])?;
            ensure!(kinds == ["unhealthy", "healthy"], "only changes are events: {kinds:?}");
            Ok(())
        }),
        sup("probe.startup-gate", "startup holds the others back").daemon(|d| {
            let keys = format!(
                "{}{}{}",
                while_there("startup", "up", "failure_threshold = 1000"),
                while_there("liveness", "well", "failure_threshold = 1"),
                while_there("readiness", "well", "")
            );
            d.resident("web", &keys)?;
            let pid = d.pid_of("web.1")?;
            let waiting = d.ctl_running(&["start", "web"])?;
            std::thread::sleep(Duration::from_millis(800));
            let now = d.is("web.1", "running")?;
            ensure!(now["ready"] == false, "it is ready before it has come up: {now}");
            let detail = now["detail"].as_str().unwrap_or("").to_owned();
            ensure!(detail.starts_with("not ready: startup probe failed"), "{detail:?}");
            ensure!(last_answer(d, "web", "liveness")?.is_null(), "liveness was asked before it had come up");
            put(d, "well")?;
            put(d, "up")?;
            until_ready(d, "web.1", true)?;
            waiting.wait()?.ok()?.prints("started web\n")?;
            ensure!(d.pid_of("web.1")? == pid, "it was restarted");
            let kinds = told(d, "web.1", &["startup-passed", "ready", "unready", "unhealthy"])?;
            ensure!(kinds == ["startup-passed", "ready"], "{kinds:?}");
            Ok(())
        }),
        sup("probe.startup-fails", "a startup probe that never passes").daemon(|d| {
            d.service("web", &["trap", "TERM"], &format!("{}{SOON}", while_there("startup", "up", "failure_threshold = 3")))?;
            d.until_it("web.1", "restarted", |i| i["restarts"].as_u64() >= Some(1))?;
            d.explains("web.1", &["startup probe failed 3 times in a row"])?;
            put(d, "up")?;
            until_ready(d, "web.1", true).map(|_| ())
        }),
        // A host under pressure, which the other tests may make, excuses it for a minute.
        sup("probe.timeout", "an answer that does not come in time").seconds(100).daemon(|d| {
            let probe = format!("[probes.liveness]\nexec = ['{PROBE}', 'sleep', '60000']\ntimeout = '200ms'\nperiod = '100ms'\nfailure_threshold = 2\n");
            d.service("web", &["trap", "TERM"], &format!("{probe}[restart]\npolicy = 'no'\n"))?;
            d.until("web.1", "failed")?;
            d.explains("web.1", &["liveness probe failed 2 times in a row: no answer within"])
        }),
    ]
}

fn readiness() -> Vec<Case> {
    vec![
        sup("probe.ready-gates", "depends_on healthy, knarrctl wait").daemon(|d| {
            d.write("db", &d.text(&["trap", "TERM"], &while_there("readiness", "open", "failure_threshold = 1")))?;
            d.write("app", &d.text(&["trap", "TERM"], "depends_on = [{ service = 'db', condition = 'healthy' }]\n"))?;
            d.apply()?;
            until_ready(d, "db.1", false)?;
            d.until_it("app.1", "waiting", |i| i["detail"] == "waits for db: ready")?;
            let late = d.ctl(&["wait", "db", "--timeout", "300ms"])?.exits(1)?;
            ensure!(late.stderr.contains("db is not ready after 300 ms"), "{}", late.stderr);
            d.ctl(&["wait", "db", "--for", "healthy"])?.ok()?;
            put(d, "open")?;
            d.ctl(&["wait", "db", "app", "--timeout", "15s"])?.ok()?.prints("ready db\nready app\n")?;
            let app = d.pid_of("app.1")?;
            take(d, "open")?;
            until_ready(d, "db.1", false)?;
            let db = d.is("db.1", "running")?;
            ensure!(db["restarts"] == 0 && d.pid_of("app.1")? == app, "not ready restarts nobody: {db}");
            let kinds = told(d, "db.1", &["ready", "unready"])?;
            ensure!(kinds == ["ready", "unready"], "{kinds:?}");
            d.post("/v1/services/db/stop")?;
            d.ctl(&["wait", "db", "--for", "stopped", "--timeout", "15s"])?.ok().map(|_| ())
        }),
        sup("probe.endpoints", "the file of ready instances").daemon(|d| {
            let list = d.t.dir.join("endpoints.json");
            d.end()?;
            d.options = vec!["--endpoints".into(), list.display().to_string()];
            d.start()?;
            let now = || -> Result<Value> {
                let all: Value = serde_json::from_slice(&fs::read(&list)?)?;
                Ok(all["instances"].clone())
            };
            ensure!(now()? == json!([]), "{}", now()?);
            let keys = format!("replicas = 2\nports = [8080]\n{}", while_there("readiness", "open", "failure_threshold = 1"));
            d.service("web", &["trap", "TERM"], &keys)?;
            d.until("web.2", "running")?;
            ensure!(now()? == json!([]), "listed before it is ready: {}", now()?);
            put(d, "open")?;
            let names = |all: &Value| -> Vec<String> { crate::daemon::texts(all, "instance") };
            wait_for(d.t.seconds(), || Ok((names(&now()?) == ["web.1", "web.2"]).then_some(())))?;
            let first = now()?[0].clone();
            let want = json!({ "service": "web", "instance": "web.1", "state": "running", "pid": d.pid_of("web.1")?,
                "address": null, "ports": ["8080/tcp"] });
            ensure!(first == want, "{first}, want {want}");
            let stamp = || -> Result<_> { Ok(fs::metadata(&list)?.modified()?) };
            let before = stamp()?;
            std::thread::sleep(Duration::from_millis(500));
            ensure!(stamp()? == before, "it is written although nothing changed");
            d.post("/v1/services/web.1/stop?wait=true")?;
            ensure!(names(&now()?) == ["web.2"], "{}", now()?);
            take(d, "open")?;
            wait_for(d.t.seconds(), || Ok((now()? == json!([])).then_some(()))).map(|_| ())
        }),
        sup("probe.change-is-live", "a changed probe").daemon(|d| {
            put(d, "a")?;
            d.resident("web", &while_there("readiness", "a", ""))?;
            let pid = until_ready(d, "web.1", true)?["pid"].clone();
            d.service("web", &["trap", "TERM"], &while_there("readiness", "b", "failure_threshold = 1"))?;
            until_ready(d, "web.1", false)?;
            d.service("web", &["trap", "TERM"], "")?;
            let now = until_ready(d, "web.1", true)?;
            ensure!(now["pid"] == pid && now["restarts"] == 0, "it was restarted: {now}");
            Ok(())
        }),
    ]
}

fn daemon() -> Vec<Case> {
    vec![
        sup("probe.kill-keeps", "kill -9 of the daemon: nothing flaps").daemon(|d| {
            put(d, "open")?;
            put(d, "well")?;
            let both = |open: &str| {
                format!(
                    "{}{}",
                    while_there("readiness", open, "failure_threshold = 1"),
                    while_there("liveness", "well", "")
                )
            };
            d.write("open", &d.text(&["trap", "TERM"], &both("open").replace("100ms", "5s")))?;
            d.write("shut", &d.text(&["trap", "TERM"], &both("never")))?;
            d.apply()?;
            until_ready(d, "open.1", true)?;
            until_ready(d, "shut.1", false)?;
            let pids = (d.pid_of("open.1")?, d.pid_of("shut.1")?);
            for _ in 0..5 {
                d.crash_and_start()?;
                ensure!(d.is("open.1", "running")?["ready"] == true, "what was ready is not");
                ensure!(d.is("shut.1", "running")?["ready"] == false, "what was not ready is");
            }
            std::thread::sleep(Duration::from_millis(500));
            ensure!(pids == (d.pid_of("open.1")?, d.pid_of("shut.1")?), "something was restarted");
            let kinds = told(d, "open.1", &["ready", "unready", "healthy", "unhealthy"])?;
            ensure!(kinds == ["ready"], "{kinds:?}");
            Ok(())
        }),
        sup("probe.kill-while-given-up", "kill -9 of the daemon while it stops what is not well").daemon(
            |d| {
                put(d, "well")?;
                let keys = while_there("liveness", "well", "failure_threshold = 1\ngrace = '2s'");
                d.service("web", &["ignore-term"], &format!("{keys}{SOON}"))?;
                until_ready(d, "web.1", true)?;
                take(d, "well")?;
                d.until("web.1", "stopping")?;
                d.crash_and_start()?;
                put(d, "well")?;
                d.until_it("web.1", "restarted", |i| i["restarts"].as_u64() >= Some(1))?;
                let exits = d.get("/v1/services/web")?["exits"].to_string();
                ensure!(exits.contains("unhealthy (liveness probe failed once"), "{exits}");
                Ok(())
            },
        ),
        sup("probe.hung", "targets that hang delay nobody").seconds(40).daemon(|d| {
            let hung = format!(
                "replicas = 8\n[probes.readiness]\nexec = ['{PROBE}', 'sleep', '600000']\ntimeout = '5m'\n"
            );
            d.service("hung", &["trap", "TERM"], &hung)?;
            d.until("hung.8", "running")?;
            put(d, "well")?;
            d.resident(
                "web",
                &format!("{}{SOON}", while_there("liveness", "well", "failure_threshold = 2")),
            )?;
            let began = Instant::now();
            take(d, "well")?;
            d.until_it("web.1", "restarted", |i| i["restarts"].as_u64() >= Some(1))?;
            let took = began.elapsed();
            ensure!(took < Duration::from_secs(10), "it took {took:?} until the others were asked");
            put(d, "well")?;
            let now = d.is("hung.1", "running")?;
            ensure!(now["ready"] == false && now["restarts"] == 0, "{now}");
            Ok(())
        }),
        sup("probe.stop-meanwhile", "a stop while a probe is under way").daemon(|d| {
            let hung = format!("[probes.liveness]\nexec = ['{PROBE}', 'sleep', '600000']\ntimeout = '5m'\n");
            d.resident("web", &hung)?;
            std::thread::sleep(Duration::from_millis(700));
            let began = Instant::now();
            d.post("/v1/services/web/stop?wait=true")?;
            let took = began.elapsed();
            ensure!(took < Duration::from_secs(8), "the stop took {took:?}");
            d.is("web.1", "held")?;
            d.post("/v1/services/web/start")?;
            d.until("web.1", "running")?;
            // It is taken down while the next one is under way.
            std::thread::sleep(Duration::from_millis(300));
            crate::os::kill(d.pid_of("web.1")?, libc::SIGKILL);
            d.until_it("web.1", "restarted", |i| i["restarts"].as_u64() >= Some(1)).map(|_| ())
        }),
    ]
}

fn dependents() -> Vec<Case> {
    vec![sup("probe.restarts-with", "depends_on restart = true").daemon(|d| {
        d.write("db", &d.text(&["trap", "TERM"], &while_there("readiness", "open", "")))?;
        let after = |restart: bool| {
            format!("depends_on = [{{ service = 'db', condition = 'healthy', restart = {restart} }}]\n{SOON}")
        };
        d.write("app", &d.text(&["trap", "TERM"], &after(true)))?;
        d.write("other", &d.text(&["trap", "TERM"], &after(false)))?;
        put(d, "open")?;
        d.apply()?;
        for i in ["app.1", "other.1"] {
            d.until(i, "running")?;
        }
        let (app, other) = (d.pid_of("app.1")?, d.pid_of("other.1")?);
        d.ctl(&["restart", "db"])?.ok()?;
        let pid_now = |i: &Value| i["pid"].as_i64();
        d.until_it("app.1", "restarted", |i| i["state"] == "running" && pid_now(i) != Some(app.into()))?;
        ensure!(d.pid_of("other.1")? == other, "who did not ask for it was restarted");
        let ready = super::order::first(d, "ready", &["db.1"])?;
        let started = super::order::first(d, "started", &["db.1", "app.1"])?;
        ensure!(
            started[0] < ready[0] && ready[0] < started[1],
            "db ready {ready:?}, started {started:?} (db, app)"
        );
        // A death is no order.
        let app = d.pid_of("app.1")?;
        crate::os::kill(d.pid_of("db.1")?, libc::SIGKILL);
        d.until_it("db.1", "restarted", |i| i["restarts"] == 1 && i["state"] == "running")?;
        ensure!(d.pid_of("app.1")? == app, "a death restarts who depends on it");
        Ok(())
    })]
}
