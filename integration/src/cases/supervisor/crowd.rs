//! Probes among each other: many that are due at once, a service that flaps, servers that are no good, a clock that is set.
//! None of it is anybody else's trouble.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::probes::{last_answer, put, take, told, until_ready, while_there};
use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::os;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("probe.many-at-once", "more probes are due at once than may be under way")
            .seconds(120)
            .daemon(|d| due_at_once(d, 60).map(|_| ())),
        sup("probe.flapping-beside", "a service that ends each second is nobody else's trouble")
            .seconds(60)
            .daemon(flapping),
        sup("probe.refused", "probes that make no sense are refused with their place").daemon(refused),
        sup("probe.bad-peers", "servers that are no good").seconds(40).daemon(bad_peers),
        sup("probe.clock-forward-and-back", "a clock that is set")
            .needs([Need::OwnMachine])
            .seconds(60)
            .daemon(clock),
    ]
}

/// As the daemon has it: so many looks at those that answer in time, so many at those that did not.
const AT_ONCE: usize = 64 + 32;

/// What was seen of many probes.
#[derive(Debug)]
pub struct Crowd {
    /// So many were due at one moment.
    pub probes: usize,
    /// The most that were under way at once.
    pub most: usize,
    /// From their time to the last answer.
    pub took: Duration,
}

/// A service whose containers all have two probes that are due at the same moment, and one beside it that must not suffer.
pub fn due_at_once(d: &mut Daemon<'_, '_>, containers: usize) -> Result<Crowd> {
    put(d, "well")?;
    let both =
        format!("{}{SOON}{}", while_there("liveness", "well", ""), while_there("readiness", "well", ""));
    d.resident("web", &both)?;
    until_ready(d, "web.1", true)?;
    let web = d.pid_of("web.1")?;
    let keys = format!("replicas = {containers}\n");
    d.service("many", &["trap", "TERM"], &keys)?;
    (1..=containers).try_for_each(|n| d.ready(&format!("many.{n}")))?;
    // A changed file: all of them are due one period later.
    let slow = |role: &str| {
        format!("[probes.{role}]\nexec = ['{PROBE}', 'sleep', '2000']\nperiod = '1s'\ntimeout = '5m'\n")
    };
    d.service("many", &["trap", "TERM"], &format!("{keys}{}{}", slow("liveness"), slow("readiness")))?;
    let began = Instant::now();
    let probes = containers * 2;
    let (mut most, mut answered) = (0, 0);
    wait_for(d.t.seconds(), || {
        most = most.max(under_way()?);
        let all = d.get("/v1/services/many")?["probes"].as_array().cloned().unwrap_or_default();
        answered = all.iter().filter(|p| p["looks"].as_array().is_some_and(|l| !l.is_empty())).count();
        Ok((answered == probes).then_some(()))
    })
    .with_context(|| format!("{answered} of {probes} probes have an answer"))?;
    let took = began.elapsed();
    ensure!((2..=AT_ONCE).contains(&most), "{most} of {probes} probes were under way at once");
    let all = d.get("/v1/services/many")?["probes"].to_string();
    ensure!(!all.contains("\"fail\"") && !all.contains("\"error\""), "{all}");
    // The one beside them: as it was, and still looked at.
    let now = d.is("web.1", "running")?;
    ensure!(now["ready"] == true && d.pid_of("web.1")? == web, "{now}");
    let kinds = told(d, "web.1", &["ready", "unready", "unhealthy"])?;
    ensure!(kinds == ["ready"], "{kinds:?}");
    take(d, "well")?;
    d.until_it("web.1", "restarted", |i| i["restarts"].as_u64() >= Some(1))?;
    put(d, "well")?;
    Ok(Crowd { probes, most, took })
}

/// Probes of `many` that run just now.
fn under_way() -> Result<usize> {
    let line = [PROBE, "sleep", "2000", ""].join("\0");
    let is = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text == line.as_bytes());
    Ok(procfs::process::all_processes()?.flatten().filter(|p| is(p.pid)).count())
}

