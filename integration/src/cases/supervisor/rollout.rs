//! Rollouts: a changed file comes to what runs in steps, a bad one goes away by itself, and a daemon that is killed in
//! between changes neither.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::listen::{clients, free_port};
use super::survival::{fill, on_small_disk, remount};
use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = good();
    all.extend(single());
    all.extend(steps());
    all.extend(bad());
    all.extend(killed());
    all.extend(by_hand());
    all.extend(input());
    all.push(
        sup("rollout.under-load", "updates: a held socket, good and bad versions, no request fails")
            .seconds(150)
            .daemon(|d| under_load(d, 2_000).map(|_| ())),
    );
    all
}

/// Four clients ask without a pause, at least so often, while good and bad versions of four replicas are rolled out in both
/// orders and the daemon is killed in each rollout. Gives how many requests were answered and how many rollouts there were.
pub fn under_load(d: &mut Daemon<'_, '_>, requests: usize) -> Result<(usize, usize)> {
    let port = free_port()?;
    let serving = |d: &Daemon<'_, '_>, version: usize, command: &[&str], order: &str| {
        let update = format!("order = '{order}'\n");
        let text = text(d, u32::try_from(version).unwrap_or(0), command, &update, "");
        text.replace("replicas =", &format!("listen = ['tcp:127.0.0.1:{port}']\nreplicas ="))
    };
    d.write("web", &serving(d, 1, &["activated"], "stop-first"))?;
    d.apply()?;
    (1..=REPLICAS).try_for_each(|r| d.ready(&format!("web.{r}")))?;
    let answered = Arc::new(AtomicUsize::new(0));
    let (stop, all) = clients(port, 4, &answered);
    let mut rollouts = 0;
    let mut good = 1;
    let told: Result<()> = (|| {
        while rollouts < 4 || answered.load(Ordering::Relaxed) < requests {
            let order = ["stop-first", "start-first"][rollouts % 2];
            let bad = rollouts % 4 >= 2;
            let command: &[&str] = if bad { &["exit", "3"] } else { &["activated"] };
            let steps = told(d)?.iter().filter(|k| *k == "rollout-step").count();
            change(d, &serving(d, rollouts + 2, command, order))?;
            until_told(d, "rollout-step", steps + 1)?;
            d.crash_and_start()?;
            over(d)?;
            good = if bad { good } else { rollouts + 2 };
            all_are(d, u32::try_from(good)?)?;
            rollouts += 1;
        }
        Ok(())
    })();
    stop.store(true, Ordering::Relaxed);
    for client in all {
        client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    told?;
    Ok((answered.load(Ordering::Relaxed), rollouts))
}

const REPLICAS: u32 = 4;

/// Short times, for cases; only the deadline is for slow machines.
const QUICK: &str = "min_healthy = '200ms'\nwatch = '1500ms'\nprogress_deadline = '30s'\n";

/// A version of `web`: its number is in its environment.
fn text(d: &Daemon<'_, '_>, version: u32, command: &[&str], update: &str, more: &str) -> String {
    let keys = format!(
        "replicas = {REPLICAS}\nenv = {{ V = '{version}' }}\n[update]\n{QUICK}{update}\n{SOON}{more}"
    );
    d.text(command, &keys)
}

fn resident(d: &Daemon<'_, '_>, version: u32, update: &str) -> String {
    text(d, version, &["trap", "TERM"], update, "")
}

/// The first version, ready.
fn begin(d: &Daemon<'_, '_>, update: &str) -> Result<()> {
    d.write("web", &resident(d, 1, update))?;
    d.apply()?;
    (1..=REPLICAS).try_for_each(|r| d.ready(&format!("web.{r}")))
}

fn change(d: &Daemon<'_, '_>, text: &str) -> Result<()> {
    d.write("web", text)?;
    d.apply()
}

/// The ways in which a second version can be no good.
fn bad_ones(d: &Daemon<'_, '_>, update: &str) -> [(&'static str, String); 3] {
    let never = format!(
        "[probes.readiness]\nexec = ['{PROBE}', 'stat', '/never']\nperiod = '100ms'\ntimeout = '200ms'\nfailure_threshold = 1\n"
    );
    [
        ("crashes at once", text(d, 2, &["exit", "3"], update, "")),
        (
            "is never ready",
            text(d, 2, &["trap", "TERM"], update, &never)
                .replace("progress_deadline = '30s'", "progress_deadline = '3s'"),
        ),
        ("is ready and ends", text(d, 2, &["sleep", "700"], update, "")),
    ]
}

fn rollout(d: &Daemon<'_, '_>) -> Result<Value> {
    d.get("/v1/services/web/rollout")
}

fn instances(d: &Daemon<'_, '_>) -> Result<Vec<Value>> {
    Ok(d.get("/v1/instances")?.as_array().cloned().unwrap_or_default())
}

/// Waits until a rollout is over, and gives the fewest instances that were ready and the most that there were.
fn over(d: &Daemon<'_, '_>) -> Result<(usize, usize)> {
    let (mut least, mut most) = (usize::MAX, 0);
    let mut last = Value::Null;
    wait_for(d.t.seconds(), || {
        let all = instances(d)?;
        let ready = all.iter().filter(|i| i["state"] == "running" && i["ready"] == true).count();
        (least, most) = (least.min(ready), most.max(all.len()));
        last = rollout(d)?;
        Ok((last["state"] == "none").then_some(()))
    })
    .with_context(|| format!("the rollout does not end: {last}"))?;
    Ok((least, most))
}

/// The version in the environment of each instance's process.
fn versions(d: &Daemon<'_, '_>) -> Result<Vec<u32>> {
    let all = instances(d)?;
    let version = |instance: &Value| {
        let pid = instance["pid"].as_i64().with_context(|| format!("no process: {instance}"))?;
        let environ = fs::read(format!("/proc/{pid}/environ"))?;
        let text = String::from_utf8_lossy(&environ).into_owned();
        let found = text.split('\0').find_map(|v| v.strip_prefix("V="));
        found.and_then(|v| v.parse().ok()).with_context(|| format!("no version in {text:?}"))
    };
    all.iter().map(version).collect()
}

/// Waits until every instance runs this version and is ready.
fn all_are(d: &Daemon<'_, '_>, version: u32) -> Result<()> {
    let mut last = String::new();
    wait_for(d.t.seconds(), || {
        let ready = instances(d)?.iter().all(|i| i["state"] == "running" && i["ready"] == true);
        let found = versions(d);
        last = format!("{found:?}");
        Ok((ready && found.is_ok_and(|v| v == vec![version; REPLICAS as usize])).then_some(()))
    })
    .with_context(|| format!("not all are version {version}: {last}"))
}

/// The kinds of the service's events about rollouts, in order.
fn told(d: &Daemon<'_, '_>) -> Result<Vec<String>> {
    let all = d.events()?;
    let kinds = all.iter().filter_map(|e| e["kind"].as_str().map(str::to_owned));
    Ok(kinds.filter(|k| k.starts_with("roll")).collect())
}

fn until_told(d: &Daemon<'_, '_>, kind: &str, times: usize) -> Result<()> {
    wait_for(d.t.seconds(), || Ok((told(d)?.iter().filter(|k| *k == kind).count() >= times).then_some(())))
        .with_context(|| format!("no event {kind} {times} times: {:?}", told(d)))
}

fn good() -> Vec<Case> {
    vec![
        sup("rollout.stop-first", "updates: one after another").seconds(60).daemon(|d| {
            begin(d, "")?;
            d.write("web", &resident(d, 2, ""))?;
            let plan = d.ctl(&["plan"])?.ok()?.stdout;
            let want = "rollout: stop-first, 1 at a time, 4 in all; each ready for 200 ms within 30 s, then watched for 1.5 s; on failure rollback";
            ensure!(plan.contains(want), "{plan}");
            d.apply()?;
            let (least, most) = over(d)?;
            ensure!((least, most) == (3, 4), "fewest ready {least}, most instances {most}");
            all_are(d, 2)?;
            let kinds = told(d)?;
            let want = ["rollout-started", "rollout-step", "rollout-step", "rollout-step", "rollout-step"];
            ensure!(kinds[..5] == want && kinds[5..] == ["rollout-watch", "rollout-complete"], "{kinds:?}");
            ensure!(rollout(d)?["generations"][0]["good"] == true, "{}", rollout(d)?);
            Ok(())
        }),
        sup("rollout.start-first", "updates: the new one before the old one ends").seconds(60).daemon(|d| {
            let update = "order = 'start-first'\nparallelism = 2\n";
            begin(d, update)?;
            change(d, &resident(d, 2, update))?;
            let (least, most) = over(d)?;
            ensure!((least, most) == (4, 6), "fewest ready {least}, most instances {most}");
            all_are(d, 2)?;
            let names: BTreeSet<_> = instances(d)?.iter().map(|i| i["instance"].to_string()).collect();
            ensure!(names.len() == 4 && names.contains("\"web.4\""), "{names:?}");
            Ok(())
        }),
        sup("rollout.parallelism", "updates: two at a time").seconds(60).daemon(|d| {
            begin(d, "parallelism = 2\n")?;
            change(d, &resident(d, 2, "parallelism = 2\n"))?;
            let (least, most) = over(d)?;
            ensure!((2..=3).contains(&least) && most == 4, "fewest ready {least}, most instances {most}");
            all_are(d, 2)?;
            let steps = told(d)?.iter().filter(|k| *k == "rollout-step").count();
            ensure!(steps == 2, "{steps} steps");
            Ok(())
        }),
    ]
}

/// A service with one instance, which is there all the time.
fn single() -> Vec<Case> {
    let one = |d: &Daemon<'_, '_>, version: u32, command: &[&str]| {
        let update = "order = 'start-first'\n";
        text(d, version, command, update, "").replace(&format!("replicas = {REPLICAS}\n"), "")
    };
    let is = |d: &Daemon<'_, '_>, instance: &str, version: u32| -> Result<()> {
        d.until_it(instance, "ready", |i| i["state"] == "running" && i["ready"] == true)?;
        wait_for(d.t.seconds(), || Ok((instances(d)?.len() == 1).then_some(())))
            .with_context(|| format!("{:?}", instances(d)))?;
        let found = versions(d)?;
        ensure!(found == [version], "{instance} is version {found:?}, want {version}");
        Ok(())
    };
    let starts = |d: &Daemon<'_, '_>| -> Result<usize> {
        Ok(d.events()?.iter().filter(|e| e["kind"] == "started").count())
    };
    vec![
        sup("rollout.single-start-first", "updates: one instance, its successor takes its place")
            .seconds(60)
            .daemon(move |d| {
                d.write("web", &one(d, 1, &["trap", "TERM"]))?;
                d.apply()?;
                is(d, "web.1", 1)?;
                for (version, instance) in [(2, "web.2"), (3, "web.1"), (4, "web.2")] {
                    let before = starts(d)?;
                    change(d, &one(d, version, &["trap", "TERM"]))?;
                    if version == 3 {
                        until_told(d, "rollout-step", 3)?;
                        d.crash_and_start()?;
                    }
                    let (least, most) = over(d)?;
                    ensure!((least, most) == (1, 2), "fewest ready {least}, most instances {most}");
                    is(d, instance, version)?;
                    let started = starts(d)? - before;
                    ensure!(started == 1, "version {version} was started {started} times");
                }
                // What depends on it sees one instance, whatever its number is.
                let app =
                    d.text(&["trap", "TERM"], "depends_on = [{ service = 'web', condition = 'ready' }]\n");
                d.write("app", &app)?;
                d.apply()?;
                d.ready("app.1")?;
                d.request("DELETE", "/v1/services/app?wait=true", None)?.done()?;
                // A bad one is gone without a trace of it; one that ends when it has the place gives it back.
                let pid = d.pid_of("web.2")?;
                change(d, &one(d, 5, &["exit", "3"]))?;
                let (least, _) = over(d)?;
                is(d, "web.2", 4)?;
                ensure!(least == 1 && d.pid_of("web.2")? == pid, "{least} were ready");
                change(d, &one(d, 6, &["sleep", "1200"]))?;
                until_told(d, "rollout-watch", 4)?;
                d.crash_and_start()?;
                over(d)?;
                is(d, "web.2", 4)?;
                // With more instances the numbers are what they always are.
                d.write("web", &one(d, 4, &["trap", "TERM"]).replace("[update]", "replicas = 3\n[update]"))?;
                d.apply()?;
                (1..=3).try_for_each(|n| d.until(&format!("web.{n}"), "running").map(|_| ()))?;
                change(d, &one(d, 4, &["trap", "TERM"]))?;
                is(d, "web.1", 4)
            }),
    ]
}

/// What a rollout has of an instance while its step has not come, and of a healthy time while daemons come and go.
fn steps() -> Vec<Case> {
    vec![
        sup("rollout.healthy-time-survives", "updates: min_healthy over killed daemons").seconds(120).daemon(
            |d| {
                let two = |version| {
                    resident(d, version, "")
                        .replace(&format!("replicas = {REPLICAS}"), "replicas = 2")
                        .replace("min_healthy = '200ms'", "min_healthy = '8s'")
                        .replace("watch = '1500ms'", "watch = '9s'")
                        .replace("progress_deadline = '30s'", "progress_deadline = '10m'")
                };
                let texts = [two(1), two(2)];
                d.write("web", &texts[0])?;
                d.apply()?;
                ["web.1", "web.2"].iter().try_for_each(|i| d.ready(i))?;
                change(d, &texts[1])?;
                until_told(d, "rollout-step", 1)?;
                // No daemon lives as long as that.
                let mut kills = 0;
                while told(d)?.iter().filter(|k| *k == "rollout-step").count() < 2 {
                    ensure!(kills < 60, "the time is counted anew by each daemon: {}", rollout(d)?);
                    std::thread::sleep(std::time::Duration::from_secs(1));
                    d.crash_and_start()?;
                    kills += 1;
                }
                ensure!(kills > 2, "the step was over after {kills} kills");
                d.post("/v1/services/web/rollout/undo").map(|_| ())
            },
        ),
        sup("rollout.limits-wait-for-their-step", "updates: live limits come with the step of an instance")
            .needs([Need::CgroupAny("memory")])
            .seconds(60)
            .daemon(|d| {
                let limited = |version: u32, limit: &str, more: &str| {
                    text(d, version, &["trap", "TERM"], more, &format!("[limits]\nmemory = '{limit}'\n"))
                        .replace("min_healthy = '200ms'", "min_healthy = '1m'")
                        .replace("watch = '1500ms'", "watch = '2m'")
                        .replace("progress_deadline = '30s'", "progress_deadline = '10m'")
                };
                let texts = [limited(1, "64MiB", ""), limited(2, "96MiB", "")];
                d.write("web", &texts[0])?;
                d.apply()?;
                (1..=REPLICAS).try_for_each(|r| d.ready(&format!("web.{r}")))?;
                change(d, &texts[1])?;
                until_told(d, "rollout-step", 1)?;
                let limit = |i: &Value| i["memory_limit"].as_u64().map(|bytes| bytes >> 20);
                d.until_it("web.1", "the new version", |i| i["state"] == "running" && limit(i) == Some(96))?;
                for _ in 0..2 {
                    std::thread::sleep(std::time::Duration::from_secs(1));
                    for other in ["web.2", "web.3", "web.4"] {
                        let now = d.is(other, "running")?;
                        ensure!(limit(&now) == Some(64), "its step has not come: {now}");
                    }
                    d.crash_and_start()?;
                }
                d.post("/v1/services/web/rollout/undo")?;
                over(d)?;
                all_are(d, 1)?;
                let all = instances(d)?;
                ensure!(all.iter().all(|i| limit(i) == Some(64)), "{all:?}");
                Ok(())
            }),
        sup("rollout.back-on-a-full-disk", "updates: back while the disk is full").seconds(120).daemon(|d| {
            on_small_disk(d)?;
            begin(d, "")?;
            change(d, &late_end(d))?;
            until_told(d, "rollout-step", 1)?;
            fill(&d.state)?;
            is_back_unwritten(d)?;
            fs::remove_file(d.state.join("filling"))?;
            stays_back(d, "ends on a full disk")
        }),
        sup("rollout.back-on-a-read-only-disk", "updates: back while the journal cannot be written")
            .seconds(120)
            .daemon(|d| {
                // What is open for writing keeps a file system writable: what keepers write has one of its own here.
                on_small_disk(d)?;
                d.end()?;
                for kept in ["logs", "exits"] {
                    let dir = d.state.join(kept);
                    d.tmpfs(&dir, "size=8m")?;
                }
                d.start()?;
                begin(d, "")?;
                change(d, &late_end(d))?;
                until_told(d, "rollout-step", 1)?;
                d.kill9()?;
                remount(d, true)?;
                d.start()?;
                is_back_unwritten(d)?;
                remount(d, false)?;
                stays_back(d, "ends on a read-only disk")
            }),
    ]
}

/// A second version that ends in its first step, a while after it was ready.
fn late_end(d: &Daemon<'_, '_>) -> String {
    text(d, 2, &["sleep", "4000"], "", "").replace("min_healthy = '200ms'", "min_healthy = '20s'")
}

/// The rollout goes back though nothing of it can be kept, and a daemon that finds nothing written comes to the same.
fn is_back_unwritten(d: &mut Daemon<'_, '_>) -> Result<()> {
    for _ in 0..2 {
        over(d)?;
        all_are(d, 1)?;
        let info = rollout(d)?;
        ensure!(info["rejected"]["generation"] == 2, "{info}");
        d.crash_and_start()?;
    }
    over(d)?;
    all_are(d, 1)
}

/// The disk takes everything again: what was done without it is written down, and the next daemon knows it.
fn stays_back(d: &mut Daemon<'_, '_>, what: &str) -> Result<()> {
    // An order is refused as long as it cannot be kept.
    wait_for(d.t.seconds(), || {
        let done = d.request("POST", "/v1/services/web.4/start", None)?;
        Ok((done.status < 300).then_some(()))
    })
    .context("the journal cannot be written")?;
    let pids = (1..=REPLICAS).map(|r| d.pid_of(&format!("web.{r}"))).collect::<Result<Vec<_>>>()?;
    d.crash_and_start()?;
    over(d)?;
    all_are(d, 1)?;
    let now = (1..=REPLICAS).map(|r| d.pid_of(&format!("web.{r}"))).collect::<Result<Vec<_>>>()?;
    ensure!(pids == now, "{what}: what was good was replaced: {pids:?}, {now:?}");
    let plan = d.try_apply()?;
    ensure!(plan["problems"].to_string().contains("was rolled back: replica "), "{what}: {plan}");
    Ok(())
}

/// Everything that must hold after a bad version went away.
fn is_rolled_back(d: &Daemon<'_, '_>, what: &str) -> Result<()> {
    all_are(d, 1).with_context(|| format!("a version that {what}"))?;
    let kinds = told(d)?;
    ensure!(kinds.iter().any(|k| k == "rollout-failed"), "{what}: {kinds:?}");
    ensure!(kinds.last().is_some_and(|k| k == "rolled-back"), "{what}: {kinds:?}");
    let info = rollout(d)?;
    ensure!(info["rejected"]["generation"].is_u64(), "{what}: {info}");
    // The file is as it was, and nobody tries it again.
    let plan = d.try_apply()?;
    ensure!(plan["changes"].as_array().is_some_and(Vec::is_empty), "{what}: tried again: {plan}");
    ensure!(plan["problems"].to_string().contains("was rolled back: replica "), "{what}: {plan}");
    d.explains("web", &["its file is not in force, generation 2 was rolled back: replica "])?;
    let detail = d.instance("web.1")?["detail"].to_string();
    ensure!(detail.contains("was rolled back"), "{what}: ps says {detail}");
    Ok(())
}

/// A case for each way to be bad and each order.
fn bad() -> Vec<Case> {
    let mut all = Vec::new();
    for (kind, name) in ["crash", "never-ready", "later"].into_iter().enumerate() {
        for (order, short) in [("stop-first", "stop"), ("start-first", "start")] {
            all.push(
                sup(&format!("rollout.back-{name}-{short}"), "updates: a bad version is rolled back")
                    .seconds(60)
                    .daemon(move |d| {
                        let update = format!("order = '{order}'\n");
                        begin(d, &update)?;
                        let before = d.pid_of("web.4")?;
                        let (what, bad) = bad_ones(d, &update)[kind].clone();
                        let bad = match name {
                            // So slow that the first one ends in the second one's step, on the fastest machine.
                            "later" => text(d, 2, &["sleep", "1300"], &update, "")
                                .replace("min_healthy = '200ms'", "min_healthy = '1s'"),
                            _ => bad,
                        };
                        change(d, &bad)?;
                        let (least, _) = over(d)?;
                        is_rolled_back(d, what)?;
                        // One that ends later may do so while another one is in its step.
                        let beside = usize::from(order == "start-first");
                        let want = if name == "later" { 2 } else { 3 } + beside;
                        ensure!(least >= want, "{what}: {least} were ready, want {want}");
                        ensure!(
                            d.pid_of("web.4")? == before,
                            "{what}: one that was never replaced is another"
                        );
                        Ok(())
                    }),
            );
        }
    }
    all.push(
        sup("rollout.back-in-window", "updates: ready, then a crash while it is watched").seconds(60).daemon(
            |d| {
                let update = "parallelism = 4\nwatch = '10s'\n".to_owned();
                let text = |d: &Daemon<'_, '_>, version, command: &[&str]| {
                    text(d, version, command, "", "").replace("watch = '1500ms'\n", &update)
                };
                d.write("web", &text(d, 1, &["trap", "TERM"]))?;
                d.apply()?;
                (1..=REPLICAS).try_for_each(|r| d.ready(&format!("web.{r}")))?;
                change(d, &text(d, 2, &["sleep", "2500"]))?;
                until_told(d, "rollout-watch", 1)?;
                over(d)?;
                is_rolled_back(d, "ends while it is watched")
            },
        ),
    );
    all
}

fn killed() -> Vec<Case> {
    let mut all = Vec::new();
    for order in ["stop-first", "start-first"] {
        all.push(
            sup(&format!("rollout.killed-good-{order}"), "updates: kill -9 of the daemon at every step")
                .seconds(90)
                .daemon(move |d| {
                    let update = format!("order = '{order}'\n");
                    begin(d, &update)?;
                    change(d, &resident(d, 2, &update))?;
                    for nth in 1..=4 {
                        until_told(d, "rollout-step", nth)?;
                        d.crash_and_start()?;
                    }
                    until_told(d, "rollout-watch", 1)?;
                    d.crash_and_start()?;
                    over(d)?;
                    all_are(d, 2)?;
                    let kinds = told(d)?;
                    ensure!(!kinds.iter().any(|k| k == "rollout-failed"), "{kinds:?}");
                    Ok(())
                }),
        );
    }
    for (kind, name) in ["crash", "never-ready", "later"].into_iter().enumerate() {
        all.push(
            sup(
                &format!("rollout.killed-back-{name}"),
                "updates: kill -9 of the daemon around a bad version",
            )
            .seconds(120)
            .daemon(move |d| {
                // Forward, at the failure, on the way back; each by a daemon of its own.
                for (n, kill_at) in
                    ["rollout-started", "rollout-step", "rollout-failed"].into_iter().enumerate()
                {
                    begin(d, "parallelism = 2\n")?;
                    let (what, text) = bad_ones(d, "parallelism = 2\n")[kind].clone();
                    let seen = told(d)?.iter().filter(|k| *k == kill_at).count();
                    d.write("web", &text)?;
                    d.apply()?;
                    until_told(d, kill_at, seen + 1)?;
                    d.crash_and_start()?;
                    d.crash_and_start()?;
                    over(d)?;
                    all_are(d, 1).with_context(|| format!("{what}, killed at {kill_at}"))?;
                    let kinds = told(d)?;
                    ensure!(kinds.last().is_some_and(|k| k == "rolled-back"), "{what}, {n}: {kinds:?}");
                }
                Ok(())
            }),
        );
    }
    all.push(sup("rollout.reboot", "updates: a power cut in the middle").seconds(90).daemon(|d| {
        begin(d, "")?;
        change(d, &resident(d, 2, ""))?;
        until_told(d, "rollout-step", 2)?;
        d.reboot()?;
        d.start()?;
        over(d)?;
        all_are(d, 2)?;
        let (_, text) = bad_ones(d, "")[1].clone();
        change(d, &text.replace("V = '2'", "V = '3'"))?;
        until_told(d, "rollout-step", 5)?;
        d.reboot()?;
        d.start()?;
        over(d)?;
        all_are(d, 2)
    }));
    all
}

fn by_hand() -> Vec<Case> {
    vec![
        sup("rollout.by-hand", "knarrctl rollout pause, resume, undo, history").seconds(90).daemon(|d| {
            begin(d, "")?;
            d.ctl(&["rollout", "pause", "web"])?.exits(6)?;
            change(d, &resident(d, 2, ""))?;
            until_told(d, "rollout-step", 1)?;
            d.ctl(&["rollout", "pause", "web"])?.ok()?.prints("paused web\n")?;
            std::thread::sleep(std::time::Duration::from_secs(2));
            let info = rollout(d)?;
            ensure!(
                info["state"] == "paused" && info["left"].as_array().is_some_and(|l| l.len() == 3),
                "{info}"
            );
            d.crash_and_start()?;
            ensure!(rollout(d)?["state"] == "paused", "the next daemon goes on");
            d.ctl(&["rollout", "resume", "web"])?.ok()?.prints("resumed web\n")?;
            over(d)?;
            all_are(d, 2)?;
            // Undone when it is over, and in the middle.
            d.ctl(&["rollout", "undo", "web"])?.ok()?.prints("undoing web\n")?;
            over(d)?;
            all_are(d, 1)?;
            ensure!(
                d.try_apply()?["changes"].as_array().is_some_and(Vec::is_empty),
                "the file is tried again"
            );
            let history = d.ctl(&["rollout", "history", "--json", "web"])?.ok()?.stdout;
            let history: Value = serde_json::from_str(&history)?;
            let first = &history[0];
            ensure!(first["in_force"] == true && first["good"] == true, "{history}");
            d.ctl(&["rollout", "resume", "web"])?.ok()?;
            until_told(d, "rollout-step", 9)?;
            d.ctl(&["rollout", "undo", "web"])?.ok()?;
            over(d)?;
            all_are(d, 1)?;
            d.ctl(&["rollout", "undo", "--to", "99", "web"])?.exits(3)?;
            // A file that changes is a new one.
            change(d, &resident(d, 3, ""))?;
            over(d)?;
            all_are(d, 3)?;
            let status = d.ctl(&["rollout", "status", "web"])?.ok()?.stdout;
            ensure!(status.starts_with("web: none\n"), "{status}");
            Ok(())
        }),
        sup("rollout.pause-on-failure", "updates: on_failure = pause").seconds(60).daemon(|d| {
            begin(d, "on_failure = 'pause'\n")?;
            let (_, text) = bad_ones(d, "on_failure = 'pause'\n")[0].clone();
            change(d, &text)?;
            wait_for(d.t.seconds(), || Ok((rollout(d)?["state"] == "paused").then_some(())))?;
            let info = rollout(d)?;
            ensure!(info["why"].as_str().is_some_and(|w| w.starts_with("replica 1: ")), "{info}");
            ensure!(info["left"].as_array().is_some_and(|l| l.len() == 3), "{info}");
            // A better file is rolled out over it.
            change(d, &resident(d, 3, "on_failure = 'pause'\n"))?;
            over(d)?;
            all_are(d, 3)
        }),
        sup("rollout.continue-on-failure", "updates: on_failure = continue").seconds(60).daemon(|d| {
            begin(d, "on_failure = 'continue'\n")?;
            let (_, text) = bad_ones(d, "on_failure = 'continue'\n")[0].clone();
            change(d, &text)?;
            over(d)?;
            let kinds = told(d)?;
            let failed = kinds.iter().filter(|k| *k == "rollout-failed").count();
            ensure!(failed == 4 && kinds.last().is_some_and(|k| k == "rollout-complete"), "{kinds:?}");
            ensure!(rollout(d)?["generations"][0]["good"] == false, "{}", rollout(d)?);
            Ok(())
        }),
        sup("rollout.nothing-good", "updates: without a good version to go back to").seconds(60).daemon(
            |d| {
                d.write("web", &text(d, 1, &["exit", "3"], "", ""))?;
                d.apply()?;
                d.until("web.1", "backoff|crashloop|waiting")?;
                change(d, &text(d, 2, &["exit", "4"], "", ""))?;
                wait_for(d.t.seconds(), || Ok((rollout(d)?["state"] == "paused").then_some(())))?;
                let said = d
                    .events()?
                    .iter()
                    .any(|e| e["text"].to_string().contains("no good version to go back to"));
                ensure!(said, "it does not say why it is paused");
                change(d, &resident(d, 3, ""))?;
                over(d)?;
                all_are(d, 3)
            },
        ),
    ]
}

fn input() -> Vec<Case> {
    vec![sup("rollout.refused", "updates: what makes no sense is refused with its place").daemon(|d| {
        begin(d, "")?;
        let pids: Vec<_> = (1..=REPLICAS).map(|r| d.pid_of(&format!("web.{r}"))).collect::<Result<_>>()?;
        for (line, place, why) in [
            ("parallelism = 0", 15, "want 1 to 1000"),
            ("order = 'fast'", 9, "unknown word"),
            ("max_surge = 1", 1, "unknown key"),
            ("on_failure = 'stop'", 14, "unknown word"),
            ("min_healthy = '3s'\nprogress_deadline = '3s'", 21, "no longer than min_healthy"),
        ] {
            let head = d.text(&["trap", "TERM"], "env = { V = '2' }\n[update]");
            let text = format!("{head}{line}\n");
            d.write("web", &text)?;
            let plan = d.try_apply()?;
            let problem = &plan["problems"][0];
            let last = text.lines().count() as u64;
            let right = problem["line"] == last && problem["column"] == place;
            ensure!(right && problem["message"].to_string().contains(why), "{line}: {plan}");
            ensure!(plan["changes"].as_array().is_some_and(Vec::is_empty), "{line}: {plan}");
        }
        let now: Vec<_> = (1..=REPLICAS).map(|r| d.pid_of(&format!("web.{r}"))).collect::<Result<_>>()?;
        ensure!(now == pids, "a refused file changed something");
        Ok(())
    })]
}
