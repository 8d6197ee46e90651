//! `knarr resume`: thaws a paused container's control group.

use super::pause::DEADLINE;
use super::{refuse, store};
use crate::cgroup::Cgroup;
use crate::cli::{Global, IdArgs};
use crate::error::Result;
use crate::state::Status;

/// Resumes the container.
pub fn run(global: &Global, args: &IdArgs) -> Result<i32> {
    let container = store(global)?.lock(&args.id, true)?;
    let status = container.status()?;
    if status != Status::Paused {
        return Err(refuse("resume", &args.id, &format!("container not paused (status {status})")));
    }
    let thawed = Cgroup::open(&container.record.cgroup)?.thaw(DEADLINE);
    thawed.map_err(|e| e.step(format!("resume container {}", args.id)))?;
    Ok(0)
}
