//! How init comes into being: namespaces borrowed, cloned, given its maps and limits from outside, until its root is
//! built. May use: `sys`, `init`, `link`, `cgroup`, plan types.

use super::{maps, sources};
use crate::cgroup::{Cgroup, Unit};
use crate::error::{Code, Context, Error, Result, quoted};
use crate::host::Host;
use crate::init::{self, Inherit, Start};
use crate::link::{self, Held, Hooking, Init, Parent};
use crate::plan::Plan;
use crate::plan::launch::{Join, KINDS, Launch};
use crate::plan::process::ProcessPlan;
use crate::report;
use crate::resctrl::Groups;
use crate::rootfs::Proc;
use crate::sys::fs::{self, OFlags, Stat};
use crate::sys::poll;
use crate::sys::process::{self, Child, Exit, ns_flags, sig};
use crate::sys::{BorrowedFd, OwnedFd, errno, ns, sched, sock};
use crate::trace::{self, Step};
use std::time::Duration;

/// What is there before init is.
pub(super) struct Parents<'a> {
    pub plan: &'a Plan,
    pub host: &'a Host,
    pub group: &'a Cgroup,
    pub proc: &'a Proc,
    /// The root file system.
    pub root: &'a OwnedFd,
    pub root_seen: Stat,
    /// The gate's listener, unless init is started over the link.
    pub gate: Option<&'a OwnedFd>,
    /// The container's groups of resctrl.
    pub resctrl: Option<&'a Groups>,
    /// See [`Inherit::below`].
    pub below: Option<&'a OwnedFd>,
    /// See [`sources::make_room`].
    pub nofile: Option<u64>,
}

/// Clones init and leads it until its root is built.
pub(super) fn of_init(p: &Parents<'_>) -> Result<(Child, Parent<Hooking>)> {
    let (e, child) = match attempt(p, Way::Born) {
        Ok(born) => return Ok(born),
        Err(failed) => failed,
    };
    if may_not_enter(&e, p.group) {
        return attempt(p, Way::Brought).map_err(|(e, _)| e);
    }
    // Without a child it may be the stager that was killed.
    if !child.map_or(e.kind() == Code::Init, |c| stillborn(&e, c, p.group)) {
        return Err(e);
    }
    attempt(p, Way::Moved).map_err(|(e, _)| e)
}

/// How init gets into the container's v2 group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is cloned into it.
    Born,
    /// It is born in our group and moves.
    Moved,
    /// It is made by a process that systemd has brought there.
    Brought,
}

/// The kernel wants the right to write where our group and the container's meet (cgroup-v2.rst, "Delegation
/// Containment"). A user's systemd has that in its own part of the tree only, and asks the system's for what is outside.
pub fn may_not_enter(e: &Error, group: &Cgroup) -> bool {
    e.syscall() == Some("clone3") && e.is(errno::EACCES) && group.unit().is_some()
}

/// On failure gives the child back, if there was one.
fn attempt(p: &Parents<'_>, way: Way) -> Result<(Child, Parent<Hooking>), (Error, Option<Child>)> {
    let (parent, end) = link::pair().map_err(|e| (e, None))?;
    let moved = way == Way::Moved;
    let inherit = inheritance(p, moved).map_err(|e| (e, None))?;
    trace::step(Step::Sources);
    let child = launch(p, end, inherit, way).map_err(|e| (e, None))?;
    trace::step(Step::Clone);
    let lead = || {
        prepare(p, &child).map_err(|e| parent.blame(e))?;
        trace::step(Step::Prepare);
        parent.build()?.root_ready()
    };
    match lead() {
        Ok(link) => Ok((child, link)),
        Err(e) => Err((e, Some(child))),
    }
}

/// Kernels since 6.14 (and stable ones since early 2025) kill what is cloned into a cgroup when `cgroup.kill` was
/// written there, or where the parent is, an unequal number of times in the past: cgroup_css_set_fork() takes the
/// count of the parent's group for that of the new one. Then the child has to be born beside us and move.
pub fn stillborn(e: &Error, mut child: Child, group: &Cgroup) -> bool {
    let silent = e.kind() == Code::Init || e.errno().is_some();
    silent
        && group.v2_dir().is_some()
        && group.oom_kills().unwrap_or(0) == 0
        && poll::wait_readable(&child.pidfd(), Some(Duration::from_secs(1))).unwrap_or(false)
        && child.wait().is_ok_and(|exit| exit == Exit::Signal(sig::SIGKILL))
}

