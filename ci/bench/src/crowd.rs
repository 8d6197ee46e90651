//! Figures of many containers: starts at the same time, and single calls while others live.
//! Calls runtimes through `runtime`.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::bundle::{Kind, Payload, Yard};
use crate::call::{self, Cost};
use crate::figures::Wish;
use crate::row::{Cell, Row};
use crate::runtime::{Held, Runtime, utf8};

/// Starts in one sample of throughput.
const STARTS: usize = 48;
/// Samples of throughput for each runtime.
const SAMPLES: usize = 5;
/// Calls of each kind while a crowd lives.
const CALLS: usize = 15;

/// What is called while a crowd lives, in the order of `Crowd::calls`.
const OF_CROWD: [&str; 4] = ["create", "exec true", "run true", "list"];

/// The rows of this subject.
pub fn rows(runtimes: &mut [Runtime], yard: &Yard, wish: &Wish) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if wish.wants("parallel") {
        for at_once in [4, 8] {
            rows.push(throughput(runtimes, yard, at_once)?);
            eprintln!("measured: {at_once} starts at a time");
        }
    }
    if wish.wants("crowd") && !wish.crowds.is_empty() {
        // One runtime after the other: a crowd of several kinds would be another figure.
        let all: Vec<Crowd> = runtimes.iter_mut().map(|r| Crowd::measure(r, yard, &wish.crowds)).collect();
        for (size, n) in wish.crowds.iter().enumerate() {
            for (call, name) in OF_CROWD.iter().enumerate() {
                let cells = all.iter().map(|c| c.cell(size, call)).collect();
                rows.push(Row::new("crowd", format!("{name}, {n} alive"), "ms", cells));
            }
        }
    }
    Ok(rows)
}

/// `at_once` callers, each starting one container after the other.
fn throughput(runtimes: &mut [Runtime], yard: &Yard, at_once: usize) -> Result<Row> {
    let filter = yard.has_filter();
    let mut cells: Vec<Result<Vec<f64>>> = runtimes.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..SAMPLES {
        for turn in 0..runtimes.len() {
            let i = (round + turn) % runtimes.len();
            let Ok(list) = &mut cells[i] else { continue };
            match starts_per_second(&mut runtimes[i], yard, at_once, filter) {
                Ok(n) => list.push(n),
                Err(e) => cells[i] = Err(e),
            }
            call::reap();
        }
    }
    for (cell, r) in cells.iter_mut().zip(runtimes.iter()) {
        if let (Ok(_), Err(e)) = (&cell, r.left_nothing(yard)) {
            *cell = Err(e);
        }
    }
    let title = format!("run true, filtered, {at_once} at a time");
    let cells = cells.into_iter().map(Cell::of_numbers).collect();
    Ok(Row { more: true, ..Row::new("parallel", title, "per second", cells) })
}

fn starts_per_second(r: &mut Runtime, yard: &Yard, at_once: usize, filter: bool) -> Result<f64> {
    let mut lanes = Vec::new();
    for number in 0..at_once {
        let kind = Kind { number, ..Kind::of(Payload::True).filtered(filter) };
        let ids: Vec<String> = (0..STARTS / at_once).map(|_| r.fresh()).collect();
        lanes.push((r.bundle(yard, kind)?, ids));
    }
    let r = &*r;
    let begun = Instant::now();
    let done: Result<Vec<()>> = std::thread::scope(|scope| {
        let lanes: Vec<_> = lanes
            .iter()
            .enumerate()
            .map(|(n, (bundle, ids))| {
                scope.spawn(move || {
                    for id in ids {
                        let words = ["run", "--bundle", utf8(bundle)?, id];
                        call::call(&mut r.command(&words), &r.dir.join(format!("words-{n}")))?;
                    }
                    Ok(())
                })
            })
            .collect();
        lanes
            .into_iter()
            .map(|l| l.join().unwrap_or_else(|_| anyhow::bail!("a caller ended early")))
            .collect()
    });
    done?;
    Ok((STARTS / at_once * at_once) as f64 / begun.elapsed().as_secs_f64())
}

/// What one runtime did in the presence of others of its own.
struct Crowd {
    /// For each size, for each call of `OF_CROWD`.
    costs: Vec<Vec<Vec<Cost>>>,
    /// Why it went no further.
    failed: Option<String>,
    takes_part: bool,
}

impl Crowd {
    fn measure(r: &mut Runtime, yard: &Yard, sizes: &[usize]) -> Crowd {
        let mut crowd = Crowd { costs: Vec::new(), failed: None, takes_part: !r.is_floor() };
        if !crowd.takes_part {
            return crowd;
        }
        let mut held = Vec::new();
        for &size in sizes {
            let done = grow(r, yard, &mut held, size).and_then(|()| Crowd::calls(r, yard, &held));
            match done {
                Ok(costs) => crowd.costs.push(costs),
                Err(e) => {
                    crowd.failed = Some(format!("{e:#}"));
                    break;
                }
            }
            eprintln!("measured: {}, {size} alive", r.name);
        }
        let ended: Result<()> = held.iter().try_for_each(|h| r.release(h));
        if let Err(e) = ended.and_then(|()| r.left_nothing(yard)) {
            crowd.failed.get_or_insert(format!("{e:#}"));
        }
        crowd
    }

    fn calls(r: &mut Runtime, yard: &Yard, held: &[Held]) -> Result<Vec<Vec<Cost>>> {
        let one = held.last().context("nobody lives")?;
        // A number that none of the crowd has.
        let kind = Kind { number: usize::MAX, ..Kind::of(Payload::True).filtered(yard.has_filter()) };
        let bundle = r.bundle(yard, kind)?;
        let mut costs: Vec<Vec<Cost>> = OF_CROWD.iter().map(|_| Vec::new()).collect();
        for _ in 0..CALLS {
            costs[0].push(r.create_start_delete(&bundle)?[1]);
            costs[1].push(r.call(&["exec", &one.id, "/probe", "true"])?);
            let id = r.fresh();
            costs[2].push(r.call(&["run", "--bundle", utf8(&bundle)?, &id])?);
            costs[3].push(r.call(&["list"])?);
        }
        Ok(costs)
    }

    fn cell(&self, size: usize, call: usize) -> Cell {
        match (self.costs.get(size), &self.failed) {
            _ if !self.takes_part => Cell::Absent,
            (Some(costs), _) => Cell::Times(costs[call].clone()),
            (None, Some(why)) => Cell::Invalid(why.clone()),
            (None, None) => Cell::Absent,
        }
    }
}

fn grow(r: &mut Runtime, yard: &Yard, held: &mut Vec<Held>, size: usize) -> Result<()> {
    while held.len() < size {
        let kind = Kind { number: held.len(), ..Kind::of(Payload::Sleep).filtered(yard.has_filter()) };
        held.push(r.hold(yard, kind).with_context(|| format!("container {}", held.len() + 1))?);
    }
    Ok(())
}
