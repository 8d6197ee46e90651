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
/// How many restarts are timed.
const RESTARTS: usize = 101;
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
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
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
    let mut dice = Dice::new(seed);
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
    /// Bytes of resident memory of the daemon, and those of them that are no pages of its program.
    pub daemon: (u64, u64),
    /// The same of a daemon that has adopted all of them.
    pub adopted: (u64, u64),
    /// Private and proportional bytes of each keeper.
    pub keepers: Vec<(u64, u64)>,
    pub idle: Idle,
    /// From a death to the first line of the next run, sorted.
    pub restarts: Vec<Duration>,
    /// The two parts of each of those, sorted: to the daemon's event about the death, and from there on.
    pub notices: Vec<Duration>,
    pub successors: Vec<Duration>,
    /// The runtime's create, start and delete of the same container by hand, together, sorted.
    pub alone: Vec<Duration>,
    /// One append of 300 bytes with fdatasync(2) where the journal is, sorted. One lies in a restart.
    pub syncs: Vec<Duration>,
    /// From the start of a daemon until it answers with all of them running.
    pub adoption: Duration,
    /// From the start of the first daemon until all run.
    pub start: Duration,
    /// How long commands of the operator take.
    pub questions: Vec<(&'static str, Duration)>,
}

/// What happened while nothing happened.
#[derive(Debug, Default)]
pub struct Idle {
    pub seconds: u64,
    /// How often the daemon was put on a processor, and how often the keepers together.
    pub wakes: (u64, u64),
    /// Processor time of the daemon and of all keepers, in clock ticks.
    pub ticks: (u64, u64),
    /// System calls of the daemon and of one keeper as strace shows them, where it is installed.
    pub calls: Option<(usize, usize)>,
}

/// Measures a host with so many services, and lets it be idle for so many seconds.
pub fn measure(d: &mut Daemon<'_, '_>, services: usize, seconds: u64) -> Result<Figures> {
    d.end()?;
    // The pass over all files every minute is no part of idleness here; the page says so.
    d.options = ["--restart-rate", "1000", "--restart-burst", "1000", "--full-pass", "3600"]
        .map(String::from)
        .to_vec();
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
    let daemon = resident(d)?;
    let pids = keepers(d, services)?;
    let memory = |pid: &i32| private_and_pss(*pid);
    let keepers = pids.iter().map(memory).collect::<Result<Vec<_>>>()?;
    let idle = idle_for(d, &pids, seconds)?;
    let questions = questions(d)?;
    let (restarts, notices, successors) = restarts(d, services.min(RESTARTS))?;
    let alone = alone(d, 21)?;
    let syncs = syncs(&d.state, 51)?;
    d.kill9()?;
    let begun = Instant::now();
    d.launch()?;
    all_run(d, services, 60)?;
    let adoption = begun.elapsed();
    std::thread::sleep(Duration::from_secs(3));
    let adopted = resident(d)?;
    Ok(Figures {
        services,
        daemon,
        adopted,
        keepers,
        idle,
        restarts,
        notices,
        successors,
        alone,
        syncs,
        adoption,
        start,
        questions,
    })
}

/// All resident memory of the daemon, and what of it is its own.
fn resident(d: &Daemon<'_, '_>) -> Result<(u64, u64)> {
    let pid = d.pid()?;
    Ok((kilobytes(pid, "status", "VmRSS:")?, kilobytes(pid, "status", "RssAnon:")?))
}

/// The keepers of all services, from one look at `ps`.
pub fn keepers(d: &Daemon<'_, '_>, services: usize) -> Result<Vec<i32>> {
    let all = d.get("/v1/instances")?;
    let mut keepers = Vec::new();
    for i in all.as_array().into_iter().flatten() {
        let pid = i["pid"].as_i64().with_context(|| format!("no process: {i}"))?;
        keepers.push(procfs::process::Process::new(i32::try_from(pid)?)?.stat()?.ppid);
    }
    keepers.sort_unstable();
    keepers.dedup();
    ensure!(keepers.len() == services, "{} keepers for {services} services", keepers.len());
    Ok(keepers)
}

fn private_and_pss(pid: i32) -> Result<(u64, u64)> {
    let of = |key| kilobytes(pid, "smaps_rollup", key);
    Ok((of("Private_Clean:")? + of("Private_Dirty:")?, of("Pss:")?))
}

