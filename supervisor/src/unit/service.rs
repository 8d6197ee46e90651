//! What an operator wants of one service: the checked values that everything else works with. Pure data.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::listen::Listen;
use super::pressure::Pressure;
use crate::names::ServiceName;
use crate::probe::Kind;
use crate::unit::job::Job;

/// One service file, read and checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// Its name: the file's name without `.toml`.
    pub name: ServiceName,
    /// Says nothing to the daemon; shown by `status`.
    pub description: Option<String>,
    /// For selecting and showing only.
    pub labels: BTreeMap<String, String>,
    /// The OCI runtime's program; `None` = the daemon's default.
    pub runtime: Option<PathBuf>,
    /// How many instances; 0 = none.
    pub replicas: u32,
    /// Where the container comes from.
    pub image: Image,
    /// What its process is.
    pub process: Process,
    /// Limits on the host's resources.
    pub limits: Limits,
    /// What the container may do.
    pub security: Security,
    /// Further mounts.
    pub mounts: Vec<Mount>,
    /// Files put into it, on tmpfs.
    pub files: Vec<FileMount>,
    /// Which network it has.
    pub network: Network,
    /// Addresses that it listens on, as documentation (`8080/tcp`); nothing is published.
    pub ports: Vec<String>,
    /// Sockets that the daemon opens on the host and passes to every instance.
    pub listen: Vec<Listen>,
    /// When it is started again.
    pub restart: Restart,
    /// It is a job: it runs to its end.
    pub job: Option<Job>,
    /// How it is stopped.
    pub stop: Stop,
    /// What it pays when memory runs short.
    pub pressure: Pressure,
    /// How it is looked at while it runs.
    pub probes: Probes,
    /// How a changed file is rolled out.
    pub update: Update,
    /// What must be there before it starts.
    pub depends_on: Vec<Dependency>,
    /// It is an init step (a job) or a sidecar of another service.
    pub part_of: Option<ServiceName>,
    /// What is run on the host around it.
    pub hooks: Hooks,
    /// What becomes of its output.
    pub logs: Logs,
}

/// Where the container comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// A directory with `config.json`; the daemon runs a copy of it with its own changes.
    Bundle(PathBuf),
    /// A root file system; the configuration is made from safe defaults.
    Root {
        /// The directory.
        path: PathBuf,
        /// Mounted read-only.
        read_only: bool,
    },
    /// An imported image; what it says of its process stands in for what the file does not give.
    Stored {
        /// Its name.
        name: String,
        /// Digits of its id; `None` = nobody has looked it up yet.
        id: Option<String>,
        /// Mounted read-only.
        read_only: bool,
    },
}

impl Image {
    /// The configuration is the daemon's default one, not a bundle's.
    pub fn has_defaults(&self) -> bool {
        matches!(self, Image::Root { .. } | Image::Stored { .. })
    }
}

/// The container's process. With a bundle, what is `None` or empty here stays as the bundle has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Program and arguments.
    pub command: Option<Vec<String>>,
    /// Environment of the service file; wins over `env_files`.
    pub env: BTreeMap<String, String>,
    /// Files of `NAME=value` lines, read at each start; a later one wins.
    pub env_files: Vec<PathBuf>,
    /// Working directory, absolute.
    pub workdir: Option<String>,
    /// User, group and further groups, as numbers.
    pub user: Option<User>,
    /// A terminal instead of pipes.
    pub tty: bool,
    /// Standard input is kept open for `attach`; else it is /dev/null.
    pub stdin: bool,
    /// Host name inside.
    pub hostname: Option<String>,
}

/// Who the process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids, exactly these.
    pub groups: Vec<u32>,
}

