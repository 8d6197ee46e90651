//! What is counted for metrics while things happen, and what is gathered when somebody asks for them; and the history of what
//! instances use, which is sampled when the loop is awake for the full pass. Nothing here wakes the loop up.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::owner::{Owner, Slot};
use crate::api::model::{History, Sample};
use crate::clock::{Boot, Moment};
use crate::journal::record::Record;
use crate::machine::State;
use crate::memory::ladder::Level;
use crate::memory::limits::high;
use crate::metrics::cgroup::Hierarchies;
use crate::metrics::scene::Seen;
use crate::metrics::tally::Durations;
use crate::metrics::{Scene, history};
use crate::names::{Instance, RunId};

/// What the daemon counts of itself.
#[derive(Debug)]
pub(super) struct Meter {
    hierarchies: Arc<Hierarchies>,
    started: Moment,
    /// When the service files were compared with what is in force.
    reconciled: Boot,
    /// When what instances use was last added to their histories.
    sampled: Option<Boot>,
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
            sampled: None,
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

    /// Adds what instances use to their histories. The full pass calls it, also when one follows the other closely.
    pub(super) fn sample(&mut self) {
        let now = Boot::now();
        let last = self.meter.sampled;
        if last.is_some_and(|last| now.since(last) < self.options.full_pass.mul_f64(0.9)) {
            return;
        }
        for slot in self.slots.values_mut() {
            let Some(run) = run_with_group(slot) else { continue };
            let begun = match &slot.machine.state {
                State::Running { since, .. } => last.filter(|last| since >= last).map(|_| *since),
                _ => None,
            };
            let pulse = self.meter.hierarchies.pulse(&self.place.payload(run));
            let number = run.run;
            slot.history.add(number, now, begun, pulse);
        }
        self.meter.sampled = Some(now);
    }

    /// What these have used.
    pub(super) fn history(&self, instances: &[Instance]) -> Vec<History> {
        let now = Moment::now();
        let slots = instances.iter().filter_map(|i| self.slots.get(i));
        slots.map(|slot| self.history_of(slot, now)).collect()
    }

    fn history_of(&self, slot: &Slot, now: Moment) -> History {
        let limits = self.in_force(&slot.machine.instance).map(|f| &f.service.limits);
        let of_file = || (limits.and_then(|l| high(l, l.memory)), limits.and_then(|l| l.memory));
        let of_group = |run: &RunId| self.meter.hierarchies.memory_limits(&self.place.payload(run));
        let (memory_high, memory_max) = run_with_group(slot).map_or_else(of_file, of_group);
        History {
            instance: slot.machine.instance.to_string(),
            every: self.options.full_pass.as_secs_f64(),
            kept: history::POINTS,
            memory_request: limits.and_then(|l| l.memory_request),
            memory_high,
            memory_max,
            samples: slot.history.samples().map(|s| told(&s, now)).collect(),
        }
    }

    fn seen(&self, slot: &Slot) -> Seen {
        let machine = &slot.machine;
        let fitness = self.fitness(slot);
        let tracks =
            slot.watched.as_ref().filter(|w| machine.run() == Some(&w.run)).map(|w| w.health.tracks());
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
            cgroup: run_with_group(slot).map(|run| self.place.payload(run)),
            ..Seen::default()
        }
    }
}

/// Its run, while that has a cgroup: from its start until it has ended.
fn run_with_group(slot: &Slot) -> Option<&RunId> {
    match &slot.machine.state {
        State::Starting { run, .. } | State::Running { run, .. } | State::Stopping { run, .. } => Some(run),
        _ => None,
    }
}

/// A sample as the API has it. Its time is what the clock shows now less what has passed: right also after a clock was set.
fn told(sample: &history::Sample, now: Moment) -> Sample {
    let passed = now.boot.since(sample.at);
    let at = now.wall.checked_sub(passed).unwrap_or(now.wall);
    let at = at.round(jiff::Unit::Second).unwrap_or(at);
    let [cpu_pressure, memory_pressure, io_pressure] = sample.stalled;
    Sample {
        at: at.to_string(),
        run: sample.run,
        memory: sample.memory,
        cpu: sample.cpu,
        cpu_pressure,
        memory_pressure,
        io_pressure,
    }
}