/// What a person waits for on a host with many services.
fn questions(d: &mut Daemon<'_, '_>) -> Result<Vec<(&'static str, Duration)>> {
    let mut all = Vec::new();
    for line in ["ps", "explain s0", "status s0", "events", "top --once", "plan"] {
        let words: Vec<&str> = line.split(' ').collect();
        let begun = Instant::now();
        d.ctl(&words)?.ok()?;
        all.push((line, begun.elapsed()));
    }
    Ok(all)
}

/// The runtime by hand: create, start and delete of a container made of the same configuration, without knarrd.
fn alone(d: &mut Daemon<'_, '_>, count: usize) -> Result<Vec<Duration>> {
    let run = d.instance("s0.1")?["run"].as_str().context("no run")?.to_string();
    let config = std::fs::read_to_string(d.run.join("bundles").join(run).join("config.json"))?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["linux"]["cgroupsPath"] = format!("{}/payload/alone.1.1", d.parent).into();
    let bundle = d.t.host_dir("alone")?;
    std::fs::write(bundle.join("config.json"), config.to_string())?;
    let (program, root) = (d.t.runtime.path.clone(), d.t.dir.join("alone.d"));
    let call = |args: &[&str]| -> Result<Duration> {
        let mut command = std::process::Command::new(&program);
        command.arg("--root").arg(&root).args(args).stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null());
        let begun = Instant::now();
        let status = command.status().context("the runtime")?;
        ensure!(status.success(), "{args:?}: {status}");
        Ok(begun.elapsed())
    };
    let mut all = Vec::new();
    for _ in 0..count {
        let bundle = bundle.display().to_string();
        let mut sum = call(&["create", "--bundle", &bundle, "alone"])? + call(&["start", "alone"])?;
        std::thread::sleep(Duration::from_millis(50));
        call(&["kill", "alone", "KILL"])?;
        std::thread::sleep(Duration::from_millis(50));
        os::reap_orphans();
        sum += call(&["delete", "alone"])?;
        all.push(sum);
    }
    std::fs::remove_dir_all(&root)?;
    all.sort();
    Ok(all)
}

/// What the disk takes for a durable record.
fn syncs(dir: &std::path::Path, count: usize) -> Result<Vec<Duration>> {
    use std::io::Write;
    let path = dir.join("syncs");
    let mut file = std::fs::File::create(&path)?;
    let mut all = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        file.write_all(&[b'x'; 300])?;
        file.sync_data()?;
        all.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_file(&path)?;
    all.sort();
    Ok(all)
}

/// What a thousand files cost, of which none wants anything to run.
pub struct Files {
    pub files: usize,
    /// From the start of a daemon that never saw them until it answers.
    pub first: Duration,
    /// The same of one that knows them.
    pub again: Duration,
    /// One pass over all of them in which one has changed.
    pub pass: Duration,
    /// Resident memory of the daemon afterwards, and its own part.
    pub daemon: (u64, u64),
}

/// Measures a services directory with many files.
pub fn measure_files(d: &mut Daemon<'_, '_>, files: usize) -> Result<Files> {
    d.end()?;
    let text = d.text(&["trap", "TERM"], "replicas = 0\n");
    for n in 0..files {
        std::fs::write(d.services.join(format!("s{n}.toml")), &text)?;
    }
    let begun = Instant::now();
    d.start()?;
    let first = begun.elapsed();
    d.end()?;
    let begun = Instant::now();
    d.start()?;
    let again = begun.elapsed();
    d.write("s0", &d.text(&["trap", "TERM"], "replicas = 0\ndescription = 'changed'\n"))?;
    let begun = Instant::now();
    d.apply()?;
    let pass = begun.elapsed();
    std::thread::sleep(Duration::from_secs(1));
    let daemon = resident(d)?;
    for n in 0..files {
        std::fs::remove_file(d.services.join(format!("s{n}.toml")))?;
    }
    d.apply()?;
    Ok(Files { files, first, again, pass, daemon })
}

