//! Figures of memory: peaks of commands, what stays while something waits, the smallest limit that is enough.
//! Calls runtimes through `runtime`, reads /proc of what they started.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::bundle::{Kind, Payload, Yard};
use crate::call;
use crate::figures::Wish;
use crate::row::{Cell, Row};
use crate::runtime::{Held, Runtime, utf8};

/// Samples of each peak.
const PEAKS: usize = 7;
/// Samples of what stays.
const WAITS: usize = 5;
/// A limit counts as enough when this many runs in a row succeed.
const TRIES: usize = 4;
/// Steps of the search for the smallest limit, in KiB; a page is 4.
const STEP: u64 = 16;
/// Where the search begins, in KiB: no runtime here needs as much.
const ENOUGH: u64 = 16 << 10;

/// The rows of this subject.
pub fn rows(runtimes: &mut [Runtime], yard: &Yard, wish: &Wish) -> Vec<Row> {
    let mut rows = Vec::new();
    if wish.wants("peak") {
        for (title, command) in PEAK_COMMANDS {
            for filter in [false, true] {
                if filter && !(command.is_filtered() && yard.has_filter()) {
                    continue;
                }
                let name = if filter { ", filtered" } else { "" };
                let cells = each(runtimes, yard, |r| {
                    if r.is_floor() && command != Peak::Run {
                        return Ok(None);
                    }
                    (0..PEAKS).map(|_| peak(r, yard, command, filter)).collect::<Result<_>>().map(Some)
                });
                rows.push(Row::new("peak", format!("peak memory of {title}{name}"), "KiB", cells));
            }
        }
        eprintln!("measured: peaks");
    }
    if wish.wants("waiting") {
        for (title, wait) in [
            ("private memory of a container that was created", waiting_created as Waiting),
            ("private memory of run while its container lives", waiting_run),
        ] {
            let cells = each(runtimes, yard, |r| {
                if r.is_floor() {
                    return Ok(None);
                }
                (0..WAITS).map(|_| wait(r, yard)).collect::<Result<_>>().map(Some)
            });
            rows.push(Row::new("waiting", title, "KiB", cells));
        }
        eprintln!("measured: what waits");
    }
    if wish.wants("limit") && can_limit() {
        for filter in [false, true] {
            if filter && !yard.has_filter() {
                continue;
            }
            let cells =
                each(runtimes, yard, |r| smallest_limit(r, yard, filter).map(|n| Some(vec![n as f64])));
            let name = if filter { ", filtered" } else { "" };
            rows.push(Row::new("limit", format!("smallest memory limit for run true{name}"), "KiB", cells));
            eprintln!("measured: smallest limit, filter {filter}");
        }
    }
    rows
}

/// One cell for each runtime; a runtime that leaves something behind gets no number.
fn each(
    runtimes: &mut [Runtime],
    yard: &Yard,
    mut measure: impl FnMut(&mut Runtime) -> Result<Option<Vec<f64>>>,
) -> Vec<Cell> {
    let one = |r: &mut Runtime| {
        let numbers = measure(r);
        let left = r.left_nothing(yard);
        match numbers {
            Ok(None) => Cell::Absent,
            Ok(Some(list)) => Cell::of_numbers(left.map(|()| list)),
            Err(e) => Cell::of_numbers(Err(e)),
        }
    };
    runtimes.iter_mut().map(one).collect()
}

/// A command whose peak is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peak {
    Run,
    Create,
    Start,
    Exec,
    State,
    Delete,
}

const PEAK_COMMANDS: [(&str, Peak); 6] = [
    ("run", Peak::Run),
    ("create", Peak::Create),
    ("start", Peak::Start),
    ("exec", Peak::Exec),
    ("state", Peak::State),
    ("delete", Peak::Delete),
];

impl Peak {
    fn is_filtered(self) -> bool {
        matches!(self, Peak::Run | Peak::Create | Peak::Exec)
    }
}

fn peak(r: &mut Runtime, yard: &Yard, command: Peak, filter: bool) -> Result<f64> {
    let kind = Kind::of(Payload::True).filtered(filter);
    match command {
        Peak::Run | Peak::Create => {
            let bundle = r.bundle(yard, kind)?;
            let id = r.fresh();
            let verb = if command == Peak::Run { "run" } else { "create" };
            let kib = seen_by_small_parent(r, &[verb, "--bundle", utf8(&bundle)?, &id]);
            if command == Peak::Create {
                r.call(&["delete", "--force", &id])?;
                call::reap();
            }
            kib
        }
        Peak::Start => {
            let bundle = r.bundle(yard, kind)?;
            let (held, _) = r.create(&bundle)?;
            let kib = seen_by_small_parent(r, &["start", &held.id]);
            call::collect(held.pid)?;
            r.call(&["delete", &held.id])?;
            kib
        }
        Peak::Delete => {
            let bundle = r.bundle(yard, kind)?;
            let (held, _) = r.create(&bundle)?;
            r.call(&["start", &held.id])?;
            call::collect(held.pid)?;
            seen_by_small_parent(r, &["delete", &held.id])
        }
        Peak::Exec | Peak::State => {
            let held = r.hold(yard, kind)?;
            let words: &[&str] = match command {
                Peak::Exec => &["exec", &held.id, "/probe", "true"],
                _ => &["state", &held.id],
            };
            let kib = seen_by_small_parent(r, words);
            r.release(&held)?;
            kib
        }
    }
}