/// Limits; `None` = as the bundle has it, or the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of swap beside the memory; 0 = none.
    pub swap: Option<u64>,
    /// Processors, in thousandths: 1500 = one and a half.
    pub cpu_millis: Option<u64>,
    /// Share when processors are short, 1 to 10000; the kernel's default is 100 (cgroup-v2.rst, cpu.weight).
    pub cpu_weight: Option<u64>,
    /// Processors it may run on, as the kernel lists them: `0-3,6`.
    pub cpus: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Open files, soft and hard (`RLIMIT_NOFILE`).
    pub nofile: Option<u64>,
    /// -1000 to 1000; `None` = 0, never the daemon's own.
    pub oom_score_adj: Option<i32>,
    /// Bytes of memory that it needs: what admission counts, and what reclaim leaves it before others.
    pub memory_request: Option<u64>,
    /// Bytes from which on it is slowed down and reclaimed from.
    pub memory_high: Option<u64>,
    /// Bytes that are never reclaimed from it.
    pub memory_min: Option<u64>,
    /// Bytes that are reclaimed from it only when others have nothing left; `None` = the request.
    pub memory_low: Option<u64>,
    /// Bytes of compressed swap in memory.
    pub zswap: Option<u64>,
    /// Whether the kernel kills all of it when it kills for memory; `None` = yes where memory is limited,
    /// but for jobs.
    pub oom_group: Option<bool>,
    /// Processor time of earlier periods that may be used on top of the quota of one.
    pub cpu_burst: Option<Duration>,
    /// Share of the disks when they are short, 1 to 10000; the kernel's default is 100 (cgroup-v2.rst, io.weight).
    pub io_weight: Option<u64>,
    /// Most traffic with single disks.
    pub io_max: Vec<IoMax>,
}

/// Most traffic with one disk; `None` = as much as it gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IoMax {
    /// Its device file.
    pub device: PathBuf,
    /// Bytes read in a second.
    pub read_bps: Option<u64>,
    /// Bytes written in a second.
    pub write_bps: Option<u64>,
    /// Reads in a second.
    pub read_iops: Option<u64>,
    /// Writes in a second.
    pub write_iops: Option<u64>,
}

/// What the container may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Security {
    /// Added to the default set, `CAP_NET_BIND_SERVICE`.
    pub capabilities_add: Vec<String>,
    /// Taken from it; `ALL` takes all.
    pub capabilities_drop: Vec<String>,
    /// Which system call filter.
    pub seccomp: Seccomp,
    /// `no_new_privs`; `None` = true for a root image, as it is for a bundle.
    pub no_new_privileges: Option<bool>,
}

/// The system call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// The profile the daemon carries for a root image; what the bundle has for a bundle.
    #[default]
    Default,
    /// None at all.
    Unconfined,
    /// `linux.seccomp` from this JSON file.
    File(PathBuf),
}

/// One further mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Path inside, absolute.
    pub target: String,
    /// What is mounted.
    pub kind: MountKind,
    /// Read-only.
    pub read_only: bool,
    /// Further options in the words of mount(8), `noexec`.
    pub options: Vec<String>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// A file or directory of the host.
    Bind(PathBuf),
    /// Memory, new at each start, with its size in bytes.
    Tmpfs(Option<u64>),
}

/// A secret or config file: copied to tmpfs at each start and mounted read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileMount {
    /// Whether its content may be shown in plans and diffs.
    pub secret: bool,
    /// On the host.
    pub source: PathBuf,
    /// Path inside, absolute.
    pub target: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// What happens when the source changes while the service runs.
    pub on_change: OnChange,
}

/// What happens when a file's source changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnChange {
    /// Nothing until the next start.
    Ignore,
    /// A stop and a start.
    Restart,
    /// The new content is put in place, then the container's process gets this signal.
    Signal(Signal),
}

/// A signal by its kernel number and its name without `SIG`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// 1 to 64.
    pub number: i32,
    /// `TERM`, `RTMIN+3`.
    pub name: String,
}

/// Which network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// As the bundle has it; for a root image a network namespace with loopback only.
    Default,
    /// The host's own.
    Host,
    /// A namespace with loopback only.
    None,
    /// A namespace that these CNI networks are attached to, in this order, by name of their configuration.
    Cni(Vec<String>),
}

/// When it is started again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restart {
    /// For ends that no rule matches.
    pub policy: Policy,
    /// First match wins.
    pub rules: Vec<Rule>,
    /// The pause after the first failure in a row.
    pub delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
    /// Running this long counts as healthy: the next failure is a first one.
    pub reset: Duration,
    /// This many failures within `crash_window` are a crash loop.
    pub crash_failures: u32,
    /// See `crash_failures`.
    pub crash_window: Duration,
    /// What a crash loop leads to.
    pub on_crash_loop: OnCrashLoop,
}

