//! The child's story: from the clone to execve. Nothing here returns to the caller. May use: `sys`, `rootfs`,
//! `link`, `gate`, `hooks`, plan types; reaches files through `RootDir`, `Proc` and inherited descriptors only.
#![forbid(unsafe_code)]

pub mod binds;
pub mod console;
pub mod copyup;
pub mod identity;
pub mod mounts;
pub mod payload;

use crate::error::{Context, Result};
use crate::gate;
use crate::hooks;
use crate::link::{Held, Init};
use crate::plan::Plan;
use crate::plan::seccomp::Filter;
use crate::rootfs::{Proc, RootDir};
use crate::sys::fs::{self, Stat};
use crate::sys::process::{self, ns_flags, sig};
use crate::sys::{BorrowedFd, OwnedFd, cred, net, ns, tty};
use crate::trace::{self, Step};
use identity::Confinement;
use mounts::Source;
use std::convert::Infallible;
use std::os::fd::AsFd;

/// What init inherits from its parent besides the plan.
pub struct Inherit {
    /// How the payload is started.
    pub start: Start,
    pub proc: Proc,
    /// See `Cgroup::entrances`.
    pub entrances: Vec<OwnedFd>,
    /// `cgroup.procs` of a group below, see [`Plan::cgroup_below`].
    pub below: Option<OwnedFd>,
    /// One per mount of the plan.
    pub sources: Vec<Source>,
    /// The root file system as the parent saw it.
    pub root_seen: Stat,
    /// A handle on it, for containers without a mount namespace.
    pub root: OwnedFd,
    /// The soft limit of descriptors to go back to, when the parent raised it for the creation.
    pub nofile: Option<u64>,
    /// A cgroup namespace to enter once init is in its group.
    pub cgroup_ns: Option<OwnedFd>,
    /// The container's own cgroup namespace is made by init, not by the clone.
    pub own_cgroup_ns: bool,
}

/// How a finished init learns that it may run the payload.
pub enum Start {
    /// `create`: somebody connects to the gate.
    Gate { listener: OwnedFd, accept: Option<u32> },
    /// `run`: the parent says so.
    Link,
}

/// Runs the child's whole life up to execve. The result is an exit code, which nobody but a supervisor sees.
pub fn run(plan: &Plan, link: Init<Held>, inherit: Inherit) -> i32 {
    trace::enter_child();
    link.live(|link, word| {
        drop_strangers(plan, &inherit, &[link.fd(), word])?;
        trace::step(Step::Strangers);
        life(plan, link, inherit)
    })
}