fn inheritance(p: &Parents<'_>, moved: bool) -> Result<Inherit> {
    let Parents { plan, host, group, proc: _, root, root_seen, gate, resctrl: _, below: _, nofile } = *p;
    let start = match gate {
        None => Start::Link,
        Some(listener) => {
            let accept = (!plan.launch.has(ns_flags::USER)).then(process::euid);
            Start::Gate { listener: fs::dup(listener)?, accept }
        }
    };
    Ok(Inherit {
        start,
        entrances: group.entrances(moved)?,
        below: p.below.map(fs::dup).transpose()?,
        sources: sources::open(plan, group, host, p.proc)?,
        root_seen,
        root: fs::dup(root)?,
        proc: p.proc.again()?,
        nofile,
        cgroup_ns: late_cgroup_namespace(&plan.launch)?,
        own_cgroup_ns: plan.late_cgroup_ns || moved && plan.launch.makes(ns_flags::CGROUP),
    })
}

/// A cgroup namespace of somebody else is entered by init itself, when it may: from inside it the kernel would
/// refuse to clone into a group that the namespace does not show (cgroups(7), nsdelegate).
fn late_cgroup_namespace(launch: &Launch) -> Result<Option<OwnedFd>> {
    launch.borrow.iter().find(|j| is_late(j, launch)).map(open_namespace).transpose()
}

/// In a user namespace of its own init has no right over a cgroup namespace outside it.
fn is_late(join: &Join, launch: &Launch) -> bool {
    join.flag == ns_flags::CGROUP && !launch.has(ns_flags::USER)
}

/// Enters borrowed namespaces, clones, and goes back. Failing to go back is fatal, and kills the child.
fn launch(p: &Parents<'_>, link: Init<Held>, inherit: Inherit, way: Way) -> Result<Child> {
    let plan = p.plan;
    // A cgroup namespace shows the group in which it is made.
    let new = if way == Way::Moved { plan.launch.new & !ns_flags::CGROUP } else { plan.launch.new };
    let into = if way == Way::Born { p.group.v2_dir() } else { None };
    let unit = p.group.unit().filter(|_| way == Way::Brought);
    let early = plan.launch.borrow.iter().filter(|j| !is_late(j, &plan.launch));
    let joins = early.map(|j| Ok((j, open_namespace(j)?))).collect::<Result<Vec<_>>>()?;
    let user = plan.launch.user.as_ref().map(open_namespace).transpose()?;
    let back = match Borrowed::enter(&plan.launch, &joins, p.proc) {
        // What an ordinary user may only enter from inside the user namespace, the stager enters.
        Err(e) if e.is(errno::EPERM) && user.is_some() && plan.launch.time_offsets.is_none() => None,
        r => Some(r?),
    };
    // The files in /proc of a process that is not dumpable are root's, and somebody else has to write its maps. Nobody
    // but that user can look into it yet.
    let by_user = plan.launch.makes(ns_flags::USER) && p.host.euid != 0;
    if by_user {
        process::set_dumpable(true)?;
    }
    let child = if user.is_none() && unit.is_none() {
        process::clone3(new, into, || init::run(plan, link, inherit))
    } else {
        let enter = || {
            unit.map_or(Ok(()), Unit::bring_us)?;
            let Some(user) = &user else { return Ok(()) };
            ns::setns(user, ns_flags::USER).field("/linux/namespaces")?;
            let mut left = joins.iter().filter(|_| back.is_none());
            left.try_for_each(|(join, fd)| ns::setns(fd, join.flag).field(&join.field))
        };
        clone_via_stager(new, into, enter, || init::run(plan, link, inherit))
    };
    if by_user {
        process::set_dumpable(false)?;
    }
    let child = child.map_err(|e| match e.errno() {
        Some(errno::ENOSPC) => {
            e.hint("a limit on the number of namespaces is reached: /proc/sys/user/max_*_namespaces")
        }
        Some(errno::EACCES) if into.is_some() => e.field("/linux/cgroupsPath").hint(
            "who starts a process in a cgroup must own cgroup.procs of the nearest cgroup above both, too: \
             start from inside a delegated one",
        ),
        _ => e,
    })?;
    back.map_or(Ok(()), Borrowed::leave)?;
    Ok(child)
}

