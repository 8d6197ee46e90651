//! What the API asks of the daemon's one owner of all state: a channel of calls, each with the place its answer goes to.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use tokio::sync::{broadcast, mpsc, oneshot};

pub use super::model::Verb;
use super::model::{
    EventInfo, Explanation, History, InstanceStatus, Plan, PlanRequest, ServiceStatus, Sight, VersionInfo,
};
use super::rollouts::{RolloutInfo, RolloutWish};
use crate::dirs::Dirs;
use crate::names::{Instance, RunId, ServiceName};

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// No such service or instance.
    NotFound(String),
    /// Not in the state that this needs.
    Conflict(String),
    /// The request makes no sense.
    BadRequest(String, Vec<super::model::Problem>),
    /// The daemon could not do it: a full disk, a runtime that failed.
    Internal(String),
}

/// What a call answers.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// `NAME` or `NAME.REPLICA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// All instances.
    Service(ServiceName),
    /// One.
    Instance(Instance),
}

impl std::str::FromStr for Target {
    type Err = String;
    fn from_str(s: &str) -> Result<Target, String> {
        if s.contains('.') { Ok(Target::Instance(s.parse()?)) } else { Ok(Target::Service(s.parse()?)) }
    }
}

/// One request to the owner of all state. `wait` = answer when it is done and not when it is begun.
#[derive(Debug)]
pub enum Call {
    /// All instances, in order of their names.
    Ps(Answer<Vec<InstanceStatus>>),
    /// One service.
    Status(ServiceName, Answer<ServiceStatus>),
    /// What applying would change.
    Plan(PlanRequest, Answer<Plan>),
    /// Writes the files (when given) and applies them.
    Apply(PlanRequest, Answer<Plan>),
    /// Changes these keys of `[limits]` in the file of a service and applies it; null takes one away.
    Set { service: ServiceName, limits: BTreeMap<String, serde_json::Value>, answer: Answer<Plan> },
    /// What is wanted of some targets, each with the place for its own answer. Those that depend on each other are stopped
    /// and started in that order.
    Order { verb: Verb, targets: Vec<(Target, Answer<()>)>, wait: bool },
    /// Answers when all instances are so.
    Wait { target: Target, sight: Sight, answer: Answer<()> },
    /// A signal to the first process of each instance, by number.
    Kill { target: Target, signal: i32, answer: Answer<()> },
    /// Why it is as it is.
    Explain(Target, Answer<Explanation>),
    /// Events after this number that are still kept, and the live ones from there without a gap.
    Events { since: u64, answer: Answer<Page> },
    /// How far the rollout of a service is.
    Rollout(ServiceName, Answer<RolloutInfo>),
    /// What somebody wants of the rollout of a service.
    RolloutWish { service: ServiceName, wish: RolloutWish, answer: Answer<()> },
    /// The run of an instance that runs now, and the runtime's program that made it, for exec and attach.
    Running(Target, Answer<Running>),
    /// What each of its instances has used over time.
    History(Target, Answer<Vec<History>>),
    /// Everything for metrics that is at hand.
    Metrics(Answer<Box<crate::metrics::Scene>>),
    /// Versions.
    Version(Answer<VersionInfo>),
}

/// Events that are kept, the live ones from there, and which numbers there are.
#[derive(Debug)]
pub struct Page {
    /// Oldest first.
    pub past: Vec<EventInfo>,
    /// Those that come.
    pub live: broadcast::Receiver<EventInfo>,
    /// Of all events, not only of these.
    pub numbers: super::cursor::Numbers,
}

/// What exec and attach need to know.
#[derive(Debug, Clone)]
pub struct Running {
    /// The container.
    pub run: RunId,
    /// The runtime's program.
    pub runtime: std::path::PathBuf,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// What the API keeps: the way to the owner, and where files are that it may read itself (logs).
#[derive(Debug, Clone)]
pub struct Handle {
    /// To the owner. Bounded: a flood of requests waits here.
    pub calls: mpsc::Sender<Call>,
    /// The daemon's directories.
    pub dirs: Dirs,
}

impl Handle {
    /// Sends a call and awaits its answer; a daemon that ends answers `Internal`.
    pub async fn ask<T>(&self, make: impl FnOnce(Answer<T>) -> Call) -> Result<T, Refusal> {
        let (tx, rx) = oneshot::channel();
        let gone = || Refusal::Internal("the daemon is ending".into());
        self.calls.send(make(tx)).await.map_err(|_| gone())?;
        rx.await.map_err(|_| gone())?
    }

    /// One order about some targets; the answers are in their order.
    pub async fn order(&self, verb: Verb, targets: Vec<Target>, wait: bool) -> Vec<Result<(), Refusal>> {
        let gone = || Refusal::Internal("the daemon is ending".into());
        let (targets, answers): (Vec<_>, Vec<_>) = targets
            .into_iter()
            .map(|target| {
                let (answer, answered) = oneshot::channel();
                ((target, answer), answered)
            })
            .unzip();
        // A daemon that ends drops the call, and so every place for an answer.
        self.calls.send(Call::Order { verb, targets, wait }).await.ok();
        let mut results = Vec::with_capacity(answers.len());
        for answered in answers {
            results.push(answered.await.unwrap_or_else(|_| Err(gone())));
        }
        results
    }
}
