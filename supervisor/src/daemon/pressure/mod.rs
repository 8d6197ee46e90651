//! The ladder at work: the kernel says that processes stall, figures are read, [`crate::memory::ladder`] decides, and this does
//! it. While there is enough memory nothing here wakes up.
#![forbid(unsafe_code)]

mod figures;
mod guards;
mod lacking;
mod leaks;
mod rungs;
mod triggers;
mod victims;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tracing::warn;

use self::rungs::{Mark, Places};
use self::triggers::Triggers;
use super::owner::{Owner, Slot};
use super::work::Done;
use crate::clock::Boot;
use crate::keeper::record::ExitRecord;
use crate::machine::{Event, State};
use crate::memory::ladder::{Action, LOOK, Ladder, Level, Terms, Thresholds, View};
use crate::memory::{cause, limits};
use crate::names::{Instance, RunId};
use crate::policy::{size, span};
use crate::unit::pressure::{Priority, Rung, Rungs};
use crate::unit::service::Service;

/// After a start it is looked how much the service has taken.
const SOON: Duration = Duration::from_secs(1);

/// What the daemon knows of the pressure on memory.
#[derive(Debug)]
pub(super) struct Pressure {
    limits: Thresholds,
    ladder: Ladder,
    triggers: Triggers,
    look_at: Option<Boot>,
    /// Where the memory controller is mounted, the group of all containers in it, and whether it is v2.
    payload: Option<(PathBuf, PathBuf, bool)>,
    /// What runs, when it was looked last.
    running: BTreeSet<RunId>,
    /// What is done to them.
    marks: BTreeMap<RunId, Mark>,
    /// The FIFOs of what runs: held, so that who reads from one sees no end.
    watches: BTreeMap<RunId, std::fs::File>,
    /// Those that are restarted before their limit ends them.
    leaks: leaks::Leaks,
    /// Those that stall at their `memory_high`.
    guards: guards::Guards,
    /// Those whose file asks for a rung that is not there.
    lacking: lacking::Lacking,
    /// The kernel takes memory back.
    reclaiming: Rc<Cell<bool>>,
    /// The last change of the level.
    why: String,
}

impl Pressure {
    /// Nothing is known yet.
    pub(super) fn new(limits: Thresholds, payload: Option<(PathBuf, PathBuf, bool)>) -> Pressure {
        Pressure {
            limits,
            ladder: Ladder::new(limits),
            triggers: Triggers::default(),
            look_at: None,
            payload,
            running: BTreeSet::new(),
            marks: BTreeMap::new(),
            watches: BTreeMap::new(),
            leaks: BTreeMap::new(),
            guards: BTreeMap::new(),
            lacking: BTreeMap::new(),
            reclaiming: Rc::default(),
            why: String::new(),
        }
    }

    /// Where the ladder is.
    pub(super) fn level(&self) -> Level {
        self.ladder.level()
    }

    /// What is done to a run and has to be undone, as service files name it.
    pub(super) fn rung(&self, run: &RunId) -> Option<&'static str> {
        let mark = self.marks.get(run)?;
        match (mark.frozen, &mark.throttled) {
            (Some(_), _) => Some("freeze"),
            (None, Some(_)) => Some("throttle"),
            (None, None) => None,
        }
    }

    /// When is looked again.
    pub(super) fn due(&self) -> Option<Boot> {
        self.look_at
    }
}

impl Owner {
    /// What an earlier daemon had begun, and the first look.
    pub(super) fn begin_pressure(&mut self) {
        let now = Boot::now();
        for slot in self.slots.values() {
            let instance = &slot.machine.instance;
            let victim = self.victim_before(slot, now).filter(|_| !self.pressure.limits.off());
            if let Some((victim, times)) = victim {
                self.pressure.ladder.was_victim(instance.clone(), victim, times, now);
            }
            let Some(run) = slot.machine.run() else { continue };
            let mark = self.places(run).marked();
            if mark != Mark::default() {
                let throttled = mark.throttled.as_ref().map(|(at, _)| *at);
                self.pressure.ladder.was_held(instance.clone(), mark.frozen, throttled);
                self.pressure.marks.insert(run.clone(), mark);
            }
        }
        self.look_at_pressure();
    }

    /// Nobody would undo it later.
    pub(super) fn end_pressure(&mut self) {
        for run in std::mem::take(&mut self.pressure.marks).into_keys() {
            let places = self.places(&run);
            if let Err(text) = places.thaw().and_then(|()| places.unthrottle()) {
                warn!("{run}: {text}");
            }
        }
    }

