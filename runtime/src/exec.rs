//! A further process in a running container, confined exactly like the first one: same seccomp, capabilities,
//! groups, labels, limits, keyring, cgroup. May use: everything but `ops` and `cli`'s parser.
#![forbid(unsafe_code)]

use crate::cgroup::{Cgroup, Sub, Unit};
use crate::create::{
    clone_via_stager, may_not_enter, raise_rlimits, send_listener_to, set_oom_score, stillborn,
};
use crate::error::{Code, Context, Error, Result, errno_text};
use crate::fds::Kept;
use crate::host::is_rootless;
use crate::init::identity::{self, Confinement};
use crate::init::{self, console, payload};
use crate::link::{self, Held, Init, Parent, Sealed};
use crate::plan::launch::KINDS;
use crate::plan::process::{MemoryPolicy, ProcessPlan};
use crate::plan::seccomp::Filter;
use crate::resctrl::Groups;
use crate::rootfs::{Proc, RootDir};
use crate::spec::{self, Spec};
use crate::sys::fs::{self, OFlags};
use crate::sys::process::{self, Child, ns_flags, sig};
use crate::sys::{BorrowedFd, OwnedFd, cred, errno, ns, sched, tty};
use crate::trace::{self, Step};
use std::convert::Infallible;
use std::os::fd::AsFd;

/// What runs, planned.
pub struct Job {
    pub id: String,
    pub process: ProcessPlan,
    pub filter: Option<Filter>,
    pub personality: Option<u64>,
    pub memory_policy: Option<MemoryPolicy>,
    pub no_new_keyring: bool,
    pub fds: Kept,
    /// What `--rootless` said; `None` to find out.
    pub rootless: Option<bool>,
}

/// A confined process that waits for our word.
pub struct Entered {
    pub child: Child,
    pub link: Parent<Sealed>,
    pub console: Option<OwnedFd>,
}

/// What a process that does not say otherwise takes over from the container, as in runc.
pub fn inherit(p: &mut spec::Process, of: &spec::Process) {
    if p.capabilities.is_none() {
        p.capabilities = of.capabilities.clone();
    }
    if p.rlimits.is_empty() {
        p.rlimits = of.rlimits.clone();
    }
    if p.apparmor_profile.is_empty() {
        p.apparmor_profile = of.apparmor_profile.clone();
    }
    if p.selinux_label.is_empty() {
        p.selinux_label = of.selinux_label.clone();
    }
    p.oom_score_adj = p.oom_score_adj.or(of.oom_score_adj);
    p.scheduler = p.scheduler.take().or_else(|| of.scheduler.clone());
    p.exec_cpu_affinity = p.exec_cpu_affinity.take().or_else(|| of.exec_cpu_affinity.clone());
    p.io_priority = p.io_priority.take().or_else(|| of.io_priority.clone());
}

/// The container to enter: its config, its group, its init by number and pidfd.
pub struct Home<'a> {
    pub spec: &'a Spec,
    pub group: &'a Cgroup,
    pub init_pid: i32,
    pub init: &'a OwnedFd,
    /// The container's groups of resctrl.
    pub resctrl: Option<&'a Groups>,
    /// `--cgroup`: where in the group.
    pub subs: &'a [Sub<'a>],
}

/// Enters the container and stops before the payload.
pub fn enter(job: &Job, home: &Home<'_>) -> Result<Entered> {
    let join = foreign_namespaces(home.init_pid)?;
    let mut way = Way { join, staged: false, moved: false, brought: false };
    if join & ns_flags::PID != 0 {
        // Only for children: this process stays where it is.
        match ns::setns(home.init, ns_flags::PID).step("enter the pid namespace") {
            // That is for root. Others may enter it together with the user namespace, from which nobody comes back.
            Err(e) if e.is(errno::EPERM) && join & ns_flags::USER != 0 => way.staged = true,
            r => r?,
        }
    }
    if let Some(mask) = &job.process.affinity.0 {
        // The child is born with it, before it is in the container's cpuset.
        sched::set_affinity(0, mask).field(&format!("{}/execCPUAffinity/initial", job.process.base))?;
    }
    // Ours, for the child to inherit: nothing of this process but the child lives on.
    raise_rlimits(&job.process, 0)?;
    if way.staged {
        own_oom_score(job)?;
    }
    let (e, child) = match attempt(job, home, way) {
        Ok(entered) => return Ok(entered),
        Err(failed) => failed,
    };
    if may_not_enter(&e, home.group) {
        return attempt(job, home, Way { brought: true, ..way }).map_err(|(e, _)| e);
    }
    if !child.is_some_and(|c| stillborn(&e, c, home.group)) {
        return Err(e);
    }
    attempt(job, home, Way { moved: true, ..way }).map_err(|(e, _)| e)
}

