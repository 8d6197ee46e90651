//! What goes over the API, as JSON. Additions only; the OpenAPI document is made from these types.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One instance in `ps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstanceStatus {
    /// `web.1`.
    pub instance: String,
    /// `web`.
    pub service: String,
    /// held, waiting, creating, starting, running, stopping, exited, backoff, crashloop, failed, stuck, monitor-lost.
    pub state: String,
    /// What the state is about, one line for people: "next try in 4 s", "waits for db: ready".
    pub detail: String,
    /// What it waits for before it can start.
    pub waits: Option<Waits>,
    /// The last decision and its reason.
    pub reason: String,
    /// Container id, `web.1.17`; the last one when nothing runs.
    pub run: Option<String>,
    /// The container's first process on the host, while there is one.
    pub pid: Option<u32>,
    /// Wall time of the last change of state, RFC 3339.
    pub since: String,
    /// Seconds of CLOCK_BOOTTIME since that change.
    pub seconds: f64,
    /// It runs, its startup probe has passed, its liveness probe does not fail and its readiness probe passes; what it does
    /// not have does not count.
    #[serde(default)]
    pub ready: bool,
    /// Starts after an end, since the service was last started by hand or changed.
    pub restarts: u32,
    /// Exit code of the last end: 128 + signal when a signal ended it.
    pub last_exit: Option<i32>,
    /// Memory in use and its limit, in bytes, where the kernel tells.
    pub memory: Option<u64>,
    /// See `memory`.
    pub memory_limit: Option<u64>,
}

/// What an instance waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Waits {
    /// One line for people: "db: ready".
    pub on: String,
    /// Seconds until waiting becomes a failed start; none = for ever.
    pub seconds: Option<f64>,
}

/// One service in `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStatus {
    /// Its name.
    pub service: String,
    /// From the file.
    pub description: Option<String>,
    /// The service file.
    pub file: String,
    /// The first 12 hexadecimal digits of the version that is in force.
    pub version: String,
    /// up or down: what is wanted of it.
    pub goal: String,
    /// Why it is down: stopped by hand, removed.
    pub goal_reason: String,
    /// Problems of the file on disk, when it is not the version in force.
    pub problems: Vec<Problem>,
    /// What it depends on: `db: ready (met)`.
    pub depends_on: Vec<String>,
    /// Its instances.
    pub instances: Vec<InstanceStatus>,
    /// What makes it a job, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobInfo>,
    /// The probes of all instances.
    #[serde(default)]
    pub probes: Vec<ProbeInfo>,
    /// The last exits of all instances, newest first.
    pub exits: Vec<ExitInfo>,
}

/// A job: how it runs, and its last results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobInfo {
    /// Starts for one result, at most.
    pub attempts: u32,
    /// Seconds that one attempt may run; none = for ever.
    pub deadline: Option<f64>,
    /// Its cron expression; none = it runs once.
    pub schedule: Option<String>,
    /// Whose clock the schedule is about.
    pub timezone: Option<String>,
    /// The next time of its schedule, RFC 3339; its run may begin later by its jitter. None while it is stopped by hand.
    pub next: Option<String>,
    /// The last 20 results of each instance, newest first.
    pub results: Vec<JobResultInfo>,
}

/// What came of a job once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobResultInfo {
    /// Container id of the last attempt; none = it came to none.
    pub run: Option<String>,
    /// The time of the schedule that it was for, RFC 3339; none = somebody started it.
    pub scheduled: Option<String>,
    /// When it began, where it has a schedule.
    pub begun: Option<String>,
    /// When it was over.
    pub ended: String,
    /// How often it was started.
    pub attempts: u32,
    /// succeeded, failed, or stopped when somebody ended it.
    pub result: String,
    /// One line for people: "exited 3", "deadline of 10 min passed, exited 143".
    pub text: String,
    /// The last lines that its last run has printed, at most 10 and 2 KiB.
    #[serde(default)]
    pub output: Vec<String>,
}

/// One probe of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeInfo {
    /// `web.1`.
    pub instance: String,
    /// startup, liveness, readiness.
    pub probe: String,
    /// unknown, passing, failing.
    pub state: String,
    /// Failures in a row that counted.
    pub failures: u32,
    /// The last answers, oldest first.
    pub looks: Vec<LookInfo>,
    /// The first of the last row of failures.
    pub first_failing: Option<LookInfo>,
}