    /// A run is about to be stopped or killed: what is frozen hears no signal, and memory is wanted back at once.
    pub(super) fn end_under_pressure(&mut self, run: &RunId, kill: bool) {
        if self.pressure.marks.contains_key(run) {
            self.undo_rungs(run, "it is stopped");
        }
        let slot = self.slots.get(&run.instance).filter(|s| s.machine.run() == Some(run));
        let evicted = slot.is_some_and(
            |s| matches!(&s.machine.state, State::Stopping { unwell: Some(unwell), .. } if unwell.evicted),
        );
        if kill && evicted {
            self.places(run).kill();
        }
    }

    fn undo_rungs(&mut self, run: &RunId, why: &'static str) {
        let Some(mark) = self.pressure.marks.remove(run) else { return };
        let places = self.places(run);
        let done = places.thaw().and_then(|()| places.unthrottle());
        let (kind, text) = match done {
            Ok(()) if mark.frozen.is_some() => ("thawed", why.to_owned()),
            Ok(()) => ("unthrottled", why.to_owned()),
            Err(text) => ("pressure-failed", text),
        };
        self.tell(Some(&run.instance.service), Some(run.instance.replica), kind, text);
    }

    fn places(&self, run: &RunId) -> Places {
        Places {
            mark: self.options.dirs.keeper(run).join("pressure"),
            tree: self.place.tree_container(run),
            unified: self.place.unified_container(run),
        }
    }

    /// Why an instance must not start now.
    pub(super) fn held_back(&self, instance: &Instance) -> Option<String> {
        let priority = self.service(instance).0.pressure.priority;
        Some(format!("memory: {}", self.pressure.ladder.holds_back(instance, priority)?))
    }

    /// What is done to one that runs, for `ps` and `explain`.
    pub(super) fn under_pressure(&self, slot: &Slot) -> Option<String> {
        let mark = self.pressure.marks.get(slot.machine.run()?)?;
        let since = |at: Boot| span(Boot::now().since(at));
        match (mark.frozen, &mark.throttled) {
            (Some(at), _) => Some(format!("frozen for {} because memory is short", since(at))),
            (None, Some((at, _))) => Some(format!("slowed down for {} because memory is short", since(*at))),
            (None, None) => None,
        }
    }

    /// Whether it is frozen, so that it cannot answer.
    pub(super) fn is_frozen(&self, run: &RunId) -> bool {
        self.pressure.marks.get(run).is_some_and(|m| m.frozen.is_some())
    }

    /// The kernel says that processes stall: those of one run, or any.
    pub(super) fn stalls(&mut self, run: Option<&RunId>) {
        let Some(run) = run else { return self.look_at_pressure() };
        if limits::may_be_slowed(&self.service(&run.instance).0.limits) {
            self.begin_guard(run);
        }
        let slot = self.slots.get(&run.instance).filter(|s| s.machine.run() == Some(run));
        let Some(view) = slot.and_then(|s| self.view(s)) else { return };
        if let Some(action) = self.pressure.ladder.stalls(Boot::now(), &view) {
            self.climb(action);
        }
    }

    /// The kernel was faster: who was killed because the host ran out, or a group above, waits like one that was evicted.
    pub(super) fn ran_out(&mut self, run: &RunId, record: &ExitRecord) {
        let (memory, victim) = (&record.memory, record.victim.as_deref());
        let short = cause::short(memory, victim);
        let request = self.service(&run.instance).0.limits.memory_request;
        if let Some(short) = short {
            let text = cause::verdict(short, memory.peak, request);
            self.tell_of(&run.instance, "memory-verdict", text);
        }
        let wanted = self.slots.get(&run.instance).is_some_and(|s| s.machine.up);
        if self.pressure.limits.off() || !wanted || !cause::ran_out(memory, victim) {
            return;
        }
        let (service, now) = (self.service(&run.instance).0, Boot::now());
        let view = View {
            instance: run.instance.clone(),
            current: record.memory.peak.unwrap_or(0),
            request: request.unwrap_or(0),
            terms: Terms::of(&service.pressure, service.stop.grace),
        };
        let why = format!("{}, and the kernel killed {run}", cause::words(short, record.memory.limit));
        if let Some(action) = self.pressure.ladder.ran_out(now, &view, why) {
            self.climb(action);
        }
        self.pressure.look_at = Some(now.after(LOOK));
    }

