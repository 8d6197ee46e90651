//! Jobs: they run to their end, a few times at most, once or by a schedule, and a daemon that dies neither repeats nor loses a run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::os;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = once();
    all.extend(scheduled());
    all.extend(clocks());
    all
}

/// A short pause between attempts.
const QUICK: &str = "[restart]\ndelay = '10ms'\nmax_delay = '20ms'\n";

fn job(d: &Daemon<'_, '_>, name: &str) -> Result<Value> {
    Ok(d.get(&format!("/v1/services/{name}"))?["job"].clone())
}

/// The results of a job, newest first: `succeeded 1`, with the number of attempts.
fn results(d: &Daemon<'_, '_>, name: &str) -> Result<Vec<String>> {
    let job = job(d, name)?;
    let one = |r: &Value| format!("{} {}", r["result"].as_str().unwrap_or("?"), r["attempts"]);
    Ok(job["results"].as_array().context("no results")?.iter().map(one).collect())
}

fn until_results(d: &Daemon<'_, '_>, name: &str, want: &[&str]) -> Result<()> {
    wait_for(d.t.seconds(), || Ok((results(d, name)? == want).then_some(())))
        .with_context(|| format!("{name} has the results {:?}, want {want:?}", results(d, name)))
}

/// Waits until a result, counted from the newest, has these last lines.
fn until_output(d: &Daemon<'_, '_>, name: &str, result: usize, want: &[String]) -> Result<()> {
    let mut last = Value::Null;
    wait_for(d.t.seconds(), || {
        last = job(d, name)?["results"][result]["output"].clone();
        Ok((last == Value::from(want)).then_some(()))
    })
    .with_context(|| format!("{name} printed {last}, want {want:?}"))
}

/// Kinds and texts of the events of a job.
fn told(d: &Daemon<'_, '_>, service: &str, kind: &str) -> Result<Vec<String>> {
    let all = d.events()?;
    let of = all.iter().filter(|e| e["service"] == service && e["kind"] == kind);
    Ok(of.filter_map(|e| e["text"].as_str().map(str::to_owned)).collect())
}

