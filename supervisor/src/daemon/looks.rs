//! Looks at running instances: begins them when they are due, takes their answers in, and ends them before a run is taken
//! away. What follows from an answer, [`crate::health`] decides.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::lanes::{Lane, Lanes};
use super::owner::{Owner, Slot};
use super::work::{Done, Job, Shop};
use crate::clock::{Boot, Moment};
use crate::health::{Decision, Health, Known, Question, pressure};
use crate::journal::record::Record;
use crate::machine::{Counts, Event, State};
use crate::names::{Instance, RunId, ServiceName};
use crate::probe::{self, Kind, Outcome, Target};
use crate::unit::service::{Role, Service};

/// So long after it was late the daemon counts as late.
const LATE_FOR: Duration = Duration::from_secs(10);
/// Lateness that is worth a note.
const LATE: Duration = Duration::from_millis(500);

/// A run that is looked at.
#[derive(Debug)]
pub(super) struct Watched {
    /// Which.
    pub(super) run: RunId,
    /// What is known of it.
    pub(super) health: Health,
    /// The service whose probes these are.
    service: Rc<Service>,
}

/// How an instance is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fitness {
    /// It runs, has come up and does not fail.
    pub(super) well: bool,
    /// And can be used.
    pub(super) ready: bool,
}

/// One look that is under way.
#[derive(Debug)]
struct UnderWay {
    role: Role,
    lane: Lane,
    /// Nothing is left when it is dropped: it is a connection and no process.
    droppable: bool,
    handle: JoinHandle<()>,
}

/// All looks of a daemon.
#[derive(Debug, Default)]
pub(super) struct Looks {
    lanes: Lanes<(RunId, Question)>,
    under_way: BTreeMap<RunId, Vec<UnderWay>>,
    /// When the daemon was late last, and how late.
    late: Option<(Boot, Duration)>,
}

impl Owner {
    /// How an instance is to others.
    pub(super) fn fitness(&self, slot: &Slot) -> Fitness {
        let State::Running { run, .. } = &slot.machine.state else {
            return Fitness { well: false, ready: false };
        };
        match &slot.watched {
            Some(watched) if watched.run == *run => {
                Fitness { well: watched.health.is_well(), ready: watched.health.is_ready() }
            }
            _ => {
                let nobody_looks = !self.has_probes(&slot.machine.instance);
                Fitness { well: nobody_looks, ready: nobody_looks }
            }
        }
    }

    /// From when on the run of an instance counts as a healthy one.
    pub(super) fn counts(&self, slot: &Slot) -> Counts {
        match &slot.watched {
            Some(watched) if slot.machine.run() == Some(&watched.run) => {
                let probes = &watched.service.probes;
                match probes.startup.is_some() || probes.readiness.is_some() {
                    true => Counts::Ready(watched.health.known().ready_since),
                    false => Counts::Started,
                }
            }
            _ => Counts::Started,
        }
    }

    /// When the next look is due.
    pub(super) fn look_due(&self) -> Option<Boot> {
        self.slots.values().filter_map(|s| s.watched.as_ref()?.health.due()).min()
    }

    /// Begins to look at what has begun to run, and stops where that is over. Whether there was something to begin.
    pub(super) fn settle_watched(&mut self) -> bool {
        let mut begin = Vec::new();
        for slot in self.slots.values_mut() {
            match (&slot.machine.state, &mut slot.watched) {
                (State::Running { run, .. }, Some(watched)) if watched.run == *run => {}
                (State::Running { run, .. }, _) => begin.push(run.clone()),
                (_, Some(watched)) => watched.health.stop(),
                (_, None) => {}
            }
        }
        begin.retain(|run| self.has_probes(&run.instance));
        for run in &begin {
            self.watch(run, Health::of_new_run);
        }
        !begin.is_empty()
    }

    fn has_probes(&self, instance: &Instance) -> bool {
        self.in_force(instance).is_some_and(|f| !f.service.probes.is_empty())
    }

