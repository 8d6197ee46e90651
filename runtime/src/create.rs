//! The parent's story, top to bottom: from a bundle to a container that waits to be started. Whatever fails, the
//! guards undo in reverse: init is killed and reaped, the cgroup removed, the directory removed.
//! May use: everything but `ops` and `cli`'s parser.
#![forbid(unsafe_code)]

use crate::cgroup::{Cgroup, Layout};
use crate::error::{Code, Context, Error, Result, quoted};
use crate::fds::Kept;
use crate::gate;
use crate::hooks;
use crate::host::Host;
use crate::init::mounts::Source;
use crate::init::{self, Inherit, Start};
use crate::link::{self, Held, Init, Parent, Sealed};
use crate::plan::launch::{Join, Launch};
use crate::plan::mounts::{MountKind, MountOp, attr_pair};
use crate::plan::process::{ProcessPlan, RLIMIT_NOFILE};
use crate::plan::{self, Plan, Request};
use crate::report;
use crate::rootfs::Proc;
use crate::spec::{self, Spec};
use crate::state::{self, Phase, Record, Reservation, Store, observe, record};
use crate::sys::fs::{self, OFlags};
use crate::sys::mount::{self, propagation};
use crate::sys::process::{self, Child, ns_flags};
use crate::sys::{OwnedFd, errno, ns, sched, sock};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a removed cgroup may take to become empty.
pub const CGROUP_DEADLINE: Duration = Duration::from_secs(10);

/// What the caller of `create` and `run` wants.
#[derive(Debug)]
pub struct Wish<'a> {
    pub id: &'a str,
    pub bundle: &'a Path,
    pub console_socket: Option<&'a Path>,
    pub pidfd_socket: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub fds: Kept,
    /// The caller will not stay: a terminal needs somebody to hand it to.
    pub detach: bool,
    /// Started by us over the link, not by a later `start` through the gate.
    pub started_by_us: bool,
}

/// A created container. Dropping it undoes everything; `keep` makes it last.
pub struct Container {
    // Fields drop in this order: first init, then its cgroup, then the record.
    pub child: Child,
    pub link: Parent<Sealed>,
    pub cgroup: CgroupGuard,
    pub reservation: Reservation,
    pub plan: Plan,
    /// The terminal's master, when nobody took it over a socket.
    pub console: Option<OwnedFd>,
}

/// A cgroup that is removed when dropped.
pub struct CgroupGuard(Option<Cgroup>);