fn once() -> Vec<Case> {
    vec![
        sup("jobs.once", "jobs: once, also over a killed daemon and a reboot").daemon(|d| {
            d.service("migrate", &["echo", "moved"], "[job]\n")?;
            d.until("migrate.1", "exited")?;
            until_results(d, "migrate", &["succeeded 1"])?;
            d.crash_and_start()?;
            d.reboot()?;
            d.start()?;
            let now = d.is("migrate.1", "exited")?;
            ensure!(now["run"] == "migrate.1.1", "it ran again: {now}");
            // By hand, and when its file asks for something else.
            d.ctl(&["start", "migrate"])?.ok()?;
            until_results(d, "migrate", &["succeeded 1", "succeeded 1"])?;
            d.service("migrate", &["echo", "moved on"], "[job]\n")?;
            until_results(d, "migrate", &["succeeded 1", "succeeded 1", "succeeded 1"])?;
            ensure!(d.log("migrate.1")? == ["moved", "moved", "moved on"], "{:?}", d.log("migrate.1")?);
            let shown = d.ctl(&["status", "migrate"])?.ok()?.stdout;
            ensure!(shown.contains("at most 3 attempts") && shown.contains("succeeded"), "{shown}");
            Ok(())
        }),
        sup("jobs.last-lines", "jobs: what a run printed last is kept with its result").daemon(|d| {
            let lines = ["lines", "30", "12", "0"];
            d.service("many", &lines, "[job]\n")?;
            until_results(d, "many", &["succeeded 1"])?;
            let want: Vec<String> = (21..=30).map(|n| format!("line {n:.<6}")).collect();
            until_output(d, "many", 0, &want)?;
            // Each result has the lines of its own last run.
            d.service("many", &["echo", "only this"], "[job]\n")?;
            until_results(d, "many", &["succeeded 1"; 2])?;
            until_output(d, "many", 0, &["only this".to_owned()])?;
            until_output(d, "many", 1, &want)?;
            d.crash_and_start()?;
            until_output(d, "many", 1, &want)?;
            let shown = d.ctl(&["status", "many"])?.ok()?.stdout;
            ensure!(shown.contains("last lines of many.1.2:\n  only this\n"), "{shown}");
            // One that ends while no daemon is there.
            let late = ["all", "sleep", "1500", "--", "echo", "late", "--", "exit", "3"];
            d.service("late", &late, "[job]\nattempts = 1\n")?;
            d.until("late.1", "running")?;
            d.kill9()?;
            d.says("late.1", "late")?;
            d.start()?;
            until_results(d, "late", &["failed 1"])?;
            until_output(d, "late", 0, &["late".to_owned()])
        }),
        sup("jobs.attempts", "jobs: attempts").daemon(|d| {
            d.service("broken", &["exit", "3"], &format!("{QUICK}reset = '1s'\n[job]\nattempts = 3\n"))?;
            d.until("broken.1", "failed")?;
            until_results(d, "broken", &["failed 3"])?;
            d.explains("broken", &["exited 3; given up after 3 attempts", "attempt 2 of 3"])?;
            ensure!(d.instance("broken.1")?["run"] == "broken.1.3", "{}", d.instance("broken.1")?);
            d.ctl(&["start", "broken", "--no-wait"])?.ok()?;
            until_results(d, "broken", &["failed 3", "failed 3"])
        }),
        sup("jobs.attempts-survive", "jobs: attempts over a killed daemon").daemon(|d| {
            let keys = "[restart]\ndelay = '700ms'\nmax_delay = '700ms'\n[job]\nattempts = 4\n";
            d.service("broken", &["exit", "3"], keys)?;
            for run in ["broken.1.1", "broken.1.2", "broken.1.3"] {
                d.until_it("broken.1", "between two attempts", |i| {
                    i["run"] == run && i["state"] == "backoff"
                })?;
                d.crash_and_start()?;
            }
            d.until("broken.1", "failed")?;
            until_results(d, "broken", &["failed 4"])
        }),
        sup("jobs.deadline", "jobs: deadline of an attempt").daemon(|d| {
            d.service(
                "slow",
                &["trap", "TERM"],
                &format!("{QUICK}[job]\nattempts = 2\ndeadline = '400ms'\n"),
            )?;
            d.until("slow.1", "failed")?;
            until_results(d, "slow", &["failed 2"])?;
            d.explains("slow", &["deadline of 400 ms passed, exited 0; given up after 2 attempts"])?;
            // A deadline goes on over the death of the daemon.
            d.service(
                "slower",
                &["trap", "TERM"],
                &format!("{QUICK}[job]\nattempts = 1\ndeadline = '2s'\n"),
            )?;
            d.until("slower.1", "running")?;
            d.crash_and_start()?;
            d.until("slower.1", "failed")?;
            d.explains("slower", &["deadline of 2 s passed"])?;
            // One that is in time is not touched.
            d.service("quick", &["exit", "0"], "[job]\ndeadline = '20s'\n")?;
            d.until("quick.1", "exited").map(|_| ())
        }),
        sup("jobs.stopped", "jobs: stopped by hand").daemon(|d| {
            d.service("slow", &["trap", "TERM"], "[job]\nschedule = '@yearly'\n")?;
            d.ctl(&["start", "slow"])?.ok()?;
            d.ready("slow.1")?;
            d.ctl(&["stop", "slow"])?.ok()?;
            until_results(d, "slow", &["stopped 1"])?;
            ensure!(job(d, "slow")?["next"].is_null(), "what is stopped has a next run");
            d.is("slow.1", "held").map(|_| ())
        }),
        sup("jobs.refused", "jobs: bad service files").daemon(|d| {
            d.resident("other", "")?;
            for (keys, said) in [
                ("[job]\nattempts = 0\n", "job.attempts"),
                ("[job]\nschedul = '@daily'\n", "did you mean"),
                ("[job]\nschedule = '* * * *'\n", "4 fields"),
                ("[job]\nschedule = '0 0 30 2 *'\n", "never comes"),
                ("[job]\nschedule = '@daily'\ntimezone = 'Nowhere/At-all'\n", "no such time zone"),
                ("[job]\ncatch_up = true\n", "needs schedule"),
                ("restart = 'always'\n[job]\n", "attempts and no restart policy"),
                ("[job]\nschedule = '@daily'\noverlap = 'allow'\n", "replicas = 1, want 2 or more"),
            ] {
                d.write("bad", &d.text(&["exit", "0"], keys))?;
                let problems = d.try_apply()?["problems"].clone();
                let placed =
                    problems[0]["line"].as_u64() > Some(0) && problems[0]["column"].as_u64() > Some(0);
                ensure!(placed && problems.to_string().contains(said), "{keys:?}: {problems}");
                ensure!(d.find("bad.1")?.is_none(), "{keys:?} is in force");
            }
            d.write("bad", &d.text(&["exit", "0"], "[job]\n"))?;
            d.apply()?;
            d.until("bad.1", "exited")?;
            d.is("other.1", "running").map(|_| ())
        }),
    ]
}

