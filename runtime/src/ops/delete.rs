//! `knarr delete`: ends what is left of a container and forgets it. Order: processes, cgroup, directory with the
//! record last, poststop hooks; each step may find its work done, so that a cut-short delete can be repeated.
//! Needs neither the bundle nor a readable record when forced.

use super::{enter_bundle, hook_state, store};
use crate::cgroup::{self, Cgroup, Layout, Manager, Saved};
use crate::cli::{DeleteArgs, Global, SIGKILL, SIGTERM};
use crate::error::{Code, Error, Result};
use crate::hooks;
use crate::report;
use crate::resctrl::{self, Groups};
use crate::spec::{self, Resources};
use crate::state::observe::{boot_id, observe, start_time};
use crate::state::{Entry, Phase, Record, Status, Store};
use crate::sys::{OwnedFd, errno, poll, process};
use crate::trace::{self, Step};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long processes may take to die and cgroups to empty.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long another command on the same container is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a `create` under way may go on before a forced delete ends it.
const CREATE_WAIT: Duration = Duration::from_secs(2);

/// Deletes the container.
pub fn run(global: &Global, args: &DeleteArgs) -> Result<i32> {
    let store = store(global)?;
    if args.force {
        remove(&store, &args.id)?;
    } else {
        delete(&store, &args.id, false)?;
    }
    Ok(0)
}

/// Ends and forgets a container in whatever state it is; one that is gone is fine.
pub fn remove(store: &Store, id: &str) -> Result<()> {
    match delete(store, id, true) {
        Err(e) if e.kind() == Code::NotFound => Ok(()),
        done => done,
    }
}

fn delete(store: &Store, id: &str, force: bool) -> Result<()> {
    let entry = if force { force_entry(store, id)? } else { store.entry(id, LOCK_WAIT)? };
    match &entry.record {
        Ok(record) => delete_known(&entry, record, force),
        // `create` was killed before it wrote its first record, so nothing else exists.
        Err(e) if e.kind() == Code::NotFound => entry.remove().and_then(|()| Err(e.clone())),
        Err(_) if force => delete_damaged(&entry),
        Err(e) => Err(e.clone()),
    }
}

/// Gives a `create` under way a moment to finish, and ends it if it does not.
fn force_entry(store: &Store, id: &str) -> Result<Entry> {
    let end = Instant::now() + CREATE_WAIT;
    loop {
        match store.entry(id, LOCK_WAIT) {
            Err(e) if e.kind() == Code::Status && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(e) if e.kind() == Code::Status => {
                kill_creator(store, id)?;
                return store.entry(id, LOCK_WAIT);
            }
            entry => return entry,
        }
    }
}

/// Ends a `create` that keeps the lock, for example because one of its hooks hangs. Its init dies with it.
fn kill_creator(store: &Store, id: &str) -> Result<()> {
    let record = store.load(id)?.record;
    if record.phase == Phase::Created {
        return Ok(());
    }
    let Some(handle) = record.creator.open(&record.boot_id)? else { return Ok(()) };
    report::warn(format_args!("killing process {}, which is creating container {id}", record.creator.pid));
    // Politely first: it may undo what it has made.
    if process::pidfd_signal(&handle, SIGTERM).is_ok() && poll::wait_readable(&handle, Some(CREATE_WAIT))? {
        return Ok(());
    }
    kill_and_wait(&handle, record.creator.pid)
}

fn delete_known(entry: &Entry, record: &Record, force: bool) -> Result<()> {
    let status = observe(entry.dir(), record)?;
    match status {
        status @ (Status::Running | Status::Paused) if !force => {
            let text = format!("cannot delete container {} that is not stopped: {status}", entry.id());
            return Err(Error::new(Code::Status, text));
        }
        // We hold the lock, so the creator has let go of it: nobody is creating any more.
        Status::Creating | Status::Created | Status::Running | Status::Paused | Status::Stopped => {}
    }
    let cgroup = Cgroup::open(&record.cgroup)?;
    let ours = is_ours(record, &cgroup)?;
    // Usually nobody is left inside, and removing the group says so in one call.
    let removed = ours && status == Status::Stopped && cgroup.remove_vacant();
    if removed {
        report::step("its cgroup is removed");
        trace::step(Step::GroupGone);
    }
    end_processes(record, (ours && !removed).then_some(&cgroup))?;
    report::step("its processes have ended");
    trace::step(Step::Processes);
    if ours && !removed {
        let step = |e: Error| e.step(format!("remove the cgroup of container {}", entry.id()));
        cgroup.destroy(DEADLINE).map_err(step)?;
        report::step("its cgroup is removed");
        trace::step(Step::GroupGone);
    }
    if let Some(groups) = &record.resctrl {
        groups.remove()?;
    }
    let config = if record.poststop == Some(false) { None } else { Some(entry.config()) };
    entry.remove()?;
    report::step("its record is removed");
    trace::step(Step::RecordGone);
    if let Some(config) = config {
        poststop(record, config);
    }
    Ok(())
}