/// Restart policies by the names that Docker gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Never.
    No,
    /// After a failure; at most this many times in a row.
    OnFailure(Option<u32>),
    /// After every end; also after a reboot when it was stopped by hand.
    Always,
    /// After every end, but what was stopped by hand stays stopped, also over a reboot.
    UnlessStopped,
    /// That of a job: so many starts for one success, however long each of them runs.
    Attempts(u32),
}

/// One exit rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Which ends it is about.
    pub when: Match,
    /// What follows.
    pub action: RuleAction,
}

/// Which ends a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Match {
    /// Exit codes, inclusive ranges.
    pub codes: Vec<(u8, u8)>,
    /// Numbers of signals that killed it.
    pub signals: Vec<i32>,
    /// A kill for memory.
    pub oom: bool,
    /// The rule is about all other ends.
    pub not: bool,
}

/// What follows from a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleAction {
    /// Start again, with back-off.
    Restart,
    /// Done, as after success.
    Complete,
    /// Stay down as failed until somebody starts it.
    Fail,
}

/// What a crash loop leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCrashLoop {
    /// Go on trying at the longest pause.
    Keep,
    /// Stay down as failed.
    Hold,
}

/// How it is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// First signal.
    pub signal: Signal,
    /// From the signal to the kill.
    pub grace: Duration,
}

/// How it is looked at while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Probes {
    /// Must pass once after each start before the others begin; a failure is one of liveness.
    pub startup: Option<Probe>,
    /// Whether it is well; else `on_unhealthy` follows.
    pub liveness: Option<Probe>,
    /// Whether it can be used by others; nothing else follows.
    pub readiness: Option<Probe>,
    /// What follows when it is not well.
    pub on_unhealthy: OnUnhealthy,
}

impl Probes {
    /// The probe of a role.
    pub fn of(&self, role: Role) -> Option<&Probe> {
        match role {
            Role::Startup => self.startup.as_ref(),
            Role::Liveness => self.liveness.as_ref(),
            Role::Readiness => self.readiness.as_ref(),
        }
    }

    /// So long liveness and readiness probes need to notice that an instance which came up is no good; zero without any.
    pub fn notice(&self) -> Duration {
        let of = |p: &Probe| {
            let round = p.period.saturating_add(p.timeout);
            p.initial_delay.saturating_add(round.saturating_mul(p.failure_threshold))
        };
        self.liveness.iter().chain(&self.readiness).map(of).max().unwrap_or_default()
    }

    /// Nobody looks.
    pub fn is_empty(&self) -> bool {
        self.startup.is_none() && self.liveness.is_none() && self.readiness.is_none()
    }
}

/// Which of the three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Whether it has come up.
    Startup,
    /// Whether it is well.
    Liveness,
    /// Whether it can be used.
    Readiness,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Startup, Role::Liveness, Role::Readiness];

    /// As service files have it.
    pub fn word(self) -> &'static str {
        match self {
            Role::Startup => "startup",
            Role::Liveness => "liveness",
            Role::Readiness => "readiness",
        }
    }
}

/// One question that is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What is asked.
    pub kind: Kind,
    /// From the start (with a startup probe, from when that passed) to the first time.
    pub initial_delay: Duration,
    /// From the end of one to the next.
    pub period: Duration,
    /// An answer that takes longer is a failure.
    pub timeout: Duration,
    /// So many passes in a row count after a failure.
    pub success_threshold: u32,
    /// So many failures in a row count.
    pub failure_threshold: u32,
    /// Stands in for `stop.grace` in a stop that this probe causes.
    pub grace: Option<Duration>,
}

/// What follows when it is not well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnhealthy {
    /// It is stopped, and its restart policy decides as after a failure.
    #[default]
    Restart,
    /// It is stopped and stays down as failed until somebody starts it.
    Stop,
    /// It is said, and it goes on.
    None,
}

/// How running instances come to be of a changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// Whether the old one ends before the new one is there.
    pub order: UpdateOrder,
    /// So many instances are replaced at once.
    pub parallelism: u32,
    /// So long new instances must have been ready before the next ones are replaced.
    pub min_healthy: Duration,
    /// A step that takes longer has failed.
    pub progress_deadline: Duration,
    /// So long all are watched after the last step; `None` = as long as the probes need to notice, and `min_healthy`.
    pub watch: Option<Duration>,
    /// What follows when the new version is no good.
    pub on_failure: OnUpdateFailure,
}

