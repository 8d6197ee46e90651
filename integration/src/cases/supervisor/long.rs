//! The long loops and the figures: a short loop in every run of the suite, all of it by `conformance soak`.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};

use super::sup;
use crate::case::Case;
use crate::cases::{conmon_memory, shim_memory};
use crate::host::Need;
use crate::soak::{Figures, measure, median, soak};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("soak.short", "kill -9 of the daemon in a loop")
            .seconds(60)
            .daemon(|d| soak(d, 25, 1).map(|_| ())),
    ]
}

/// What the long cases have to say beside pass and fail: rows of a page.
pub type Page = Rc<RefCell<String>>;

/// The long cases with their sizes.
pub fn long(kills: usize, services: usize, seed: u64, page: &Page) -> Vec<Case> {
    let say = |line: String| {
        let page = page.clone();
        move |more: &str| {
            // A row of a page that nobody reads is no failure.
            let _ = writeln!(page.borrow_mut(), "| {line} | {more} |");
        }
    };
    let loop_row = say("kill -9 of knarrd in a loop".into());
    let figures_page = page.clone();
    let (conmon, shim) =
        (say("conmon, for one container".into()), say("containerd-shim, for one container".into()));
    vec![
        sup("soak.kill-9", "kill -9 of the daemon in a loop").seconds(120).daemon(move |d| {
            let seen = soak(d, kills, seed)?;
            loop_row(&seen.to_string());
            Ok(())
        }),
        sup("soak.figures", "numbers").seconds(120).daemon(move |d| {
            let f = measure(d, services)?;
            figures_page.borrow_mut().push_str(&rows(&f));
            judge(&f)
        }),
        sup("soak.conmon", "numbers of a peer")
            .needs([Need::CgroupAny("memory"), Need::Program("podman"), Need::Program("conmon")])
            .seconds(120)
            .steps(move |t| {
                conmon(&memory(&conmon_memory(t)?)?);
                Ok(())
            }),
        sup("soak.containerd-shim", "numbers of a peer")
            .needs([Need::CgroupAny("memory"), Need::Program("containerd"), Need::Program("ctr")])
            .seconds(120)
            .steps(move |t| {
                shim(&memory(&shim_memory(t)?)?);
                Ok(())
            }),
    ]
}

/// Private and proportional memory from lines of smaps_rollup.
fn memory(text: &str) -> Result<String> {
    let value = |key: &str| -> Result<u64> {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(key))
            .with_context(|| format!("no {key} in {text:?}"))?;
        line.trim().trim_end_matches(" kB").parse().with_context(|| line.to_string())
    };
    let private = value("Private_Clean:")? + value("Private_Dirty:")?;
    Ok(format!("{private} KiB private, {} KiB PSS", value("Pss:")?))
}

fn rows(f: &Figures) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text += &format!("| {name} | {value} |\n");
    let services = f.services;
    row(&format!("knarrd with {services} services, resident memory"), format!("{} KiB", f.daemon / 1024));
    let (private, pss) = keeper(f);
    row("a keeper, median of all", format!("{} KiB private, {} KiB PSS", private / 1024, pss / 1024));
    row(
        &format!("idle for {} s: times knarrd ran, times the keepers ran", f.idle),
        format!("{} and {}", f.wakes.0, f.wakes.1),
    );
    let calls = f.calls.map_or("strace is not installed".into(), |n| n.to_string());
    row(&format!("idle for {} s: system calls of knarrd", f.idle), calls);
    let at = |n: usize| f.restarts.get(n).map_or(0.0, |d| d.as_secs_f64() * 1000.0);
    let (middle, high) = (f.restarts.len() / 2, f.restarts.len() * 9 / 10);
    row(
        "from a death to the first line of the next run, no pause asked for",
        format!("{:.1} ms median, {:.1} ms 90th percentile", at(middle), at(high)),
    );
    row(
        &format!("knarrd killed, started again, {services} adopted"),
        format!("{:.0} ms", f.adoption.as_secs_f64() * 1000.0),
    );
    row(&format!("{services} services started"), format!("{:.1} s", f.start.as_secs_f64()));
    text
}

/// Private and proportional bytes of the keeper in the middle.
fn keeper(f: &Figures) -> (u64, u64) {
    let sorted = |mut all: Vec<u64>| {
        all.sort_unstable();
        median(&all).unwrap_or(0)
    };
    (sorted(f.keepers.iter().map(|k| k.0).collect()), sorted(f.keepers.iter().map(|k| k.1).collect()))
}

/// The promises, for the number of services that they name.
fn judge(f: &Figures) -> Result<()> {
    let middle = median(&f.restarts).context("no restart was measured")?;
    let (private, _) = keeper(f);
    let promises = [
        (f.daemon < 10 << 20, "knarrd stays under 10 MiB"),
        (private * 10 < 3 << 20, "a keeper stays under 0.3 MiB of its own"),
        (f.wakes == (0, 0) && f.calls.unwrap_or(0) == 0, "nothing runs while nothing happens"),
        (middle.as_millis() < 20, "a restart takes less than 20 ms"),
        (f.adoption.as_millis() < 1000, "adoption takes less than 1 s"),
    ];
    let broken: Vec<&str> = promises.iter().filter(|p| !p.0).map(|p| p.1).collect();
    ensure!(broken.is_empty(), "not kept: {}\n{}", broken.join("; "), rows(f));
    Ok(())
}