fn flapping(d: &mut Daemon<'_, '_>) -> Result<()> {
    put(d, "well")?;
    let strict = |role: &str| while_there(role, "well", "failure_threshold = 1");
    let both = format!("{}{}{SOON}", strict("liveness"), strict("readiness"));
    d.resident("quiet", &both)?;
    until_ready(d, "quiet.1", true)?;
    let quiet = d.pid_of("quiet.1")?;
    let always = "[restart]\npolicy = 'always'\ndelay = '10ms'\nmax_delay = '20ms'\n";
    let keys = format!("{}{}{always}", strict("liveness"), strict("readiness"));
    d.service("flaps", &["sleep", "1000"], &keys)?;
    let flapped = |times: u64| {
        d.until_it("flaps.1", "restarted again", |i| i["restarts"].as_u64() >= Some(times)).map(|_| ())
    };
    flapped(3)?;
    let looked = last_answer(d, "quiet", "liveness")?["at"].clone();
    // Another one that ends meanwhile comes back.
    d.resident("other", SOON)?;
    let other = d.pid_of("other.1")?;
    os::kill(other, libc::SIGKILL);
    d.until_it("other.1", "back", |i| i["state"] == "running" && i["pid"] != other)?;
    flapped(8)?;
    let now = d.is("quiet.1", "running")?;
    ensure!(now["ready"] == true && now["restarts"] == 0 && d.pid_of("quiet.1")? == quiet, "{now}");
    let kinds = told(d, "quiet.1", &["ready", "unready", "unhealthy", "probe-error"])?;
    ensure!(kinds == ["ready"], "{kinds:?}");
    ensure!(last_answer(d, "quiet", "liveness")?["at"] != looked, "nobody looks at it any more");
    // Its own state is told as it changes, and not more often.
    let kinds = told(d, "flaps.1", &["ready", "unready", "unhealthy", "started"])?;
    let started = kinds.iter().filter(|k| *k == "started").count();
    let ready = kinds.iter().filter(|k| *k == "ready").count();
    ensure!(ready <= started && !kinds.iter().any(|k| k == "unhealthy"), "{kinds:?}");
    take(d, "well")?;
    d.until_it("quiet.1", "restarted", |i| i["restarts"].as_u64() >= Some(1))?;
    put(d, "well")
}

/// A file with a probe that is wrong: nothing of it is in force. Its twin, in the same place, is.
fn refused(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "")?;
    let pid = d.pid_of("web.1")?;
    for (bad, said, good) in [
        ("exec = []", "empty list", "exec = ['/x']"),
        ("exec = ['/x']\nperiod = '99ms'", "want 100ms to 1d", "exec = ['/x']\nperiod = '100ms'"),
        ("exec = ['/x']\ntcp = { port = 1 }", "exclude each other", "tcp = { port = 1 }"),
        ("exec = ['/x']\nperod = '1s'", "did you mean", "exec = ['/x']\nperiod = '1s'"),
        ("http = { port = 0 }", "want 1 to 65535", "http = { port = 1 }"),
        ("http = { port = 1, status = [99] }", "want 100 to 599", "http = { port = 1, status = [100] }"),
        ("grpc = { port = 1, host = 'db' }", "not an address", "grpc = { port = 1, host = '::1' }"),
        ("exec = ['/x']\ngrace = '1s'", "readiness stops nothing", "exec = ['/x']"),
    ] {
        let text = |probe: &str| d.text(&["trap", "TERM"], &format!("[probes.readiness]\n{probe}\n"));
        d.write("web", &text(bad))?;
        let plan = d.try_apply()?;
        let problem = &plan["problems"][0];
        let placed = problem["line"].as_u64() > Some(3) && problem["column"].as_u64() > Some(0);
        ensure!(placed && problem["message"].to_string().contains(said), "{bad}: {plan}, want {said:?}");
        ensure!(plan["changes"].as_array().is_some_and(Vec::is_empty), "{bad}: {plan}");
        d.write("web", &text(good))?;
        d.apply().with_context(|| good.to_owned())?;
    }
    ensure!(d.pid_of("web.1")? == pid, "a probe that was refused, or changed, restarted it");
    Ok(())
}

/// Where a server is bad, and what the probe says of it.
const BAD: [(&str, &str, &str, &str); 5] = [
    ("headers", "http = { port = 8080, path = '/headers' }", "fail", "no HTTP answer: "),
    ("endless", "http = { port = 8080, path = '/endless' }", "timed-out", "no answer within"),
    ("closes", "http = { port = 8080, path = '/close' }", "fail", "no HTTP answer: "),
    (
        "redirects",
        "http = { port = 8080, path = '/redirect' }",
        "fail",
        "another host: \"elsewhere.example\"",
    ),
    ("grpc", "grpc = { port = 8080 }", "fail", "gRPC"),
];