/// How the process gets in.
#[derive(Clone, Copy)]
struct Way {
    /// Flags of the namespaces to join.
    join: u64,
    /// Made by a process that has joined them.
    staged: bool,
    /// Born in our cgroup, and moves.
    moved: bool,
    /// Made by a process that systemd has brought into the container's unit.
    brought: bool,
}

/// An ordinary user may not write that of the child, whose files in /proc are root's; it takes over ours.
fn own_oom_score(job: &Job) -> Result<()> {
    process::set_dumpable(true)?;
    let done = Proc::open().and_then(|proc| oom_score(job, "self", &proc));
    process::set_dumpable(false)?;
    done
}

fn oom_score(job: &Job, pid: &str, proc: &Proc) -> Result<()> {
    set_oom_score(&job.process, pid, proc, &|| is_rootless(job.rootless))
}

/// On failure gives the child back, if there was one.
fn attempt(job: &Job, home: &Home<'_>, way: Way) -> Result<Entered, (Error, Option<Child>)> {
    let proc = Proc::open().map_err(|e| (e, None))?;
    let (parent, child) = launch(job, home, way, &proc).map_err(|e| (e, None))?;
    trace::step(Step::Clone);
    let hand_on = |fd| send_listener_to(home.spec, &job.id, child.pid(), "running", fd);
    let scored = if way.staged { Ok(()) } else { oom_score(job, &child.pid().to_string(), &proc) };
    let done = scored
        .and_then(|()| home.resctrl.map_or(Ok(()), |groups| groups.enter(child.pid())))
        .map_err(|e| parent.blame(e))
        .and_then(|()| parent.straight().ready(Some(link::DEADLINE), child.pidfd(), hand_on));
    match done {
        Ok((link, handed)) => Ok(Entered { child, link, console: handed.console }),
        Err(e) => Err((e, Some(child))),
    }
}

fn launch(job: &Job, home: &Home<'_>, way: Way, proc: &Proc) -> Result<(Parent<Held>, Child)> {
    let Home { spec: _, group, init_pid, init, resctrl: _, subs } = *home;
    let Way { join, staged, moved, brought } = way;
    let target = group.exec_target(init_pid, subs, moved)?;
    let shared = Shared {
        // All at once, so that there is no moment between two namespaces. The pid namespace is the child's by birth.
        join: if staged { 0 } else { join & !ns_flags::PID },
        user: join & ns_flags::USER != 0,
        init,
        root: if join & ns_flags::MOUNT == 0 { Some(root_of(init_pid, init)?) } else { None },
        entrances: target.entrances,
        proc: proc.again()?,
    };
    let (parent, end) = link::pair()?;
    let into = target.v2.as_ref().map(AsFd::as_fd).filter(|_| !brought);
    let unit = group.unit().filter(|_| brought);
    let enter = || {
        unit.map_or(Ok(()), Unit::bring_us)?;
        if staged { enter_namespaces(init, join) } else { Ok(()) }
    };
    let child = match staged || brought {
        false => process::clone3(0, into, || run(job, shared, end)),
        true => clone_via_stager(0, into, enter, || run(job, shared, end)),
    };
    Ok((parent, child.map_err(|e| not_into(e, subs))?))
}

/// A group that has controllers for those below it takes no process (cgroups(7)). In runc's words, because callers look
/// for them.
fn not_into(e: Error, subs: &[Sub<'_>]) -> Error {
    match (subs.first(), e.errno()) {
        (Some(sub), Some(errno @ (errno::EBUSY | errno::EOPNOTSUPP))) => {
            let group = sub.path.trim_end_matches('/');
            e.step(format!("error adding pid 0 to cgroups: {group}/cgroup.procs: {}", errno_text(errno)))
        }
        _ => e,
    }
}

/// What the child takes along.
struct Shared<'a> {
    /// Namespaces that it joins itself.
    join: u64,
    /// The container has a user namespace.
    user: bool,
    init: &'a OwnedFd,
    /// Of a container without a mount namespace: nothing but its root keeps it in.
    root: Option<OwnedFd>,
    entrances: Vec<OwnedFd>,
    proc: Proc,
}

