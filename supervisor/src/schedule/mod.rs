//! Schedules: when a job is due, in a time zone, with clocks that jump and daemons that were away. Pure: every moment goes in.
#![forbid(unsafe_code)]

mod base;
mod cron;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

pub use self::base::{Base, LATE, Look, SET_BACK, jitter, look};
pub use self::cron::Cron;

/// A cron expression in a time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    /// Reads an expression and the name of a zone, each of which was found good before.
    ///
    /// # Errors
    /// As [`Cron::read`] and [`zone`].
    pub fn read(cron: &str, timezone: &str) -> Result<Timetable, String> {
        Ok(Timetable { cron: Cron::read(cron)?, zone: zone(timezone)? })
    }

    /// The first time after a moment; `None` = none before the end of the calendar.
    ///
    /// Where clocks are put forward, a time that does not exist is the moment when they are; where they are put back, a time
    /// that comes twice is its first one. An expression whose hour begins with `*` goes by the passing of time instead:
    /// times that do not exist are left out, and those that come twice come twice.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        match self.cron.by_the_hour {
            true => self.by_time(moment),
            false => self.by_calendar(moment),
        }
    }

    /// In steps of the calendar.
    fn by_calendar(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut from = minute_after(self.zone.to_datetime(moment))?;
        // In an hour that comes twice a time may be past already; an hour has 60 of them, and no zone repeats a day.
        for _ in 0..3000 {
            let civil = self.cron.next(from)?;
            let at = self.first(civil)?;
            if at > moment {
                return Some(at);
            }
            from = minute_after(civil)?;
        }
        None
    }

    /// The moment of a time of the calendar, the first one when there are two.
    fn first(&self, civil: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                // By the old offset it lies behind the moment of the change.
                let behind = before.to_timestamp(civil).ok()?;
                let change = self.zone.preceding(behind.checked_add(jiff::Span::new().nanoseconds(1)).ok()?);
                change.map(|t| t.timestamp()).next().or(Some(behind))
            }
        }
    }

    /// In steps of time: within each stretch of one offset the calendar is regular.
    fn by_time(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut from = minute_after(self.zone.to_datetime(moment))?;
        let mut since = moment;
        for _ in 0..100 {
            let offset = self.zone.to_offset(since);
            let at = offset.to_timestamp(self.cron.next(from)?).ok()?;
            let change = self.zone.following(since).next().map(|t| t.timestamp());
            match change {
                Some(change) if at >= change => {
                    (since, from) = (change, self.zone.to_datetime(change));
                }
                _ => return Some(at),
            }
        }
        None
    }

    /// A moment as its zone's clocks show it.
    pub fn shown(&self, moment: Timestamp) -> String {
        let zoned = moment.to_zoned(self.zone.clone());
        zoned.strftime("%Y-%m-%d %H:%M %Z").to_string()
    }
}

/// The beginning of the next minute.
fn minute_after(at: DateTime) -> Option<DateTime> {
    let minute = at.date().at(at.hour(), at.minute(), 0, 0);
    minute.checked_add(jiff::Span::new().minutes(1)).ok()
}

