//! What wakes the daemon when memory gets short: triggers of the kernel, each with a task that waits for it. Nothing wakes up
//! while there is enough.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::info;

use super::figures::{Group, HOST_PRESSURE};
use crate::daemon::work::Done;
use crate::names::RunId;
use crate::sys::pressure as sys;

/// 200 ms within 2 s, what systemd has for MEMORY_PRESSURE_WATCH. Whoever has no CAP_SYS_RESOURCE may have windows of
/// multiples of 2 s only (psi.rst).
const TRIGGER: &str = "some 200000 2000000";

/// All triggers that are set.
#[derive(Debug, Default)]
pub(super) struct Triggers {
    host: Option<Task>,
    group: Option<(Group, Option<Task>)>,
    runs: BTreeMap<RunId, Option<Task>>,
    said: bool,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Triggers {
    /// Those of the host and of the group whose limit counts.
    pub(super) fn set(&mut self, group: Option<&Group>, near: u64, done: &mpsc::UnboundedSender<Done>) {
        if self.host.is_none() && !self.said {
            self.said = true;
            self.host = psi(Path::new(HOST_PRESSURE), None, done)
                .map_err(|e| {
                    info!("the kernel does not say when processes stall for memory ({HOST_PRESSURE}: {e}); it is looked at when services start or end, and with every full pass");
                })
                .ok();
        }
        if self.group.as_ref().map(|(g, _)| g) == group {
            return;
        }
        self.group = group.map(|group| {
            let set = match group.v2 {
                true => psi(&group.dir.join("memory.pressure"), None, done),
                false => use_of(group, near, done),
            };
            let task = set.inspect_err(|e| info!("{}: {e}", group.dir.display())).ok();
            (group.clone(), task)
        });
    }

    /// Those of single runs: exactly these.
    pub(super) fn set_runs<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a RunId, std::path::PathBuf)>,
        done: &mpsc::UnboundedSender<Done>,
    ) {
        let mut old = std::mem::take(&mut self.runs);
        for (run, dir) in wanted {
            let task = old.remove(run).unwrap_or_else(|| {
                let set = psi(&dir.join("memory.pressure"), Some(run.clone()), done);
                set.inspect_err(|e| info!("{run}: {}: {e}", dir.display())).ok()
            });
            self.runs.insert(run.clone(), task);
        }
    }
}

fn psi(path: &Path, run: Option<RunId>, done: &mpsc::UnboundedSender<Done>) -> std::io::Result<Task> {
    let file = sys::watched(sys::trigger(path, TRIGGER)?, Interest::PRIORITY)?;
    Ok(watch(file, Interest::PRIORITY, run, done))
}

/// v1 has no stalls of groups; it says when a use is crossed.
fn use_of(group: &Group, near: u64, done: &mpsc::UnboundedSender<Done>) -> std::io::Result<Task> {
    let event = sys::threshold(&group.dir, group.limit.saturating_sub(near).max(4096))?;
    Ok(watch(sys::watched(event, Interest::READABLE)?, Interest::READABLE, None, done))
}

fn watch(
    fd: AsyncFd<OwnedFd>,
    interest: Interest,
    run: Option<RunId>,
    done: &mpsc::UnboundedSender<Done>,
) -> Task {
    let done = done.clone();
    Task(tokio::task::spawn_local(async move {
        loop {
            let Ok(mut ready) = fd.ready(interest).await else { return };
            // The group is gone.
            if ready.ready().is_error() {
                return;
            }
            if interest.is_readable() {
                // The count of an eventfd is of no interest, but it has to be taken.
                crate::sys::pty::read(fd.get_ref(), &mut [0; 8]).ok();
            }
            ready.clear_ready();
            if done.send(Done::Stalls(run.clone())).is_err() {
                return;
            }
        }
    }))
}
