//! The long loops: a daemon that is killed again and again while services end, print, start and stop. What must not be
//! lost is counted afterwards from the logs and from what every daemon on the way reported.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::daemon::{Daemon, texts};
use crate::os;
use crate::trial::{Running, wait_for};

/// Services that end by themselves, each with a code of its own.
const ENDING: usize = 12;
/// Services that run for ever and print.
const STEADY: usize = 6;
/// Services that somebody starts, stops and changes meanwhile.
const TOYS: usize = 2;
/// Lines of one run of an ending service.
const LINES: usize = 30;

/// What a soak saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub kills: usize,
    /// Daemons that were killed before they answered.
    pub early: usize,
    /// Commands of the operator that were under way when the daemon died, or were carried out.
    pub commands: usize,
    /// Whole runs of the ending services.
    pub runs: usize,
    /// Runs that were intended and never began.
    pub unborn: usize,
    /// Lines in all logs.
    pub lines: usize,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} kills ({} before the daemon answered), {} commands meanwhile, {} whole runs with their exit codes, {} lines, \
             {} runs that never began",
            self.kills, self.early, self.commands, self.runs, self.lines, self.unborn
        )
    }
}

/// Exit codes by run, as the daemons reported them.
type Exits = BTreeMap<String, (Option<i64>, String)>;

/// A sequence of numbers that looks random; the same seed gives the same soak.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Constants of Knuth's MMIX generator; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn code(n: usize) -> i64 {
    n as i64 + 10
}

/// Kills the daemon so often and looks at everything.
pub fn soak(d: &mut Daemon<'_, '_>, kills: usize, seed: u64) -> Result<Seen> {
    // How many restarts a second a host may have is another case's subject.
    restart_freely(d)?;
    let mut dice = Dice(seed);
    let mut seen = Seen { kills, ..Seen::default() };
    let mut exits = Exits::new();
    set_up(d)?;
    let steady = pids(d)?;
    ensure!(steady.len() == STEADY, "steady services: {steady:?}");
    for n in 0..kills {
        note_exits(d, &mut exits)?;
        let command = operate(d, &mut dice, n)?;
        seen.commands += 1;
        std::thread::sleep(Duration::from_millis(dice.roll(120)));
        d.kill9()?;
        // Its daemon may be gone; it must end all the same.
        let out = command.wait()?;
        ensure!(out.code.is_some(), "`{}` hangs without its daemon", out.line);
        d.launch()?;
        // Some die before they have taken over what they find.
        if dice.roll(3) == 0 {
            seen.early += 1;
            std::thread::sleep(Duration::from_millis(dice.roll(60)));
            d.gone_or_killed()?;
            d.launch()?;
        }
        d.answers().with_context(|| format!("after kill {n}"))?;
        ensure!(
            pids(d)? == steady,
            "after kill {n}: steady services have processes {:?}, had {steady:?}",
            pids(d)?
        );
    }
    // From here on nothing ends by itself.
    for n in 0..ENDING {
        d.post(&format!("/v1/services/end-{n}/stop?wait=true"))?;
    }
    note_exits(d, &mut exits)?;
    for n in 0..ENDING {
        judge(d, n, &exits, &mut seen).with_context(|| format!("end-{n}"))?;
    }
    for n in 0..STEADY {
        let name = format!("steady-{n}.1");
        let now = d.instance(&name)?;
        ensure!(now["restarts"] == 0 && now["run"] == format!("{name}.1"), "restarted: {now}");
        let lines = d.log(&name)?;
        for (at, line) in lines.iter().enumerate() {
            ensure!(*line == format!("line {}", at + 1), "{name}: line {} is {line:?}", at + 1);
        }
        ensure!(!lines.is_empty(), "{name} printed nothing");
        seen.lines += lines.len();
    }
    for n in 0..TOYS {
        d.post(&format!("/v1/services/toy-{n}/start?wait=true"))?;
        d.until(&format!("toy-{n}.1"), "running")?;
    }
    Ok(seen)
}

fn restart_freely(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.end()?;
    d.options = ["--restart-rate", "1000", "--restart-burst", "1000"].map(String::from).to_vec();
    d.start()
}