/// An interrupted `create` may have named a group that it had not looked at yet and would have refused. All of
/// a container's processes are younger than its creator, so a group with an older one is somebody else's.
fn is_ours(record: &Record, cgroup: &Cgroup) -> Result<bool> {
    if record.phase == Phase::Created || record.boot_id != boot_id()? || !cgroup.exists() {
        return Ok(true);
    }
    for pid in cgroup.pids()? {
        if start_time(pid)?.is_some_and(|t| t < record.creator.start_time) {
            report::warn(format_args!(
                "the cgroup holds process {pid}, which is not the container's; it stays"
            ));
            return Ok(false);
        }
    }
    Ok(true)
}

/// Kills init and everybody else in the group.
fn end_processes(record: &Record, cgroup: Option<&Cgroup>) -> Result<()> {
    let init = match record.init {
        Some(init) => init.open(&record.boot_id)?.map(|handle| (handle, init.pid)),
        None => None,
    };
    if let Some((handle, _)) = &init {
        signal_gone_is_fine(handle)?;
    }
    if let Some(cgroup) = cgroup {
        kill_group(cgroup)?;
    }
    init.map_or(Ok(()), |(handle, pid)| kill_and_wait(&handle, pid))
}

/// Ends a created container's processes and leaves the rest of it.
pub(super) fn stop(record: &Record) -> Result<()> {
    end_processes(record, Some(&Cgroup::open(&record.cgroup)?))
}

/// SIGKILL to a whole group, frozen or not, unless we are inside.
fn kill_group(cgroup: &Cgroup) -> Result<()> {
    if !cgroup.exists() || cgroup.vacant()? {
        return Ok(());
    }
    if cgroup.pids()?.contains(&process::getpid()) {
        let text = "this process is in the container's cgroup, which is about to be killed";
        return Err(Error::new(Code::Status, text).hint("call delete from outside the container's cgroup"));
    }
    cgroup.kill_all(DEADLINE)
}

fn signal_gone_is_fine(handle: &OwnedFd) -> Result<()> {
    match process::pidfd_signal(handle, SIGKILL) {
        Err(e) if e.is(errno::ESRCH) => Ok(()),
        r => r,
    }
}

fn kill_and_wait(handle: &OwnedFd, pid: i32) -> Result<()> {
    signal_gone_is_fine(handle)?;
    if poll::wait_readable(handle, Some(DEADLINE))? {
        return Ok(());
    }
    let text = format!("process {pid} has not died within {} s of SIGKILL", DEADLINE.as_secs());
    Err(Error::new(Code::Timeout, text))
}

/// What can be done without a record: the group's place follows from the stored config, or from the id. No
/// process is signalled by number.
fn delete_damaged(entry: &Entry) -> Result<()> {
    let config = entry.config().and_then(|bytes| spec::read::config(&bytes)).ok();
    let linux = config.and_then(|(c, _)| c.linux).unwrap_or_default();
    let saved = place_of(&linux.cgroups_path, entry.id()).map(|p| Saved { created: true, ..p.saved() });
    match saved {
        Ok(saved) => {
            let cgroup = Cgroup::open(&saved)?;
            kill_group(&cgroup)?;
            cgroup.destroy(DEADLINE)?;
        }
        Err(e) => report::warn(e.step("find the cgroup of a container with a damaged record")),
    }
    if let Some(plan) = linux.intel_rdt.map(|rdt| resctrl::plan(&rdt, entry.id()))
        && let Ok(root) = resctrl::root()
    {
        Groups::of(&plan, &root).remove()?;
    }
    entry.remove()
}

/// A path in three parts is one for systemd's driver; with the other it could name a group, but nobody does that.
fn place_of(path: &str, id: &str) -> Result<cgroup::Plan> {
    let (layout, none) = (Layout::detect()?, Resources::default());
    match path.split(':').count() {
        3 => cgroup::plan_unit(&layout, &Manager::reach()?, (path, id), &none, &BTreeMap::new()),
        _ => cgroup::plan(&layout, path, id, &none),
    }
}

/// Runs poststop hooks from the config that `create` stored; `config` was read before the directory went.
/// Failures are warnings (runtime.md, "Lifecycle").
fn poststop(record: &Record, config: Result<Vec<u8>>) {
    // Without a config an interrupted `create` did not get as far as any hook.
    let parsed = match config {
        Err(e) if e.is(errno::ENOENT) => return,
        config => config.and_then(|bytes| spec::read::config(&bytes)),
    };
    let hooks = match parsed {
        Ok((config, _)) => config.hooks.unwrap_or_default().poststop,
        Err(e) => return report::warn(e.step("poststop hooks are not run")),
    };
    if hooks.is_empty() {
        return;
    }
    if let Err(e) = enter_bundle(record) {
        return report::warn(e.step("poststop hooks are not run"));
    }
    for e in hooks::run_all("poststop", &hooks, &hook_state(record, Status::Stopped, 0)) {
        report::warn(e);
    }
}
