//! What is written down, and the state that follows from it. Pure: the same records always give the same image.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Boot;
use crate::health::Known;
use crate::keeper::record::ExitRecord;
use crate::names::{Instance, RunId, ServiceName};
use crate::policy::Unwell;
use crate::rollout::Updates;
use crate::schedule::Base;

/// How many events are kept (`events --since`).
pub const EVENTS_KEPT: usize = 10_000;
/// How many bytes of memory and of the file they may take, about; the oldest go first.
pub const EVENTS_BYTES: usize = 4 << 20;
/// How many exits of an instance are kept.
pub const EXITS_KEPT: usize = 20;

/// So many instances that are gone have the number of their last run kept for them alone.
pub const RETIRED_KEPT: usize = 1000;

/// How many results of jobs are kept an instance.
pub const RESULTS_KEPT: usize = 20;

/// Which file it was, whatever is found by its name later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Its inode.
    pub inode: u64,
    /// When it was last written, in seconds.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanoseconds: i64,
}

/// One thing that was written down. The order of the records is the order of their sequence numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum Record {
    /// Somebody wants a service, or one instance of it, up or down. Must be on disk before it is answered.
    Goal {
        /// Which service.
        service: ServiceName,
        /// Which instance; `None` = the whole service, and what was said of single instances is void.
        replica: Option<u32>,
        /// Stopped by hand.
        held: bool,
    },
    /// A run is about to be made. Must be on disk before anything of the run exists.
    Intent {
        /// The run.
        run: RunId,
        /// The boot it belongs to.
        boot_id: String,
        /// Version of the service it is made from.
        version: String,
        /// Starts after an end, since a person last started it.
        restarts: u32,
    },
    /// The run's process runs.
    Started {
        /// The run.
        run: RunId,
        /// Its first process.
        pid: u32,
        /// When.
        at: Boot,
    },
    /// The daemon is about to stop the run: the end that follows is wanted, unless it is stopped because it is not well.
    Stopping {
        /// The run.
        run: RunId,
        /// Why it is not well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unwell: Option<Unwell>,
    },
    /// What its probes say of the run has changed.
    Health {
        /// The run.
        run: RunId,
        /// What is known now.
        known: Known,
    },
    /// The run is to be replaced by another one, in its turn.
    Again {
        /// The run.
        run: RunId,
    },
    /// The end of a run. Must be on disk before anybody acts on it.
    Ended {
        /// The run.
        run: RunId,
        /// What the keeper knew; `None` = nobody saw the end.
        exit: Option<ExitRecord>,
        /// When the daemon learnt of it.
        at: Timestamp,
        /// One line for people.
        text: String,
        /// Failures in a row, this one included; 0 after a wanted or healthy end.
        failures: u32,
        /// Whether the policy was done with the instance: it ended with success (`Some(true)`) or failed for good.
        finished: Option<bool>,
    },
    /// A run of a scheduled job is wanted, by its schedule or by hand: it is open until its policy is done with it.
    Begun {
        /// Which instance.
        instance: Instance,
        /// The time of the schedule that it is for; `None` = by hand.
        scheduled: Option<Timestamp>,
        /// When.
        at: Timestamp,
    },
    /// What the last run of a job has printed last, read from its log after its result is written.
    Output {
        /// Which run.
        run: RunId,
        /// Lines, each with its end.
        text: String,
    },
    /// Where a schedule is.
    Schedule {
        /// Of which service.
        service: ServiceName,
        /// Expression and zone that this is about; empty = the service has no schedule any more.
        rule: String,
        /// The last time that is dealt with.
        base: Base,
    },
    /// Something to tell: a change of state or a decision.
    Event(Event),
    /// Somebody removes a service with its file and logs: a daemon that comes after this one goes on with it.
    Remove {
        /// Which service.
        service: ServiceName,
        /// Its file; `None` = there was none.
        file: Option<FileId>,
    },
    /// A service that was to be removed stays: its file could not be removed, or is there again.
    Keep {
        /// Which service.
        service: ServiceName,
    },
    /// The service is no longer known: all of it goes but the numbers of its runs.
    Forget {
        /// Which service.
        service: ServiceName,
    },
    /// What is known of the versions of a service, and the rollout that is under way. Must be on disk before anything
    /// follows from it.
    Updates {
        /// Which service.
        service: ServiceName,
        /// All of it.
        updates: Box<Updates>,
    },
    /// An instance that no longer exists, because the service has fewer replicas now. Its number stays.
    ForgetInstance {
        /// Which one.
        instance: Instance,
    },
}

