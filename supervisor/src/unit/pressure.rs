//! What a service pays when memory runs short: its place on the ladder. Pure data.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Serialize;

use super::service::Signal;
use crate::memory::guard::AtHigh;
use crate::memory::leak::Above;

/// The priority of a service that says nothing.
pub const PRIORITY: u16 = 500;
/// The highest priority of one that can be shed.
pub const PRIORITY_MAX: u16 = 1000;
/// How long one that is stopped for want of memory has, when it says nothing.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long one may be frozen, when it says nothing.
pub const FREEZE_FOR: Duration = Duration::from_secs(30);

/// `[pressure]` of a service file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// Who pays first: the lowest.
    pub priority: Priority,
    /// What may be done to it; `None` = [`Pressure::rungs`] says what.
    pub rungs: Option<Rungs>,
    /// The longest time that it is frozen; `None` = [`FREEZE_FOR`].
    pub freeze_for: Option<Duration>,
    /// From the stop signal to the kill of an eviction; `None` = [`GRACE`], or `stop.grace` when that is shorter.
    pub grace: Option<Duration>,
    /// What its first process gets when memory is short.
    pub signal: Option<Signal>,
    /// It has a FIFO that becomes readable then (`MEMORY_PRESSURE_WATCH`).
    pub watch: bool,
    /// It is restarted when it uses this much of its limit for so long.
    pub restart_above: Option<Above>,
    /// What becomes of it when `memory_high` holds it so firmly that it gets nowhere.
    pub at_high: AtHigh,
}

impl Pressure {
    /// What may be done to it.
    pub fn rungs(&self) -> Rungs {
        let usual = match self.priority {
            Priority::Protected => Rungs::of(&[Rung::Warn]),
            Priority::Level(_) => Rungs::of(&[Rung::Warn, Rung::Reclaim, Rung::Evict]),
        };
        self.rungs.unwrap_or(usual)
    }
}

/// Who pays first. The protected are above every number, and never throttled, frozen or evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// 0 to [`PRIORITY_MAX`].
    Level(u16),
    /// Nobody sheds it.
    Protected,
}

impl Default for Priority {
    fn default() -> Priority {
        Priority::Level(PRIORITY)
    }
}

/// One rung, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// It is told.
    Warn,
    /// Memory that it can do without is taken back.
    Reclaim,
    /// It is slowed down where it takes more.
    Throttle,
    /// It is stopped in its tracks, for a time.
    Freeze,
    /// It is stopped, and comes back when there is memory.
    Evict,
}

impl Rung {
    /// As service files have them, in their order.
    pub const WORDS: [(&'static str, Rung); 5] = [
        ("warn", Rung::Warn),
        ("reclaim", Rung::Reclaim),
        ("throttle", Rung::Throttle),
        ("freeze", Rung::Freeze),
        ("evict", Rung::Evict),
    ];

    /// As service files have it.
    pub fn word(self) -> &'static str {
        Rung::WORDS.into_iter().find_map(|(word, rung)| (rung == self).then_some(word)).unwrap_or_default()
    }

    /// It takes something away from a service.
    pub fn sheds(self) -> bool {
        matches!(self, Rung::Throttle | Rung::Freeze | Rung::Evict)
    }
}

/// Some of the rungs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rungs(u8);

impl Rungs {
    /// These.
    pub fn of(list: &[Rung]) -> Rungs {
        Rungs(list.iter().fold(0, |all, rung| all | 1 << *rung as u8))
    }

    /// Whether it is one of them.
    pub fn has(self, rung: Rung) -> bool {
        self.0 & 1 << rung as u8 != 0
    }

    /// All of them, the mildest first.
    pub fn iter(self) -> impl Iterator<Item = Rung> {
        Rung::WORDS.into_iter().map(|(_, rung)| rung).filter(move |rung| self.has(*rung))
    }
}
