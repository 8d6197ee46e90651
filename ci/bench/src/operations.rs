//! Figures that no clock is needed for: system calls, processes and programs of each command, instructions, bytes.
//! Calls runtimes through `runtime`, under strace, and step by step.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bundle::{Kind, Payload, Yard};
use crate::call;
use crate::figures::{PAUSE, Wish};
use crate::row::{Cell, Row};
use crate::runtime::{Runtime, utf8};
use crate::steps;
use crate::trace::{self, Traced, Traces};

/// Traced runs of each command; the counts are of the one in the middle, the slow calls of the quietest.
const TRACES: usize = 5;

/// The commands that are traced, in the order in which a container meets them.
const COMMANDS: [&str; 8] = ["run true", "create", "start", "exec true", "state", "list", "kill", "delete"];

/// The rows of this subject.
pub fn rows(runtimes: &mut [Runtime], yard: &Yard, wish: &Wish) -> Vec<Row> {
    let mut rows = Vec::new();
    if wish.wants("calls") {
        let all: Vec<Result<Followed>> = runtimes.iter_mut().map(|r| traced(r, yard)).collect();
        eprintln!("measured: system calls");
        rows.extend(counts(&all));
    }
    if wish.wants("instructions") {
        rows.extend(instructions(runtimes, yard));
    }
    if wish.wants("size") {
        let bytes = |of: fn(&Path) -> u64| -> Vec<Cell> {
            runtimes.iter().map(|r| Cell::Numbers(vec![of(&r.path) as f64 / 1024.0])).collect()
        };
        rows.push(Row::new("size", "program", "KiB", bytes(size)));
        rows.push(Row::new("size", "program and libraries", "KiB", bytes(|p| size(p) + libraries(p))));
    }
    rows
}

fn counts(all: &[Result<Followed>]) -> Vec<Row> {
    let row = |title: String, unit, command: usize, of: &dyn Fn(&Traced) -> Cell| {
        let cell = |r: &Result<Followed>| match r
            .as_ref()
            .map(|all| (all.by_command[command].as_ref(), &all.failed))
        {
            Err(e) => Cell::Invalid(format!("{e:#}")),
            Ok((Some(traced), _)) => of(traced),
            Ok((None, Some(why))) => Cell::Invalid(why.clone()),
            Ok((None, None)) => Cell::Absent,
        };
        Row::new("calls", title, unit, all.iter().map(cell).collect())
    };
    let mut rows = Vec::new();
    for (n, name) in COMMANDS.iter().enumerate() {
        let count = |number: usize| Cell::Numbers(vec![number as f64]);
        rows.push(row(format!("system calls of {name}"), "calls", n, &|t| count(t.calls)));
        if ["run true", "create", "exec true"].contains(name) {
            rows.push(row(format!("processes and threads made by {name}"), "", n, &|t| count(t.forks)));
            rows.push(row(format!("programs started by {name}"), "", n, &|t| count(t.programs)));
            let slow = |t: &Traced| {
                let kinds = t.slow.keys().cloned().collect();
                Cell::Counted(t.slow.values().sum::<usize>() as f64, kinds)
            };
            rows.push(row(format!("calls over 3 ms after a pause, {name}"), "calls", n, &slow));
        }
    }
    rows
}

/// What one runtime did.
struct Followed {
    /// One entry for each of `COMMANDS`.
    by_command: Vec<Option<Traced>>,
    /// Why those of a container that stays are missing.
    failed: Option<String>,
}

fn traced(r: &mut Runtime, yard: &Yard) -> Result<Followed> {
    let bundle = r.bundle(yard, Kind::of(Payload::True))?;
    let mut all: Vec<Vec<Traced>> = COMMANDS.iter().map(|_| Vec::new()).collect();
    let mut failed = None;
    for _ in 0..TRACES {
        let id = r.fresh();
        std::thread::sleep(PAUSE);
        all[0].push(trace::trace(&r.command(&["run", "--bundle", utf8(&bundle)?, &id]), &r.dir)?);
        if !r.is_floor() && failed.is_none() {
            failed = life(r, yard, &mut all).err().map(|e| format!("{e:#}"));
        }
        // Not earlier: a tracer that has ended is one of ours too.
        call::reap();
    }
    let left = r.left_nothing(yard);
    if failed.is_some() {
        // A part of a life is no result, and what it has left is a part of its failure.
        all[1..].iter_mut().for_each(Vec::clear);
    } else {
        left?;
    }
    Ok(Followed { by_command: all.into_iter().map(trace::quietest).collect(), failed })
}