    /// Goes on to look at what an earlier daemon looked at.
    pub(super) fn resume_watched(&mut self) {
        let runs: Vec<_> = self
            .slots
            .values()
            .filter_map(|s| match &s.machine.state {
                State::Running { run, since, .. } => Some((run.clone(), *since)),
                _ => None,
            })
            .collect();
        for (run, since) in runs {
            let kept = self.kept_health(&run);
            self.watch(&run, |probes, now| {
                // Where nothing is written, nothing has changed since it began.
                let began = if kept.is_some() { now } else { since };
                let known = kept.unwrap_or_default();
                Health::of_old_run(probes, known, began, now, crate::sys::random::unit)
            });
        }
    }

    pub(super) fn known_health(&self, run: &RunId) -> Known {
        self.kept_health(run).unwrap_or_default()
    }

    fn kept_health(&self, run: &RunId) -> Option<Known> {
        let kept = self.journal.image().instances.get(&run.instance);
        let open = kept.and_then(|k| k.open.as_ref()).filter(|o| o.run == run.run);
        open.and_then(|o| o.health)
    }

    /// Since when an instance is ready, without a gap, also over daemons that came and went.
    pub(super) fn ready_since(&self, slot: &Slot) -> Option<Boot> {
        let State::Running { run, since, .. } = &slot.machine.state else { return None };
        let watched = slot.watched.as_ref().filter(|w| w.run == *run);
        let since = watched.map_or(Some(*since), |w| w.health.known().ready_now);
        since.filter(|_| self.fitness(slot).ready)
    }

    fn watch(&mut self, run: &RunId, begin: impl FnOnce(&crate::unit::service::Probes, Boot) -> Health) {
        let (service, _) = self.service(&run.instance);
        let Some(slot) = self.slots.get_mut(&run.instance) else { return };
        let health = (!service.probes.is_empty()).then(|| begin(&service.probes, Boot::now()));
        slot.watched = health.map(|health| Watched { run: run.clone(), health, service });
        self.look_for_waiters(&run.instance);
    }

    /// The file of a service has changed: what runs is looked at by the new one.
    pub(super) fn change_probes(&mut self, name: &ServiceName) {
        let of = |i: &&Instance| i.service == *name;
        for instance in self.slots.keys().filter(of).cloned().collect::<Vec<_>>() {
            let (service, _) = self.service(&instance);
            let Some(slot) = self.slots.get_mut(&instance) else { continue };
            let State::Running { run, .. } = slot.machine.state.clone() else { continue };
            match &mut slot.watched {
                Some(watched) if watched.service.probes == service.probes => {}
                Some(_) if service.probes.is_empty() => slot.watched = None,
                Some(watched) => {
                    watched.health.change(&service.probes, Boot::now());
                    watched.service = service;
                }
                None => {
                    // It has come up long ago.
                    let known = Known { started: true, ..Known::default() };
                    self.watch(&run, |probes, now| Health::of_old_run(probes, known, now, now, || 0.0));
                }
            }
            self.look_for_waiters(&instance);
        }
    }

    /// Answers those who wait for an instance, if it is where they want it.
    pub(super) fn look_for_waiters(&mut self, instance: &Instance) {
        if let Some(slot) = self.slots.get(instance).filter(|s| s.again_pending.is_none()) {
            let fitness = self.fitness(slot);
            self.waiters.look(&slot.machine, fitness);
        }
    }

    /// Asks what is due.
    pub(super) fn ask_due(&mut self, now: Boot) {
        let mut told = Vec::new();
        for slot in self.slots.values_mut() {
            let Some(watched) = &mut slot.watched else { continue };
            for question in watched.health.questions(now) {
                let lag = now.since(question.due);
                if lag > LATE {
                    self.looks.late = Some((now, lag));
                }
                if question.kind == Kind::Push {
                    told.push((watched.run.clone(), question));
                    continue;
                }
                let lane = if question.slow { Lane::Slow } else { Lane::Quick };
                self.looks.lanes.push(lane, (watched.run.clone(), question));
            }
        }
        for (run, question) in told {
            self.answer_told(&run, &question, now);
        }
        self.ask_waiting();
    }

