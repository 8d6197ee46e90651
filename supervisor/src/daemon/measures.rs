//! What is counted for metrics while things happen, and what is gathered when somebody asks for them. Nothing here wakes the
//! loop up.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::owner::{Owner, Slot};
use crate::clock::{Boot, Moment};
use crate::journal::record::Record;
use crate::machine::State;
use crate::memory::ladder::Level;
use crate::metrics::Scene;
use crate::metrics::cgroup::Hierarchies;
use crate::metrics::scene::Seen;
use crate::metrics::tally::Durations;
use crate::names::Instance;

/// What the daemon counts of itself.
#[derive(Debug)]
pub(super) struct Meter {
    hierarchies: Arc<Hierarchies>,
    started: Moment,
    /// When the service files were compared with what is in force.
    reconciled: Boot,
    lag: Durations,
    turns: u64,
}

impl Meter {
    /// Begins to count.
    pub(super) fn new() -> Meter {
        let now = Moment::now();
        Meter {
            hierarchies: Arc::new(Hierarchies::find()),
            started: now,
            reconciled: now.boot,
            lag: Durations::default(),
            turns: 0,
        }
    }

    /// The loop woke up; `due` is when it had to at the latest.
    pub(super) fn turned(&mut self, due: Option<Boot>) {
        self.turns += 1;
        let now = Boot::now();
        if let Some(due) = due.filter(|due| *due <= now) {
            self.lag.add(now.since(due));
        }
    }

    /// What the files want is in force, as far as it can be.
    pub(super) fn reconciled(&mut self) {
        self.reconciled = Boot::now();
    }
}

impl Owner {
    /// Counts what is about to be written about a step of an instance.
    pub(super) fn count(&mut self, instance: &Instance, records: &[Record]) {
        let kept = self.journal.image().instances.get(instance);
        let unwell = kept.and_then(|k| k.open.as_ref()?.unwell.clone());
        if let Some(slot) = self.slots.get_mut(instance) {
            slot.tally.count(records, unwell.as_ref());
        }
    }

    /// Everything for metrics that is at hand; the rest is read beside the loop, by [`Scene::read`].
    pub(super) fn scene(&self) -> Scene {
        let (now, meter) = (Boot::now(), &self.meter);
        let of_services = self.services.values().map(|f| f.problems.len()).sum::<usize>();
        Scene {
            instances: self.slots.values().map(|s| self.seen(s)).collect(),
            services: self.services.len(),
            problems: of_services + self.problems.len(),
            ladder: match self.pressure.level() {
                Level::Calm => 0,
                Level::Warn => 1,
                Level::Act => 2,
            },
            reserve: self.capacity.map(|c| c.reserve),
            requestable: self.capacity.map(|c| c.room()),
            started: meter.started.wall.as_nanosecond() as f64 / 1e9,
            uptime: now.since(meter.started.boot).as_secs_f64(),
            reconciled: now.since(meter.reconciled).as_secs_f64(),
            lag: meter.lag.clone(),
            turns: meter.turns,
            keepers: self.keepers.len(),
            journal: self.journal.size(),
            journal_pending: self.journal.pending(),
            last_event: self.journal.image().events.back().map_or(0, |e| e.seq),
            hierarchies: meter.hierarchies.clone(),
            logs: self.options.dirs.logs(),
            ..Scene::default()
        }
    }

    fn seen(&self, slot: &Slot) -> Seen {
        let machine = &slot.machine;
        let fitness = self.fitness(slot);
        let tracks =
            slot.watched.as_ref().filter(|w| machine.run() == Some(&w.run)).map(|w| w.health.tracks());
        // A container has a cgroup from its start until it has ended.
        let run = match &machine.state {
            State::Starting { run, .. } | State::Running { run, .. } | State::Stopping { run, .. } => {
                Some(run)
            }
            _ => None,
        };
        let service = self.in_force(&machine.instance).map(|f| &f.service);
        Seen {
            service: machine.instance.service.to_string(),
            replica: machine.instance.replica.to_string(),
            state: machine.word(),
            wanted: machine.up,
            ready: fitness.ready,
            healthy: fitness.well,
            changed: machine.changed.1.as_nanosecond() as f64 / 1e9,
            runs: machine.last_run,
            restarts: machine.restarts,
            last_exit: self.last_exit(&machine.instance),
            memory_request: service.and_then(|s| s.limits.memory_request),
            rung: machine.run().and_then(|run| self.pressure.rung(run)),
            probes: tracks.into_iter().flatten().map(|t| (t.role.word(), t.standing, t.failures)).collect(),
            tally: slot.tally.clone(),
            cgroup: run.map(|run| self.place.payload(run)),
            ..Seen::default()
        }
    }
}
