//! `knarr start`: lets a created container's program begin. Opens the gate and runs poststart hooks.

use super::{refuse, store};
use crate::cli::{Global, IdArgs};
use crate::error::Result;
use crate::gate::{self, Verdict};
use crate::hooks;
use crate::spec;
use crate::state::{Container, Phase, Status};
use std::time::Duration;

/// How long init may take from the open gate to execve; startContainer hooks without a timeout run in it.
const DEADLINE: Duration = Duration::from_secs(120);

/// Starts the container.
pub fn run(global: &Global, args: &IdArgs) -> Result<i32> {
    let container = store(global)?.lock(&args.id, true)?;
    allowed(&container)?;
    match gate::open(container.dir(), DEADLINE)? {
        Verdict::Running => poststart(&container)?,
        Verdict::Failed(e) => return Err(e),
    }
    Ok(0)
}

fn allowed(container: &Container) -> Result<()> {
    let id = container.id();
    let record = &container.record;
    let why = match container.status()? {
        Status::Created => return Ok(()),
        Status::Running => "cannot start an already running container".into(),
        Status::Paused => "cannot start a container in the paused state".into(),
        Status::Creating => format!("it is still being created by process {}", record.creator.pid),
        Status::Stopped if record.phase == Phase::Creating => {
            "its creation was interrupted; use delete".into()
        }
        Status::Stopped => "cannot start a container that has stopped".to_string(),
    };
    Err(refuse("start", id, &why))
}

/// Runs poststart hooks from the config that `create` stored.
///
/// # Errors
/// A hook that fails, fails the start (runtime.md, "Lifecycle").
fn poststart(container: &Container) -> Result<()> {
    let bytes = container.config()?;
    let (config, _) = spec::read::config(&bytes)?;
    let Some(hooks) = config.hooks.filter(|h| !h.poststart.is_empty()) else { return Ok(()) };
    let record = &container.record;
    let pid = record.init.map_or(0, |p| p.pid);
    let state = hooks::State {
        oci_version: &record.oci_version,
        id: &record.id,
        status: "running",
        pid,
        bundle: &record.bundle,
        annotations: &record.annotations,
    };
    hooks::run("poststart", &hooks.poststart, &state)
}
