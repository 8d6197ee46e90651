//! The long loops and the figures: a short loop in every run of the suite, all of it by `conformance soak`.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::crowd::due_at_once;
use super::hogs::{again, two};
use super::rollout::under_load;
use super::sup;
use crate::base::PROBE;
use crate::case::Case;
use crate::cases::{conmon_memory, podman_checks, shim_memory};
use crate::daemon::Daemon;
use crate::host::Need;
use crate::soak::{Figures, Files, Idle, measure, measure_files, median, soak};
use crate::soak_memory::{calm, kill_times};
use crate::soak_probes::{busy, cost, timeouts};
use crate::trial::Trial;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("soak.short", "kill -9 of the daemon in a loop")
            .seconds(60)
            .daemon(|d| soak(d, 25, 1).map(|_| ())),
        sup("soak.probe-timeouts-short", "timed-out exec probes that fork twice leave nothing")
            .seconds(90)
            .daemon(|d| timeouts(d, 4, 60, 80).map(|_| ())),
    ]
}

/// Services of which each has all that can wake the daemon.
const CALM: usize = 20;
const HOGS: &str = "a protected server beside two hogs of 300 MiB where all have 200 MiB";

/// A daemon that the story starts with options of its own.
fn alone(t: &mut Trial<'_>, tell: impl Fn(&mut Daemon<'_, '_>) -> Result<()>) -> Result<()> {
    let mut d = Daemon::new(t)?;
    let told = tell(&mut d).and_then(|()| d.finish().context("taking everything down"));
    if told.is_err() {
        d.testify();
    }
    told
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
    let timeouts_row =
        say("10,000 timed-out exec probes in 48 containers, each of which had forked twice".into());
    let load_row = say("replicas with a held socket restarted in turn, knarrd killed between".into());
    let cost_row = say("100 containers with an exec probe each second: everything that knarr does".into());
    let crowd_row = say("1,000 exec probes of 500 containers due at one moment, each of 2 s".into());
    let checks_row = say("`podman healthcheck run` with the same runtime, 50 in a row".into());
    let execs_row =
        say("the same program by `exec` of the same runtime from the command line, 300 in a row".into());
    let each_of = Rc::new(Cell::new(None));
    let (beside_checks, beside_execs) = (each_of.clone(), each_of.clone());
    let (figures_page, files_page, thousand_page) = (page.clone(), page.clone(), page.clone());
    let ours = Rc::new(Cell::new(None));
    let (keeper_of, beside_conmon, beside_shim) = (ours.clone(), ours.clone(), ours);
    let (conmon, shim) =
        (say("conmon, for one container".into()), say("containerd-shim, for one container".into()));
    let events_row =
        say("from a kill for memory by the kernel to the event of knarrd, by the time stamps of both".into());
    let calm_row = say(format!("{CALM} services that are warned, enough memory for all, idle for 10 s"));
    let hog_row = say("a hog beside a server, which comes to its limit of 24 MiB as fast as it can".into());
    let hogs_page = page.clone();
    let updates_row = say("updates of four replicas with a held socket".into());
    vec![
        sup("soak.rollouts-under-load", "updates under load").seconds(600).daemon(move |d| {
            let (requests, rollouts) = under_load(d, 20_000)?;
            updates_row(&format!("{rollouts} rollouts, good and bad ones, knarrd killed in each; {requests} requests, none failed"));
            Ok(())
        }),
        sup("soak.kill-9", "kill -9 of the daemon in a loop").seconds(120).daemon(move |d| {
            let seen = soak(d, kills, seed)?;
            loop_row(&seen.to_string());
            Ok(())
        }),
        sup("soak.figures", "numbers").seconds(120).daemon(move |d| {
            let f = measure(d, services, 10)?;
            keeper_of.set(Some(keeper(&f)));
            figures_page.borrow_mut().push_str(&rows(&f));
            judge(&f)
        }),
        sup("soak.thousand", "numbers").seconds(300).daemon(move |d| {
            let f = measure(d, 1000, 60)?;
            thousand_page.borrow_mut().push_str(&crowd_rows(&f));
            judge_crowd(&f)
        }),
        sup("soak.files", "numbers").seconds(120).daemon(move |d| {
            let f = measure_files(d, 1000)?;
            files_page.borrow_mut().push_str(&file_rows(&f));
            Ok(())
        }),
        sup("soak.oom-event", "numbers").needs([Need::CgroupAny("memory")]).seconds(120).daemon(move |d| {
            events_row(&spread(&kill_times(d, 40)?));
            Ok(())
        }),
        sup("soak.no-pressure", "numbers").needs([Need::CgroupAny("memory")]).seconds(120).daemon(move |d| {
            let idle = calm(d, CALM)?;
            calm_row(&format!(
                "knarrd ran {} times and used {} clock ticks; system calls: {}",
                idle.wakes.0,
                idle.ticks.0,
                idle.calls.map_or("strace is not installed".into(), |n| n.0.to_string())
            ));
            Ok(())
        }),
        sup("soak.two-hogs", "numbers").needs([Need::CgroupAny("memory")]).seconds(120).steps(move |t| {
            alone(t, |d| {
                let rows = two(d)?;
                let row = |(when, what): &(String, String)| {
                    hogs_page.borrow_mut().push_str(&format!("| {HOGS}: {when} | {what} |\n"));
                };
                rows.iter().for_each(row);
                Ok(())
            })
        }),
        sup("soak.hog-again", "numbers").needs([Need::CgroupAny("memory")]).seconds(300).steps(move |t| {
            alone(t, |d| {
                hog_row(&again(d, 100)?);
                Ok(())
            })
        }),
        sup("soak.probe-timeouts", "timed-out exec probes that fork twice leave nothing")
            .seconds(1800)
            .daemon(move |d| {
                let took = timeouts(d, 48, 10_000, 1500)?;
                timeouts_row(&format!(
                    "no process, zombie, descriptor, control group or file is left; {:.0} s for all",
                    took.as_secs_f64()
                ));
                Ok(())
            }),
        sup("soak.held-load", "replicas restarted in turn under load: no request fails").seconds(900).daemon(
            move |d| {
                load_row(&super::listen::under_load(d, 4, 20_000)?);
                Ok(())
            },
        ),
        sup("soak.probes-at-once", "a thousand probes due at once").seconds(600).daemon(move |d| {
            let c = due_at_once(d, 500)?;
            crowd_row(&format!(
                "at most {} under way at once; all answered after {:.0} s; a service beside them as before",
                c.most,
                c.took.as_secs_f64()
            ));
            ensure!(c.probes == 1000, "{} probes", c.probes);
            Ok(())
        }),
        sup("soak.probe-cost", "numbers").seconds(300).daemon(move |d| {
            let c = cost(d, 100, 30)?;
            ensure!(c.probes > 100, "only {} probes", c.probes);
            each_of.set(Some(c.each()));
            cost_row(&format!(
                "{} in {:.0} s, {:.1} s of processor time, {:.1} ms each",
                c.probes,
                c.seconds,
                c.busy,
                c.each()
            ));
            Ok(())
        }),
        sup("soak.exec-cost", "numbers").seconds(120).steps(move |t| {
            const COUNT: u32 = 300;
            t.resident()?;
            let id = t.id.clone();
            let me = i32::try_from(std::process::id())?;
            let before = busy(me)?;
            for _ in 0..COUNT {
                t.rt(&["exec", &id, PROBE, "append", "/count", "x"]).run()?.ok()?;
            }
            let each = (busy(me)? - before) * 1000.0 / f64::from(COUNT);
            let ratio = beside_execs
                .get()
                .map_or_else(String::new, |ours: f64| format!("; a probe by knarrd takes **{:.2}** of it", ours / each));
            execs_row(&format!("{each:.1} ms of processor time each{ratio}"));
            Ok(())
        }),
        sup("soak.podman-checks", "numbers of a peer")
            .needs([Need::CgroupAny("memory"), Need::Program("podman"), Need::Program("conmon")])
            .seconds(300)
            .steps(move |t| {
                let me = std::process::id() as i32;
                let mut used = |count| -> Result<f64> {
                    let before = busy(me)?;
                    podman_checks(t, count)?;
                    crate::os::reap_orphans();
                    Ok(busy(me)? - before)
                };
                let (none, some) = (used(0)?, used(50)?);
                let each = (some - none) * 1000.0 / 50.0;
                let ratio = beside_checks.get().map_or_else(String::new, |ours| {
                    format!("; a probe by knarrd takes **{:.2}** of it", ours / each)
                });
                checks_row(&format!("{each:.1} ms of processor time each{ratio}"));
                Ok(())
            }),
        sup("soak.conmon", "numbers of a peer")
            .needs([Need::CgroupAny("memory"), Need::Program("podman"), Need::Program("conmon")])
            .seconds(120)
            .steps(move |t| {
                conmon(&beside(beside_conmon.get(), &conmon_memory(t)?)?);
                Ok(())
            }),
        sup("soak.containerd-shim", "numbers of a peer")
            .needs([Need::CgroupAny("memory"), Need::Program("containerd"), Need::Program("ctr")])
            .seconds(120)
            .steps(move |t| {
                shim(&beside(beside_shim.get(), &shim_memory(t)?)?);
                Ok(())
            }),
    ]
}

