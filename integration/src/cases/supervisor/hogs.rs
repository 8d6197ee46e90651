//! A service that answers beside hogs: with the ladder, without it, and beside one that dies of its own limit again and again.
//! Figures are printed and not judged: what is judged is who was killed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::ladder::{HOST, payload};
use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, alive};
use crate::host::Need;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("hogs.two", "a service that is protected beside two hogs")
            .needs([Need::CgroupAny("memory")])
            .seconds(90)
            .steps(|t| {
                let mut d = Daemon::new(t)?;
                let told = two(&mut d).and_then(|rows| {
                    rows.iter().for_each(|(when, what)| eprintln!("two hogs: {when}: {what}"));
                    d.finish().context("taking everything down")
                });
                if told.is_err() {
                    d.testify();
                }
                told
            }),
        sup("hogs.again-and-again", "a hog that is restarted without end")
            .needs([Need::CgroupAny("memory")])
            .seconds(120)
            .steps(|t| {
                let mut d = Daemon::new(t)?;
                let told = again(&mut d, 30).and_then(|told| {
                    eprintln!("a hog {told}");
                    d.finish().context("taking everything down")
                });
                if told.is_err() {
                    d.testify();
                }
                told
            }),
    ]
}

/// A web server on a port of its own, protected; the port comes back.
fn server(d: &Daemon<'_, '_>) -> Result<u16> {
    let keys = "network = 'host'\n[limits]\nmemory_request = '8MiB'\n[pressure]\npriority = 'protected'\n";
    d.service("vip", &["serve", "0"], keys)?;
    let port = || {
        let line =
            d.log("vip.1")?.into_iter().find_map(|l| l.strip_prefix("listening on port ").map(String::from));
        Ok(line.and_then(|n| n.parse().ok()))
    };
    wait_for(d.t.seconds(), port).context("it does not listen")
}

/// One answer, and how long it took.
fn ping(port: u16) -> Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("200 OK"), "answered {answer:?}");
    Ok(begun.elapsed())
}

/// Answers in milliseconds.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn of(mut list: Vec<Duration>) -> Times {
        list.sort();
        Times(list.into_iter().map(|d| d.as_secs_f64() * 1000.0).collect())
    }

    fn at(&self, percent: usize) -> f64 {
        self.0
            .get((self.0.len() * percent / 100).min(self.0.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.1} ms, p99 {:.1} ms", self.at(50), self.at(99))
    }
}

/// Asks until it is enough, and how many questions had no answer.
fn ask(port: u16, mut enough: impl FnMut(usize) -> Result<bool>) -> Result<(Times, usize)> {
    let (mut list, mut failed) = (Vec::new(), 0);
    while !enough(list.len())? {
        match ping(port) {
            Ok(took) => list.push(took),
            Err(_) => failed += 1,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((Times::of(list), failed))
}

/// Two hogs that want more than there is: one grows slowly, one at once.
fn hogs(d: &Daemon<'_, '_>) -> Result<()> {
    let keys = |priority: u32| {
        format!(
            "[pressure]\npriority = {priority}\ngrace = '200ms'\n[stop]\ngrace = '1s'\n[restart]\ndelay = '100ms'\nmax_delay = '200ms'\n"
        )
    };
    d.service("slow", &["mem", "300", "hold", "20"], &keys(100))?;
    d.service("burst", &["mem", "300", "hold"], &keys(50))
}

/// A protected server beside two hogs that want more than there is: how fast it answers in peace, with the ladder, and where the
/// kernel alone decides, as rows of a table.
pub fn two(d: &mut Daemon<'_, '_>) -> Result<Vec<(String, String)>> {
    d.options = ["--pressure-hold", "2", "--pressure-pause", "1"].map(String::from).to_vec();
    d.start()?;
    let port = server(d)?;
    let (dir, name) = payload(d)?;
    fs::write(dir.join(name), HOST.to_string()).context("the limit of all containers")?;
    let pid = d.pid_of("vip.1")?;
    let (idle, failed) = ask(port, |n| Ok(n >= 200))?;
    ensure!(failed == 0, "{failed} questions without an answer in peace");
    let kills = |d: &Daemon<'_, '_>, kind: &str| -> Result<usize> {
        Ok(d.events()?.iter().filter(|e| e["kind"].as_str().is_some_and(|k| k.starts_with(kind))).count())
    };
    hogs(d)?;
    let begun = Instant::now();
    let (with, failed) = ask(port, |_| Ok(begun.elapsed() > Duration::from_secs(12)))?;
    let (evicted, killed_with) = (kills(d, "evicted")?, kills(d, "oom")?);
    ensure!(evicted > 0, "nobody was evicted");
    ensure!(
        failed == 0 && alive(pid) && d.pid_of("vip.1")? == pid,
        "{failed} questions without an answer beside hogs"
    );
    // The same without the ladder: the kernel alone decides.
    for name in ["slow", "burst"] {
        d.ctl(&["stop", name])?.ok()?;
    }
    d.end()?;
    d.options = ["--pressure-available", "0"].map(String::from).to_vec();
    d.start()?;
    for name in ["slow", "burst"] {
        d.ctl(&["start", "--no-wait", name])?.ok()?;
    }
    let begun = Instant::now();
    let (without, unanswered) = ask(port, |_| Ok(begun.elapsed() > Duration::from_secs(12)))?;
    // Who was killed is the kernel's choice here; what was not is nobody's.
    ensure!(kills(d, "evicted")? == evicted, "evicted without the ladder");
    let killed = kills(d, "oom")?;
    Ok(vec![
        ("in peace".into(), idle.to_string()),
        (
            "with the ladder".into(),
            format!(
                "{with}; {evicted} evictions, {killed_with} kills by the kernel, every question answered"
            ),
        ),
        (
            "the kernel alone".into(),
            format!(
                "{without}; {} kills by the kernel, {unanswered} questions without an answer",
                killed - killed_with
            ),
        ),
    ])
}

/// A hog that allocates as fast as it can is restarted so often: nobody else is, and a server beside it answers; how fast.
pub fn again(d: &mut Daemon<'_, '_>, wanted: u64) -> Result<String> {
    d.options = ["--restart-rate", "100", "--restart-burst", "100"].map(String::from).to_vec();
    d.start()?;
    let port = server(d)?;
    d.resident("calm", "")?;
    let others = (d.pid_of("vip.1")?, d.pid_of("calm.1")?);
    let keys = "[limits]\nmemory = '24MiB'\nswap = 0\n[restart]\ndelay = '0s'\nmax_delay = '0s'\ncrash_failures = 1000\n";
    d.service("hog", &["mem", "200", "hold"], keys)?;
    let by = Instant::now() + Duration::from_secs(d.t.seconds());
    let mut restarts = 0;
    let (times, failed) = ask(port, |n| {
        ensure!(Instant::now() < by, "only {restarts} restarts");
        if n.is_multiple_of(20) {
            restarts = d.instance("hog.1")?["restarts"].as_u64().unwrap_or(0);
        }
        Ok(restarts >= wanted)
    })?;
    ensure!(failed == 0, "{failed} questions without an answer");
    ensure!((d.pid_of("vip.1")?, d.pid_of("calm.1")?) == others, "somebody else was restarted");
    d.explains("hog", &["the memory limit of 24 MiB was hit"])?;
    Ok(format!("restarted {restarts} times, nobody else; {times}, every question answered"))
}
