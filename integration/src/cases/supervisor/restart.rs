//! When a service is started again: policies, exit rules, back-off and its reset, crash loops, failed starts.

use anyhow::{Context, Result, ensure};
use std::time::Duration;

use super::life::restarts;
use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = policies();
    all.extend(rules());
    all.extend(pauses());
    all.extend(starts());
    all
}

/// A `[restart]` table with a short pause.
fn quick(more: &str) -> String {
    format!("{SOON}{more}\n")
}

fn policies() -> Vec<Case> {
    vec![
        sup("restart.no", "restart policy no").daemon(|d| {
            d.service("a", &["exit", "3"], &quick("policy = 'no'"))?;
            let now = d.until("a.1", "failed")?;
            restarts(&now, 0)?;
            ensure!(now["last_exit"] == 3, "last exit: {now}");
            stays(d, "a.1", "a.1.1")
        }),
        sup("restart.on-failure-counts", "restart policy on-failure:N").daemon(|d| {
            d.service("a", &["exit", "3"], &quick("policy = 'on-failure:2'"))?;
            let now = d.until("a.1", "failed")?;
            restarts(&now, 2)?;
            ensure!(now["run"] == "a.1.3", "runs: {now}");
            stays(d, "a.1", "a.1.3")
        }),
        sup("restart.on-failure-success", "restart policy on-failure").daemon(|d| {
            d.service("a", &["exit", "0"], &quick("policy = 'on-failure'"))?;
            restarts(&d.until("a.1", "exited")?, 0)?;
            stays(d, "a.1", "a.1.1")
        }),
        sup("restart.always", "restart policy always").daemon(|d| {
            d.service("a", &["all", "sleep", "100", "--", "exit", "0"], &quick("policy = 'always'"))?;
            d.until_it("a.1", "started 3 times", |i| i["restarts"].as_u64() >= Some(2)).map(|_| ())
        }),
        sup("restart.unless-stopped", "restart policy unless-stopped").daemon(|d| {
            d.service("a", &["all", "sleep", "100", "--", "exit", "0"], &quick("policy = 'unless-stopped'"))?;
            d.until_it("a.1", "started twice", |i| i["restarts"].as_u64() >= Some(1))?;
            d.ctl(&["stop", "a"])?.ok()?;
            let run = d.is("a.1", "held")?["run"].as_str().unwrap_or("").to_string();
            std::thread::sleep(Duration::from_millis(500));
            let now = d.is("a.1", "held")?;
            ensure!(now["run"] == run, "started again although stopped by hand: {now}");
            Ok(())
        }),
        sup("restart.failed-comes-back-by-hand", "start after a failure").daemon(|d| {
            d.service("a", &["exit", "3"], &quick("policy = 'on-failure:1'"))?;
            restarts(&d.until("a.1", "failed")?, 1)?;
            d.post("/v1/services/a/start")?;
            let now =
                d.until_it("a.1", "failed after 4 runs", |i| i["run"] == "a.1.4" && i["state"] == "failed")?;
            restarts(&now, 1)
        }),
    ]
}

/// An instance that is done stays done.
fn stays(d: &Daemon<'_, '_>, instance: &str, run: &str) -> Result<()> {
    std::thread::sleep(Duration::from_millis(400));
    let now = d.instance(instance)?;
    ensure!(now["run"] == run, "one more run than the policy allows: {now}");
    Ok(())
}

fn rules() -> Vec<Case> {
    let rule = |rule: &str| quick(&format!("policy = 'always'\nrules = [{rule}]"));
    vec![
        sup("restart.rule-complete", "exit rules").daemon(move |d| {
            d.service("a", &["exit", "7"], &rule("{ codes = [7], action = 'complete' }"))?;
            restarts(&d.until("a.1", "exited")?, 0)?;
            d.explains("a", &["rule"])
        }),
        sup("restart.rule-fail", "exit rules").daemon(move |d| {
            d.service(
                "a",
                &["exit", "8"],
                &rule("{ codes = [7], action = 'complete' }, { codes = [8], action = 'fail' }"),
            )?;
            restarts(&d.until("a.1", "failed")?, 0)
        }),
        sup("restart.rule-not", "exit rules").daemon(move |d| {
            d.service("a", &["exit", "9"], &rule("{ codes = [0], not = true, action = 'fail' }"))?;
            restarts(&d.until("a.1", "failed")?, 0)
        }),
        sup("restart.rule-signal", "exit rules").daemon(move |d| {
            d.resident("a", &rule("{ signals = ['USR2'], action = 'fail' }"))?;
            d.says("a.1", "ready")?;
            crate::os::kill(d.pid_of("a.1")?, libc::SIGKILL);
            d.until_it("a.1", "restarted", |i| i["restarts"] == 1 && i["state"] == "running")?;
            Ok(())
        }),
        sup("restart.rule-restart", "exit rules").daemon(|d| {
            let keys = quick("policy = 'no'\nrules = [{ codes = [75], action = 'restart' }]");
            d.service("a", &["all", "sleep", "50", "--", "exit", "75"], &keys)?;
            d.until_it("a.1", "restarted", |i| i["restarts"].as_u64() >= Some(1)).map(|_| ())
        }),
    ]
}