/// `UTC`, a name of the host's zone database (`Europe/Berlin`), or a rule as POSIX has them in `TZ` (`CET-1CEST,M3.5.0,M10.5.0/3`).
///
/// # Errors
/// There is no such zone here, or the rule is none.
pub fn zone(text: &str) -> Result<TimeZone, String> {
    if text == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if text.contains(|c: char| c.is_ascii_digit()) && !text.contains('/') || text.contains(',') {
        // POSIX counts to the west, and who writes UTC+1 means the east.
        if ["utc", "gmt"].iter().any(|w| text.to_ascii_lowercase().starts_with(w)) {
            return Err(format!(
                "an offset that can be read two ways, got {text:?}, want a name or a rule such as \"<+01>-1\""
            ));
        }
        return TimeZone::posix(text).map_err(|_| {
            format!("not a time zone, got {text:?}, want a rule such as \"CET-1CEST,M3.5.0,M10.5.0/3\"")
        });
    }
    TimeZone::get(text).map_err(|_| {
        format!(
            "no such time zone on this host, got {text:?}, want \"UTC\", a name such as \"Europe/Berlin\" \
             (the host's zone database, package tzdata, has them), or a rule such as \"CET-1CEST,M3.5.0,M10.5.0/3\""
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
    /// Clocks move by half an hour: Lord Howe Island.
    const HOWE: &str = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0";

    fn times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let table = Timetable::read(cron, zone).unwrap();
        let mut at: Timestamp = from.parse().unwrap();
        let mut all = Vec::new();
        for _ in 0..count {
            at = table.after(at).unwrap();
            all.push(at.to_string());
        }
        all
    }

    #[test]
    fn clocks_that_are_put_forward() {
        // 2026-03-29 02:00 is 03:00 in Berlin: 01:00 UTC.
        assert_eq!(
            times("30 2 * * *", BERLIN, "2026-03-27T12:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        // Two times of the hour that is not there are one.
        assert_eq!(
            times("15,45 2 * * *", BERLIN, "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:15:00Z"]
        );
        // And the one that is meant at that moment is that one.
        assert_eq!(
            times("0 2,3 * * *", BERLIN, "2026-03-29T00:30:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]
        );
        assert_eq!(
            times("*/30 * * * *", BERLIN, "2026-03-29T00:00:00Z", 4),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"]
        );
    }

    #[test]
    fn clocks_that_are_put_back() {
        // 2026-10-25 03:00 is 02:00 again in Berlin: 01:00 UTC.
        assert_eq!(
            times("30 2 * * *", BERLIN, "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        // From inside the second one, too.
        assert_eq!(times("30 2 * * *", BERLIN, "2026-10-25T01:10:00Z", 1), ["2026-10-26T01:30:00Z"]);
        assert_eq!(
            times("0 * * * *", BERLIN, "2026-10-24T23:30:00Z", 4),
            ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"]
        );
        assert_eq!(
            times("*/30 * * * *", BERLIN, "2026-10-25T00:15:00Z", 4),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]
        );
    }

    #[test]
    fn clocks_that_move_by_half_an_hour() {
        // 2026-04-05 02:00 +11 is 01:30 +10:30.
        assert_eq!(
            times("45 1 * * *", HOWE, "2026-04-04T10:00:00Z", 2),
            ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]
        );
        assert_eq!(
            times("*/15 * * * *", HOWE, "2026-04-04T14:30:00Z", 4),
            ["2026-04-04T14:45:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:15:00Z", "2026-04-04T15:30:00Z"]
        );
    }

    #[test]
    fn a_year_of_every_hour_is_every_hour_and_of_every_day_is_every_day() {
        for zone in [
            "UTC",
            BERLIN,
            HOWE,
            "<-04>4<-03>,M9.1.0/0,M4.1.0/0",
            "<+1345>-12:45<+1445>,M9.5.0/2:45,M4.1.0/3:45",
        ] {
            let hourly = Timetable::read("@hourly", zone).unwrap();
            let daily = Timetable::read("30 2 * * *", zone).unwrap();
            let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let end: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
            let count = |table: &Timetable| {
                let mut at = start;
                let mut n = 0;
                while let Some(next) = table.after(at).filter(|t| *t <= end) {
                    assert!(next > at, "{zone}: {next} is not after {at}");
                    (at, n) = (next, n + 1);
                }
                n
            };
            assert_eq!(count(&daily), 365, "{zone}");
            // Where half an hour is added, the full hour comes half an hour late, and is half an hour early in the other half.
            assert!((8759..=8761).contains(&count(&hourly)), "{zone}: {}", count(&hourly));
        }
    }

    #[test]
    fn zones() {
        for good in ["UTC", BERLIN, HOWE, "EST5EDT,M3.2.0,M11.1.0", "<+01>-1"] {
            assert!(zone(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "utc+1",
            "GMT-3",
            "Europe/Nowhere",
            "CET-1CEST,M13.5.0,M10.5.0/3",
            "local",
            "../../etc/passwd",
        ] {
            assert!(zone(bad).is_err(), "{bad}");
        }
        let table = Timetable::read("0 0 * * *", BERLIN).unwrap();
        assert_eq!(table.shown("2026-07-01T10:00:00Z".parse().unwrap()), "2026-07-01 12:00 CEST");
    }
}