/// One answer of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LookInfo {
    /// Wall time, RFC 3339.
    pub at: String,
    /// pass, fail, timed-out, error.
    pub verdict: String,
    /// One line for people: "HTTP status 503, want 200-399".
    pub text: String,
    /// What came, the first 4 KiB. What is not UTF-8 is replaced.
    pub output: String,
    /// How long it took, in seconds; the set-up of a program is not in it.
    pub seconds: f64,
    /// Why it does not count, when it does not: the host was under pressure.
    pub excused: Option<String>,
}

/// What one instance has used over time: a sample about each `every` seconds, those of the last hours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// `web.1`.
    pub instance: String,
    /// Seconds between two samples, about.
    pub every: f64,
    /// Samples that are kept at most.
    pub kept: usize,
    /// Bytes of memory that the service asks for.
    pub memory_request: Option<u64>,
    /// Bytes from which on it is slowed down: of the container, or of the file while there is none.
    pub memory_high: Option<u64>,
    /// The limit of memory in bytes, likewise.
    pub memory_max: Option<u64>,
    /// Oldest first. There is none for the time in which it had no container, or no daemon ran.
    pub samples: Vec<Sample>,
}

/// One sample; null = the kernel does not tell, or there is no sample of the same run to compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// Wall time, RFC 3339, to the second.
    pub at: String,
    /// Number of the run that it is about.
    pub run: u32,
    /// Bytes of memory in use then.
    pub memory: Option<u64>,
    /// Processors that were busy for it, on average since the sample before: 0.5 = half of one.
    pub cpu: Option<f64>,
    /// Share of the time since the sample before in which some of its processes waited for a processor, 0 to 1.
    pub cpu_pressure: Option<f64>,
    /// The same for memory.
    pub memory_pressure: Option<f64>,
    /// The same for block devices.
    pub io_pressure: Option<f64>,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// All its instances are ready.
    #[default]
    Ready,
    /// All its instances run, have come up and do not fail.
    Healthy,
    /// None of its instances runs, and none will by itself.
    Stopped,
}

/// One end of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExitInfo {
    /// Container id.
    pub run: String,
    /// Wall time, RFC 3339.
    pub at: String,
    /// 128 + signal for a signal; none when no exit code exists.
    pub code: Option<i32>,
    /// "exited 3", "killed by SIGKILL: memory limit of 64 MiB".
    pub text: String,
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// Most bytes of memory it used.
    pub memory_peak: Option<u64>,
    /// Processes the kernel killed for memory.
    pub oom_kills: Option<u64>,
    /// How often it was slowed down for using more than its memory_high.
    #[serde(default)]
    pub memory_high_events: Option<u64>,
    /// How often it came to its limit of memory.
    #[serde(default)]
    pub memory_max_events: Option<u64>,
    /// Most bytes it had in swap.
    #[serde(default)]
    pub swap_peak: Option<u64>,
    /// For how long none of its processes went on for want of memory, in seconds.
    #[serde(default)]
    pub memory_stalled: Option<f64>,
}

/// One complaint about a service file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// From 1; 0 = about the whole file.
    pub line: u32,
    /// From 1; 0 = about the whole line.
    pub column: u32,
    /// `limits.memory`; empty = the whole file.
    pub key: String,
    /// What is wrong, got and wanted.
    pub message: String,
}

/// A service file in a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceFile {
    /// Name of the service.
    pub name: String,
    /// The TOML text.
    pub text: String,
}

/// What `plan` and `apply` take. Without files: what is in the services directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// New texts that stand in for the files of the same names.
    #[serde(default)]
    pub files: Vec<ServiceFile>,
}

/// Keys of `[limits]` in a service file that are to change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRequest {
    /// By their names, `memory`, with values as the file has them; null takes a key away.
    #[schema(value_type = std::collections::BTreeMap<String, Object>)]
    pub limits: std::collections::BTreeMap<String, serde_json::Value>,
}

/// What `plan` says would happen and `apply` says did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// One a service that changes.
    pub changes: Vec<ServiceChange>,
    /// Files that are refused; their last good versions go on.
    pub problems: Vec<Problem>,
}

/// What becomes of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceChange {
    /// Its name.
    pub service: String,
    /// add, remove, restart (running instances are replaced), update (nothing restarts).
    pub action: String,
    /// One a key that differs.
    pub fields: Vec<FieldChange>,
    /// How instances are replaced, one line for people; none = there is nothing to replace in steps.
    #[serde(default)]
    pub rollout: Option<String>,
    /// What of it this host cannot do, one line each for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// `limits.memory`.
    pub key: String,
    /// JSON text; none = was not there.
    pub old: Option<String>,
    /// JSON text; none = is not there any more.
    pub new: Option<String>,
    /// The values are not shown on this socket; instead of each stands `"hidden"`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