fn set_up(d: &Daemon<'_, '_>) -> Result<()> {
    // What ends comes back without a pause, as often as it likes: a storm is another case's subject.
    let again = "[restart]\npolicy = 'always'\ndelay = '0s'\nmax_delay = '0s'\ncrash_failures = 1000\n[stop]\ngrace = '0s'\n";
    let logs = "[logs]\nmax_size = '1MiB'\nmax_files = 50\n";
    for n in 0..ENDING {
        // No two end together for long.
        let pause = (11 + 3 * n).to_string();
        let command = ["all", "lines", &LINES.to_string(), "0", &pause, "--", "exit", &code(n).to_string()];
        d.write(&format!("end-{n}"), &d.text(&command, &format!("{again}{logs}")))?;
    }
    for n in 0..STEADY {
        let command = ["all", "lines", "1000000", "0", "50"];
        d.write(&format!("steady-{n}"), &d.text(&command, &format!("{logs}[stop]\ngrace = '0s'\n")))?;
    }
    for n in 0..TOYS {
        d.write(&format!("toy-{n}"), &toy(d, 0))?;
    }
    d.apply()?;
    for n in 0..STEADY {
        d.until(&format!("steady-{n}.1"), "running")?;
    }
    Ok(())
}

fn toy(d: &Daemon<'_, '_>, version: usize) -> String {
    d.text(&["trap", "TERM"], &format!("env = {{ VERSION = '{version}' }}\n"))
}

/// Processes of the steady services.
fn pids(d: &Daemon<'_, '_>) -> Result<Vec<i64>> {
    let all = d.get("/v1/instances")?;
    let steady = |i: &&Value| i["service"].as_str().is_some_and(|s| s.starts_with("steady-"));
    let mut pids = Vec::new();
    for i in all.as_array().into_iter().flatten().filter(steady) {
        pids.push(i["pid"].as_i64().with_context(|| format!("no process: {i}"))?);
    }
    Ok(pids)
}

/// Somebody works with the toys while the daemon dies.
fn operate(d: &mut Daemon<'_, '_>, dice: &mut Dice, n: usize) -> Result<Running> {
    let toy_name = format!("toy-{}", dice.roll(TOYS as u64));
    match dice.roll(5) {
        0 => d.ctl_running(&["stop", &toy_name]),
        1 => d.ctl_running(&["start", &toy_name]),
        2 => d.ctl_running(&["restart", &toy_name]),
        3 => {
            d.write(&toy_name, &toy(d, n))?;
            d.ctl_running(&["apply"])
        }
        _ => d.ctl_running(&["kill", &toy_name, "--signal", "KILL"]),
    }
}

/// Takes down what the daemon reports about ends, and holds it against what daemons before it reported.
fn note_exits(d: &Daemon<'_, '_>, exits: &mut Exits) -> Result<()> {
    for n in 0..ENDING {
        let status = d.get(&format!("/v1/services/end-{n}"))?;
        for e in status["exits"].as_array().into_iter().flatten() {
            let run = e["run"].as_str().context("no run")?.to_string();
            let now = (e["code"].as_i64(), e["text"].as_str().unwrap_or("").to_string());
            let before = exits.entry(run.clone()).or_insert_with(|| now.clone());
            ensure!(*before == now, "{run}: reported as {before:?} and later as {now:?}");
        }
        let runs = texts(&status["exits"], "run");
        let mut once = runs.clone();
        once.sort();
        once.dedup();
        ensure!(once.len() == runs.len(), "an end is reported twice: {runs:?}");
    }
    Ok(())
}