    /// Sees to the triggers of what runs.
    pub(super) fn settle_pressure(&mut self) {
        let runs = self.slots.values().filter_map(|s| match &s.machine.state {
            State::Running { run, .. } => Some(run.clone()),
            _ => None,
        });
        let running: BTreeSet<_> = runs.collect();
        self.settle_lacking(&running);
        if running == self.pressure.running {
            return;
        }
        let soon = Boot::now().after(SOON);
        self.pressure.look_at = Some(self.pressure.look_at.map_or(soon, |at| at.min(soon)));
        self.pressure.marks.retain(|run, _| running.contains(run));
        self.hold_watches(&running);
        self.settle_leaks(&running);
        self.settle_guards(&running);
        let mut triggers = std::mem::take(&mut self.pressure.triggers);
        let with_trigger = |run: &&RunId| wants_trigger(&self.service(&run.instance).0);
        let dirs =
            running.iter().filter(with_trigger).filter_map(|r| Some((r, self.place.unified_container(r)?)));
        triggers.set_runs(dirs, &self.shop.done);
        (self.pressure.triggers, self.pressure.running) = (triggers, running);
    }

    fn hold_watches(&mut self, running: &BTreeSet<RunId>) {
        self.pressure.watches.retain(|run, _| running.contains(run));
        for run in
            running.iter().filter(|r| self.service(&r.instance).0.pressure.watch).cloned().collect::<Vec<_>>()
        {
            let file = crate::unit::bundle::watch_file(&self.options.dirs, &run);
            // One that was made before the file asked for it has none.
            if !self.pressure.watches.contains_key(&run)
                && let Ok(fifo) = crate::sys::pressure::open_fifo(&file)
            {
                self.pressure.watches.insert(run, fifo);
            }
        }
    }

    /// Looks when it is due.
    pub(super) fn pressure_due(&mut self, now: Boot) {
        if self.pressure.look_at.is_some_and(|at| at <= now) {
            self.look_at_pressure();
        }
    }

    /// Reads the figures and does what follows from them.
    pub(super) fn look_at_pressure(&mut self) {
        self.pressure.look_at = None;
        if self.pressure.limits.off() {
            return self.end_pressure();
        }
        let now = Boot::now();
        let Some((host, group)) = figures::figures(self.pressure.payload.as_ref()) else { return };
        let near = self.pressure.limits.act_below(host.total).saturating_mul(3);
        self.pressure.triggers.set(group.as_ref(), near, &self.shop.done);
        self.forget_victims();
        if self.pressure.ladder.wants_views(now, &host) {
            let views: Vec<_> = self.slots.values().filter_map(|s| self.view(s)).collect();
            for action in self.pressure.ladder.step(now, &host, &views) {
                self.climb(action);
            }
        }
        self.pressure.look_at = self.pressure.ladder.next(now);
    }

    /// What nobody wants up any more waits for no memory.
    fn forget_victims(&mut self) {
        let victims: Vec<_> = self.pressure.ladder.victims().cloned().collect();
        for instance in victims {
            let over = |s: &Slot| !s.machine.up || s.removed || matches!(s.machine.state, State::Done { .. });
            if self.slots.get(&instance).is_none_or(over) {
                self.pressure.ladder.forget(&instance);
            }
        }
    }

    /// One that runs and is wanted, as the ladder sees it.
    fn view(&self, slot: &Slot) -> Option<View> {
        let State::Running { run, pid, .. } = &slot.machine.state else { return None };
        let service = self.service(&run.instance).0;
        let used = self.controllers.used(*pid).unwrap_or_default();
        let mut terms = Terms::of(&service.pressure, service.stop.grace);
        terms.rungs = self.possible(terms.rungs, run);
        slot.machine.up.then(|| View {
            instance: run.instance.clone(),
            // Contents of files count as available.
            current: used.current.saturating_sub(used.cache),
            request: service.limits.memory_request.unwrap_or(0),
            terms,
        })
    }

    /// The rungs that this host has.
    fn possible(&self, rungs: Rungs, run: &RunId) -> Rungs {
        let (unified, tree) =
            (self.place.unified_container(run).is_some(), self.place.tree_container(run).is_some());
        let can = |rung: &Rung| match rung {
            Rung::Warn | Rung::Evict => true,
            Rung::Reclaim | Rung::Throttle => unified,
            Rung::Freeze => tree,
        };
        Rungs::of(&rungs.iter().filter(can).collect::<Vec<_>>())
    }

