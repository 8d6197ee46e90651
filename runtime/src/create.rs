//! The parent's story, top to bottom: from a bundle to a container that waits to be started. Whatever fails, the
//! guards undo in reverse: init is killed and reaped, the cgroup removed, the directory removed.
//! May use: everything but `ops` and `cli`'s parser.
#![forbid(unsafe_code)]

mod birth;
mod idmap;
mod interfaces;
mod maps;
mod sources;

pub use birth::{clone_via_stager, may_not_enter, raise_rlimits, set_oom_score, stillborn};

use crate::cgroup::Cgroup;
use crate::error::{Code, Context, Error, Result, quoted};
use crate::fds::Kept;
use crate::gate;
use crate::handover::{Asked, Handover};
use crate::hooks;
use crate::host::Host;
use crate::interrupt;
use crate::link::{self, Parent, Sealed};
use crate::notify;
use crate::plan::{self, Plan, Request};
use crate::report;
use crate::resctrl::{self, Groups};
use crate::rootfs::Proc;
use crate::spec::{self, Spec, annotations};
use crate::state::{self, Phase, Record, Reservation, Store, observe, record};
use crate::sys::fs::{self, Stat};
use crate::sys::process::{self, Child, ns_flags};
use crate::sys::{OwnedFd, errno, sock};
use crate::trace::{self, Step};
use birth::Parents;
use interfaces::Given;
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
    pub asked: Asked<'a>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// systemd makes the cgroup.
    pub systemd: bool,
    /// The container gets no cgroup of its own.
    pub without_cgroup: bool,
    pub fds: Kept,
    /// What `--rootless` said; `None` to find out.
    pub rootless: Option<bool>,
    /// Started by us over the link, not by a later `start` through the gate.
    pub started_by_us: bool,
}

/// A created container. Dropping it undoes everything; `keep` makes it last.
pub struct Container {
    // Fields drop in this order: init goes first.
    pub child: Child,
    pub link: Parent<Sealed>,
    pub made: Made,
    pub plan: Plan,
    /// The terminal's master, when nobody took it over a socket.
    pub console: Option<OwnedFd>,
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

/// Only root can make the other namespaces without one of users.
fn needs_userns(plan: &Plan, host: &Host) -> Result<()> {
    if host.euid == 0 || plan.launch.has(ns_flags::USER) {
        return Ok(());
    }
    Err(Error::spec(
        "/linux/namespaces",
        "rootless container requires user namespaces, want one of type user",
    )
    .hint("knarr spec --rootless writes such a configuration"))
}

/// Makes a container up to the point where only the payload's start is missing.
pub fn create(store: &Store, wish: &Wish<'_>) -> Result<Container> {
    trace::step(Step::Begin);
    let (spec, bytes) = load(wish.bundle)?;
    trace::step(Step::Load);
    let host = Host {
        without_cgroup: wish.without_cgroup,
        ..Host::detect(wish.systemd, wish.rootless, plan::names_labels(&spec))?
    };
    let request = Request {
        id: wish.id,
        bundle: wish.bundle,
        no_pivot: wish.no_pivot,
        no_new_keyring: wish.no_new_keyring,
        fds: wish.fds,
    };
    let mut plan = plan::plan(&spec, &host, request)?;
    plan.process.keep_groups = annotations::keeps_groups(&spec.annotations);
    if plan.process.keep_groups && !plan.process.groups.is_empty() {
        plan.warnings
            .push("/process/user/additionalGids: not set, run.oci.keep_original_groups keeps others".into());
    }
    needs_userns(&plan, &host)?;
    let notify = notify::asked().is_some() && plan.launch.has(ns_flags::MOUNT);
    if notify {
        notify::add_to(&mut plan, &store.place(wish.id));
    }
    let plan = plan;
    for w in &plan.warnings {
        report::warn(format_args!("{w}"));
    }
    report::step(format_args!("checked and planned: {} mounts", plan.mounts.len()));
    trace::step(Step::Plan);
    let pidfd = annotations::pidfd_receiver(&spec.annotations).map(Path::new);
    let asked = Asked { pidfd_socket: wish.asked.pidfd_socket.or(pidfd), ..wish.asked };
    let handover = Handover::prepare(asked, plan.process.terminal)?;
    let (root, root_seen) = open_root(&plan)?;
    let resctrl = resctrl_of(&plan)?;
    let nofile = sources::make_room(&plan)?;
    let proc = Proc::open()?;
    process::set_dumpable(false)?;
    wish.fds.hide()?;
    interrupt::arm()?;
    trace::step(Step::Open);

    // The record goes first: whoever finds us dead can clean up after us.
    let mut made = Made { cgroup: None, resctrl: None, reservation: store.reserve(wish.id)? };
    let mut record = new_record(wish.id, &plan)?;
    record.resctrl = resctrl.clone();
    made.reservation.save(&record)?;
    made.reservation.put_config(&bytes).step("keep a copy of config.json")?;
    if notify {
        notify::make_dir(made.reservation.dir())?;
    }
    report::step("the record is written");
    trace::step(Step::Record);
    let group = made.cgroup.insert(Cgroup::create(&host.cgroups, &plan.cgroup, &|| host.is_rootless())?);
    if let Some(uid) = plan.cgroup_owner {
        group.delegate(uid).step("give the cgroup to the container's user")?;
    }
    let below = plan.cgroup_below.as_ref().map(|b| group.make_below(&b.name, b.owner)).transpose();
    let below = below.field("/annotations/run.oci.delegate-cgroup")?;
    report::step("the cgroup is made");
    trace::step(Step::Group);
    if let (Some(asked), Some(groups)) = (&plan.resctrl, resctrl) {
        made.resctrl.insert(groups).make(asked)?;
    }
    let gate = if wish.started_by_us { None } else { Some(gate::listen(made.reservation.dir())?) };

    let parents = Parents {
        plan: &plan,
        host: &host,
        group,
        proc: &proc,
        root: &root,
        root_seen,
        gate: gate.as_ref(),
        resctrl: made.resctrl.as_ref(),
        below: below.as_ref(),
        nofile,
    };
    let (child, link) = birth::of_init(&parents).map_err(|e| explain_death(e, group))?;
    report::step(format_args!("init, process {}, has built the root", child.pid()));
    trace::step(Step::RootBuilt);
    group.settle()?;
    let given = Given::to(&plan.interfaces, &child)?;
    let lead = || -> Result<_> {
        let state = plan.hook_state("creating", child.pid());
        hooks::run("prestart", &plan.hooks.prestart, &state)?;
        hooks::run("createRuntime", &plan.hooks.create_runtime, &state)?;
        let hand_on = |fd| send_listener_to(&spec, wish.id, child.pid(), "creating", fd);
        let run = plan.hooks.prestart.len() + plan.hooks.create_runtime.len();
        report::step(format_args!("{run} prestart and createRuntime hooks have run"));
        trace::step(Step::RuntimeHooks);
        let limit = hooks::time_of(&plan.hooks.create_container).map(|t| t + link::DEADLINE);
        link.enter(child.pid())?.ready(limit, child.pidfd(), hand_on)
    };
    let (link, handed) = lead().map_err(|e| explain_death(e, group))?;
    report::step("init is confined");
    trace::step(Step::Confined);
    let console = handover.descriptors(handed.console, &child)?;
    record.phase = Phase::Created;
    record.cgroup = group.saved();
    record.init = Some(state::Proc::of(child.pid())?);
    made.reservation.save(&record)?;
    handover.pid_file(&child)?;
    given.keep();
    report::step("the container is created");
    trace::step(Step::Created);
    Ok(Container { child, link, made, plan, console })
}

impl Made {
    /// For what its payload says when it is ready.
    pub fn proxy(&self) -> Result<Option<notify::Proxy>> {
        notify::Proxy::open(self.reservation.dir())
    }
}

/// What exists of a container besides its processes. Dropping it takes it away, the record last. If the cgroup cannot
/// be removed the record stays, for `delete --force` to find it.
pub struct Made {
    cgroup: Option<Cgroup>,
    resctrl: Option<Groups>,
    reservation: Reservation,
}

impl Made {
    /// From now on it outlives this process.
    fn keep(mut self) {
        self.cgroup = None;
        self.resctrl = None;
        self.reservation.leave();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let Some(group) = &self.cgroup else { return };
        let gone = group
            .kill_all(CGROUP_DEADLINE)
            .and_then(|()| group.destroy(CGROUP_DEADLINE))
            .step("remove the cgroup")
            .and_then(|()| self.resctrl.as_ref().map_or(Ok(()), Groups::remove));
        if let Err(e) = gone {
            report::warn(e.hint("delete --force tries again"));
            self.reservation.leave();
        }
    }
}

impl Container {
    /// The container outlives this process.
    pub fn keep(mut self) {
        self.child.release();
        self.made.keep();
    }
}

/// A container whose payload runs. Dropping it undoes everything.
pub struct Started {
    // Order of dropping as in `Container`.
    pub child: Child,
    pub made: Made,
    pub plan: Plan,
    pub console: Option<OwnedFd>,
}

impl Started {
    /// The container outlives this process.
    pub fn keep(mut self) {
        self.child.release();
        self.made.keep();
    }

