//! A container that `memory.high` holds so firmly that it gets nowhere: neither its limit nor the kernel ends it, and it does no
//! work. Kubernetes withdrew its use of `memory.high` for this once (KEP-2570). Pure.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Serialize;

use crate::clock::Boot;
use crate::policy::{size, span};

/// How long it has to last.
pub const LASTS: Duration = Duration::from_secs(30);
/// Of ten seconds all its processes stalled for more than so many hundredths (`full` of `memory.pressure`).
const STALLS: f64 = 50.0;
/// Below so many nobody has to look any longer; the kernel tells when it begins again.
const CALM: f64 = 10.0;

/// What is done with one that gets nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtHigh {
    /// `memory_high` is lifted until its next start; its limit holds.
    #[default]
    Raise,
    /// It is restarted.
    Restart,
    /// Only told.
    Leave,
}

impl AtHigh {
    /// As service files have them.
    pub const WORDS: [(&'static str, AtHigh); 3] =
        [("raise", AtHigh::Raise), ("restart", AtHigh::Restart), ("leave", AtHigh::Leave)];

    /// As service files have it.
    pub fn word(self) -> &'static str {
        AtHigh::WORDS.into_iter().find_map(|(word, at)| (at == self).then_some(word)).unwrap_or_default()
    }
}

/// What one look says.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// All is well: no more looks.
    Calm,
    /// Look again in a second.
    Again,
    /// It gets nowhere, and why.
    Stuck(String),
}

/// What was seen of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Guard {
    since: Option<Boot>,
}

impl Guard {
    /// Takes bytes in use, `memory.high`, and the share of stalls in.
    pub fn look(&mut self, now: Boot, used: u64, high: u64, full: f64) -> Seen {
        if full < CALM {
            self.since = None;
            return Seen::Calm;
        }
        // Reclaim takes it a little below from time to time.
        if full <= STALLS || used < high - high / 16 {
            self.since = None;
            return Seen::Again;
        }
        let lasted = now.since(*self.since.get_or_insert(now));
        if lasted < LASTS {
            return Seen::Again;
        }
        let (used, high, lasted) = (size(used), size(high), span(lasted));
        Seen::Stuck(format!(
            "uses {used}, and at its memory_high of {high} it stalls {full:.0} % of the time, for {lasted}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stalls_that_last_count() {
        let at = |seconds| Boot(Duration::from_secs(seconds));
        let mut guard = Guard::default();
        assert_eq!(guard.look(at(0), 100, 100, 9.9), Seen::Calm);
        assert_eq!(guard.look(at(1), 100, 100, 50.1), Seen::Again);
        assert_eq!(guard.look(at(20), 100, 100, 50.0), Seen::Again, "a break");
        assert_eq!(guard.look(at(21), 100, 100, 90.0), Seen::Again);
        assert_eq!(guard.look(at(50), 94, 100, 90.0), Seen::Again);
        let Seen::Stuck(why) = guard.look(at(51), 94, 100, 90.0) else { panic!("not stuck") };
        assert!(why.ends_with("it stalls 90 % of the time, for 30 s"), "{why}");
        let mut below = Guard::default();
        assert_eq!(below.look(at(0), 80, 100, 99.0), Seen::Again);
        assert_eq!(below.look(at(60), 80, 100, 99.0), Seen::Again, "it is not memory.high that holds it");
        assert_eq!(
            Guard::default().look(at(0), 0, 0, 99.0),
            Seen::Again,
            "no arithmetic of less than nothing"
        );
    }
}