impl CgroupGuard {
    /// The cgroup itself.
    pub fn get(&self) -> Option<&Cgroup> {
        self.0.as_ref()
    }
    /// From now on it stays.
    pub fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for CgroupGuard {
    fn drop(&mut self) {
        if let Some(cg) = &self.0 {
            let done = cg.kill_all(CGROUP_DEADLINE).and_then(|()| cg.destroy(CGROUP_DEADLINE));
            if let Err(e) = done {
                report::warn(format_args!("{}", e.step("remove the cgroup")));
            }
        }
    }
}

/// Reads and checks a bundle's config.json. Gives the bytes too: the record keeps its own copy.
pub fn load(bundle: &Path) -> Result<(Spec, Vec<u8>)> {
    let path = bundle.join("config.json");
    let bytes = fs::read_regular(&path, spec::read::MAX_BYTES)
        .map_err(|e| if e.is(errno::ENOENT) { e.hint("no config.json in the bundle") } else { e })?;
    let (spec, warnings) = spec::read::config(&bytes).step_with(|| path.to_string_lossy().into_owned())?;
    for w in &warnings {
        report::warn(format_args!("{}: {w}", path.display()));
    }
    let spec::check::Findings { errors: mut problems, warnings } = spec::check::findings(&spec);
    for w in warnings {
        report::warn(format_args!("{}: {w}", path.display()));
    }
    if problems.is_empty() {
        return Ok((spec, bytes));
    }
    let more = problems.len() - 1;
    let first = problems.swap_remove(0).step(path.to_string_lossy());
    Err(if more == 0 { first } else { first.hint(format!("and {more} more; knarr check lists them all")) })
}

/// Makes a container up to the point where only the payload's start is missing.
pub fn create(store: &Store, wish: &Wish<'_>) -> Result<Container> {
    let (spec, bytes) = load(wish.bundle)?;
    let host = Host::detect()?;
    let request = Request {
        id: wish.id,
        bundle: wish.bundle,
        no_pivot: wish.no_pivot,
        no_new_keyring: wish.no_new_keyring,
        fds: wish.fds,
    };
    let plan = plan::plan(&spec, &host, request)?;
    for w in &plan.warnings {
        report::warn(format_args!("{w}"));
    }
    let outside = Outside::connect(wish, &plan)?;
    let root = open_root(&plan)?;
    let proc = Proc::open()?;
    process::set_dumpable(false)?;
    wish.fds.hide()?;

    // The record goes first: whoever finds us dead can clean up after us.
    let reservation = store.reserve(wish.id)?;
    let mut record = new_record(wish.id, &plan)?;
    reservation.save(&record)?;
    reservation.put_config(&bytes)?;
    let cgroup = CgroupGuard(Some(Cgroup::create(&host.cgroups, &plan.cgroup)?));
    let group = cgroup.get().ok_or_else(|| Error::new(Code::Internal, "no cgroup"))?;

    let nofile = room_for_sources(&plan)?;
    let (parent, init_end) = link::pair()?;
    let start = if wish.started_by_us {
        Start::Link
    } else {
        let accept = (!plan.launch.has(ns_flags::USER)).then(process::euid);
        Start::Gate { listener: gate::listen(reservation.dir())?, accept }
    };
    let inherit = Inherit {
        start,
        v1_tasks: group.v1_tasks()?,
        sources: open_sources(&plan, group, &host.cgroups)?,
        root_seen: fs::fstat(&root)?,
        root,
        proc: Proc::open()?,
        setgroups_denied: setgroups_denied(&plan.launch, &host),
        nofile,
        cgroup_ns: late_cgroup_namespace(&plan.launch)?,
    };
    let child = launch(&plan, group, init_end, inherit, &proc)?;
    let lead = || -> Result<_> {
        prepare(&plan, &child, &proc, &host).map_err(|e| parent.blame(e))?;
        let link = parent.build()?.root_ready()?;
        let state = plan.hook_state("creating", child.pid());
        hooks::run("prestart", &plan.hooks.prestart, &state)?;
        hooks::run("createRuntime", &plan.hooks.create_runtime, &state)?;
        let hand_on = |fd| send_listener_to(&spec, wish.id, child.pid(), "creating", fd);
        link.enter(child.pid())?.ready(child.pidfd(), hand_on)
    };
    let (link, handed) = lead().map_err(|e| explain_death(e, group))?;
    let console = outside.deliver(handed.console, &child)?;
    record.phase = Phase::Created;
    record.cgroup = group.saved();
    record.init = Some(state::Proc::of(child.pid())?);
    reservation.save(&record)?;
    if let Some(path) = wish.pid_file {
        write_pid_file(path, child.pid())?;
    }
    Ok(Container { child, link, cgroup, reservation, plan, console })
}

impl Container {
    /// The container outlives this process.
    pub fn keep(mut self) {
        self.child.release();
        self.cgroup.keep();
        self.reservation.keep();
    }
}

/// A container whose payload runs. Dropping it undoes everything.
pub struct Started {
    // Order of dropping as in `Container`.
    pub child: Child,
    pub cgroup: CgroupGuard,
    pub reservation: Reservation,
    pub plan: Plan,
    pub console: Option<OwnedFd>,
}

impl Started {
    /// The container outlives this process.
    pub fn keep(mut self) {
        self.child.release();
        self.cgroup.keep();
        self.reservation.keep();
    }

    /// Others may act on the container while we stay with its first process.
    pub fn stay(mut self) -> (String, Child) {
        self.cgroup.keep();
        self.reservation.keep();
        (self.plan.id, self.child)
    }
}

/// Sockets of the caller, connected before anything is made, so that a wrong path costs nothing.
struct Outside {
    console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
}

impl Outside {
    fn connect(wish: &Wish<'_>, plan: &Plan) -> Result<Outside> {
        console_rules(plan.process.terminal, wish.detach, wish.console_socket)?;
        if let Some(path) = wish.pid_file {
            check_pid_file(path)?;
        }
        Ok(Outside {
            console: wish.console_socket.map(sock::connect_stream).transpose().step("--console-socket")?,
            pidfd: wish.pidfd_socket.map(sock::connect_stream).transpose().step("--pidfd-socket")?,
        })
    }