/// A container that stays, with every command under the tracer.
fn life(r: &mut Runtime, yard: &Yard, all: &mut [Vec<Traced>]) -> Result<()> {
    let bundle = r.bundle(yard, Kind::of(Payload::Sleep))?;
    let (id, pid_file) = (r.fresh(), r.dir.join("pid"));
    let pid_text = utf8(&pid_file)?.to_owned();
    let create = ["create", "--bundle", utf8(&bundle)?, "--pid-file", &pid_text, &id];
    let run = |r: &Runtime, words: &[&str]| {
        std::thread::sleep(PAUSE);
        trace::trace(&r.command(words), &r.dir)
    };
    std::thread::sleep(PAUSE);
    let created = Traces::of(&r.command(&create), &r.dir)?;
    let pid: u32 = fs::read_to_string(&pid_file)?.trim().parse()?;
    all[2].push(run(r, &["start", &id])?);
    all[3].push(run(r, &["exec", &id, "/probe", "true"])?);
    all[4].push(run(r, &["state", &id])?);
    all[5].push(run(r, &["list"])?);
    all[6].push(run(r, &["kill", &id, "KILL"])?);
    // The tracer of `create` has waited for it.
    all[1].push(created.collect()?);
    let _ = call::collect(pid);
    all[7].push(run(r, &["delete", &id])?);
    Ok(())
}

/// Instructions of `run true`: user and kernel, where the processor counts and lets itself be asked, which most virtual
/// machines do not; else those outside the kernel, step by step.
fn instructions(runtimes: &mut [Runtime], yard: &Yard) -> Vec<Row> {
    let counts = perf(&Command::new("true")).is_ok();
    let (of, words): (fn(&Command) -> Result<f64>, _) =
        if counts { (perf, "user and kernel") } else { (stepped, "outside the kernel") };
    let conditions = if yard.has_filter() { &[false, true][..] } else { &[false] };
    let row = |filter: &bool| {
        let one = |r: &mut Runtime| {
            let mut count = || {
                let bundle = r.bundle(yard, Kind::of(Payload::True).filtered(*filter))?;
                let id = r.fresh();
                let number = of(&r.command(&["run", "--bundle", utf8(&bundle)?, &id]));
                call::reap();
                number
            };
            Cell::of_numbers(count().map(|n| vec![n]))
        };
        let cells = runtimes.iter_mut().map(one).collect();
        let filtered = if *filter { ", filtered" } else { "" };
        eprintln!("measured: instructions{filtered}");
        Row::new("instructions", format!("instructions of run true{filtered}, {words}"), "thousand", cells)
    };
    conditions.iter().map(row).collect()
}

fn stepped(command: &Command) -> Result<f64> {
    Ok((steps::count(command)? as f64 / 1000.0).round())
}

fn perf(of: &Command) -> Result<f64> {
    let out = Command::new("perf")
        .args(["stat", "-x", ",", "-e", "instructions"])
        .arg(of.get_program())
        .args(of.get_args())
        .output()
        .context("perf")?;
    let text = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "under perf: {}", text.lines().last().unwrap_or("nothing said"));
    let line = text.lines().find(|l| l.contains("instructions")).context("perf has not counted")?;
    let count: f64 = line.split(',').next().unwrap_or("").parse().context("perf has not counted")?;
    Ok((count / 1000.0).round())
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Bytes of the shared libraries that a program loads; 0 for a static one.
fn libraries(path: &Path) -> u64 {
    let said = Command::new("ldd").arg(path).output();
    let text = said.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let files = text.split_whitespace().filter(|w| w.starts_with('/') && w.contains(".so"));
    let files: BTreeMap<&str, u64> = files.map(|f| (f, size(Path::new(f)))).collect();
    files.values().sum()
}
