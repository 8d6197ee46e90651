//! The ladder: what is done about memory that runs short, and to whom, before the kernel kills. Pure: figures and the time go
//! in, actions come out, in their order.
//!
//! ```text
//! calm -> warn: tell, reclaim, throttle -> act: freeze for a time, evict one after the other
//!   ^------------- better for as long as `hold` -------------'   evicted ones return by priority
//! ```
//! What is protected is told and nothing else. Who pays first: the lowest priority, then who uses most beyond its request, then who
//! grows fastest.
#![forbid(unsafe_code)]

mod decide;
mod host;
mod rank;
pub mod replay;
pub mod sim;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use self::host::Gauge;
pub use self::host::{Host, Level, Thresholds};
use crate::clock::Boot;
use crate::names::Instance;
use crate::unit::pressure::{FREEZE_FOR, GRACE, Pressure, Priority, Rungs};

/// How often is looked while memory is short.
pub const LOOK: Duration = Duration::from_secs(1);
/// Who has gone on for so long after its return was evicted for the first time.
pub const FORGIVEN: Duration = Duration::from_secs(600);

/// One running instance.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Which one.
    pub instance: Instance,
    /// Bytes that it uses and that cannot be had without it.
    pub current: u64,
    /// Bytes that it was promised.
    pub request: u64,
    /// What may be done to it.
    pub terms: Terms,
}

/// What a service file says, as far as the ladder cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Who pays first.
    pub priority: Priority,
    /// What may be done to it.
    pub rungs: Rungs,
    /// The longest time that it is frozen.
    pub freeze_for: Duration,
    /// From the stop signal to the kill.
    pub grace: Duration,
}

impl Terms {
    /// Of a service; `stop` is its own grace.
    pub fn of(pressure: &Pressure, stop: Duration) -> Terms {
        Terms {
            priority: pressure.priority,
            rungs: pressure.rungs(),
            freeze_for: pressure.freeze_for.unwrap_or(FREEZE_FOR),
            grace: pressure.grace.unwrap_or(GRACE.min(stop)),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Memory is as short as this now.
    Level(Level, String),
    /// Tell it.
    Warn(Instance),
    /// Take so many bytes back from it that it can do without.
    Reclaim(Instance, u64),
    /// Slow it down where it takes more than so many bytes.
    Throttle(Instance, u64),
    /// No longer.
    Unthrottle(Instance),
    /// Stop it in its tracks until then, at the latest.
    Freeze(Instance, Boot),
    /// Let it go on, and why.
    Thaw(Instance, &'static str),
    /// Stop it and keep it down until [`Action::Return`].
    Evict(Instance, Duration, String),
    /// It may start again.
    Return(Instance, String),
}

impl Action {
    /// The instance that it is about.
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Action::Level(..) => None,
            Action::Warn(i)
            | Action::Reclaim(i, _)
            | Action::Throttle(i, _)
            | Action::Unthrottle(i)
            | Action::Freeze(i, _)
            | Action::Thaw(i, _)
            | Action::Evict(i, ..)
            | Action::Return(i, _) => Some(i),
        }
    }
}

/// What is remembered of one instance.
#[derive(Debug, Clone, Default, PartialEq)]
struct Track {
    /// When its use was seen last, and what it was.
    seen: Option<(Boot, u64)>,
    /// Bytes a second that it grows by, over the last few looks.
    growth: f64,
    warned: Option<Boot>,
    reclaimed: Option<Boot>,
    throttled: Option<Boot>,
    unthrottled: Option<Boot>,
    frozen: Option<Boot>,
    thawed: Option<Boot>,
    /// How often it was evicted lately.
    evictions: u32,
    returned: Option<Boot>,
}

impl Track {
    /// Once more, unless it has gone on for long since the last time.
    fn evicted_again(&mut self, now: Boot) {
        let forgiven = self.returned.is_none_or(|at| now.since(at) >= FORGIVEN);
        self.evictions = if forgiven { 1 } else { self.evictions.saturating_add(1) };
        (self.throttled, self.frozen) = (None, None);
    }
}

/// One that was evicted, or that the kernel killed before it could be, and that has not returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Victim {
    /// Who returns first: the highest.
    pub priority: Priority,
    /// Since when it waits.
    pub since: Boot,
    /// Bytes that it used then.
    pub used: u64,
    /// Bytes that it was promised.
    pub request: u64,
    /// The kernel was faster.
    pub killed: bool,
}