    /// Hands out what was asked for; gives the master back when nobody else takes it.
    fn deliver(self, console: Option<OwnedFd>, child: &Child) -> Result<Option<OwnedFd>> {
        if let Some(s) = &self.pidfd {
            sock::send(s, b"pidfd", &[child.pidfd()]).step("--pidfd-socket")?;
        }
        match (&self.console, console) {
            (Some(s), Some(master)) => {
                sock::send(s, b"/dev/ptmx", &[master.as_fd()]).step("--console-socket")?;
                Ok(None)
            }
            (_, master) => Ok(master),
        }
    }
}

/// runc's rules and texts: a terminal that nobody holds would be lost.
pub fn console_rules(terminal: bool, detach: bool, socket: Option<&Path>) -> Result<()> {
    let text = match (terminal, detach, socket.is_some()) {
        (true, true, false) => "cannot allocate tty if runc will detach without setting console socket",
        (false, _, true) | (true, false, true) => {
            "cannot use console socket if runc will not detach or allocate tty"
        }
        _ => return Ok(()),
    };
    Err(Error::spec("/process/terminal", text).hint("see --console-socket and --detach"))
}

/// A pid file that cannot be written is found out before anything exists.
pub fn check_pid_file(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let step = || format!("--pid-file {}", quoted(&path.to_string_lossy()));
    let fd = fs::open_dir_path(dir).step_with(step)?;
    process::may_write(&fd).step_with(step)?;
    match fs::stat(path) {
        Ok(st) if st.is_dir() => {
            Err(Error::os("rename", quoted(&path.to_string_lossy()), errno::EISDIR).step(step()))
        }
        _ => Ok(()),
    }
}

/// Written aside and renamed: a reader sees no half number. Decimal, no newline.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let dir = fs::open_dir_path(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    fs::write_aside(&dir, &name, pid.to_string().as_bytes(), 0o644).step("--pid-file")
}

fn open_root(plan: &Plan) -> Result<OwnedFd> {
    let path = &plan.root.path;
    let fd = fs::open_dir_path(path)
        .step_with(|| format!("invalid rootfs {}", quoted(&path.to_string_lossy())))
        .field("/root/path")?;
    let (here, host) = (fs::fstat(&fd)?, fs::stat("/")?);
    if (here.dev, here.ino) == (host.dev, host.ino) {
        return Err(Error::spec("/root/path", "is the root of the host, want a directory of its own"));
    }
    Ok(fd)
}

fn new_record(id: &str, plan: &Plan) -> Result<Record> {
    Ok(Record {
        version: record::VERSION,
        id: id.to_string(),
        oci_version: plan.oci_version.clone(),
        bundle: plan.bundle.clone(),
        rootfs: plan.root.path.clone(),
        created: report::now(),
        owner: process::euid(),
        annotations: plan.annotations.clone(),
        boot_id: observe::boot_id()?,
        phase: Phase::Creating,
        creator: state::Proc::of(process::getpid())?,
        init: None,
        cgroup: plan.cgroup.saved(),
        shared_pidns: plan.launch.new & ns_flags::PID == 0,
        no_new_keyring: plan.no_new_keyring,
    })
}

/// Opens every mount source now, with our rights and in our mount namespace, and gives the detached copy its
/// final attributes, so that there is no moment in which it is mounted with others.
fn open_sources(plan: &Plan, group: &Cgroup, layout: &Layout) -> Result<Vec<Source>> {
    if !plan.launch.has(ns_flags::MOUNT) {
        return Ok(Vec::new());
    }
    let own_view = plan.launch.has(ns_flags::CGROUP) || plan.late_cgroup_ns;
    plan.mounts
        .iter()
        .map(|op| match &op.kind {
            MountKind::Fs { .. } => Ok(Source::None),
            MountKind::Bind { source, recursive } => {
                open_tree(fs::CWD, source, *recursive, op, plan.root.shared).map(Source::Tree).map_err(|e| {
                    let text = format!(
                        "error mounting {} to rootfs at {}",
                        quoted(&source.to_string_lossy()),
                        quoted(&op.dest)
                    );
                    e.field(format!("{}/source", op.field)).step(text)
                })
            }
            MountKind::Cgroup => cgroup_source(op, group, layout, own_view).field(&op.field),
        })
        .collect()
}

