//! `knarr start`: lets a created container's program begin. Opens the gate and runs poststart hooks.

use super::{delete, enter_bundle, hook_state, refuse, store};
use crate::cli::{Global, IdArgs};
use crate::error::Result;
use crate::gate::{self, Verdict};
use crate::hooks;
use crate::link;
use crate::notify::{self, Proxy};
use crate::report;
use crate::spec::{self, Hook};
use crate::state::{Container, Phase, Record, Status};
use crate::sys::poll;
use crate::trace::{self, Step};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long an init that reported its failure may take to end.
const END_WAIT: Duration = Duration::from_secs(5);

/// Starts the container.
pub fn run(global: &Global, args: &IdArgs) -> Result<i32> {
    let container = store(global)?.lock(&args.id, true)?;
    allowed(&container)?;
    // What `create` stored; what the bundle holds now does not matter.
    let (config, _) = spec::read::config(&container.config()?)?;
    let hooks = config.hooks.unwrap_or_default();
    let limit = hooks::time_of(&hooks.start_container).map(|t| t + link::DEADLINE);
    let proxy = Proxy::open(container.dir())?;
    match gate::open(container.dir(), limit)? {
        Verdict::Running => {
            report::step("the program runs");
            trace::step(Step::Go);
        }
        Verdict::Failed(e) => {
            await_end(&container.record)?;
            return Err(e);
        }
    }
    poststart(&container, &hooks.poststart).inspect_err(|_| {
        // runtime.md, "Lifecycle": the container is stopped; poststop hooks follow with its deletion.
        if let Err(e) = delete::stop(&container.record) {
            report::warn(e.step("stop the container after a failed poststart hook"));
        }
    })?;
    if let Some(mut proxy) = proxy {
        container.unlock();
        await_ready(&container.record, &mut proxy).unwrap_or_else(notify::late);
    }
    Ok(0)
}

fn await_ready(record: &Record, proxy: &mut Proxy) -> Result<()> {
    let Some(init) = record.init else { return Ok(()) };
    match init.open(&record.boot_id)? {
        Some(handle) => proxy.until_ready(handle.as_fd(), init.pid),
        None => Ok(()),
    }
}

/// A failed start leaves a stopped container, not one that is about to stop: Docker deletes it at once, and
/// its containerd refuses that while it has not seen init end.
fn await_end(record: &Record) -> Result<()> {
    match record.init.map(|init| init.open(&record.boot_id)).transpose()?.flatten() {
        Some(init) => poll::wait_readable(&init, Some(END_WAIT)).map(drop),
        None => Ok(()),
    }
}

fn allowed(container: &Container) -> Result<()> {
    let id = container.id();
    let record = &container.record;
    let why: String = match container.status()? {
        Status::Created => return Ok(()),
        Status::Running => "cannot start an already running container".into(),
        Status::Paused => "cannot start a container in the paused state".into(),
        Status::Creating => format!("it is still being created by process {}", record.creator.pid),
        Status::Stopped if record.phase == Phase::Creating => {
            "its creation was interrupted; use delete".into()
        }
        Status::Stopped => "cannot start a container that has stopped".into(),
    };
    Err(refuse("start", id, &why))
}

fn poststart(container: &Container, hooks: &[Hook]) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    // The container runs: a hook may well look at it or execute something in it.
    container.unlock();
    let record = &container.record;
    enter_bundle(record)?;
    let pid = record.init.map_or(0, |p| p.pid);
    hooks::run("poststart", hooks, &hook_state(record, Status::Running, pid))
}