    fn ask_waiting(&mut self) {
        while let Some((lane, (run, question))) = self.looks.lanes.next() {
            let slot = self.slots.get(&run.instance).filter(|s| s.machine.run() == Some(&run));
            let pid = slot.and_then(|s| match s.machine.state {
                State::Running { pid, .. } => Some(pid),
                _ => None,
            });
            // It has ended while its question waited.
            let Some((pid, job)) = pid.zip(self.job(&run)) else {
                self.looks.lanes.over(lane);
                continue;
            };
            let droppable = !matches!(question.kind, Kind::Exec { .. });
            let role = question.role;
            let handle = tokio::task::spawn_local(self.shop.clone().look(job, pid, question));
            let under_way = UnderWay { role, lane, droppable, handle };
            self.looks.under_way.entry(run).or_default().push(under_way);
        }
    }

    /// An answer has come.
    pub(super) fn looked(&mut self, run: &RunId, role: Role, outcome: Outcome) {
        self.look_over(run, role);
        let now = Moment::now();
        let late = self.looks.late.filter(|(at, _)| now.boot.since(*at) < LATE_FOR).map(|(_, lag)| lag);
        let frozen = self.is_frozen(run).then(|| "it is frozen because memory is short".to_owned());
        let Some(slot) = self.slots.get_mut(&run.instance) else { return };
        let Some(watched) = slot.watched.as_mut().filter(|w| w.run == *run) else { return };
        slot.tally.looked(role, outcome.verdict, outcome.took);
        let before = watched.health.known();
        let why = || frozen.or_else(|| host_pressure(late.unwrap_or_default()));
        let decisions = watched.health.answered(role, outcome, now, why);
        let known = watched.health.known();
        if known != before {
            self.note(&[Record::Health { run: run.clone(), known }]);
        }
        for decision in decisions {
            match decision {
                Decision::Tell(kind, text) => {
                    self.tell(Some(&run.instance.service), Some(run.instance.replica), kind, text);
                }
                Decision::GiveUp { why, grace, stays_down } => {
                    self.feed_run(run, Event::Unwell { why, grace, stays_down });
                }
            }
        }
        if known != before {
            self.look_for_waiters(&run.instance);
        }
    }

    fn look_over(&mut self, run: &RunId, role: Role) {
        if let Some(all) = self.looks.under_way.get_mut(run) {
            for over in all.extract_if(.., |u| u.role == role) {
                self.looks.lanes.over(over.lane);
            }
            if all.is_empty() {
                self.looks.under_way.remove(run);
            }
        }
        self.ask_waiting();
    }

    /// The looks at a run that is about to be taken away, to be waited for. Those that are only a connection end at once.
    pub(super) fn end_looks(&mut self, run: &RunId) -> Vec<JoinHandle<()>> {
        let all = self.looks.under_way.remove(run).unwrap_or_default();
        let handles = all.into_iter().map(|look| {
            self.looks.lanes.over(look.lane);
            if look.droppable {
                look.handle.abort();
            }
            look.handle
        });
        handles.collect()
    }
}

impl Shop {
    /// One look.
    async fn look(self, job: Job, pid: u32, question: Question) {
        let Question { role, kind, timeout, due: _, slow: _, period: _ } = question;
        let target = Target { run: job.run.clone(), pid, runtime: job.runtime };
        let outcome = probe::check(&kind, &target, timeout).await;
        // The loop is gone only when the daemon ends.
        self.done.send(Done::Looked(job.run, role, outcome)).ok();
    }
}

/// Why the host is under pressure, if it is.
fn host_pressure(late: Duration) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/pressure/{name}")).unwrap_or_default();
    pressure(&read("memory"), &read("cpu"), late)
}
