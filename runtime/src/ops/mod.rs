//! One file a verb. Each reads what it needs, acts through the other modules and gives the exit code; nothing
//! here talks to the kernel itself. May use: everything.
#![forbid(unsafe_code)]

pub mod check;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod events;
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
pub mod update;
pub mod version;

use crate::cli::{Command, Global, Request};
use crate::error::{Code, Context, Error, Result};
use crate::hooks;
use crate::report;
use crate::state::{Record, Status, Store};
use crate::sys::process;
use std::path::Path;

/// Does what a command line asks for and gives the exit code.
///
/// # Errors
/// Whatever the command failed with; its exit code is [`Command::failure`].
pub fn dispatch(request: &Request) -> Result<i32> {
    let global = &request.global;
    match &request.command {
        Command::Check(args) => check::run(global, args),
        Command::Create(args) => create::run(global, args).step("knarr create failed"),
        Command::Delete(args) => delete::run(global, args),
        Command::Doctor(args) => doctor::run(global, args),
        Command::Events(args) => events::run(global, args),
        Command::Exec(args) => exec::run(global, args).step("exec failed"),
        Command::Features => features::run(),
        Command::Help(text) => report::print(text).map(|()| 0),
        Command::Kill(args) => kill::run(global, args),
        Command::List(args) => list::run(global, args),
        Command::Pause(args) => pause::run(global, args),
        Command::Ps(args) => ps::run(global, args),
        Command::Resume(args) => resume::run(global, args),
        Command::Run(args) => run::run(global, args).step("knarr run failed"),
        Command::Spec(args) => spec::run(args),
        Command::Start(args) => start::run(global, args),
        Command::State(args) => state::run(global, args),
        Command::Update(args) => update::run(global, args),
        Command::Version => version::run(),
    }
}

/// The store that `--root` names.
pub(crate) fn store(global: &Global) -> Result<Store> {
    Store::open(&global.root, global.root_explicit)
}

/// A refusal because of the container's status; `why` holds the words that callers look for.
fn refuse(verb: &str, id: &str, why: &str) -> Error {
    Error::new(Code::Status, format!("cannot {verb} container {id}: {why}"))
}

/// What a hook of an existing container reads.
fn hook_state(record: &Record, status: Status, pid: i32) -> hooks::State<'_> {
    hooks::State {
        oci_version: &record.oci_version,
        id: &record.id,
        // The words of hook states are those of runtime.md, which does not know "paused".
        status: match status {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running | Status::Paused => "running",
            Status::Stopped => "stopped",
        },
        pid,
        bundle: &record.bundle,
        annotations: &record.annotations,
    }
}

/// Hooks run in the bundle, as those of `create` did. One that is gone is no reason not to run them.
fn enter_bundle(record: &Record) -> Result<()> {
    process::chdir(&record.bundle).or_else(|_| process::chdir(Path::new("/")))
}