/// A peer's private and proportional memory from lines of smaps_rollup, and what share of it a keeper of the same run has.
fn beside(ours: Option<(u64, u64)>, text: &str) -> Result<String> {
    let value = |key: &str| -> Result<u64> {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(key))
            .with_context(|| format!("no {key} in {text:?}"))?;
        line.trim().trim_end_matches(" kB").parse().with_context(|| line.to_string())
    };
    let (private, pss) = (value("Private_Clean:")? + value("Private_Dirty:")?, value("Pss:")?);
    let ratio = ours.map_or_else(String::new, |o| {
        let share = |part: u64, all: u64| part as f64 / 1024.0 / all as f64;
        format!("; a keeper has **{:.2}** and **{:.2}** of it", share(o.0, private), share(o.1, pss))
    });
    Ok(format!("{private} KiB private, {pss} KiB PSS{ratio}"))
}

fn kib(bytes: u64) -> u64 {
    bytes / 1024
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The tenth, the median and the ninetieth percentile.
fn spread(sorted: &[Duration]) -> String {
    let at = |n: usize| sorted.get(n).copied().unwrap_or_default();
    let n = sorted.len();
    format!("{} median [{} to {}]", ms(at(n / 2)), ms(at(n / 10)), ms(at(n * 9 / 10)))
}

/// The same, and the worst but one in a hundred.
fn worst(sorted: &[Duration]) -> String {
    let last = sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default();
    format!("{}, {} at the 99th percentile", spread(sorted), ms(last))
}

fn rows(f: &Figures) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text += &format!("| {name} | {value} |\n");
    let services = f.services;
    row(&format!("knarrd with {services} services, resident memory"), own(f.daemon));
    row("the same, after adopting them", own(f.adopted));
    let (private, pss) = keeper(f);
    row("a keeper, median of all", format!("{} KiB private, {} KiB PSS", kib(private), kib(pss)));
    let sum: u64 = f.keepers.iter().map(|k| k.1).sum();
    row("all keepers together", format!("{} KiB PSS", kib(sum)));
    let (wakes, ticks, calls) = idle_rows(&f.idle);
    let idle = |what: &str| format!("idle for {} s: {what}", f.idle.seconds);
    row(&idle("times knarrd ran, times the keepers ran"), wakes);
    row(&idle("processor time of knarrd, of all keepers"), ticks);
    row(&idle("system calls of knarrd, of a keeper"), calls);
    row("from a death to the first line of the next run, no pause asked for", spread(&f.restarts));
    row("of this, from the SIGKILL to the event about the end", worst(&f.notices));
    row(
        "of this, from the event to the first line, which the program prints after execve",
        worst(&f.successors),
    );
    let ratio = match (median(&f.restarts), median(&f.alone)) {
        (Some(all), Some(alone)) => all.as_secs_f64() / alone.as_secs_f64(),
        _ => 0.0,
    };
    row(
        "create, start and delete of the same container by hand, together",
        format!("{}; a restart takes **{ratio:.2}** of it", spread(&f.alone)),
    );
    row("one durable append on this disk, of which a restart has one", spread(&f.syncs));
    row(&format!("knarrd killed, started again, {services} adopted"), ms(f.adoption));
    row(&format!("{services} services started"), format!("{:.1} s", f.start.as_secs_f64()));
    for (line, took) in &f.questions {
        row(&format!("`knarrctl {line}` with {services} services"), ms(*took));
    }
    text
}

