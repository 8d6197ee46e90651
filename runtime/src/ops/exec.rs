//! `exec`: a further process in a container.

use crate::cgroup::{Cgroup, Sub};
use crate::cli::{ExecArgs, Global};
use crate::create;
use crate::error::{Code, Context, Error, Result};
use crate::exec::{self, Entered, Home, Job};
use crate::fds::Kept;
use crate::foreground::{self, Relay, Signals};
use crate::handover::{Asked, Handover};
use crate::host::Lsm;
use crate::interrupt;
use crate::link;
use crate::plan::{self, seccomp};
use crate::report;
use crate::spec::{self, Spec, annotations};
use crate::state::{Container, Record, Status, Store, observe};
use crate::sys::{OwnedFd, errno, fs, poll, process};
use crate::trace::{self, Step};
use std::path::PathBuf;
use std::time::Duration;

/// See `knarr exec --help`. The exit code is the process's, 128 + signal when a signal ended it.
pub fn run(global: &Global, args: &ExecArgs) -> Result<i32> {
    let store = Store::open(&global.root, global.root_explicit)?;
    let container = store.load(&args.id)?;
    let status = container.status()?;
    exec::refuse_status(status, args.ignore_paused)?;
    let (spec, _) = spec::read::config(&container.config()?)?;
    trace::step(Step::Look);
    let job = plan_job(global, args, &spec, &container.record)?;
    trace::step(Step::Plan);
    let absolute = |p: &Option<PathBuf>| p.as_deref().map(create::absolute).transpose();
    let pid_file = absolute(&args.pid_file)?;
    let asked = Asked {
        console_socket: args.console_socket.as_deref(),
        pidfd_socket: args.pidfd_socket.as_deref(),
        pid_file: pid_file.as_deref(),
        detach: args.detach,
    };
    let handover = Handover::prepare(asked, job.process.terminal)?;
    process::set_dumpable(false)?;
    job.fds.hide()?;
    interrupt::arm()?;
    let (init_pid, init) = open_init(&container)?;
    let group = Cgroup::open(&container.record.cgroup)?;
    trace::step(Step::Open);
    let signals = if args.detach { None } else { Some(Signals::block()?) };
    let subs: Vec<Sub<'_>> =
        args.cgroups.iter().map(|s| Sub { controllers: &s.controllers, path: &s.path }).collect();
    let home = Home {
        spec: &spec,
        group: &group,
        init_pid,
        init: &init,
        resctrl: container.record.resctrl.as_ref(),
        subs: &subs,
    };
    let Entered { mut child, link, console } =
        exec::enter(&job, &home).map_err(|e| before_start(gone(e, &init), status))?;
    report::step(format_args!("process {} has entered the container", child.pid()));
    trace::step(Step::Confined);
    let relay = handover.descriptors(console, &child)?.map(Relay::new).transpose()?;
    handover.pid_file(&child)?;
    link.go(Some(link::DEADLINE))?;
    interrupt::disarm();
    report::step("the program runs");
    trace::step(Step::Go);
    match signals {
        Some(s) => {
            let exit = foreground::wait(&mut child, &s, relay, None)?;
            trace::step(Step::Ended);
            Ok(exit.code())
        }
        None => {
            child.release();
            Ok(0)
        }
    }
}

/// What fails because the container ends meanwhile fails for that reason.
fn gone(e: Error, init: &OwnedFd) -> Error {
    match poll::wait_readable(init, Some(Duration::ZERO)) {
        Ok(true) => Error::new(Code::Status, "cannot exec in a stopped container").hint(e.to_string()),
        _ => e,
    }
}

/// Until `start` the first process is the runtime's and not dumpable, so that its namespaces are only for those who are
/// privileged where the container was made (ptrace(2), access modes).
fn before_start(e: Error, status: Status) -> Error {
    if status == Status::Created && (e.is(errno::EACCES) || e.is(errno::EPERM)) {
        e.hint("only root may enter a container before its start; start it first")
    } else {
        e
    }
}

fn open_init(container: &Container) -> Result<(i32, OwnedFd)> {
    let stopped = || Error::new(Code::Status, "cannot exec in a stopped container");
    let init = container.record.init.ok_or_else(stopped)?;
    let fd = init.open(observe::boot_id()?)?.ok_or_else(stopped)?;
    Ok((init.pid, fd))
}

fn plan_job(global: &Global, args: &ExecArgs, spec: &Spec, record: &Record) -> Result<Job> {
    let of = spec.process.clone().unwrap_or_default();
    let (wanted, base) = match &args.process {
        Some(path) => {
            let bytes = fs::read_regular(path, spec::read::MAX_BYTES)?;
            let mut p = spec::read::process(&bytes).step_with(|| path.to_string_lossy().into_owned())?;
            exec::inherit(&mut p, &of);
            (p, "")
        }
        None => (from_flags(args, &of), "/process"),
    };
    if let Some(problem) = spec::check::process(&wanted, base).into_iter().next() {
        return Err(problem);
    }
    let linux = spec.linux();
    let mut process = plan::process::plan(&wanted, base)?;
    process.keep_groups = annotations::keeps_groups(&spec.annotations);
    if process.apparmor.is_some() || process.selinux.is_some() {
        plan::lsm_present(&process, Lsm::detect())?;
    }
    Ok(Job {
        id: args.id.clone(),
        process,
        filter: linux.seccomp.as_ref().map(|s| seccomp::compile(s, seccomp::Arch::NATIVE)).transpose()?,
        memory_policy: plan::process::memory_policy(&linux.memory_policy.clone().unwrap_or_default())?,
        personality: linux.personality.as_ref().map(plan::process::personality).transpose()?,
        no_new_keyring: record.no_new_keyring,
        fds: Kept::new(args.preserve_fds),
        rootless: global.rootless.choice(),
    })
}

/// The container's own process with what the flags change.
fn from_flags(args: &ExecArgs, of: &spec::Process) -> spec::Process {
    let mut p = of.clone();
    p.args = args.args.clone();
    p.terminal = args.tty;
    p.console_size = None;
    p.env.extend(args.env.iter().cloned());
    if let Some(cwd) = &args.cwd {
        p.cwd = cwd.clone();
    }
    if let Some(user) = &args.user {
        p.user.uid = user.uid;
        p.user.gid = user.gid.unwrap_or(p.user.gid);
    }
    p.user.additional_gids.extend(&args.additional_gids);
    if let Some(profile) = &args.apparmor {
        p.apparmor_profile = profile.clone();
    }
    if let Some(label) = &args.process_label {
        p.selinux_label = label.clone();
    }
    p.no_new_privileges |= args.no_new_privs;
    if !args.caps.is_empty() {
        // Never the inheritable set: a file capability could raise it again (CVE-2022-29162).
        let caps = p.capabilities.get_or_insert_default();
        for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
            set.extend(args.caps.iter().filter(|c| !set.contains(c)).cloned().collect::<Vec<_>>());
        }
    }
    p
}
