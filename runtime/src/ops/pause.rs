//! `knarr pause`: freezes a container's control group. A freeze that cannot be finished is undone.

use super::{refuse, store};
use crate::cgroup::Cgroup;
use crate::cli::{Global, IdArgs};
use crate::error::Result;
use crate::report;
use crate::state::Status;
use std::time::Duration;

/// How long the kernel may take to stop everybody.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Pauses the container.
pub fn run(global: &Global, args: &IdArgs) -> Result<i32> {
    let container = store(global)?.lock(&args.id, true)?;
    match container.status()? {
        Status::Running | Status::Created => {}
        status @ (Status::Creating | Status::Paused | Status::Stopped) => {
            return Err(refuse("pause", &args.id, &format!("container not running (status {status})")));
        }
    }
    let cgroup = Cgroup::open(&container.record.cgroup)?;
    if let Err(e) = cgroup.freeze(DEADLINE) {
        if let Err(thaw) = cgroup.thaw(DEADLINE) {
            report::warn(thaw.step("undo the freeze"));
        }
        return Err(e.step(format!("pause container {}", args.id)));
    }
    Ok(0)
}