fn scheduled() -> Vec<Case> {
    vec![
        sup("jobs.waits-for-its-time", "schedules: waiting, by hand, over a killed daemon").daemon(|d| {
            d.service(
                "yearly",
                &["echo", "ran"],
                "[job]\nschedule = '@yearly'\ntimezone = 'EST5EDT,M3.2.0,M11.1.0'\n",
            )?;
            d.until_it("yearly.1", "waiting for its schedule", |i| {
                i["detail"]
                    .as_str()
                    .is_some_and(|t| t.contains("its schedule: ") && t.ends_with("-01-01 00:00 EST"))
            })?;
            for _ in 0..2 {
                d.crash_and_start()?;
                ensure!(d.is("yearly.1", "waiting")?["run"].is_null(), "it ran");
            }
            ensure!(
                job(d, "yearly")?["next"].as_str().is_some_and(|t| t.ends_with("-01-01T05:00:00Z")),
                "{}",
                job(d, "yearly")?
            );
            d.ctl(&["start", "yearly"])?.ok()?;
            until_results(d, "yearly", &["succeeded 1"])?;
            d.crash_and_start()?;
            let now = d.is("yearly.1", "exited")?;
            ensure!(now["run"] == "yearly.1.1", "it ran again: {now}");
            d.explains("yearly", &["runs at ", "-01-01 00:00 EST"])?;
            let shown = d.ctl(&["status", "yearly"])?.ok()?.stdout;
            ensure!(shown.contains("@yearly (EST5EDT") && shown.contains("by hand"), "{shown}");
            Ok(())
        }),
        sup("jobs.no-wake-ups", "schedules: nothing wakes up in between").daemon(|d| {
            let keys = "[job]\nschedule = '@yearly'\njitter = '1h'\n";
            d.write("yearly", &d.text(&["exit", "0"], keys))?;
            d.write("slow", &d.text(&["trap", "TERM"], "[job]\ndeadline = '1h'\n"))?;
            d.apply()?;
            d.until("yearly.1", "waiting")?;
            d.ready("slow.1")?;
            std::thread::sleep(Duration::from_secs(2));
            let pid = d.pid()?;
            let times = || -> Result<u64> {
                let status = procfs::process::Process::new(pid)?.status()?;
                status.voluntary_ctxt_switches.context("the kernel does not count")
            };
            let before = times()?;
            std::thread::sleep(Duration::from_secs(6));
            // The full pass of each minute may fall into it.
            let woke = times()? - before;
            ensure!(woke <= 3, "knarrd woke up {woke} times within 6 s");
            Ok(())
        }),
        // Each minute: the first one comes within one, and a daemon that is killed as it begins does not begin it twice.
        sup("jobs.each-minute", "schedules: on time, once").seconds(150).daemon(|d| {
            let keys = "[job]\nschedule = '* * * * *'\n";
            d.service("tick", &["all", "echo", "began", "--", "sleep", "1500", "--", "echo", "ended"], keys)?;
            d.says("tick.1", "began")?;
            d.crash_and_start()?;
            until_results(d, "tick", &["succeeded 1"])?;
            d.crash_and_start()?;
            let log = d.log("tick.1")?;
            ensure!(log == ["began", "ended"], "ran {log:?}");
            let result = &job(d, "tick")?["results"][0];
            let scheduled = result["scheduled"].as_str().context("no time")?.to_owned();
            ensure!(scheduled.ends_with(":00Z"), "{result}");
            let begun = &told(d, "tick", "job-begun")?;
            ensure!(begun.len() == 1 && begun[0].ends_with("UTC begins"), "{begun:?}");
            let next = job(d, "tick")?["next"].as_str().context("no next run")?.to_owned();
            ensure!(next > scheduled, "after the run of {scheduled} comes {next}");
            Ok(())
        }),
    ]
}