/// The log of an ending service is whole runs one after another; each has its end with its code, and no other end has one.
fn judge(d: &Daemon<'_, '_>, n: usize, exits: &Exits, seen: &mut Seen) -> Result<()> {
    let lines = d.log(&format!("end-{n}.1"))?;
    seen.lines += lines.len();
    let (mut whole, mut at) = (0, 0);
    for (nr, line) in lines.iter().enumerate() {
        at += 1;
        ensure!(*line == format!("line {at}"), "line {} of the log is {line:?}, want \"line {at}\"", nr + 1);
        if at == LINES {
            (whole, at) = (whole + 1, 0);
        }
    }
    let of_this = |run: &&String| run.starts_with(&format!("end-{n}.1."));
    let ends: Vec<_> = exits.iter().filter(|(run, _)| of_this(run)).collect();
    let right = ends.iter().filter(|(_, e)| e.0 == Some(code(n))).count();
    // The last run was stopped by hand, perhaps a moment before it would have ended.
    let stopped = ends.iter().filter(|(_, e)| e.0 == Some(137)).count();
    let unborn: Vec<_> = ends.iter().filter(|(_, e)| e.0.is_none()).collect();
    for (run, (code, text)) in &ends {
        ensure!(!text.contains("monitor-lost"), "{run}: {text}");
        ensure!(
            code.is_none() || *code == Some(self::code(n)) || *code == Some(137),
            "{run} ended {code:?}: {text}"
        );
    }
    ensure!(stopped <= 1, "{stopped} ends by SIGKILL, want only that of the stop at the end");
    ensure!(
        right == whole || (right + stopped == whole && at == 0),
        "{whole} whole runs in the log, {right} ends with code {}; all ends: {ends:?}",
        code(n)
    );
    ensure!(right > 0, "never ended; all ends: {ends:?}");
    seen.runs += right;
    seen.unborn += unborn.len();
    Ok(())
}

/// One figure after another about a host with many services.
pub struct Figures {
    pub services: usize,
    /// Bytes of resident memory of the daemon.
    pub daemon: u64,
    /// Private and proportional bytes of each keeper.
    pub keepers: Vec<(u64, u64)>,
    /// How often the daemon ran in the idle time, and how often the keepers together.
    pub wakes: (u64, u64),
    /// System calls of the daemon in the idle time as strace shows them, where it is installed.
    pub calls: Option<usize>,
    /// Seconds of the idle time.
    pub idle: u64,
    /// From a death to the first line of the next run, sorted.
    pub restarts: Vec<Duration>,
    /// From the start of a daemon until it answers with all of them running.
    pub adoption: Duration,
    /// From the start of the first daemon until all run.
    pub start: Duration,
}

/// Measures a host with so many services.
pub fn measure(d: &mut Daemon<'_, '_>, services: usize) -> Result<Figures> {
    d.end()?;
    d.options = ["--restart-rate", "1000", "--restart-burst", "1000"].map(String::from).to_vec();
    let text = d.text(&["trap", "TERM"], "[restart]\ndelay = '0s'\nmax_delay = '0s'\n");
    for n in 0..services {
        d.write(&format!("s{n}"), &text)?;
    }
    let begun = Instant::now();
    d.start()?;
    all_run(d, services, 600)?;
    let start = begun.elapsed();
    // What was needed to start them is given back or not; that is part of the figure.
    std::thread::sleep(Duration::from_secs(3));
    let daemon = kilobytes(d.pid()?, "status", "VmRSS:")?;
    let mut keepers = Vec::new();
    for n in 0..services {
        let keeper = d.keeper_of(&format!("s{n}.1"))?;
        let clean = kilobytes(keeper, "smaps_rollup", "Private_Clean:")?;
        let dirty = kilobytes(keeper, "smaps_rollup", "Private_Dirty:")?;
        keepers.push((clean + dirty, kilobytes(keeper, "smaps_rollup", "Pss:")?));
    }
    let idle = 10;
    let (wakes, calls) = idle_for(d, services, idle)?;
    let restarts = restarts(d, 21)?;
    d.kill9()?;
    let begun = Instant::now();
    d.launch()?;
    all_run(d, services, 60)?;
    let adoption = begun.elapsed();
    Ok(Figures { services, daemon, keepers, wakes, calls, idle, restarts, adoption, start })
}

/// Waits until so many instances run.
fn all_run(d: &Daemon<'_, '_>, services: usize, seconds: u64) -> Result<()> {
    wait_for(seconds, || {
        let Ok(all) = d.get("/v1/instances") else { return Ok(None) };
        let run = texts(&all, "state").iter().filter(|s| *s == "running").count();
        Ok((run == services).then_some(()))
    })
    .with_context(|| format!("{services} services do not run"))
}

/// A size from a file of procfs, in bytes.
pub fn kilobytes(pid: i32, file: &str, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line =
        text.lines().find_map(|l| l.strip_prefix(key)).with_context(|| format!("{path} has no {key}"))?;
    let number: u64 =
        line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{path}: {line}"))?;
    Ok(number * 1024)
}