    /// Others may act on the container while we stay with its first process.
    pub fn stay(self) -> (String, Child) {
        self.made.keep();
        (self.plan.id, self.child)
    }
}

/// Where the container's groups of resctrl will be.
fn resctrl_of(plan: &Plan) -> Result<Option<Groups>> {
    plan.resctrl.as_ref().map(|p| Ok(Groups::of(p, &resctrl::root()?))).transpose()
}

fn open_root(plan: &Plan) -> Result<(OwnedFd, Stat)> {
    let path = &plan.root.path;
    let fd = fs::open_dir_path(path)
        .step_with(|| format!("invalid rootfs {}", quoted(&path.to_string_lossy())))
        .field("/root/path")?;
    let (here, host) = (fs::fstat(&fd)?, fs::stat("/")?);
    if (here.dev, here.ino) == (host.dev, host.ino) {
        return Err(Error::spec("/root/path", "is the root of the host, want a directory of its own"));
    }
    Ok((fd, here))
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
        boot_id: observe::boot_id()?.to_string(),
        phase: Phase::Creating,
        creator: state::Proc::of(process::getpid())?,
        init: None,
        cgroup: plan.cgroup.saved(),
        resctrl: None,
        shared_pidns: plan.launch.new & ns_flags::PID == 0,
        no_new_keyring: plan.no_new_keyring,
        resources: None,
        poststop: Some(!plan.hooks.poststop.is_empty()),
    })
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
        let bytes = |n: Option<u64>| n.map_or("unknown".to_string(), |n| format!("{n} bytes"));
        let (limit, peak) = (bytes(group.memory_limit()), bytes(group.memory_peak()));
        return Error::new(Code::Init, "container init was OOM-killed (memory limit too low?)")
            .field("/linux/resources/memory/limit")
            .hint(format!("limit {limit}, peak {peak}"));
    }
    e
}

/// The bundle's absolute path.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::from)
}