/// Resident memory, and what of it is no page of the program.
fn own(memory: (u64, u64)) -> String {
    format!("{} KiB, {} KiB without the pages of its program", kib(memory.0), kib(memory.1))
}

/// How often the daemon and its keepers ran, how long, and what they called.
fn idle_rows(idle: &Idle) -> (String, String, String) {
    let calls = idle.calls.map_or("strace is not installed".into(), |n| format!("{} and {}", n.0, n.1));
    (
        format!("{} and {}", idle.wakes.0, idle.wakes.1),
        format!("{} and {} clock ticks", idle.ticks.0, idle.ticks.1),
        calls,
    )
}

/// What so many services more change.
fn crowd_rows(f: &Figures) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        text += &format!("| {} services: {name} | {value} |\n", f.services);
    };
    row("knarrd, resident memory", own(f.daemon));
    row("the same, after adopting them", own(f.adopted));
    let (wakes, ticks, calls) = idle_rows(&f.idle);
    let seconds = f.idle.seconds;
    row(&format!("idle for {seconds} s: times knarrd ran, times the keepers ran"), wakes);
    row(&format!("idle for {seconds} s: processor time of both"), ticks);
    row(&format!("idle for {seconds} s: system calls of knarrd, of a keeper"), calls);
    row("all started", format!("{:.1} s", f.start.as_secs_f64()));
    row("knarrd killed, started again, all adopted", ms(f.adoption));
    row("from a SIGKILL to the event about the end", worst(&f.notices));
    row("from the event to the first line of the next run", worst(&f.successors));
    row("create, start and delete by hand in the same group, together", spread(&f.alone));
    for (line, took) in &f.questions {
        row(&format!("`knarrctl {line}`"), ms(*took));
    }
    text
}