fn pauses() -> Vec<Case> {
    vec![
        sup("restart.back-off-grows", "back-off").daemon(|d| {
            d.service("a", &["exit", "3"], "[restart]\npolicy = 'always'\ndelay = '200ms'\nmax_delay = '800ms'")?;
            d.until_it("a.1", "at its fifth run", |i| i["run"] == "a.1.5")?;
            let at: Vec<f64> = made(d, "a.1")?;
            let gaps: Vec<f64> = at.windows(2).map(|w| w[1] - w[0]).collect();
            ensure!(gaps.len() >= 3, "few starts: {at:?}");
            ensure!(gaps[1] > 0.19 && gaps[2] > 0.38, "the pauses do not grow: {gaps:?}");
            d.explains("a", &["exited 3"])
        }),
        sup("restart.back-off-shown", "explain").daemon(|d| {
            d.service("a", &["exit", "3"], "[restart]\npolicy = 'always'\ndelay = '30s'\nmax_delay = '60s'")?;
            d.until("a.1", "backoff")?;
            let why = d.why("a")?;
            ensure!(why["summary"].as_str().is_some_and(|s| s.contains("exited 3")), "explain: {why}");
            ensure!(why["next"].as_str().is_some_and(|s| s.contains(" s")), "explain names no time: {why}");
            let text = d.ctl(&["explain", "a"])?.ok()?.stdout;
            ensure!(text.contains("exited 3"), "explain printed {text:?}");
            Ok(())
        }),
        sup("restart.back-off-ends-by-hand", "start during back-off").daemon(|d| {
            d.service("a", &["exit", "3"], "[restart]\npolicy = 'always'\ndelay = '60s'\nmax_delay = '60s'")?;
            d.until("a.1", "backoff")?;
            d.post("/v1/services/a/start")?;
            d.until_it("a.1", "started at once", |i| i["run"] == "a.1.2").map(|_| ())
        }),
        sup("restart.back-off-resets", "reset of the back-off").daemon(|d| {
            let keys = "[restart]\npolicy = 'always'\ndelay = '100ms'\nmax_delay = '20s'\nreset = '1s'\ncrash_failures = 100";
            d.service("a", &["all", "sleep", "1100", "--", "exit", "3"], keys)?;
            // Failures in a row would come to pauses of 200, 400, 800 and 1600 ms; after a healthy run there is none.
            d.until_it("a.1", "at its fifth run", |i| i["run"] == "a.1.5").map(|_| ())
        }),
        sup("restart.crash-loop", "crash loop").daemon(|d| {
            d.service("a", &["exit", "3"], &quick("policy = 'always'\ncrash_failures = 3\ncrash_window = '60s'"))?;
            d.until("a.1", "crashloop")?;
            let events = d.events()?;
            ensure!(events.iter().any(|e| e["kind"] == "crash-loop"), "no event crash-loop: {events:?}");
            let run = d.instance("a.1")?["run"].clone();
            d.until_it("a.1", "tried again", |i| i["run"] != run).map(|_| ())
        }),
        sup("restart.crash-loop-hold", "crash loop").daemon(|d| {
            let keys = quick("policy = 'always'\ncrash_failures = 3\ncrash_window = '60s'\non_crash_loop = 'hold'");
            d.service("a", &["exit", "3"], &keys)?;
            let now = d.until("a.1", "failed")?;
            ensure!(now["run"] == "a.1.3", "runs before it was held: {now}");
            stays(d, "a.1", "a.1.3")
        }),
        sup("restart.host-budget", "restarts of one host").seconds(60).daemon(|d| {
            // Twenty that end at once, without a pause of their own: ten restarts at once, then one a second.
            d.service("a", &["exit", "3"], &format!("replicas = 20\n{}", quick("policy = 'always'\ncrash_failures = 1000")))?;
            wait_for(d.t.seconds(), || Ok((total(d)? >= 10).then_some(()))).context("ten restarts")?;
            std::thread::sleep(Duration::from_secs(3));
            let count = total(d)?;
            ensure!(count < 30, "{count} restarts within a few seconds, the budget is 10 and one a second");
            Ok(())
        }),
    ]
}

