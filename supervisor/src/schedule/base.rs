//! Which time of a schedule is due: what was begun before, what was missed, and what a clock that was set means. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Timetable;

/// A time that is due no longer than this is on time, and not missed: a daemon may have been restarted meanwhile.
pub const LATE: Duration = Duration::from_secs(60);

/// A clock that is set back no farther than this is put right, and repeats nothing; farther, it is another clock. The rule of
/// cron(8).
pub const SET_BACK: Duration = Duration::from_secs(3 * 3600);

/// The last time of a schedule that is dealt with, whether it was begun, left out or missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The latest one ever.
    pub last: Timestamp,
    /// The latest one by a clock that was set back far behind `last`: without a battery it begins in 1970, or it was wrong in
    /// the other direction before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Timestamp>,
}

impl Base {
    /// Nothing up to a moment is due.
    pub fn new(last: Timestamp) -> Base {
        Base { last, back: None }
    }

    /// Everything up to a moment is dealt with.
    pub fn deal(&mut self, with: Timestamp) {
        if !is_far_behind(with, self.last) {
            (self.last, self.back) = (self.last.max(with), None);
            return;
        }
        let back = self.back.filter(|b| !is_far_behind(with, *b));
        self.back = Some(back.map_or(with, |b| b.max(with)));
    }

    /// From when on times count; `None` = the clock was set far back, and they count from now on.
    pub fn at(self, now: Timestamp) -> Option<Timestamp> {
        let known = if is_far_behind(now, self.last) { self.back } else { Some(self.last) };
        known.filter(|t| !is_far_behind(now, *t))
    }
}

fn is_far_behind(a: Timestamp, b: Timestamp) -> bool {
    b.duration_since(a) > SignedDuration::try_from(SET_BACK).unwrap_or(SignedDuration::MAX)
}

/// What a look at a schedule gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The next time, and when it is due.
    Wait {
        /// As the expression has it.
        at: Timestamp,
        /// With its jitter.
        due: Timestamp,
    },
    /// The latest time that is due.
    Due {
        /// As the expression has it.
        at: Timestamp,
        /// It was due so long ago that somebody must have been away.
        missed: bool,
    },
    /// No time comes any more.
    Never,
}

/// What is due of a schedule. Of several times only the latest one counts. `delay` is the jitter of a time.
pub fn look(
    table: &Timetable,
    base: Timestamp,
    now: Timestamp,
    delay: impl Fn(Timestamp) -> Duration,
) -> Look {
    let due = |at: Timestamp| at.saturating_add(SignedDuration::try_from(delay(at)).unwrap_or_default());
    let due = |at: Timestamp| due(at).unwrap_or(Timestamp::MAX);
    let Some(first) = table.after(base) else { return Look::Never };
    if due(first) > now {
        return Look::Wait { at: first, due: due(first) };
    }
    let mut at = near(table, first, now, due);
    while let Some(next) = table.after(at).filter(|next| due(*next) <= now) {
        at = next;
    }
    let late = SignedDuration::try_from(LATE).unwrap_or(SignedDuration::MAX);
    Look::Due { at, missed: now.duration_since(due(at)) > late }
}

/// A due time not far from now: a clock may be set forward by years, and a schedule have a time each minute.
fn near(
    table: &Timetable,
    first: Timestamp,
    now: Timestamp,
    due: impl Fn(Timestamp) -> Timestamp,
) -> Timestamp {
    for hours in [2, 48, 24 * 40, 24 * 800] {
        let Ok(from) = now.checked_sub(SignedDuration::from_hours(hours)) else { return first };
        if from <= first {
            return first;
        }
        if let Some(at) = table.after(from).filter(|at| due(*at) <= now) {
            return at;
        }
    }
    first
}