pub(super) fn open_namespace(join: &Join) -> Result<OwnedFd> {
    let open = || -> Result<OwnedFd> {
        let fd = fs::open(&join.path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?;
        match ns::ns_type(&fd) {
            Ok(kind) if kind == join.flag => Ok(fd),
            _ => Err(Error::new(Code::Spec, format!("is not a namespace of type {}", join.kind))),
        }
    };
    open().map_err(|e| e.step(quoted(&join.path.to_string_lossy())).field(join.field.clone()))
}

/// Our own namespaces, to come back to.
struct Borrowed {
    own: Vec<(u64, OwnedFd)>,
    cwd: Option<OwnedFd>,
}

impl Borrowed {
    fn enter(launch: &Launch, joins: &[(&Join, OwnedFd)], proc: &Proc) -> Result<Borrowed> {
        let mut back = Borrowed { own: Vec::new(), cwd: None };
        // Before the others: in another mount namespace /proc is somebody else's.
        if let Some(offsets) = &launch.time_offsets {
            back.remember(ns_flags::TIME)?;
            ns::unshare(ns_flags::TIME).step("make the time namespace").map_err(|e| {
                let e = e.field("/linux/timeOffsets");
                if e.is(errno::EPERM) { e.hint("only root may give a new one its offsets") } else { e }
            })?;
            for (clock, secs, nanos) in offsets {
                proc.write("self/timens_offsets", &format!("{clock} {secs} {nanos}\n"))
                    .field("/linux/timeOffsets")?;
            }
        }
        for (join, fd) in joins {
            back.remember(join.flag)?;
            ns::setns(fd, join.flag).field(&join.field)?;
        }
        Ok(back)
    }

    fn remember(&mut self, flag: u64) -> Result<()> {
        let name = KINDS.iter().find(|(_, f, _)| *f == flag).map_or("", |(_, _, n)| *n);
        if flag == ns_flags::MOUNT {
            self.cwd = Some(fs::open_dir_path(".")?);
        }
        self.own.push((flag, fs::open(format!("/proc/self/ns/{name}"), OFlags::RDONLY, 0)?));
        Ok(())
    }

    fn leave(self) -> Result<()> {
        for (flag, fd) in self.own.iter().rev() {
            ns::setns(fd, *flag).step("go back to our own namespace")?;
        }
        match &self.cwd {
            Some(dir) => process::fchdir(dir),
            None => Ok(()),
        }
    }
}

/// Nobody comes back from a user namespace, so a short-lived process goes there with `enter` and makes init, with `new`
/// namespaces, as our child.
pub fn clone_via_stager(
    new: u64,
    into: Option<BorrowedFd<'_>>,
    enter: impl FnOnce() -> Result<()>,
    init: impl FnOnce() -> i32,
) -> Result<Child> {
    let (ours, theirs) = sock::pair()?;
    let mut stager = process::clone3(0, into, || match stage(new, enter, init, &theirs) {
        Ok(()) => 0,
        Err(e) => {
            let _ = sock::send(&theirs, &serde_json::to_vec(&e).unwrap_or_default(), &[]);
            1
        }
    })?;
    drop(theirs);
    let (data, mut fds) = sock::recv(&ours)?;
    stager.wait()?;
    match fds.pop() {
        Some(pidfd) => Child::adopt(pidfd),
        None => Err(serde_json::from_slice::<Error>(&data)
            .unwrap_or_else(|_| Error::new(Code::Init, "the process that enters the user namespace ended"))),
    }
}

fn stage(
    new: u64,
    enter: impl FnOnce() -> Result<()>,
    init: impl FnOnce() -> i32,
    report: &OwnedFd,
) -> Result<()> {
    enter()?;
    let mut init = process::clone3_sibling(new, init)?;
    // No number: this process may be in another pid namespace, in which init has another one.
    sock::send(report, b"init", &[init.pidfd()])?;
    init.release();
    Ok(())
}

/// While init is held: what only somebody outside can set.
fn prepare(p: &Parents<'_>, child: &Child) -> Result<()> {
    let Parents { plan, proc, host, resctrl, .. } = *p;
    let pid = child.pid();
    if let Some(groups) = resctrl {
        groups.enter(pid)?;
    }
    if plan.launch.new & ns_flags::USER != 0 {
        maps::write(&plan.launch, pid, proc)?;
    }
    set_oom_score(&plan.process, &pid.to_string(), proc, &|| host.is_rootless())?;
    raise_rlimits(&plan.process, pid)
}

/// From outside, because the process itself may not reach its own file under a read-only /proc. `pid` may be `self`.
/// Engines ask for one score for everybody, which rootless users may not have: then there is a warning.
pub fn set_oom_score(p: &ProcessPlan, pid: &str, proc: &Proc, rootless: &dyn Fn() -> bool) -> Result<()> {
    let Some(adj) = p.oom_score_adj else { return Ok(()) };
    let done = proc.write(&format!("{pid}/oom_score_adj"), &adj.to_string());
    match done.field(&format!("{}/oomScoreAdj", p.base)) {
        Err(e) if e.is(errno::EACCES) => {
            let e = e.hint("lowering it below our own needs CAP_SYS_RESOURCE");
            if !rootless() {
                return Err(e);
            }
            report::warn(format_args!("the oom score stays as it is: {e}"));
            Ok(())
        }
        r => r,
    }
}

/// Hard limits above our own. The process lowers the rest as its last step, so that a low limit hits the payload and
/// not us.
pub fn raise_rlimits(p: &ProcessPlan, pid: i32) -> Result<()> {
    for limit in &p.rlimits {
        let (soft, hard) = sched::rlimit(limit.resource);
        if limit.hard > hard {
            sched::set_rlimit(pid, limit.resource, soft, limit.hard).field(&limit.field).map_err(|e| {
                let e = e.step(format!("raise {} from {hard} to {}", limit.name, limit.hard));
                if e.is(errno::EPERM) { e.hint("raising a hard limit needs CAP_SYS_RESOURCE") } else { e }
            })?;
        }
    }
    Ok(())
}