impl Record {
    /// Whether it must be on disk before the daemon goes on. Events and what can be observed again need not.
    pub fn durable(&self) -> bool {
        match self {
            Record::Goal { .. } | Record::Intent { .. } | Record::Ended { .. } | Record::Stopping { .. } => {
                true
            }
            Record::Forget { .. } | Record::ForgetInstance { .. } | Record::Again { .. } => true,
            Record::Remove { .. } | Record::Keep { .. } | Record::Updates { .. } => true,
            Record::Begun { .. } | Record::Schedule { .. } => true,
            Record::Started { .. } | Record::Health { .. } | Record::Output { .. } | Record::Event(_) => {
                false
            }
        }
    }
}

/// A change of state or a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one an event, never starts again.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which service, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Which instance, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<u32>,
    /// A word: created, started, exited, ...
    pub kind: String,
    /// One line for people.
    pub text: String,
    /// The event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
}

/// What is known of one instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The number of the last run; 0 = none yet. Never goes back.
    pub last_run: u32,
    /// The run that was intended and has not ended.
    pub open: Option<OpenRun>,
    /// Stopped by hand, this instance alone.
    pub held: bool,
    /// Starts after an end, since a person last started it.
    pub restarts: u32,
    /// Failures in a row.
    pub failures: u32,
    /// The policy is done with it: success or failed for good.
    pub finished: Option<bool>,
    /// The last ends, oldest first.
    pub exits: VecDeque<KeptExit>,
    /// The run of a scheduled job that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
    /// What came of the last ones that the policy was done with, oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub results: VecDeque<JobResult>,
}

/// A run of a scheduled job that is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// The time of the schedule that it is for; `None` = by hand.
    pub scheduled: Option<Timestamp>,
    /// Since when.
    pub at: Timestamp,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// The last of its runs; 0 = it had none.
    pub run: u32,
    /// The time of the schedule that it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Timestamp>,
    /// When a scheduled one began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Timestamp>,
    /// When the daemon learnt of its end.
    pub ended: Timestamp,
    /// How often it was started, starts that were nobody's fault left out.
    pub attempts: u32,
    /// Success or failure; `None` = somebody stopped it.
    pub success: Option<bool>,
    /// One line for people.
    pub text: String,
    /// What its last run has printed last: lines, each with its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// Where a schedule is.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptSchedule {
    /// Expression and zone.
    pub rule: String,
    /// The last time that is dealt with.
    pub base: Base,
}

/// A run that has not ended, as far as is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenRun {
    /// Its number.
    pub run: u32,
    /// Its boot.
    pub boot_id: String,
    /// Version of its service.
    pub version: String,
    /// Its process, once it runs.
    pub pid: Option<u32>,
    /// Since when it runs.
    pub started: Option<Boot>,
    /// The daemon was about to stop it.
    pub stopping: bool,
    /// Because it was not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell: Option<Unwell>,
    /// What its probes said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Known>,
    /// It is to be replaced in its turn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// One end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptExit {
    /// Number of the run.
    pub run: u32,
    /// What the keeper knew.
    pub exit: Option<ExitRecord>,
    /// When the daemon learnt of it.
    pub at: Timestamp,
    /// One line for people.
    pub text: String,
}

impl Kept {
    /// The policy is done with it, or somebody else.
    fn over(&mut self, run: u32, ended: Timestamp, attempts: u32, success: Option<bool>, text: &str) {
        let (scheduled, begun) = self.begun.take().map_or((None, None), |b| (b.scheduled, Some(b.at)));
        let text = text.to_owned();
        let output = String::new();
        self.results.push_back(JobResult { run, scheduled, begun, ended, attempts, success, text, output });
        while self.results.len() > RESULTS_KEPT {
            self.results.pop_front();
        }
    }
}

impl Event {
    /// About the bytes that it takes, in memory as in the file.
    fn weight(&self) -> usize {
        160 + self.service.as_ref().map_or(0, |s| s.as_str().len()) + self.kind.len() + self.text.len()
    }
}