/// Restarts of all instances together: a run beyond the first is one. (Those that wait for their turn count as none.)
fn total(d: &Daemon<'_, '_>) -> Result<u64> {
    let all = d.get("/v1/instances")?;
    let runs = all.as_array().into_iter().flatten().filter_map(|i| i["run"].as_str());
    Ok(runs.filter_map(|run| run.rsplit('.').next()?.parse::<u64>().ok()).map(|n| n.saturating_sub(1)).sum())
}

/// When the making of each run of an instance began, in seconds of a day, by its events. (That it was started is not told of a
/// run that ends before the runtime's `start` does.)
fn made(d: &Daemon<'_, '_>, instance: &str) -> Result<Vec<f64>> {
    let of_this = |e: &&serde_json::Value| e["instance"] == instance && e["kind"] == "creating";
    d.events()?.iter().filter(of_this).map(|e| seconds_of_day(e["at"].as_str().unwrap_or(""))).collect()
}

/// `2026-11-21T12:00:01.5Z` is 43201.5.
fn seconds_of_day(stamp: &str) -> Result<f64> {
    let time = stamp
        .split_once('T')
        .map(|t| t.1.trim_end_matches('Z'))
        .with_context(|| format!("no time: {stamp:?}"))?;
    let mut parts = time.split(':').map(|p| p.parse::<f64>());
    let mut next = || parts.next().and_then(Result::ok).with_context(|| format!("no time: {stamp:?}"));
    Ok(next()? * 3600.0 + next()? * 60.0 + next()?)
}

fn starts() -> Vec<Case> {
    vec![
        sup("restart.bundle-appears-later", "failed starts").daemon(|d| {
            let bundle = d.t.dir.join("late");
            d.write("a", &format!("bundle = {:?}\n{}", bundle.display().to_string(), quick("policy = 'always'")))?;
            d.try_apply()?;
            wait_for(d.t.seconds(), || Ok(d.find("a.1")?.filter(|i| i["state"] != "running"))).context("a.1")?;
            d.explains("a", &["late"])?;
            copy_bundle(d, &bundle)?;
            d.until("a.1", "running").map(|_| ())
        }),
        sup("restart.program-missing", "failed starts").daemon(|d| {
            let text = format!("root = {:?}\ncommand = ['/no/such/program']\n{}", d.t.rootfs().display().to_string(), quick("policy = 'on-failure:2'"));
            d.write("a", &text)?;
            d.apply()?;
            let now = d.until("a.1", "failed")?;
            restarts(&now, 2)?;
            d.explains("a", &["/no/such/program"])
        }),
        sup("restart.runtime-missing", "failed starts").daemon(|d| {
            d.service("a", &["trap", "TERM"], &format!("runtime = '/no/such/runtime'\n{}", quick("policy = 'on-failure:1'")))?;
            d.until("a.1", "failed")?;
            d.explains("a", &["/no/such/runtime"])?;
            d.resident("b", "")
        }),
        sup("restart.oom-is-explained", "memory limit").needs([Need::CgroupAny("memory")]).daemon(|d| {
            d.service("hog", &["mem", "200", "hold"], "[limits]\nmemory = '24MiB'\nswap = 0\n[restart]\npolicy = 'no'")?;
            let now = d.until("hog.1", "failed")?;
            ensure!(now["last_exit"] == 137, "last exit: {now}");
            d.explains("hog", &["memory limit", "24 MiB"])?;
            // Who it was, where the kernel's log may be read.
            if std::fs::File::open("/dev/kmsg").is_ok() {
                d.explains("hog", &["(probe)"])?;
            }
            Ok(())
        }),
        sup("restart.oom-rule", "exit rules").needs([Need::CgroupAny("memory")]).daemon(|d| {
            let keys = "[limits]\nmemory = '24MiB'\nswap = 0\n[restart]\npolicy = 'always'\nrules = [{ oom = true, action = 'fail' }]";
            d.service("hog", &["mem", "200", "hold"], keys)?;
            restarts(&d.until("hog.1", "failed")?, 0)
        }),
    ]
}

/// A bundle as `create` wants it, whose program waits for SIGTERM.
pub fn copy_bundle(d: &mut Daemon<'_, '_>, to: &std::path::Path) -> Result<()> {
    d.t.spec["process"]["args"] = serde_json::json!([crate::base::PROBE, "trap", "TERM"]);
    d.t.write_config()?;
    let aside = d.t.dir.join("aside");
    std::fs::create_dir_all(&aside)?;
    std::fs::copy(d.t.bundle.join("config.json"), aside.join("config.json"))?;
    // Moved and not linked: some runtimes refuse a link.
    std::fs::rename(d.t.rootfs(), aside.join("rootfs")).context("rename")?;
    std::fs::rename(&aside, to).context("rename")
}