/// A view of the container's own group, by binding its directory: a fresh mount of cgroup2 would wait for a
/// grace period, and could reset options of the whole host. Without a cgroup namespace the whole v2 tree is
/// shown, and of v1 the container's own directories, as in runc.
fn cgroup_source(op: &MountOp, group: &Cgroup, layout: &Layout, own_view: bool) -> Result<Source> {
    let bind = |dir: OwnedFd| open_tree(&dir, Path::new(""), false, op, false);
    if layout.v1.is_empty() {
        let dir = match &layout.v2 {
            Some(tree) if !own_view => fs::open_dir_path(&tree.mount)?,
            _ => group.dirs()?.pop().map(|(_, dir)| dir).ok_or_else(|| {
                Error::new(Code::Unsupported, "no cgroup hierarchy is mounted on this host")
            })?,
        };
        return bind(dir).map(Source::Tree);
    }
    let v1 = group.dirs()?.into_iter().filter(|(name, _)| name != "unified");
    v1.map(|(name, dir)| Ok((name, bind(dir)?))).collect::<Result<_>>().map(Source::Hierarchies)
}

fn open_tree<D: AsFd>(
    dir: D,
    path: &Path,
    recursive: bool,
    op: &MountOp,
    shared_root: bool,
) -> Result<OwnedFd> {
    let tree = mount::open_tree_clone(dir, path, recursive)?;
    let (set, clear) = attr_pair(op.set, op.clear);
    if set | clear != 0 {
        mount::set_attr(&tree, set, clear, 0, false)?;
    }
    let (set, clear) = attr_pair(op.rec_set, op.rec_clear);
    if set | clear != 0 {
        mount::set_attr(&tree, set, clear, 0, true)?;
    }
    // The copy is a peer of the host's mount. Unless the root is shared on purpose it becomes a slave first:
    // what is mounted inside must not appear outside.
    if !shared_root {
        mount::set_attr(&tree, 0, 0, propagation::SLAVE, true)?;
    }
    for (kind, rec) in &op.propagation {
        mount::set_attr(&tree, 0, 0, *kind, *rec)?;
    }
    Ok(tree)
}

