//! How short of memory the host is: thresholds to get in, laxer ones to get out, and a time for which they must hold. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Boot;
use crate::policy::{size, span};

/// Where the ladder begins, and how fast it moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Bytes of available memory below which services are shed; `None` = a twentieth of all, at least 100 MiB and at most a
    /// quarter; 0 = there is no ladder (kubelet's `memory.available`, and a share for large hosts).
    pub available: Option<u64>,
    /// How long nothing is evicted after an eviction is complete (systemd-oomd: 15 s).
    pub pause: Duration,
    /// How long it must be better before it counts as better.
    pub hold: Duration,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { available: None, pause: Duration::from_secs(15), hold: Duration::from_secs(30) }
    }
}

/// Stalls of all processes at once, in percent of the last ten seconds, from which on services are shed, when they last as
/// long as [`FULL_FOR`] (systemd-oomd: 60 % for 30 s).
const FULL_ACT: f64 = 60.0;
const FULL_FOR: Duration = Duration::from_secs(30);
/// They are over below this.
const FULL_CALM: f64 = 30.0;
/// Stalls of some process from which on services are warned: 200 ms of 2 s (systemd's MEMORY_PRESSURE_WATCH).
const SOME_WARN: f64 = 10.0;
const SOME_CALM: f64 = 5.0;
/// Used swap in percent from which on services are shed, where little memory is available besides.
const SWAP_ACT: u64 = 90;
const SWAP_CALM: u64 = 80;

/// The figures of a host, or of the group with a limit that all services are in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Bytes of memory.
    pub total: u64,
    /// Bytes that can be had without swapping (`MemAvailable` of /proc/meminfo).
    pub available: u64,
    /// Bytes of swap; 0 = none.
    #[serde(default)]
    pub swap_total: u64,
    /// Bytes of it that are free.
    #[serde(default)]
    pub swap_free: u64,
    /// `some avg10` of /proc/pressure/memory in percent; `None` = this kernel does not say.
    #[serde(default)]
    pub some: Option<f64>,
    /// `full avg10`.
    #[serde(default)]
    pub full: Option<f64>,
}

impl Host {
    /// Processes stall so much that it is not nothing.
    pub(super) fn stalls(&self) -> bool {
        self.some.is_some_and(|some| some >= SOME_WARN) || self.full.is_some_and(|full| full > FULL_CALM)
    }
}

/// How short it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Enough.
    #[default]
    Calm,
    /// Services are told, and give back what they can do without.
    Warn,
    /// Services are shed.
    Act,
}

impl Level {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Level::Calm => "calm",
            Level::Warn => "warn",
            Level::Act => "act",
        }
    }
}

impl Thresholds {
    /// Nobody is ever shed: there is no ladder.
    pub fn off(&self) -> bool {
        self.available == Some(0)
    }

    /// Bytes of available memory below which services are shed.
    pub fn act_below(&self, total: u64) -> u64 {
        self.available.unwrap_or_else(|| (total / 20).max(100 << 20).min(total / 4))
    }

    /// From here on there is enough again.
    pub(super) fn enough(&self, total: u64) -> u64 {
        let act = self.act_below(total);
        act.saturating_add(act / 4)
    }

    fn warn_below(&self, total: u64) -> u64 {
        self.act_below(total).saturating_mul(2)
    }

    /// So little that the next look must not be left to chance.
    pub(super) fn near(&self, host: &Host) -> bool {
        host.available < self.act_below(host.total).saturating_mul(3)
    }

    /// So little that nobody waits for milder rungs.
    pub(super) fn urgent(&self, host: &Host) -> bool {
        host.available < self.act_below(host.total) / 2
    }
}

/// The level with its past.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Gauge {
    pub(super) level: Level,
    full_since: Option<Boot>,
    better_since: Option<Boot>,
}

impl Gauge {
    /// Memory has run out, whatever the figures of now say; `true` = that is new.
    pub(super) fn raise(&mut self) -> bool {
        self.better_since = None;
        std::mem::replace(&mut self.level, Level::Act) != Level::Act
    }

    /// Figures are better than the level, and have yet to stay so: nobody has to pay any more.
    pub(super) fn is_better(&self) -> bool {
        self.better_since.is_some()
    }

    /// Takes figures in: the new level and why, when it is another one.
    pub(super) fn look(&mut self, now: Boot, host: &Host, limits: &Thresholds) -> Option<(Level, String)> {
        match host.full {
            Some(full) if full > FULL_ACT => drop(self.full_since.get_or_insert(now)),
            Some(full) if full > FULL_CALM && self.full_since.is_some() => {}
            _ => self.full_since = None,
        }
        let stalled = self.full_since.map(|since| now.since(since)).filter(|d| *d >= FULL_FOR);
        let (enter, why) = entered(host, limits, stalled);
        if enter > self.level {
            (self.level, self.better_since) = (enter, None);
            return Some((enter, why));
        }
        let stay = left(host, limits, stalled.is_some());
        if stay >= self.level {
            self.better_since = None;
            return None;
        }
        let since = *self.better_since.get_or_insert(now);
        if now.since(since) < limits.hold {
            return None;
        }
        (self.level, self.better_since) = (stay, None);
        Some((stay, format!("{} available for {}", size(host.available), span(limits.hold))))
    }
}

/// The level that these figures lead to, and the one that says so.
fn entered(host: &Host, limits: &Thresholds, stalled: Option<Duration>) -> (Level, String) {
    let act = limits.act_below(host.total);
    let swap = swap_used(host);
    if host.available < act {
        let text = format!("{} available, less than {}", size(host.available), size(act));
        return (Level::Act, text);
    }
    if let Some(lasted) = stalled {
        let full = host.full.unwrap_or_default();
        return (
            Level::Act,
            format!("all processes stall for memory {full} % of the time, for {}", span(lasted)),
        );
    }
    if swap.is_some_and(|used| used > SWAP_ACT) && host.available < host.total / 10 {
        let text = format!("{} % of the swap is used, {} available", swap.unwrap_or(0), size(host.available));
        return (Level::Act, text);
    }
    if host.available < limits.warn_below(host.total) {
        let text =
            format!("{} available, less than {}", size(host.available), size(limits.warn_below(host.total)));
        return (Level::Warn, text);
    }
    match host.some {
        Some(some) if some >= SOME_WARN => {
            (Level::Warn, format!("processes stall for memory {some} % of the time"))
        }
        _ => (Level::Calm, String::new()),
    }
}

/// The level that these figures do not end yet.
fn left(host: &Host, limits: &Thresholds, stalled: bool) -> Level {
    let swap = swap_used(host).is_some_and(|used| used > SWAP_CALM) && host.available < host.total / 8;
    let enough = limits.enough(host.total);
    if host.available < enough || stalled || swap {
        return Level::Act;
    }
    let warn = limits.warn_below(host.total);
    let short = host.available < warn.saturating_add(warn / 4);
    if short || host.some.is_some_and(|some| some >= SOME_CALM) { Level::Warn } else { Level::Calm }
}

fn swap_used(host: &Host) -> Option<u64> {
    let used = host.swap_total.saturating_sub(host.swap_free);
    (host.swap_total > 0).then(|| used.saturating_mul(100) / host.swap_total)
}