fn file_rows(f: &Files) -> String {
    let mut text = String::new();
    let mut row = |name: String, value: String| text += &format!("| {name} | {value} |\n");
    let files = f.files;
    row(format!("{files} new service files, nothing to run: knarrd started until it answers"), ms(f.first));
    row("the same, all of them known".into(), ms(f.again));
    row(format!("`knarrctl apply` with {files} files of which one has changed"), ms(f.pass));
    row(format!("knarrd with {files} service files, resident memory"), own(f.daemon));
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
        (f.daemon.0.max(f.adopted.0) < 10 << 20, "knarrd stays under 10 MiB"),
        (private * 10 < 3 << 20, "a keeper stays under 0.3 MiB of its own"),
        (
            f.idle.wakes == (0, 0) && f.idle.calls.unwrap_or((0, 0)) == (0, 0),
            "nothing runs while nothing happens",
        ),
        (middle.as_millis() < 20, "a restart takes less than 20 ms"),
        (f.adoption.as_millis() < 1000, "adoption takes less than 1 s"),
    ];
    kept(&promises, &rows(f))
}

/// The promises about a thousand.
fn judge_crowd(f: &Figures) -> Result<()> {
    let promises = [
        (f.daemon.0.max(f.adopted.0) < 24 << 20, "knarrd stays under 24 MiB"),
        (f.idle.wakes == (0, 0), "nothing runs while nothing happens"),
    ];
    kept(&promises, &crowd_rows(f))
}

fn kept(promises: &[(bool, &str)], rows: &str) -> Result<()> {
    let broken: Vec<&str> = promises.iter().filter(|p| !p.0).map(|p| p.1).collect();
    ensure!(broken.is_empty(), "not kept: {}\n{rows}", broken.join("; "));
    Ok(())
}