/// Every bind holds a descriptor until it is mounted. For very many the soft limit is raised for the creation;
/// gives the one that the payload gets back.
fn room_for_sources(plan: &Plan) -> Result<Option<u64>> {
    const OUR_OWN: u64 = 64;
    let (soft, hard) = sched::rlimit(RLIMIT_NOFILE);
    let wanted = plan.mounts.len() as u64 + OUR_OWN;
    if wanted <= soft {
        return Ok(None);
    }
    if wanted > hard {
        let text = format!(
            "{} mounts need about {wanted} descriptors, RLIMIT_NOFILE allows {hard}",
            plan.mounts.len()
        );
        return Err(Error::spec("/mounts", text).code(Code::Unsupported));
    }
    sched::set_rlimit(0, RLIMIT_NOFILE, wanted, hard)?;
    Ok(Some(soft))
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
fn launch(plan: &Plan, group: &Cgroup, link: Init<Held>, inherit: Inherit, proc: &Proc) -> Result<Child> {
    let early = plan.launch.borrow.iter().filter(|j| !is_late(j, &plan.launch));
    let joins = early.map(|j| Ok((j, open_namespace(j)?))).collect::<Result<Vec<_>>>()?;
    let user = plan.launch.user.as_ref().map(open_namespace).transpose()?;
    let back = Borrowed::enter(&plan.launch, &joins, proc)?;
    let child = match &user {
        None => process::clone3(plan.launch.new, group.v2_dir(), || init::run(plan, link, inherit)),
        Some(ns_fd) => clone_via_stager(plan, group, ns_fd, || init::run(plan, link, inherit)),
    };
    let child = child.map_err(|e| {
        if e.is(errno::ENOSPC) {
            e.hint("a limit on the number of namespaces is reached: /proc/sys/user/max_*_namespaces")
        } else {
            e
        }
    })?;
    back.leave()?;
    Ok(child)
}

fn open_namespace(join: &Join) -> Result<OwnedFd> {
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
        for (join, fd) in joins {
            back.remember(join.flag)?;
            ns::setns(fd, join.flag).field(&join.field)?;
        }
        if let Some(offsets) = &launch.time_offsets {
            back.remember(ns_flags::TIME)?;
            ns::unshare(ns_flags::TIME).step("make the time namespace")?;
            for (clock, secs, nanos) in offsets {
                proc.write("self/timens_offsets", &format!("{clock} {secs} {nanos}\n"))
                    .field("/linux/timeOffsets")?;
            }
        }
        Ok(back)
    }

    fn remember(&mut self, flag: u64) -> Result<()> {
        let name = plan::launch::KINDS.iter().find(|(_, f, _)| *f == flag).map_or("", |(_, _, n)| *n);
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

/// Nobody comes back from a user namespace, so a short-lived process enters it and makes init as our child.
fn clone_via_stager(
    plan: &Plan,
    group: &Cgroup,
    user: &OwnedFd,
    init: impl FnOnce() -> i32,
) -> Result<Child> {
    let (ours, theirs) = sock::pair()?;
    let mut stager = process::clone3(0, group.v2_dir(), || match stage(plan, user, init, &theirs) {
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

fn stage(plan: &Plan, user: &OwnedFd, init: impl FnOnce() -> i32, report: &OwnedFd) -> Result<()> {
    ns::setns(user, ns_flags::USER).field("/linux/namespaces")?;
    let mut init = process::clone3_sibling(plan.launch.new, init)?;
    // No number: this process may be in another pid namespace, in which init has another one.
    sock::send(report, b"init", &[init.pidfd()])?;
    init.release();
    Ok(())
}

/// While init is held: what only somebody outside can set.
fn prepare(plan: &Plan, child: &Child, proc: &Proc, host: &Host) -> Result<()> {
    let pid = child.pid();
    if plan.launch.new & ns_flags::USER != 0 {
        write_maps(plan, pid, proc, host)?;
    }
    if let Some(adj) = plan.process.oom_score_adj {
        proc.write(&format!("{pid}/oom_score_adj"), &adj.to_string()).field("/process/oomScoreAdj").map_err(
            |e| {
                if e.is(errno::EACCES) {
                    e.hint("lowering it below our own needs CAP_SYS_RESOURCE")
                } else {
                    e
                }
            },
        )?;
    }
    raise_rlimits(&plan.process, pid)
}

fn write_maps(plan: &Plan, pid: i32, proc: &Proc, host: &Host) -> Result<()> {
    let lines = |maps: &[spec::IdMapping]| -> String {
        maps.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
    };
    if setgroups_denied(&plan.launch, host) {
        proc.write(&format!("{pid}/setgroups"), "deny")?;
    }
    proc.write(&format!("{pid}/uid_map"), &lines(&plan.launch.uid_maps)).field("/linux/uidMappings")?;
    proc.write(&format!("{pid}/gid_map"), &lines(&plan.launch.gid_maps)).field("/linux/gidMappings")
}

/// Without privilege the kernel only takes a gid map after setgroups(2) was given up (CVE-2014-8989).
fn setgroups_denied(launch: &Launch, host: &Host) -> bool {
    launch.new & ns_flags::USER != 0 && host.euid != 0
}

/// Hard limits above our own, while the process still has our ids: it may not be able to raise them itself. It
/// lowers the rest as its last step, so that a low limit hits the payload and not us.
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

/// config-linux.md, "The Container Process State": goes to the agent together with the listener.
pub fn send_listener_to(spec: &Spec, id: &str, pid: i32, status: &str, fd: OwnedFd) -> Result<()> {
    let linux = spec.linux();
    let Some(profile) = linux.seccomp.as_ref().filter(|s| !s.listener_path.is_empty()) else {
        return Err(Error::spec("/linux/seccomp/listenerPath", "required for SCMP_ACT_NOTIFY"));
    };
    let version = spec.oci_version.as_deref().unwrap_or_default();
    let state = serde_json::json!({
        "ociVersion": version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": profile.listener_metadata,
        "state": { "ociVersion": version, "id": id, "status": status, "pid": pid, "annotations": spec.annotations },
    });
    let agent = sock::connect_stream(Path::new(&profile.listener_path))
        .step("failed to connect with seccomp agent specified in the seccomp profile")
        .field("/linux/seccomp/listenerPath")?;
    sock::send(&agent, state.to_string().as_bytes(), &[fd.as_fd()])
}

/// If init died without a word, the cgroup may know why: its limit was too low for the start itself.
fn explain_death(e: Error, group: &Cgroup) -> Error {
    if e.kind() == Code::Init && group.oom_kills().is_some_and(|n| n > 0) {
        return Error::new(Code::Init, "container init was OOM-killed (memory limit too low?)")
            .field("/linux/resources/memory/limit");
    }
    e
}

/// The bundle's absolute path.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::from)
}