fn enter_namespaces(init: &OwnedFd, join: u64) -> Result<()> {
    ns::setns(init, join).step("enter the container's namespaces")
}

/// Flags of the namespaces in which the container's init differs from us.
fn foreign_namespaces(pid: i32) -> Result<u64> {
    let mut join = 0;
    for (_, flag, name) in KINDS {
        let theirs = match fs::stat(format!("/proc/{pid}/ns/{name}")) {
            Err(e) if e.is(errno::ENOENT) && fs::stat(format!("/proc/self/ns/{name}")).is_err() => continue,
            r => r.step("look at the namespaces of the container")?,
        };
        if theirs.ino != fs::stat(format!("/proc/self/ns/{name}"))?.ino {
            join |= flag;
        }
    }
    Ok(join)
}

/// A handle on the root directory of the process `pid`, which `pidfd` names too.
fn root_of(pid: i32, pidfd: &OwnedFd) -> Result<OwnedFd> {
    let root = fs::open_dir_path(format!("/proc/{pid}/root")).step("look at the root of the container")?;
    // Signal 0: as long as it is there, the number was not given to somebody else.
    process::pidfd_signal(pidfd, 0)?;
    Ok(root)
}

/// The child. Nothing here returns to the caller.
fn run(job: &Job, shared: Shared<'_>, link: Init<Held>) -> i32 {
    trace::enter_child();
    link.live(|link, word| {
        drop_strangers(job, &shared, &[link.fd(), word])?;
        trace::step(Step::Strangers);
        life(job, shared, link)
    })
}

/// See `init`.
fn drop_strangers(job: &Job, shared: &Shared<'_>, link: &[BorrowedFd<'_>]) -> Result<()> {
    let Shared { join: _, user: _, init, root, entrances, proc } = shared;
    let mut keep = vec![init.as_fd(), proc.fd()];
    keep.extend(link);
    keep.extend(entrances.iter().chain(root).map(AsFd::as_fd));
    process::close_all_but(job.fds.end(), &keep)
}

/// The same order as in `init`, without the parts that make the container.
fn life(job: &Job, shared: Shared<'_>, link: Init<Held>) -> Result<Infallible> {
    let Shared { join, user, init, root, entrances, proc } = shared;
    process::set_pdeathsig(Some(sig::SIGKILL))?;
    init::enter_cgroups(entrances)?;
    let link = link.straight();
    if join != 0 {
        enter_namespaces(init, join)?;
    }
    if user {
        cred::set_gid(0)?;
        cred::set_uid(0)?;
    }
    if let Some(root) = root {
        process::fchdir(&root)?;
        process::chroot(".").step("enter the container's root")?;
    }
    process::setsid()?;
    trace::step(Step::Joined);
    if job.process.terminal {
        let root = RootDir::new(fs::open("/", OFlags::PATH | OFlags::DIRECTORY, 0)?);
        let c = console::open(&root)?;
        let size = job.process.console_size.map(|(rows, cols)| tty::Size { rows, cols });
        c.adopt(size).step("set up the terminal")?;
        link.console(c.master)?;
        trace::step(Step::Terminal);
    }
    let confinement = Confinement {
        process: &job.process,
        keyring: (!job.no_new_keyring).then(|| format!("_ses.{}", job.id)),
        filter: job.filter.as_ref(),
        personality: job.personality,
        memory_policy: job.memory_policy.as_ref(),
        affinity: job.process.affinity.1.as_deref(),
    };
    identity::confine(&confinement, &proc)?;
    drop(proc);
    trace::step(Step::Identity);
    let program = payload::find(&job.process, job.fds)?;
    trace::step(Step::Program);
    let mut filter = job.filter.as_ref();
    if let Some(f) = filter.take_if(|f| f.notify) {
        link.listener(|| identity::filter(&job.process, f))?;
    }
    process::set_pdeathsig(None)?;
    let _link = link.ready()?.wait_go()?;
    trace::step(Step::Started);
    payload::finish(&job.process, job.fds, None, filter, &program)
}

/// A status in which nobody can be let in.
pub fn refuse_status(status: crate::state::Status, ignore_paused: bool) -> Result<()> {
    use crate::state::Status;
    let text = match status {
        Status::Stopped => "cannot exec in a stopped container",
        Status::Creating => "cannot exec in a container that is still being created",
        Status::Paused if !ignore_paused => {
            "cannot exec in a paused container (use --ignore-paused to override)"
        }
        Status::Created | Status::Running | Status::Paused => return Ok(()),
    };
    Err(Error::new(Code::Status, text))
}
