//! `knarr kill`: one signal to init, through a handle that cannot mean another process. Takes no lock: a signal
//! must not wait for a command that hangs.

use super::{refuse, store};
use crate::cgroup::Cgroup;
use crate::cli::{Global, KillArgs, SIGKILL};
use crate::error::Result;
use crate::state::{Container, Status};
use crate::sys::{errno, process};
use std::time::Duration;

/// How long a cgroup may take to empty or thaw.
const DEADLINE: Duration = Duration::from_secs(10);

/// Sends the signal.
pub fn run(global: &Global, args: &KillArgs) -> Result<i32> {
    let container = store(global)?.load(&args.id)?;
    if !send(&container, args.signal)? && !args.all {
        let status = container.status()?;
        return Err(refuse("kill", &args.id, &format!("container not running (status {status})")));
    }
    Ok(0)
}

/// `false` when there is nothing to signal.
fn send(container: &Container, signal: i32) -> Result<bool> {
    let record = &container.record;
    let status = container.status()?;
    if status == Status::Creating {
        return Ok(false);
    }
    // Without a pid namespace of its own, init's death leaves the others alive: everybody in the group goes.
    if signal == SIGKILL && record.shared_pidns {
        let cgroup = Cgroup::open(&record.cgroup)?;
        if cgroup.exists() && !cgroup.pids()?.is_empty() {
            return cgroup.kill_all(DEADLINE).map(|()| true);
        }
    }
    if status == Status::Stopped {
        return Ok(false);
    }
    let Some(init) = record.init else { return Ok(false) };
    let Some(handle) = init.open(&record.boot_id)? else { return Ok(false) };
    match process::pidfd_signal(&handle, signal) {
        Ok(()) => {}
        Err(e) if e.is(errno::ESRCH) => return Ok(false),
        Err(e) => return Err(e.step(format!("unable to signal init of container {}", container.id()))),
    }
    if signal == SIGKILL && status == Status::Paused {
        // The v1 freezer holds even this signal back.
        Cgroup::open(&record.cgroup)?.thaw(DEADLINE)?;
    }
    Ok(true)
}
