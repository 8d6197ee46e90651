//! How a keeper begins: everything that can fail is opened by the process that the daemon called, which can still say so;
//! then it goes into the background and serves.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::{self, Args, Asked};
use super::disk::{Disk, RecordFile, Shared};
use super::hold;
use super::journald::{self, Journald};
use super::log::{Limits, Log};
use super::protocol::{OOM_PROTECTED, OWN_CGROUP};
use super::seal::Filter;
use super::serve::{Console, Server, Streams};
use crate::probe::inside;
use crate::sys::held::take_given;
use crate::sys::keeper::{self as sys, Side};

/// The whole program.
pub fn main() -> ExitCode {
    if let Some(command) = inside::asked(std::env::args_os()) {
        return inside::main(&command);
    }
    sys::close_inherited();
    sys::small_heap();
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Version) => {
            println!("{}", args::version());
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Hold { dir, cgroup }) => return hold::main(&dir, cgroup),
        Ok(Asked::Keep(args)) => args,
        Err(e) => {
            eprintln!("knarr-keeper: {e}");
            return ExitCode::from(2);
        }
    };
    match start(*args) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(ready)) => ready.run(),
        Err(e) => {
            eprintln!("knarr-keeper: {e}");
            ExitCode::FAILURE
        }
    }
}

/// A keeper in the background that has not started its runtime yet.
struct Ready {
    server: Server,
    disk: Disk,
    args: Args,
    cgroup: Option<PathBuf>,
    filter: Option<Filter>,
    /// For the create command, under the numbers that it gets them.
    given: Vec<OwnedFd>,
    /// What is executed in the place of the create command's program.
    program: Option<OwnedFd>,
}

/// Opens everything and goes into the background; `None` = this is the process that was called.
fn start(args: Args) -> Result<Option<Ready>, String> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |e: io::Error| format!("{path}: {e}")
    };
    // Before anything else has one of their numbers.
    let mut given = match args.pass + usize::from(args.sealed) {
        0 => Vec::new(),
        count => take_given(count).map_err(|e| format!("--pass: {e}"))?,
    };
    let program = if args.sealed { given.pop() } else { None };
    let dir = sys::open_dir(&args.dir).map_err(at(&args.dir))?;
    let journald = match args.journald {
        true => Some(Journald::new(journald::SOCKET, &args.run).map_err(at(Path::new(journald::SOCKET)))?),
        false => None,
    };
    let limits = Limits {
        size: args.log_size,
        files: args.log_files,
        min_free: args.log_min_free,
        min_free_most: 1 << 30,
    };
    let log = Log::open(&args.log, limits, journald).map_err(at(&args.log))?;
    let record =
        dir.try_clone().and_then(|home| RecordFile::prepare(&args.exit, home)).map_err(at(&args.exit))?;
    let shared = Shared::new(&log).map_err(|e| e.to_string())?;
    let listen = sys::listen(&dir, "sock", true).map_err(at(&args.dir.join("sock")))?;
    let console = match args.tty {
        true => {
            Console::Listening(sys::listen(&dir, "console", false).map_err(at(&args.dir.join("console")))?)
        }
        false => Console::None,
    };
    let boot_id = crate::clock::boot_id().map_err(at(Path::new("/proc")))?;
    let disk = Disk::new(shared.clone(), log, record);
    let server = Server::new(args.run.to_string(), boot_id, args.dir.clone(), listen, console, shared)
        .map_err(|e| e.to_string())?;
    // Without its own cgroup a keeper works as well; the hello says that it has none.
    let cgroup = args.cgroup.clone().filter(|dir| make_cgroup(dir).is_ok());
    let cgroup_fd = cgroup.as_deref().and_then(|dir| sys::open_dir(dir).ok());
    let filter = Filter::compile().ok();
    // A daemon that was killed takes a run whose socket it did not find for one that was never begun. The socket is there by
    // now: either this process sees that its daemon is gone, or the next daemon finds the socket.
    if sys::stderr_is_dead() {
        return Err("the daemon is gone".into());
    }
    let side =
        sys::go_away(cgroup_fd.as_ref().map(std::os::fd::AsFd::as_fd)).map_err(|e| format!("fork: {e}"))?;
    match side {
        Side::Caller => Ok(None),
        Side::Away { in_cgroup } => {
            let cgroup = cgroup.filter(|_| !in_cgroup);
            let mut ready = Ready { server, disk, args, cgroup, filter, given, program };
            if in_cgroup {
                ready.server.set_flag(OWN_CGROUP);
            }
            Ok(Some(ready))
        }
    }
}

/// Makes the keeper's cgroup; the one above it may be missing, too.
pub(super) fn make_cgroup(dir: &Path) -> io::Result<()> {
    match std::fs::create_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

impl Ready {
    /// Lives. Errors have nobody to hear them: what cannot be had is done without, or ends the keeper, which its daemon sees.
    fn run(mut self) -> ExitCode {
        // An older kernel: it moves itself.
        if self.cgroup.is_some_and(|dir| std::fs::write(dir.join("cgroup.procs"), "0").is_ok()) {
            self.server.set_flag(OWN_CGROUP);
        }
        // Going down needs CAP_SYS_RESOURCE.
        if std::fs::write("/proc/self/oom_score_adj", "-999").is_ok() {
            self.server.set_flag(OOM_PROTECTED);
        }
        let set_up = std::env::set_current_dir("/")
            .and_then(|()| sys::quiet_stdio())
            .and_then(|()| sys::become_subreaper())
            .and_then(|()| sys::hold_signals())
            .and_then(|()| self.server.watch_children());
        if set_up.is_err() {
            return ExitCode::FAILURE;
        }
        let streams = Streams { tty: self.args.tty, stdin: self.args.stdin };
        // The runtime first: a fork is simplest while there is one thread.
        self.server.start(&self.args.create, self.program.as_ref(), streams);
        // The container's by now: a keeper that held them would hold the port of a service that is gone.
        drop((self.given, self.program));
        drop(self.args);
        let (disk, filter) = (self.disk, self.filter);
        let (for_disk, for_server) = (filter.clone(), filter);
        let thread = std::thread::Builder::new().name("disk".into()).stack_size(64 * 1024);
        let spawned = thread.spawn(move || {
            if let Some(filter) = for_disk {
                filter.apply(&[]);
            }
            disk.run()
        });
        if spawned.is_err() {
            return ExitCode::FAILURE;
        }
        sys::trim_heap();
        self.server.serve(for_server)
    }
}