/// Sets the clock to some seconds before the next full minute, over none.
fn before_a_minute(seconds: i64) -> Result<()> {
    loop {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() as i64;
        let left = 60 - now % 60 - seconds;
        if left > 0 {
            return os::shift_clock(left);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn clock(name: &str, what: &str) -> Case {
    sup(&format!("jobs.clock-{name}"), &format!("schedules: {what}")).needs([Need::OwnMachine]).seconds(60)
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn clocks() -> Vec<Case> {
    vec![
        clock("forward-and-back", "a clock that is set").daemon(|d| {
            // What is left of a run that has ended is no run that goes on, however long it takes until it is gone.
            let slow = "[hooks]\npost_stop = [{ command = ['/bin/sleep', '3'] }]\n";
            d.service("hourly", &["echo", "ran"], &format!("{slow}[job]\nschedule = '@hourly'\n"))?;
            d.until("hourly.1", "waiting")?;
            // Set forward over a time: missed, and made up for at once.
            os::shift_clock(2 * HOUR)?;
            until_results(d, "hourly", &["succeeded 1"])?;
            // Put right by an hour: nothing is repeated.
            os::shift_clock(-HOUR)?;
            std::thread::sleep(Duration::from_secs(2));
            d.crash_and_start()?;
            until_results(d, "hourly", &["succeeded 1"])?;
            os::shift_clock(HOUR)?;
            std::thread::sleep(Duration::from_secs(2));
            until_results(d, "hourly", &["succeeded 1"])?;
            // Ten years ahead and back again: one run, and the schedule goes on by the clock that there is.
            os::shift_clock(3650 * DAY)?;
            until_results(d, "hourly", &["succeeded 1"; 2])?;
            os::shift_clock(-3650 * DAY)?;
            wait_for(d.t.seconds(), || {
                let next = job(d, "hourly")?["next"].as_str().unwrap_or("").to_owned();
                let year = this_year();
                Ok(next.starts_with(&year).then_some(()))
            })
            .context("its next run is not of this year")?;
            os::shift_clock(HOUR)?;
            until_results(d, "hourly", &["succeeded 1"; 3])
        }),
        clock("missed", "missed while the daemon was down, once").daemon(|d| {
            d.service("caught", &["echo", "ran"], "[job]\nschedule = '*/10 * * * *'\n")?;
            d.service("missed", &["echo", "ran"], "[job]\nschedule = '*/10 * * * *'\ncatch_up = false\n")?;
            d.until("caught.1", "waiting")?;
            d.kill9()?;
            os::shift_clock(5 * HOUR + 120)?;
            d.start()?;
            until_results(d, "caught", &["succeeded 1"])?;
            d.crash_and_start()?;
            until_results(d, "caught", &["succeeded 1"])?;
            let said = told(d, "caught", "job-begun")?;
            ensure!(said.len() == 1, "{said:?}");
            // Unless it was due this very minute the other one is left out.
            let (left_out, begun) = (told(d, "missed", "job-missed")?, told(d, "missed", "job-begun")?);
            ensure!(left_out.len() + begun.len() == 1, "{left_out:?}, {begun:?}");
            ensure!(results(d, "missed")?.len() == begun.len(), "{:?}", results(d, "missed")?);
            Ok(())
        }),
        clock("down-for-a-moment", "due while the daemon is killed").daemon(|d| {
            d.service("tick", &["echo", "ran"], "[job]\nschedule = '* * * * *'\ncatch_up = false\n")?;
            d.until("tick.1", "waiting")?;
            before_a_minute(2)?;
            d.kill9()?;
            std::thread::sleep(Duration::from_secs(4));
            d.start()?;
            until_results(d, "tick", &["succeeded 1"])?;
            before_a_minute(1)?;
            until_results(d, "tick", &["succeeded 1"; 2])
        }),
        clock("overlap", "runs that overlap").daemon(|d| {
            let keys = |more: &str| format!("{more}[job]\nschedule = '* * * * *'\n");
            d.service("skip", &["trap", "TERM"], &keys(""))?;
            d.service("replace", &["trap", "TERM"], &format!("{}overlap = 'replace'\n", keys("")))?;
            d.service("allow", &["trap", "TERM"], &format!("{}overlap = 'allow'\n", keys("replicas = 2\n")))?;
            d.until("skip.1", "waiting")?;
            before_a_minute(2)?;
            for i in ["skip.1", "replace.1", "allow.1"] {
                d.ready(i)?;
            }
            let pid = d.pid_of("skip.1")?;
            let replaced = d.pid_of("replace.1")?;
            d.is("allow.2", "waiting")?;
            before_a_minute(2)?;
            d.ready("allow.2")?;
            d.until_it("replace.1", "replaced", |i| i["state"] == "running" && i["pid"] != replaced)?;
            wait_for(d.t.seconds(), || Ok((told(d, "skip", "job-skipped")?.len() == 1).then_some(())))?;
            ensure!(d.pid_of("skip.1")? == pid, "it was replaced");
            until_results(d, "replace", &["stopped 1"])?;
            before_a_minute(2)?;
            wait_for(d.t.seconds(), || Ok((told(d, "allow", "job-skipped")?.len() == 1).then_some(())))?;
            let said = told(d, "allow", "job-skipped")?;
            ensure!(said[0].ends_with("every instance has a run that goes on"), "{said:?}");
            Ok(())
        }),
    ]
}

/// The year of the clock, as times begin.
fn this_year() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Good enough for a decade that is wrong: a year has 365.2425 days.
    format!("{}-", 1970 + now.as_secs() / 31_556_952)
}