impl Plan {
    /// Hides what those who may only look must not see: values of the environment.
    pub(super) fn hide_values(&mut self) {
        for field in self.changes.iter_mut().flat_map(|c| &mut c.fields) {
            if field.key == "env" || field.key.starts_with("env.") {
                field.hidden = true;
                for value in [&mut field.old, &mut field.new].into_iter().flatten() {
                    *value = "\"hidden\"".into();
                }
            }
        }
    }
}

/// What is to be done with some targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Wanted up again.
    Start,
    /// Wanted down until somebody starts it.
    Stop,
    /// Down and up.
    Restart,
    /// Stopped, then its file, logs and history are removed.
    Remove,
}

/// One order about several targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// What is to be done.
    pub verb: Verb,
    /// Services or instances, `web` or `web.1`; for remove services only.
    pub targets: Vec<String>,
}

/// What became of one target of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderOutcome {
    /// As it was named.
    pub target: String,
    /// Why it was not done; none = done, or begun without `wait`. The others are done all the same.
    pub error: Option<ErrorBody>,
}

/// One event: a change of state or a decision, with its cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventInfo {
    /// Grows by one an event, never starts again.
    pub seq: u64,
    /// Wall time, RFC 3339.
    pub at: String,
    /// Which service, if one.
    pub service: Option<String>,
    /// Which instance, if one.
    pub instance: Option<String>,
    /// created, started, exited, restart-scheduled, crash-loop, stopped, killed, monitor-lost, applied, ...
    pub kind: String,
    /// How much it matters, by its kind.
    #[serde(default)]
    pub severity: Severity,
    /// One line for people.
    pub text: String,
    /// The event that led to this one.
    pub cause: Option<u64>,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    #[default]
    Info,
    /// Not as it should be, and goes on by itself.
    Warning,
    /// Somebody has to look.
    Error,
}

/// A line in a stream of events that stands for events that its reader will not get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lagged {
    /// How many at most; 0 = nobody knows.
    pub lagged: u64,
    /// The number of the oldest event that is kept.
    #[serde(default)]
    pub oldest: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: GapReason,
}

/// Why events are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// They are older than what is kept.
    #[default]
    NotKept,
    /// No event ever had the number that was asked for: the journal is a new one, and the stream begins with its first event.
    NumbersBeganAnew,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Which instance.
    pub instance: String,
    /// When it was written, RFC 3339 with nanoseconds; none when the file does not say.
    pub at: Option<String>,
    /// stdout, stderr, keeper for the keeper's own words, reader for those of who reads the files, raw for what is no line.
    pub stream: String,
    /// The text without its line end. What is not UTF-8 is replaced.
    pub text: String,
    /// The line is longer than 1 MiB and goes on in the next one of the same stream.
    pub partial: bool,
}

/// A command to run in a running container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Further environment, `NAME=value`.
    #[serde(default)]
    pub env: Vec<String>,
    /// Working directory inside.
    #[serde(default)]
    pub cwd: Option<String>,
    /// `UID` or `UID:GID`.
    #[serde(default)]
    pub user: Option<String>,
    /// With a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Size of the terminal at its start.
    #[serde(default)]
    pub size: Option<TerminalSize>,
}

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub cols: u16,
}

/// What the control frames (channel 3) of a stream say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "type", deny_unknown_fields)]
pub enum Control {
    /// From the client: the terminal has another size now.
    Resize(TerminalSize),
    /// From the client: no more input comes.
    Eof,
    /// From the daemon, the last frame: the program ended with this code, 128 + signal for a signal.
    Exit {
        /// 0 to 255.
        code: i32,
    },
    /// From the daemon, the last frame: it could not be done.
    Error {
        /// 125 in general, 126 when the program cannot be executed, 127 when there is none.
        code: i32,
        /// One line for people.
        message: String,
    },
}

/// The chain of causes of `explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Instance or service.
    pub name: String,
    /// One sentence: why it is as it is now.
    pub summary: String,
    /// Oldest first.
    pub chain: Vec<EventInfo>,
    /// What happens next, with its time.
    pub next: Option<String>,
}

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// bad-request, not-found, conflict, forbidden, too-large, internal.
    pub code: String,
    /// One line for people.
    pub message: String,
    /// For files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// `version`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionInfo {
    /// Of the daemon.
    pub version: String,
    /// Of the API.
    pub api: u32,
    /// Of the keeper's protocol.
    pub keeper_protocol: u32,
    /// The default runtime.
    pub runtime: String,
    /// The daemon's process.
    pub pid: u32,
}