/// How much later than its time a run begins: up to `most`, another part of it each time, the same however often it is asked.
pub fn jitter(most: Duration, seed: &str, service: &str, at: Timestamp) -> Duration {
    if most.is_zero() {
        return most;
    }
    let mut hash = DefaultHasher::new();
    (seed, service, at.as_second()).hash(&mut hash);
    // 32 bits of it are exact in a float.
    most.mul_f64((hash.finish() >> 32) as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(text: &str) -> Timestamp {
        format!("{text}Z").parse().unwrap()
    }

    fn none(_: Timestamp) -> Duration {
        Duration::ZERO
    }

    fn hourly() -> Timetable {
        Timetable::read("0 * * * *", "UTC").unwrap()
    }

    #[test]
    fn on_time_late_and_missed() {
        let base = t("2026-01-01T10:00:00");
        let wait = Look::Wait { at: t("2026-01-01T11:00:00"), due: t("2026-01-01T11:00:00") };
        assert_eq!(look(&hourly(), base, t("2026-01-01T10:59:59"), none), wait);
        for (now, at, missed) in [
            ("2026-01-01T11:00:00", "2026-01-01T11:00:00", false),
            ("2026-01-01T11:01:00", "2026-01-01T11:00:00", false),
            ("2026-01-01T11:01:01", "2026-01-01T11:00:00", true),
            // Of many that were missed the last one is the one.
            ("2026-01-09T11:30:00", "2026-01-09T11:00:00", true),
            ("2026-01-09T12:00:30", "2026-01-09T12:00:00", false),
        ] {
            assert_eq!(look(&hourly(), base, t(now), none), Look::Due { at: t(at), missed }, "{now}");
        }
    }

    #[test]
    fn a_clock_that_jumps_by_decades_is_looked_at_once() {
        for (cron, at) in [
            ("* * * * *", "2059-05-05T05:05:00"),
            ("@monthly", "2059-05-01T00:00:00"),
            ("@yearly", "2059-01-01T00:00:00"),
            ("0 0 29 2 *", "2056-02-29T00:00:00"),
        ] {
            let table = Timetable::read(cron, "UTC").unwrap();
            let look = look(&table, t("1970-01-01T00:00:00"), t("2059-05-05T05:05:30"), none);
            assert!(matches!(look, Look::Due { at: found, .. } if found == t(at)), "{cron}: {look:?}");
        }
    }

    #[test]
    fn jitter_moves_a_time_and_never_back() {
        let most = Duration::from_secs(600);
        let delay = |at| jitter(most, "boot", "backup", at);
        let mut seen = std::collections::BTreeSet::new();
        let mut at = t("2026-01-01T00:00:00");
        for _ in 0..100 {
            let next = hourly().after(at).unwrap();
            let Look::Wait { at: found, due } = look(&hourly(), at, at, delay) else { panic!() };
            assert_eq!(found, next);
            let later = due.duration_since(next).as_secs();
            assert!((0..=600).contains(&later));
            seen.insert(later);
            // A moment before it is due it is not, and then it is.
            let before = due.checked_sub(SignedDuration::from_millis(1)).unwrap();
            assert!(matches!(look(&hourly(), at, before, delay), Look::Wait { .. }));
            assert_eq!(look(&hourly(), at, due, delay), Look::Due { at: next, missed: false });
            at = next;
        }
        assert!(seen.len() > 50, "{seen:?}");
    }

    #[test]
    fn a_clock_that_is_put_right_repeats_nothing() {
        let mut base = Base::new(t("2026-01-01T12:00:00"));
        let at = base.at(t("2026-01-01T11:30:00")).unwrap();
        let wait = Look::Wait { at: t("2026-01-01T13:00:00"), due: t("2026-01-01T13:00:00") };
        assert_eq!(look(&hourly(), at, t("2026-01-01T11:30:00"), none), wait);
        base.deal(t("2026-01-01T11:45:00"));
        assert_eq!(base, Base::new(t("2026-01-01T12:00:00")));
    }

    #[test]
    fn a_clock_that_was_wrong_by_years_holds_nobody() {
        // Ten years ahead, then put right.
        let mut base = Base::new(t("2036-01-01T12:00:00"));
        let now = t("2026-01-01T12:30:00");
        assert_eq!(base.at(now), None);
        base.deal(now);
        assert_eq!(base.at(now), Some(now));
        base.deal(t("2026-01-01T13:00:00"));
        assert_eq!(base.at(t("2026-01-01T13:10:00")), Some(t("2026-01-01T13:00:00")));
        // When the time comes around again, what was begun then counts.
        assert_eq!(base.at(t("2036-01-01T11:00:00")), Some(t("2036-01-01T12:00:00")));
        base.deal(t("2036-01-01T13:00:00"));
        assert_eq!(base, Base::new(t("2036-01-01T13:00:00")));
    }

    #[test]
    fn a_boot_without_a_clock_forgets_nothing() {
        let mut base = Base::new(t("2026-01-01T00:00:00"));
        let boot = t("1970-01-01T00:00:10");
        assert_eq!(base.at(boot), None);
        base.deal(boot);
        assert_eq!(base.at(t("1970-01-01T00:05:00")), Some(boot));
        // The network brings the time: the run of today is not repeated, that of tomorrow is not lost.
        assert_eq!(base.at(t("2026-01-01T00:20:00")), Some(t("2026-01-01T00:00:00")));
        assert_eq!(base.at(t("2026-01-02T00:00:20")), Some(t("2026-01-01T00:00:00")));
    }
}