/// Waits until so many instances run. Not by looking all the time: an answer about a thousand costs as much as a start.
fn all_run(d: &Daemon<'_, '_>, services: usize, seconds: u64) -> Result<()> {
    wait_for(seconds, || {
        let Ok(all) = d.get("/v1/instances") else { return Ok(None) };
        let run = texts(&all, "state").iter().filter(|s| *s == "running").count();
        if run < services {
            std::thread::sleep(Duration::from_millis(if services > 300 { 500 } else { 100 }));
        }
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

/// Looks at the daemon and its keepers while nothing happens.
pub fn idle_for(d: &Daemon<'_, '_>, keepers: &[i32], seconds: u64) -> Result<Idle> {
    let daemon = d.pid()?;
    let all = |of: fn(i32) -> Result<u64>| keepers.iter().map(|p| of(*p)).sum::<Result<u64>>();
    // What was asked above must have been answered.
    std::thread::sleep(Duration::from_secs(1));
    let look = || anyhow::Ok(((switches(daemon)?, all(switches)?), (ticks(daemon)?, all(ticks)?)));
    let (wakes, used) = look()?;
    std::thread::sleep(Duration::from_secs(seconds));
    let (wakes_then, used_then) = look()?;
    let grown = |a: (u64, u64), b: (u64, u64)| (b.0 - a.0, b.1 - a.1);
    let keeper = *keepers.first().context("no keeper")?;
    let calls = match crate::host::find_program("strace") {
        Some(strace) => {
            Some((calls_of(d, &strace, daemon, seconds)?, calls_of(d, &strace, keeper, seconds)?))
        }
        None => None,
    };
    Ok(Idle { seconds, wakes: grown(wakes, wakes_then), ticks: grown(used, used_then), calls })
}

/// System calls that a process and its threads begin in so many seconds.
fn calls_of(d: &Daemon<'_, '_>, strace: &std::path::Path, pid: i32, seconds: u64) -> Result<usize> {
    let file = d.t.dir.join("strace");
    let mut tracer = std::process::Command::new(strace)
        .args(["-f", "-q", "-o"])
        .arg(&file)
        .args(["-p", &pid.to_string()])
        .stdin(std::process::Stdio::null())
        .spawn()
        .context("strace")?;
    os::track(tracer.id());
    std::thread::sleep(Duration::from_secs(seconds + 1));
    os::kill(tracer.id() as i32, libc::SIGINT);
    tracer.wait()?;
    os::untrack(tracer.id());
    let text = std::fs::read_to_string(&file).context("what strace saw")?;
    // Each thread is found in one call, which goes on.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
    let calls = text.lines().filter(|l| !l.contains("strace: ") && !l.contains("detached")).count();
    Ok(calls.saturating_sub(threads))
}

/// Processor time of a process, in clock ticks.
fn ticks(pid: i32) -> Result<u64> {
    let stat = procfs::process::Process::new(pid)?.stat()?;
    Ok(stat.utime + stat.stime)
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

/// Times from deaths to the first lines of the next runs, and their two parts as in [`Figures`].
fn restarts(d: &Daemon<'_, '_>, count: usize) -> Result<(Vec<Duration>, Vec<Duration>, Vec<Duration>)> {
    let mut times = Vec::new();
    for n in 0..count {
        let name = format!("s{n}.1");
        d.says(&name, "ready")?;
        let pid = d.pid_of(&name)?;
        let died = since_midnight();
        os::kill(pid, libc::SIGKILL);
        // Whoever looks meanwhile takes the processor away from what is measured.
        std::thread::sleep(Duration::from_millis(150));
        let stamp = wait_for(d.t.seconds(), || {
            Ok(d.log_lines(&name)?.into_iter().filter(|l| l.text == "ready").nth(1).map(|l| l.stamp))
        })?;
        times.push((name, died, of_day(&stamp)?));
        std::thread::sleep(Duration::from_millis(100));
    }
    let events = d.events()?;
    let (mut all, mut notices, mut successors) = (Vec::new(), Vec::new(), Vec::new());
    for (name, died, spoke) in times {
        let exited = events.iter().find(|e| e["kind"] == "exited" && e["instance"] == name);
        let seen = exited.with_context(|| format!("no event says that {name} exited"))?["at"].as_str();
        let seen = of_day(seen.unwrap_or(""))?;
        all.push(spoke.saturating_sub(died));
        notices.push(seen.saturating_sub(died));
        successors.push(spoke.saturating_sub(seen));
    }
    for times in [&mut all, &mut notices, &mut successors] {
        times.sort();
    }
    Ok((all, notices, successors))
}

/// The time of day on our own clock.
pub fn since_midnight() -> Duration {
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