    /// Does one thing that the ladder says.
    fn climb(&mut self, action: Action) {
        let Some(instance) = action.instance().cloned() else {
            if let Action::Level(level, why) = action {
                self.level(level, why);
            }
            return;
        };
        let run = self.slots.get(&instance).and_then(|s| s.machine.run()).cloned();
        if let Action::Return(_, why) = &action {
            self.tell_of(&instance, "returns", why.clone());
            return;
        }
        let Some(run) = run else { return self.pressure.ladder.failed(&action) };
        let now = Boot::now();
        match &action {
            Action::Warn(_) => self.warn_run(&run),
            Action::Reclaim(_, bytes) => self.reclaim(&run, *bytes),
            Action::Throttle(_, high) => {
                let done = self.places(&run).throttle(now, *high);
                self.noted(&run, done, "throttled", format!("slowed down above {}", size(*high)));
            }
            Action::Freeze(_, until) => {
                let done = self.places(&run).freeze(now);
                self.noted(&run, done, "frozen", format!("for {} at most", span(until.since(now))));
            }
            Action::Unthrottle(_) => self.undo_rungs(&run, "memory is not short any more"),
            Action::Thaw(_, why) => self.undo_rungs(&run, why),
            Action::Evict(_, grace, why) => {
                let why = format!("evicted because {}: {why}", self.pressure.why);
                self.tell_of(&instance, "evicted", why.clone());
                self.feed(&instance, Event::Evicted { why, grace: *grace });
            }
            Action::Level(..) | Action::Return(..) => {}
        }
    }

    fn level(&mut self, level: Level, why: String) {
        let kind = match level {
            Level::Calm => "pressure-over",
            Level::Warn => "pressure-warn",
            Level::Act => "pressure-act",
        };
        self.pressure.why = format!("memory is short ({why})");
        self.tell(None, None, kind, why);
    }

    fn tell_of(&mut self, instance: &Instance, kind: &str, text: String) {
        self.tell(Some(&instance.service), Some(instance.replica), kind, text);
    }

    /// A rung that has to be undone was taken, or not.
    fn noted(&mut self, run: &RunId, done: Result<(), String>, kind: &str, text: String) {
        let mark = self.places(run).marked();
        if mark != Mark::default() {
            self.pressure.marks.insert(run.clone(), mark);
        }
        let (kind, text) = match done {
            Ok(()) => (kind, format!("{text}; {}", self.pressure.why)),
            Err(text) => ("pressure-failed", text),
        };
        self.tell_of(&run.instance, kind, text);
    }

    fn warn_run(&mut self, run: &RunId) {
        let service = self.service(&run.instance).0;
        let mut how = Vec::new();
        if let Some(signal) = &service.pressure.signal {
            if let Some(job) = self.job(run) {
                tokio::task::spawn_local(self.shop.clone().signal(job, signal.number, self.orders(run)));
            }
            how.push(format!("SIG{}", signal.name));
        }
        if service.pressure.watch {
            let told = self.pressure.watches.get(run).map(crate::sys::pressure::poke);
            how.push(match told {
                Some(Ok(())) => "MEMORY_PRESSURE_WATCH".into(),
                Some(Err(e)) => format!("MEMORY_PRESSURE_WATCH: {e}"),
                None => "MEMORY_PRESSURE_WATCH, which this run does not have".into(),
            });
        }
        let told = if how.is_empty() { String::new() } else { format!("told by {}; ", how.join(", ")) };
        let why = match self.pressure.ladder.level() {
            Level::Calm => "it stalls for memory".to_owned(),
            Level::Warn | Level::Act => self.pressure.why.clone(),
        };
        self.tell_of(&run.instance, "pressure-warned", format!("{told}{why}"));
    }

    /// The kernel works on it for a while: beside the loop, and one at a time.
    fn reclaim(&mut self, run: &RunId, bytes: u64) {
        let Ok(file) = self.places(run).reclaim() else { return };
        if self.pressure.reclaiming.replace(true) {
            return;
        }
        let (busy, done, run) = (self.pressure.reclaiming.clone(), self.shop.done.clone(), run.clone());
        tokio::task::spawn_local(async move {
            let write = move || std::fs::write(file, bytes.to_string());
            let result =
                tokio::task::spawn_blocking(write).await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
            busy.set(false);
            let text = match result {
                Ok(()) => format!("{} taken back", size(bytes)),
                // EAGAIN: there was not that much that it can do without (cgroup-v2.rst).
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    format!("less than {} could be taken back", size(bytes))
                }
                Err(e) => format!("memory.reclaim: {e}"),
            };
            done.send(Done::Tell(run, "reclaimed", text)).ok();
        });
    }
}

/// A trigger costs a thread of the kernel: only for those that say something about warnings, or can stall at `memory_high`.
fn wants_trigger(service: &Service) -> bool {
    let said = &service.pressure;
    let chosen =
        said.rungs.is_some() || said.signal.is_some() || said.watch || said.priority == Priority::Protected;
    (chosen && said.rungs().has(Rung::Warn)) || limits::may_be_slowed(&service.limits)
}