/// The peak of a command, seen by a parent that is smaller than any runtime.
fn seen_by_small_parent(r: &Runtime, words: &[&str]) -> Result<f64> {
    let said = r.dir.join("words");
    let command = r.command(words);
    let out = Command::new(std::env::current_exe()?)
        .arg("peak")
        .arg(command.get_program())
        .args(command.get_args())
        .stderr(fs::File::create(&said)?)
        .output()?;
    ensure!(out.status.success(), "{}: {}", words[0], fs::read_to_string(&said)?.trim());
    String::from_utf8_lossy(&out.stdout).trim().parse().context("peak")
}

type Waiting = fn(&mut Runtime, &Yard) -> Result<f64>;

/// What the process that waits for `start` has to itself.
fn waiting_created(r: &mut Runtime, yard: &Yard) -> Result<f64> {
    let bundle = r.bundle(yard, Kind::of(Payload::Sleep))?;
    let (Held { id, pid }, _) = r.create(&bundle)?;
    let kib = private_kib(pid);
    r.call(&["delete", "--force", &id])?;
    call::reap();
    kib
}

/// What `run` has to itself when the program of its container runs.
fn waiting_run(r: &mut Runtime, yard: &Yard) -> Result<f64> {
    let bundle = r.bundle(yard, Kind::of(Payload::Sleep))?;
    let (id, pid_file) = (r.fresh(), r.dir.join("pid"));
    // Of an earlier container.
    let _ = fs::remove_file(&pid_file);
    let mut command = r.command(&["run", "--bundle", utf8(&bundle)?, "--pid-file", utf8(&pid_file)?, &id]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let seen = program_runs(&pid_file).and_then(|()| private_kib(child.id()));
    let killed = r.call(&["kill", &id, "KILL"]);
    call::collect(child.id())?;
    killed?;
    seen
}

/// Waits until the container's first process is the probe program and a little longer, so that what gives memory back has
/// done so.
fn program_runs(pid_file: &Path) -> Result<()> {
    let end = Instant::now() + call::LIMIT;
    loop {
        let pid = fs::read_to_string(pid_file).unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
        if name.trim() == "probe" {
            std::thread::sleep(Duration::from_millis(50));
            return Ok(());
        }
        if Instant::now() > end {
            bail!("the program does not run");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Memory that would be free without this process: its private pages, clean and changed (proc_pid_smaps(5)).
fn private_kib(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("smaps_rollup")?;
    Ok(private_of(&text))
}

fn private_of(text: &str) -> f64 {
    let value = |line: &str| line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
    text.lines().filter(|l| l.starts_with("Private_")).filter_map(value).sum()
}

/// Whether this lane's containers can have a memory limit at all.
fn can_limit() -> bool {
    let here = |file: &str| fs::read_to_string(file).unwrap_or_default();
    Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
        || here("/sys/fs/cgroup/cgroup.controllers").split_whitespace().any(|c| c == "memory")
}

/// The smallest limit in KiB that is enough, to `STEP`, by halving.
fn smallest_limit(r: &mut Runtime, yard: &Yard, filter: bool) -> Result<u64> {
    let (mut low, mut high) = (0, ENOUGH / STEP);
    ensure!(is_enough(r, yard, filter, ENOUGH)?, "not even {ENOUGH} KiB are enough");
    while high - low > 1 {
        let middle = (low + high) / 2;
        if is_enough(r, yard, filter, middle * STEP)? { high = middle } else { low = middle }
    }
    Ok(high * STEP)
}

fn is_enough(r: &mut Runtime, yard: &Yard, filter: bool, kib: u64) -> Result<bool> {
    let kind = Kind { memory: Some(kib << 10), ..Kind::of(Payload::True).filtered(filter) };
    for _ in 0..TRIES {
        let bundle = r.bundle(yard, kind)?;
        let id = r.fresh();
        let ran = r.call(&["run", "--bundle", utf8(&bundle)?, &id]);
        call::reap();
        if ran.is_err() {
            // What a start that was killed leaves is another question.
            let _ = r.left_nothing(yard);
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_is_clean_and_dirty() {
        let text = "Rss:   100 kB\nPrivate_Clean:    8 kB\nPrivate_Dirty:   32 kB\nShared_Dirty: 4 kB\n";
        assert_eq!(private_of(text), 40.0);
    }
}
