//! One file a verb. Each reads what it needs, acts through the other modules and gives the exit code; nothing
//! here talks to the kernel itself. May use: everything.
#![forbid(unsafe_code)]

pub mod check;
pub mod create;
pub mod delete;
pub mod exec;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod version;

use crate::cli::{CgroupManager, Command, Global, Request};
use crate::error::{Code, Context, Error, Result};
use crate::report;
use crate::state::Store;

/// Does what a command line asks for and gives the exit code.
///
/// # Errors
/// Whatever the command failed with; its exit code is [`Command::failure`].
pub fn dispatch(request: &Request) -> Result<i32> {
    let global = &request.global;
    match &request.command {
        Command::Check(args) => check::run(global, args),
        Command::Create(args) => {
            built(global).and_then(|()| create::run(global, args)).step("knarr create failed")
        }
        Command::Delete(args) => delete::run(global, args),
        Command::Exec(args) => built(global).and_then(|()| exec::run(global, args)).step("exec failed"),
        Command::Features => features::run(),
        Command::Help(text) => report::print(text).map(|()| 0),
        Command::Kill(args) => kill::run(global, args),
        Command::List(args) => list::run(global, args),
        Command::Pause(args) => pause::run(global, args),
        Command::Ps(args) => ps::run(global, args),
        Command::Resume(args) => resume::run(global, args),
        Command::Run(args) => built(global).and_then(|()| run::run(global, args)).step("knarr run failed"),
        Command::Spec(args) => spec::run(args),
        Command::Start(args) => start::run(global, args),
        Command::State(args) => state::run(global, args),
        Command::Version => version::run(),
    }
}

/// Refuses global options that name something this version does not have: a container made without it would
/// look as if it had it.
fn built(global: &Global) -> Result<()> {
    let what = match global.cgroup_manager {
        CgroupManager::Cgroupfs => return Ok(()),
        CgroupManager::Systemd => "the systemd cgroup driver is not built yet (--systemd-cgroup)",
        CgroupManager::Disabled => "running without cgroups is not built yet (--cgroup-manager disabled)",
    };
    Err(Error::new(Code::Unsupported, what).hint("use --cgroup-manager cgroupfs"))
}

/// The store that `--root` names.
pub(crate) fn store(global: &Global) -> Result<Store> {
    Store::open(&global.root, global.root_explicit)
}

/// A refusal because of the container's status; `why` holds the words that callers look for.
fn refuse(verb: &str, id: &str, why: &str) -> Error {
    Error::new(Code::Status, format!("cannot {verb} container {id}: {why}"))
}