/// Everything that follows from the records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    /// By instance.
    pub instances: BTreeMap<Instance, Kept>,
    /// Services stopped by hand as a whole.
    pub held: BTreeMap<ServiceName, bool>,
    /// Schedules of jobs.
    pub schedules: BTreeMap<ServiceName, KeptSchedule>,
    /// Services that are being removed with their logs.
    pub removals: BTreeMap<ServiceName, Option<FileId>>,
    /// Versions and rollouts.
    pub updates: BTreeMap<ServiceName, Updates>,
    /// The last runs of instances that are gone: an id is never given twice.
    pub retired: BTreeMap<Instance, u32>,
    /// No run of an instance that is not known has a greater number.
    pub highest_forgotten: u32,
    /// The last events, oldest first.
    pub events: VecDeque<Event>,
    /// The number the next event gets.
    pub next_seq: u64,
    /// Sum of [`Event::weight`].
    events_bytes: usize,
}

impl Image {
    /// Takes one record in.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Goal { service, replica, held } => self.goal(service, *replica, *held),
            Record::Intent { run, boot_id, version, restarts } => {
                let kept = self.kept(&run.instance);
                kept.last_run = kept.last_run.max(run.run);
                kept.restarts = *restarts;
                kept.finished = None;
                kept.open = Some(OpenRun {
                    run: run.run,
                    boot_id: boot_id.clone(),
                    version: version.clone(),
                    ..OpenRun::default()
                });
            }
            Record::Started { run, pid, at } => {
                if let Some(open) = self.open(run) {
                    (open.pid, open.started) = (Some(*pid), Some(*at));
                }
            }
            Record::Stopping { run, unwell } => {
                if let Some(open) = self.open(run) {
                    (open.stopping, open.unwell) = (true, unwell.clone());
                }
            }
            Record::Health { run, known } => {
                if let Some(open) = self.open(run) {
                    open.health = Some(*known);
                }
            }
            Record::Again { run } => {
                if let Some(open) = self.open(run) {
                    open.again = true;
                }
            }
            Record::Ended { run, exit, at, text, failures, finished } => {
                let kept = self.kept(&run.instance);
                kept.last_run = kept.last_run.max(run.run);
                kept.open.take_if(|o| o.run == run.run);
                let attempts = kept.failures.saturating_add(1);
                (kept.failures, kept.finished) = (*failures, *finished);
                kept.exits.push_back(KeptExit {
                    run: run.run,
                    exit: exit.clone(),
                    at: *at,
                    text: text.clone(),
                });
                while kept.exits.len() > EXITS_KEPT {
                    kept.exits.pop_front();
                }
                let wanted = kept.begun.is_some();
                if finished.is_some() || wanted && self.is_held(&run.instance) {
                    self.kept(&run.instance).over(run.run, *at, attempts, *finished, text);
                }
            }
            Record::Output { run, text } => {
                let results = self.instances.get_mut(&run.instance).map(|k| &mut k.results);
                if let Some(result) = results.into_iter().flatten().rfind(|r| r.run == run.run) {
                    result.output.clone_from(text);
                }
            }
            Record::Begun { instance, scheduled, at } => {
                let kept = self.kept(instance);
                if kept.begun.is_some() {
                    kept.over(
                        kept.last_run,
                        *at,
                        kept.failures.saturating_add(1),
                        None,
                        "replaced by the next run",
                    );
                }
                kept.begun = Some(Begun { scheduled: *scheduled, at: *at });
                (kept.finished, kept.failures, kept.restarts) = (None, 0, 0);
                if let Some(schedule) = self.schedules.get_mut(&instance.service) {
                    schedule.base.deal(scheduled.unwrap_or(*at));
                }
            }
            Record::Schedule { service, rule, .. } if rule.is_empty() => {
                self.schedules.remove(service);
            }
            Record::Schedule { service, rule, base } => {
                self.schedules.insert(service.clone(), KeptSchedule { rule: rule.clone(), base: *base });
            }
            Record::Event(event) => self.event(event.clone()),
            Record::Remove { service, file } => {
                self.removals.insert(service.clone(), *file);
            }
            Record::Keep { service } => {
                self.removals.remove(service);
            }
            Record::Forget { service } => {
                let gone = self.instances.extract_if(.., |i, _| i.service == *service);
                let numbers: Vec<_> = gone.map(|(instance, kept)| (instance, kept.last_run)).collect();
                numbers.into_iter().for_each(|(instance, last)| self.retire(instance, last));
                self.held.remove(service);
                self.schedules.remove(service);
                self.removals.remove(service);
                self.updates.remove(service);
            }
            Record::Updates { service, updates } => {
                self.updates.insert(service.clone(), (**updates).clone());
            }
            Record::ForgetInstance { instance } => {
                if let Some(kept) = self.instances.remove(instance) {
                    self.retire(instance.clone(), kept.last_run);
                }
            }
        }
    }

    /// All that is known of an instance; of one that is new or was gone, the number of its last run.
    pub fn known(&self, instance: &Instance) -> Kept {
        let last_run = self.retired.get(instance).copied().unwrap_or(self.highest_forgotten);
        self.instances.get(instance).cloned().unwrap_or_else(|| Kept { last_run, ..Kept::default() })
    }

    /// Keeps a number for an instance that is gone. Of too many the lowest goes, and counts for everybody from then on.
    pub(super) fn retire(&mut self, instance: Instance, last_run: u32) {
        if last_run <= self.highest_forgotten {
            return;
        }
        self.retired.insert(instance, last_run);
        while self.retired.len() > RETIRED_KEPT {
            let lowest = self.retired.values().copied().min().unwrap_or(0);
            self.highest_forgotten = self.highest_forgotten.max(lowest);
            self.retired.retain(|_, last| *last > lowest);
        }
    }

    /// Whether an instance was stopped by hand.
    pub fn is_held(&self, instance: &Instance) -> bool {
        let single = self.instances.get(instance).is_some_and(|k| k.held);
        single || self.held.get(&instance.service).copied().unwrap_or(false)
    }

    /// How many of the last events take no more than so many bytes.
    pub(super) fn events_within(&self, bytes: usize) -> usize {
        let mut left = bytes;
        let fits = |e: &&Event| left.checked_sub(e.weight()).map(|l| left = l).is_some();
        self.events.iter().rev().take_while(fits).count()
    }

    /// Takes an event in, and lets the oldest go that are too many.
    pub(super) fn event(&mut self, event: Event) {
        self.next_seq = self.next_seq.max(event.seq.saturating_add(1));
        self.events_bytes += event.weight();
        self.events.push_back(event);
        while self.events.len() > EVENTS_KEPT || self.events_bytes > EVENTS_BYTES {
            let Some(oldest) = self.events.pop_front() else { return };
            self.events_bytes -= oldest.weight();
        }
    }

    fn goal(&mut self, service: &ServiceName, replica: Option<u32>, held: bool) {
        if held {
            // What is wanted no more and has nothing to stop is over.
            let of = |i: &Instance| i.service == *service && replica.is_none_or(|r| r == i.replica);
            let idle = self.instances.iter_mut().filter(|(i, k)| of(i) && k.open.is_none());
            idle.for_each(|(_, kept)| kept.begun = None);
        }
        if !held {
            // Wanted up anew: what came of it before does not count any more.
            let of = |i: &Instance| i.service == *service && replica.is_none_or(|r| r == i.replica);
            for (_, kept) in self.instances.iter_mut().filter(|(i, _)| of(i)) {
                (kept.finished, kept.failures, kept.restarts) = (None, 0, 0);
            }
        }
        match replica {
            Some(replica) => {
                // One instance of a stopped service is started: the others stay stopped, each by itself.
                let all = self.held.remove(service).unwrap_or(false);
                for (i, kept) in self.instances.iter_mut().filter(|(i, _)| i.service == *service) {
                    kept.held = if i.replica == replica { held } else { kept.held || all };
                }
                self.kept(&Instance { service: service.clone(), replica }).held = held;
            }
            None => {
                for (_, kept) in self.instances.iter_mut().filter(|(i, _)| i.service == *service) {
                    kept.held = false;
                }
                if held {
                    self.held.insert(service.clone(), true)
                } else {
                    self.held.remove(service)
                };
            }
        }
    }

    fn kept(&mut self, instance: &Instance) -> &mut Kept {
        if !self.instances.contains_key(instance) {
            let known = self.known(instance);
            self.retired.remove(instance);
            self.instances.insert(instance.clone(), known);
        }
        self.instances.entry(instance.clone()).or_default()
    }

    fn open(&mut self, run: &RunId) -> Option<&mut OpenRun> {
        self.instances.get_mut(&run.instance)?.open.as_mut().filter(|o| o.run == run.run)
    }
}
