//! `knarr events`: what a container uses, every few seconds or once, and when it runs out of memory; one JSON object a
//! line, in runc's shape. Reads only, takes no lock, ends with the container.

use super::store;
use crate::cgroup::stats::Stats;
use crate::cgroup::{Cgroup, OomWatch};
use crate::cli::{EventsArgs, Global};
use crate::error::{Code, Error, Result};
use crate::report;
use crate::resctrl;
use crate::state::{Record, Status};
use crate::sys::poll::{self, Interest};
use crate::sys::{BorrowedFd, OwnedFd};
use serde::Serialize;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// One line.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

/// Prints events.
pub fn run(global: &Global, args: &EventsArgs) -> Result<i32> {
    let container = store(global)?.load(&args.id)?;
    let stopped = || Error::new(Code::Status, format!("container with id {} is not running", args.id));
    match container.status()? {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Creating | Status::Stopped => return Err(stopped()),
    }
    let record = &container.record;
    let cgroup = Cgroup::open(&record.cgroup)?;
    if args.stats {
        print(&args.id, "stats", Some(stats(record, &cgroup)?))?;
        return Ok(0);
    }
    let init = record.init.ok_or_else(stopped)?.open(&record.boot_id)?.ok_or_else(stopped)?;
    let watch = cgroup.oom_watch().unwrap_or_else(|e| {
        report::warn(e);
        None
    });
    follow(args, (record, &cgroup), &init, watch)?;
    Ok(0)
}

/// Statistics at every tick, in between what the kernel announces, until init has ended.
fn follow(
    args: &EventsArgs,
    (record, cgroup): (&Record, &Cgroup),
    init: &OwnedFd,
    mut watch: Option<OomWatch<'_>>,
) -> Result<()> {
    let mut tick = later(args.interval);
    loop {
        let mut fds: Vec<(BorrowedFd<'_>, Interest)> = vec![(init.as_fd(), Interest::Read)];
        fds.extend(watch.as_ref().map(OomWatch::source));
        let left = tick.map(|t| t.saturating_duration_since(Instant::now()));
        let ready = poll::wait_any(&fds, left)?;
        let ended = ready.first() == Some(&true);
        // What killed the last process is told before the end.
        if (ended || ready.get(1) == Some(&true))
            && let Some(w) = &mut watch
            && w.fired()?
        {
            print(&args.id, "oom", None)?;
        }
        if ended {
            return Ok(());
        }
        if tick.is_some_and(|t| Instant::now() >= t) {
            match stats(record, cgroup) {
                Ok(stats) => print(&args.id, "stats", Some(stats))?,
                Err(e) => report::warn(e),
            }
            tick = later(args.interval);
        }
    }
}

/// Of the cgroup, and of the groups of resctrl if it has any.
fn stats(record: &Record, cgroup: &Cgroup) -> Result<Stats> {
    let mut stats = cgroup.stats()?;
    if let Some(groups) = &record.resctrl {
        stats.intel_rdt = groups.usage(&resctrl::root()?);
    }
    Ok(stats)
}

/// The next tick; never, when it is too far away for the clock.
fn later(interval: Duration) -> Option<Instant> {
    Instant::now().checked_add(interval)
}

fn print(id: &str, kind: &'static str, data: Option<Stats>) -> Result<()> {
    let line = serde_json::to_string(&Event { kind, id, data });
    let line = line.map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    report::print(&format!("{line}\n"))
}