/// The ladder of one host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ladder {
    limits: Thresholds,
    gauge: Gauge,
    tracks: BTreeMap<Instance, Track>,
    victims: BTreeMap<Instance, Victim>,
    /// The one that is being evicted, since when.
    evicting: Option<(Instance, Boot)>,
    evicted: Option<Boot>,
    /// The first freeze since memory is this short.
    first_freeze: Option<Boot>,
    /// The last return.
    returned: Option<Boot>,
    near: bool,
}

impl Ladder {
    /// Nothing has happened yet.
    pub fn new(limits: Thresholds) -> Ladder {
        Ladder { limits, ..Ladder::default() }
    }

    /// How short memory is.
    pub fn level(&self) -> Level {
        self.gauge.level
    }

    /// When figures are wanted again; `None` = when the kernel says that processes stall.
    pub fn next(&self, now: Boot) -> Option<Boot> {
        let held = self.tracks.values().any(|t| t.frozen.is_some() || t.throttled.is_some());
        let busy = self.near || held || !self.victims.is_empty() || self.evicting.is_some();
        (busy || self.level() != Level::Calm).then(|| now.after(LOOK))
    }

    /// Why an instance must not start now; `None` = it may.
    pub fn holds_back(&self, instance: &Instance, priority: Priority) -> Option<&'static str> {
        match self.victims.get(instance) {
            Some(Victim { killed: true, .. }) => {
                return Some("the kernel killed it for want of it, and there is not yet enough again");
            }
            Some(_) => return Some("it was evicted, and there is not yet enough again"),
            None => {}
        }
        (self.level() == Level::Act && priority != Priority::Protected).then_some("the host is short of it")
    }

    /// Those that were evicted and have not returned.
    pub fn victims(&self) -> impl Iterator<Item = &Instance> {
        self.victims.keys()
    }

    /// Whether these figures are worth a look at what runs.
    pub fn wants_views(&self, now: Boot, host: &Host) -> bool {
        self.next(now).is_some() || self.limits.near(host) || host.stalls()
    }

    /// One that was a victim at the time of an earlier daemon and has not started since, so many times in a row. It waits as it
    /// did; who was killed by the kernel within the hold has memory short for everybody, as it had.
    pub fn was_victim(&mut self, instance: Instance, victim: Victim, times: u32, now: Boot) {
        if self.victims.contains_key(&instance) {
            return;
        }
        if victim.killed && now.since(victim.since) < self.limits.hold {
            self.gauge.raise();
        }
        self.tracks.entry(instance.clone()).or_default().evictions = times;
        if victim.priority != Priority::Protected {
            self.victims.insert(instance, victim);
        }
    }

    /// The kernel was faster and killed it, for want of memory of the host: that is as short as it gets, and it waits like one
    /// that was evicted.
    pub fn ran_out(&mut self, now: Boot, view: &View, why: String) -> Option<Action> {
        let (priority, used, request) = (view.terms.priority, view.current, view.request);
        let victim = Victim { priority, since: now, used, request, killed: true };
        self.tracks.entry(view.instance.clone()).or_default().evicted_again(now);
        if view.terms.priority != Priority::Protected {
            self.victims.insert(view.instance.clone(), victim);
        }
        self.evicted = Some(now);
        self.gauge.raise().then_some(Action::Level(Level::Act, why))
    }

    /// One that an earlier daemon froze or throttled.
    pub fn was_held(&mut self, instance: Instance, frozen: Option<Boot>, throttled: Option<Boot>) {
        let track = self.tracks.entry(instance).or_default();
        (track.frozen, track.throttled) = (frozen, throttled);
    }

    /// Nobody wants it any more, or somebody does whatever the ladder says.
    pub fn forget(&mut self, instance: &Instance) {
        self.victims.remove(instance);
    }

    /// An action could not be carried out: it does not count.
    pub fn failed(&mut self, action: &Action) {
        let Some(instance) = action.instance() else { return };
        if let Some(track) = self.tracks.get_mut(instance) {
            match action {
                Action::Freeze(..) => track.frozen = None,
                Action::Throttle(..) => track.throttled = None,
                Action::Evict(..) => {
                    self.victims.remove(instance);
                    self.evicting.take_if(|(i, _)| i == instance);
                }
                Action::Level(..)
                | Action::Warn(_)
                | Action::Reclaim(..)
                | Action::Unthrottle(_)
                | Action::Thaw(..)
                | Action::Return(..) => {}
            }
        }
    }
}