/// How often processes were on a processor while nothing happened, and the daemon's system calls.
fn idle_for(d: &Daemon<'_, '_>, services: usize, seconds: u64) -> Result<((u64, u64), Option<usize>)> {
    let daemon = d.pid()?;
    let keepers = (0..services).map(|n| d.keeper_of(&format!("s{n}.1"))).collect::<Result<Vec<_>>>()?;
    let all = |pids: &[i32]| pids.iter().map(|p| switches(*p)).sum::<Result<u64>>();
    // What was asked above must have been answered.
    std::thread::sleep(Duration::from_secs(1));
    let (before, before_keepers) = (switches(daemon)?, all(&keepers)?);
    std::thread::sleep(Duration::from_secs(seconds));
    let wakes = (switches(daemon)? - before, all(&keepers)? - before_keepers);
    let Some(strace) = crate::host::find_program("strace") else { return Ok((wakes, None)) };
    let file = d.t.dir.join("strace");
    let mut tracer = std::process::Command::new(strace)
        .args(["-f", "-q", "-o"])
        .arg(&file)
        .args(["-p", &daemon.to_string()])
        .stdin(std::process::Stdio::null())
        .spawn()
        .context("strace")?;
    os::track(tracer.id());
    std::thread::sleep(Duration::from_secs(seconds + 1));
    os::kill(tracer.id() as i32, libc::SIGINT);
    tracer.wait()?;
    os::untrack(tracer.id());
    let text = std::fs::read_to_string(&file).context("what strace saw")?;
    // The one call in which it was found, and which goes on.
    let calls = text.lines().filter(|l| !l.contains("strace: ") && !l.contains("detached")).count();
    Ok((wakes, Some(calls.saturating_sub(1))))
}

/// How often all threads of a process were put on a processor (proc(5), `voluntary_ctxt_switches`).
fn switches(pid: i32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("status"))?;
        let numbers =
            text.lines().filter_map(|l| l.split_once("ctxt_switches:")).map(|l| l.1.trim().parse::<u64>());
        sum += numbers.sum::<Result<u64, _>>()?;
    }
    Ok(sum)
}

/// Times from a death to the first line of the next run.
fn restarts(d: &Daemon<'_, '_>, count: usize) -> Result<Vec<Duration>> {
    let mut all = Vec::new();
    for n in 0..count {
        let name = format!("s{n}.1");
        d.says(&name, "ready")?;
        let pid = d.pid_of(&name)?;
        let died = since_midnight();
        os::kill(pid, libc::SIGKILL);
        let stamp = wait_for(d.t.seconds(), || {
            Ok(d.log_lines(&name)?.into_iter().filter(|l| l.text == "ready").nth(1).map(|l| l.stamp))
        })?;
        all.push(of_day(&stamp)?.saturating_sub(died));
        std::thread::sleep(Duration::from_millis(100));
    }
    all.sort();
    Ok(all)
}

fn since_midnight() -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Duration::new(now.as_secs() % 86_400, now.subsec_nanos())
}

/// The time of day of a stamp such as `2026-11-21T12:00:01.5Z`.
pub fn of_day(stamp: &str) -> Result<Duration> {
    let time = stamp.split_once('T').map(|t| t.1.trim_end_matches('Z'));
    let mut parts = time.unwrap_or("").split(':').map(|p| p.parse::<f64>().ok());
    let mut next = || parts.next().flatten().with_context(|| format!("no time: {stamp:?}"));
    Ok(Duration::from_secs_f64(next()? * 3600.0 + next()? * 60.0 + next()?))
}

/// The middle one of sorted values.
pub fn median<T: Copy>(sorted: &[T]) -> Option<T> {
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        assert_eq!(of_day("2026-11-21T00:01:01.5Z").unwrap(), Duration::from_millis(61_500));
        assert!(of_day("yesterday").is_err());
        assert_eq!(median(&[1, 2, 9]), Some(2));
    }

    #[test]
    fn dice_fall_the_same_way_and_everywhere() {
        let rolls = |seed| {
            let mut d = Dice(seed);
            (0..200).map(|_| d.roll(6)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        assert!((0..6).all(|side| rolls(1).contains(&side)));
    }
}