fn bad_peers(d: &mut Daemon<'_, '_>) -> Result<()> {
    let probe = |what: &str| format!("[probes.readiness]\n{what}\nperiod = '200ms'\ntimeout = '2s'\n");
    // The same server, asked for what it does well.
    d.service("fine", &["bad-server", "8080"], &probe("http = { port = 8080, path = '/fine' }"))?;
    until_ready(d, "fine.1", true)?;
    let (fine, before) = (d.pid_of("fine.1")?, peak(d)?);
    for (name, what, ..) in BAD {
        d.write(name, &d.text(&["bad-server", "8080"], &probe(what)))?;
    }
    d.apply()?;
    for (name, _, verdict, text) in BAD {
        d.ready(&format!("{name}.1"))?;
        let mut last = Value::Null;
        wait_for(d.t.seconds(), || {
            last = last_answer(d, name, "readiness")?;
            Ok((last["verdict"] == verdict).then_some(()))
        })
        .with_context(|| format!("{name}: {last}"))?;
        ensure!(last["text"].as_str().is_some_and(|t| t.contains(text)), "{name}: {last}, want {text:?}");
        let now = d.is(&format!("{name}.1"), "running")?;
        ensure!(now["ready"] == false && now["restarts"] == 0, "{now}");
    }
    let more = peak(d)?.saturating_sub(before);
    ensure!(more < 32 << 10, "the daemon needed {more} KiB more for them");
    let now = d.is("fine.1", "running")?;
    ensure!(now["ready"] == true && d.pid_of("fine.1")? == fine, "{now}");
    let kinds = told(d, "fine.1", &["ready", "unready"])?;
    ensure!(kinds == ["ready"], "{kinds:?}");
    Ok(())
}

/// The most memory that the daemon has had, in KiB.
fn peak(d: &Daemon<'_, '_>) -> Result<u64> {
    procfs::process::Process::new(d.pid()?)?.status()?.vmhwm.context("the kernel does not count")
}

const DAY: i64 = 24 * 3600;

fn clock(d: &mut Daemon<'_, '_>) -> Result<()> {
    ["well", "open"].iter().try_for_each(|f| put(d, f))?;
    let keys =
        |role: &str, file: &str| while_there(role, file, "failure_threshold = 1").replace("100ms", "500ms");
    let both = format!("{}{}{SOON}", keys("liveness", "well"), keys("readiness", "open"));
    d.resident("web", &both)?;
    // One that does not answer: its time goes by another clock than the one that is set.
    let hung = format!(
        "[probes.readiness]\nexec = ['{PROBE}', 'sleep', '600000']\ntimeout = '1s'\nperiod = '500ms'\n"
    );
    d.resident("hung", &hung)?;
    until_ready(d, "web.1", true)?;
    let pids = (d.pid_of("web.1")?, d.pid_of("hung.1")?);
    let mut want = vec!["ready"];
    for days in [-1, 1, 3650, -3650] {
        os::shift_clock(days * DAY)?;
        let what = || format!("the clock was set by {days} days");
        take(d, "open")?;
        until_ready(d, "web.1", false).with_context(what)?;
        put(d, "open")?;
        until_ready(d, "web.1", true).with_context(what)?;
        want.extend(["unready", "ready"]);
        let looked = last_answer(d, "hung", "readiness")?["at"].clone();
        let mut last = Value::Null;
        wait_for(d.t.seconds(), || {
            last = last_answer(d, "hung", "readiness")?;
            Ok((last["at"] != looked && last["verdict"] == "timed-out").then_some(()))
        })
        .with_context(|| format!("{}: {last}", what()))?;
        d.crash_and_start()?;
        let now = d.is("web.1", "running")?;
        ensure!(now["ready"] == true && now["restarts"] == 0, "{}: {now}", what());
    }
    ensure!(pids == (d.pid_of("web.1")?, d.pid_of("hung.1")?), "something was restarted");
    let kinds = told(d, "web.1", &["ready", "unready", "unhealthy", "healthy"])?;
    ensure!(kinds == want, "{kinds:?}, want {want:?}");
    // And what is not well is still found.
    take(d, "well")?;
    d.until_it("web.1", "restarted", |i| i["restarts"].as_u64() >= Some(1))?;
    put(d, "well")
}