impl Update {
    /// How long all instances are watched after the last step.
    pub fn watched(&self, probes: &Probes) -> Duration {
        self.watch.unwrap_or_else(|| probes.notice().saturating_add(self.min_healthy))
    }
}

impl Default for Update {
    fn default() -> Update {
        Update {
            order: UpdateOrder::StopFirst,
            parallelism: 1,
            min_healthy: Duration::from_secs(10),
            progress_deadline: Duration::from_secs(600),
            watch: None,
            on_failure: OnUpdateFailure::Rollback,
        }
    }
}

/// Whether the old one ends before the new one is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// It ends, then the new one starts.
    StopFirst,
    /// A new one is ready before an old one ends.
    StartFirst,
}

/// What follows when a new version is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUpdateFailure {
    /// The last good version again.
    Rollback,
    /// Nothing more is replaced until somebody decides.
    Pause,
    /// It is said, and the rollout goes on.
    Continue,
}

/// What must be there before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// Another service.
    pub service: ServiceName,
    /// What about it.
    pub condition: Condition,
    /// A start that waits longer is a failed start; `None` = no limit.
    pub timeout: Option<Duration>,
    /// An order or a changed file that restarts the other service restarts this one after it.
    pub restart: bool,
    /// It follows from `part_of` of the other service and stands in no file of this one.
    pub implied: bool,
}

/// What has to be true of the other service: the conditions of Compose, and ECS's two words for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// All its instances run.
    Started,
    /// All its instances are ready; without probes that is: they run.
    Ready,
    /// All its instances are done, with success or not: their restart policy does not start them again.
    Completed,
    /// All its instances are done, with success.
    Succeeded,
}

/// What is run on the host around it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hooks {
    /// Before the container is made; a failure is a failed start. A stop ends it: SIGTERM, after `stop.grace` SIGKILL.
    pub pre_start: Vec<Hook>,
    /// After the process runs; a failure is reported only.
    pub post_start: Vec<Hook>,
    /// Before the stop signal, inside the grace time.
    pub pre_stop: Vec<Hook>,
    /// After its end, also after a crash.
    pub post_stop: Vec<Hook>,
}

/// One program on the host, without a shell; it sees `KNARR_SERVICE`, `KNARR_INSTANCE`, `KNARR_RUN`, and after the end
/// `KNARR_EXIT_CODE` or `KNARR_EXIT_SIGNAL`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// Absolute program and arguments.
    pub command: Vec<String>,
    /// After it the hook is killed and has failed.
    pub timeout: Duration,
}

/// What becomes of its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logs {
    /// Bytes a file.
    pub max_size: u64,
    /// Files an instance, the one being written included.
    pub max_files: u32,
    /// Copied to journald as well.
    pub journald: bool,
}

impl Service {
    /// Stands in for a service whose file is gone while something of it still runs: it is only stopped.
    pub fn unknown(name: &ServiceName) -> Service {
        Service {
            name: name.clone(),
            description: None,
            labels: BTreeMap::new(),
            runtime: None,
            replicas: 0,
            image: Image::Bundle(PathBuf::from("/nonexistent")),
            process: Process::default(),
            limits: Limits::default(),
            security: Security::default(),
            mounts: Vec::new(),
            files: Vec::new(),
            network: Network::Default,
            ports: Vec::new(),
            listen: Vec::new(),
            restart: Restart {
                policy: Policy::No,
                rules: Vec::new(),
                delay: Duration::from_secs(1),
                max_delay: Duration::from_secs(60),
                reset: Duration::from_secs(120),
                crash_failures: 5,
                crash_window: Duration::from_secs(600),
                on_crash_loop: OnCrashLoop::Keep,
            },
            job: None,
            stop: Stop { signal: Signal { number: 15, name: "TERM".into() }, grace: Duration::from_secs(10) },
            pressure: Pressure::default(),
            probes: Probes::default(),
            update: Update::default(),
            depends_on: Vec::new(),
            part_of: None,
            hooks: Hooks::default(),
            logs: Logs { max_size: 10 << 20, max_files: 5, journald: false },
        }
    }
}