/// Everything else that the clone copied from the parent goes at once: the state directory, cgroup directories,
/// locks. What is not open cannot be reached through /proc/self/fd, neither by a path of the config nor by
/// another process (CVE-2024-21626).
fn drop_strangers(plan: &Plan, inherit: &Inherit, link: &[BorrowedFd<'_>]) -> Result<()> {
    // Without `..`: whoever adds a descriptor decides here whether it stays open.
    let Inherit {
        start,
        proc,
        entrances,
        below,
        sources,
        root,
        cgroup_ns,
        root_seen: _,
        nofile: _,
        own_cgroup_ns: _,
    } = inherit;
    let mut keep = vec![proc.fd(), root.as_fd()];
    keep.extend(link);
    keep.extend(entrances.iter().chain(cgroup_ns).chain(below).map(AsFd::as_fd));
    keep.extend(sources.iter().flat_map(Source::fds));
    if let Start::Gate { listener, .. } = start {
        keep.push(listener.as_fd());
    }
    process::close_all_but(plan.fds.end(), &keep)
}

/// The order of init. Reasons stand where a line must not move.
fn life(plan: &Plan, link: Init<Held>, inherit: Inherit) -> Result<Infallible> {
    let Inherit { start, proc, entrances, below, sources, root_seen, root, nofile, cgroup_ns, own_cgroup_ns } =
        inherit;
    // If the runtime dies before the container is ready, nobody would ever start or remove us.
    process::set_pdeathsig(Some(sig::SIGKILL))?;
    // First of all: whatever we do from here on is accounted to the container.
    enter_cgroups(entrances)?;
    let link = link.wait_build()?;
    trace::step(Step::Held);
    if plan.launch.makes(ns_flags::USER) {
        // For others than root it had to be otherwise while the maps were written.
        process::set_dumpable(false)?;
    }
    become_root(plan)?;
    process::setsid()?;
    if let Some(fd) = cgroup_ns {
        ns::setns(fd, ns_flags::CGROUP).step("enter the cgroup namespace")?;
    }
    own_namespaces(plan, own_cgroup_ns)?;
    // Not earlier: the container's own view begins at the group above.
    enter_cgroups(below.into_iter().collect())?;
    trace::step(Step::Namespaces);
    let (root, deferred) = build_root(plan, root, root_seen, sources)?;
    let (link, host_pid) = link.root_ready()?;
    trace::step(Step::Hooked);
    let state = plan.hook_state("creating", host_pid);
    // In the container's namespaces, but paths still mean the host's (config.md, createContainer).
    hooks::run("createContainer", &plan.hooks.create_container, &state)?;
    // Sysctls before /proc/sys is covered, and after hooks that may set up devices they refer to.
    mounts::write_sysctls(plan, &proc)?;
    trace::step(Step::ContainerHooks);
    let console = open_console(plan, &root)?;
    make_cwd(plan, &root);
    mounts::finish(plan, &root, deferred)?;
    trace::step(Step::Masks);
    mounts::enter(plan, &root, &proc).step("enter the root file system")?;
    drop(root);
    trace::step(Step::Pivot);
    if let Some(c) = console {
        let size = plan.process.console_size.map(|(rows, cols)| tty::Size { rows, cols });
        c.adopt(size).step("set up the terminal")?;
        link.console(c.master)?;
        trace::step(Step::Terminal);
    }
    let confinement = Confinement {
        process: &plan.process,
        keyring: (!plan.no_new_keyring).then(|| format!("_ses.{}", plan.id)),
        filter: plan.seccomp.as_ref(),
        personality: plan.personality,
        memory_policy: plan.memory_policy.as_ref(),
        affinity: None,
    };
    identity::confine(&confinement, &proc)?;
    // From here on nothing may reach the host's procfs.
    drop(proc);
    trace::step(Step::Identity);
    let program = payload::find(&plan.process, plan.fds)?;
    trace::step(Step::Program);
    let mut filter = plan.seccomp.as_ref();
    if let Some(f) = filter.take_if(|f| f.notify) {
        // A listener must be with its agent before the container counts as created.
        link.listener(|| identity::filter(&plan.process, f))?;
    }
    // Before the word that lets the runtime end, or its end could still take us along. If it is gone already,
    // the word cannot be sent, and we end by that.
    process::set_pdeathsig(None)?;
    let link = link.ready()?;
    let last = || last_steps(plan, filter, nofile, &program, host_pid);
    match start {
        Start::Link => {
            let _link = link.wait_go()?;
            trace::step(Step::Started);
            last()
        }
        Start::Gate { listener, accept } => {
            drop(link);
            let conn = gate::wait(listener, accept)?;
            last().inspect_err(|e| conn.failed(e))
        }
    }
}

/// After the start: hooks inside, limits, filter, execve. What is still open is close-on-exec.
fn last_steps(
    plan: &Plan,
    filter: Option<&Filter>,
    nofile: Option<u64>,
    program: &payload::Program,
    host_pid: i32,
) -> Result<Infallible> {
    hooks::run("startContainer", &plan.hooks.start_container, &plan.hook_state("created", host_pid))?;
    payload::finish(&plan.process, plan.fds, nofile, filter, program)
}

/// cgroup v1: a single-threaded process that writes `0` into `tasks` moves itself without the global lock that
/// a pid written to `cgroup.procs` takes.
pub fn enter_cgroups(entrances: Vec<OwnedFd>) -> Result<()> {
    for fd in entrances {
        fs::write_once(fd, b"0").step("enter a cgroup")?;
    }
    Ok(())
}

/// Inside a new user namespace the ids are those of whoever made it; the mounts need its root.
fn become_root(plan: &Plan) -> Result<()> {
    if plan.launch.has(ns_flags::USER) {
        cred::set_gid(0).step("become root in the user namespace")?;
        cred::set_uid(0).step("become root in the user namespace")?;
    }
    Ok(())
}

fn own_namespaces(plan: &Plan, cgroup: bool) -> Result<()> {
    // A cgroup namespace shows the groups we are in when it is made: after `enter_cgroups`.
    if cgroup {
        ns::unshare(ns_flags::CGROUP).step("make the cgroup namespace")?;
    }
    if plan.launch.makes(ns_flags::NET) {
        net::loopback_up().step("bring up loopback")?;
    }
    if let Some(name) = &plan.hostname {
        ns::sethostname(name).field("/hostname")?;
    }
    if let Some(name) = &plan.domainname {
        ns::setdomainname(name).field("/domainname")?;
    }
    Ok(())
}

fn build_root(
    plan: &Plan,
    root: OwnedFd,
    seen: Stat,
    sources: Vec<Source>,
) -> Result<(RootDir, mounts::Deferred)> {
    if !plan.launch.has(ns_flags::MOUNT) {
        // No mount namespace, no mount operation at all.
        return Ok((RootDir::new(root), mounts::Deferred::default()));
    }
    drop(root);
    let sources = binds::open_late(plan, sources)?;
    let root = mounts::attach_root(&plan.root.path, seen).field("/root/path")?;
    trace::step(Step::RootAttached);
    let deferred = mounts::make_all(plan, &root, sources)?;
    mounts::make_devices(plan, &root)?;
    trace::step(Step::Devices);
    Ok((root, deferred))
}

fn open_console(plan: &Plan, root: &RootDir) -> Result<Option<console::Console>> {
    if !plan.process.terminal {
        return Ok(None);
    }
    let c = console::open(root).field("/process/terminal")?;
    if plan.launch.has(ns_flags::MOUNT) {
        c.bind(root)?;
    }
    Ok(Some(c))
}

/// runc makes a missing working directory; a read-only root or a strange path shows up at chdir.
fn make_cwd(plan: &Plan, root: &RootDir) {
    if plan.process.cwd != "/" {
        let _ = root.make_dirs(&plan.process.cwd);
    }
}
