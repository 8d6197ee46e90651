//! A made-up host: services that grow, shrink and come back, and figures as a kernel would give them. What the ladder says is
//! done to it. Pure: for replays and tests, of hosts that nobody has at hand.

use std::time::Duration;

use serde::Deserialize;

use super::{Action, Host, Ladder, Terms, View};
use crate::clock::Boot;
use crate::names::Instance;
use crate::unit::pressure::{FREEZE_FOR, Pressure, Priority, Rung, Rungs};

/// A host that is made up.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Bytes of memory.
    pub total: u64,
    /// How many services.
    pub services: u32,
    /// Of which so many grow without end.
    #[serde(default)]
    pub hogs: u32,
    /// For how many seconds.
    pub seconds: u32,
    /// Other services for another number.
    #[serde(default)]
    pub seed: u64,
    /// How often is looked, in milliseconds.
    #[serde(default = "every")]
    pub step_ms: u32,
}

fn every() -> u32 {
    1000
}

/// One made-up service.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What the ladder sees of it.
    pub view: View,
    /// Bytes a second that it grows by.
    pub grows: u64,
    /// What it does not grow beyond.
    pub most: u64,
    /// It runs.
    pub up: bool,
    frozen: bool,
    high: Option<u64>,
    ends: Option<Boot>,
    /// What it has when it starts.
    first: u64,
}

/// A made-up host with all of its services.
#[derive(Debug, Clone)]
pub struct Sim {
    /// Bytes of memory.
    pub total: u64,
    /// Bytes that are nobody's service.
    pub others: u64,
    /// Its services.
    pub parts: Vec<Part>,
    /// Now.
    pub now: Boot,
}

/// The same numbers each time: a linear congruential generator (Knuth's constants).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Another row for another seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// From 0 to `below`, that one left out.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}

impl Part {
    /// A service that runs.
    pub fn new(view: View, grows: u64, most: u64) -> Part {
        let first = view.current;
        Part { view, grows, most, up: true, frozen: false, high: None, ends: None, first }
    }

    fn lives(&mut self, now: Boot, step: Duration) {
        if self.ends.is_some_and(|at| at <= now) {
            (self.up, self.ends, self.frozen, self.high) = (false, None, false, None);
            self.view.current = 0;
        }
        if self.up && !self.frozen {
            let rate = if self.high.is_some_and(|high| self.view.current >= high) {
                self.grows / 20
            } else {
                self.grows
            };
            let more = u64::try_from(u128::from(rate) * step.as_millis() / 1000).unwrap_or(u64::MAX);
            self.view.current = self.view.current.saturating_add(more).min(self.most.max(self.first));
        }
    }
}

impl Sim {
    /// Services of all kinds: one in ten protected, priorities from 0 to 1000, all rungs; three quarters of the memory are
    /// requested, and hogs ask for little and take a quarter of the host each within a minute or so.
    pub fn make(made: &Made) -> Sim {
        let mut chance = Chance::new(made.seed);
        let count = u64::from(made.services.max(1));
        let share = made.total / count;
        let parts = (0..made.services).filter_map(|n| {
            let instance: Instance = format!("s{n:05}.1").parse().ok()?;
            let hog = n < made.hogs;
            let request = if hog { share / 4 } else { share / 2 + chance.below(share / 2) };
            let protected = !hog && chance.below(10) == 0;
            let level = if hog { chance.below(200) } else { 200 + chance.below(801) };
            let priority = if protected {
                Priority::Protected
            } else {
                Priority::Level(u16::try_from(level).unwrap_or_default())
            };
            let all = Rungs::of(&Rung::WORDS.map(|(_, rung)| rung));
            let rungs = if protected { Rungs::of(&[Rung::Warn]) } else { all };
            let terms = Terms { priority, rungs, freeze_for: FREEZE_FOR, grace: Duration::from_secs(2) };
            let (grows, most) = match hog {
                true => (made.total / 200 + chance.below(made.total / 100), made.total / 4),
                false => (0, request),
            };
            let view = View { instance, current: request / 4 * 3, request, terms };
            Some(Part::new(view, grows, most))
        });
        Sim { total: made.total, others: made.total / 50, parts: parts.collect(), now: Boot::default() }
    }

    /// What the kernel would say. Stalls begin where the ladder's thresholds are: a rule of thumb, no model of reclaim.
    pub fn host(&self) -> Host {
        let used: u64 = self.parts.iter().filter(|p| p.up).map(|p| p.view.current).sum();
        let available = self.total.saturating_sub(self.others).saturating_sub(used);
        let stall = |from: u64| match available < from {
            true => 100.0 * (1.0 - available as f64 / from as f64),
            false => 0.0,
        };
        Host {
            total: self.total,
            available,
            some: Some(stall(self.total / 12)),
            full: Some(stall(self.total / 40)),
            ..Host::default()
        }
    }

    /// What runs.
    pub fn views(&self) -> Vec<View> {
        self.parts.iter().filter(|p| p.up).map(|p| p.view.clone()).collect()
    }

    /// Time goes by.
    pub fn pass(&mut self, step: Duration) {
        self.now = self.now.after(step);
        let now = self.now;
        self.parts.iter_mut().for_each(|p| p.lives(now, step));
    }

    /// Does what the ladder says.
    pub fn obey(&mut self, action: &Action) {
        let now = self.now;
        let Some(instance) = action.instance() else { return };
        let Some(part) = self.parts.iter_mut().find(|p| p.view.instance == *instance) else { return };
        match action {
            Action::Level(..) | Action::Warn(_) => {}
            // What can be done without is a tenth.
            Action::Reclaim(_, bytes) => part.view.current -= (part.view.current / 10).min(*bytes),
            Action::Throttle(_, high) => part.high = Some(*high),
            Action::Unthrottle(_) => part.high = None,
            Action::Freeze(..) => part.frozen = true,
            Action::Thaw(..) => part.frozen = false,
            Action::Evict(_, grace, _) => part.ends = Some(now.after(*grace)),
            Action::Return(..) => (part.up, part.view.current) = (true, part.first),
        }
    }

    /// One look after a step of time: what the ladder said, which is done.
    pub fn look(&mut self, ladder: &mut Ladder, step: Duration) -> Vec<Action> {
        self.pass(step);
        let actions = ladder.step(self.now, &self.host(), &self.views());
        actions.iter().for_each(|a| self.obey(a));
        actions
    }
}

/// A service by its numbers.
pub fn view(name: &str, current: u64, request: u64, pressure: &Pressure) -> Option<View> {
    let terms = Terms::of(pressure, Duration::from_secs(10));
    Some(View { instance: name.parse().ok()?, current, request, terms })
}
