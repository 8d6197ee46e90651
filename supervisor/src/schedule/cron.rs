//! Cron expressions: the five fields of crontab(5), read and matched against the calendar. Pure; knows no zone and no clock.

use jiff::civil::{Date, DateTime};

/// A date that comes at all comes within this many days: 29 February over a century without one is eight years.
const DAYS_AHEAD: u32 = 8 * 366 + 31;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Short words for common expressions.
const WORDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// One of the five fields.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day of the month", low: 1, high: 31, words: &[] },
    Field { name: "month", low: 1, high: 12, words: &MONTHS },
    Field { name: "day of the week", low: 0, high: 7, words: &WEEKDAYS },
];

/// Which minutes of the calendar are meant. Sets of numbers are bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// The hour begins with `*`: it is about the passing of time, not about an hour of the day.
    pub(super) by_the_hour: bool,
    /// Both days are restricted: then one of them is enough, as crontab(5) has it.
    either_day: bool,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// Which field is wrong, what was got and what is wanted; also when its dates never come.
    pub fn read(text: &str) -> Result<Cron, String> {
        let text = text.trim();
        if text == "@reboot" {
            return Err("@reboot is no time; a job without a schedule runs once".into());
        }
        if text.starts_with('@') {
            let Some((_, meaning)) = WORDS.iter().find(|(word, _)| *word == text) else {
                let near = crate::unit::nearest(text, WORDS.map(|(w, _)| w));
                let near = near.map_or(String::new(), |n| format!("; did you mean {n:?}?"));
                return Err(format!("unknown word, got {text:?}{near}"));
            };
            return Cron::read(meaning);
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "{} fields, got {text:?}, want five: minute, hour, day of the month, month, day of the week",
                fields.len()
            ));
        };
        let [of_minute, of_hour, of_day, of_month, of_weekday] = &FIELDS;
        let mut weekdays = set(of_weekday, weekday)?;
        // Sunday has two numbers.
        weekdays = (weekdays | weekdays >> 7) & 0x7f;
        let cron = Cron {
            minutes: set(of_minute, minute)?,
            hours: set(of_hour, hour)?,
            days: set(of_day, day)?,
            months: set(of_month, month)?,
            weekdays,
            by_the_hour: hour.starts_with('*'),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match cron.next(DateTime::constant(2001, 1, 1, 0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err(format!("this date never comes, got {text:?}")),
        }
    }

    /// The first minute of the calendar at or after a moment.
    pub fn next(&self, from: DateTime) -> Option<DateTime> {
        let whole = from.second() == 0 && from.subsec_nanosecond() == 0;
        let (mut date, mut first) = (from.date(), minute_of(from) + u32::from(!whole));
        for _ in 0..DAYS_AHEAD {
            if self.has_day(date)
                && let Some(minute) = self.next_minute(first)
            {
                return Some(date.at((minute / 60) as i8, (minute % 60) as i8, 0, 0));
            }
            (date, first) = (date.tomorrow().ok()?, 0);
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let has = |set: u64, n: i8| set >> n & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = if self.either_day { day || weekday } else { day && weekday };
        fits && has(self.months, date.month())
    }

    /// The first minute of a day, 0 to 1439, that is not before `first`.
    fn next_minute(&self, first: u32) -> Option<u32> {
        let mut hour = first / 60;
        let mut left = self.minutes & (u64::MAX << (first % 60));
        while hour < 24 {
            if self.hours >> hour & 1 == 1 && left != 0 {
                return Some(hour * 60 + left.trailing_zeros());
            }
            (hour, left) = (hour + 1, self.minutes);
        }
        None
    }
}

fn minute_of(at: DateTime) -> u32 {
    at.hour().unsigned_abs() as u32 * 60 + at.minute().unsigned_abs() as u32
}

/// The numbers of one field, as bits: a list of `*`, `N`, `N-M`, the last and the first with `/STEP`.
fn set(field: &Field, text: &str) -> Result<u64, String> {
    let Field { name, low, high, .. } = field;
    let bad = |what: &str| Err(format!("{name}: {what}, got {text:?}, want {low} to {high}"));
    let mut all = 0u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => (range, Some(step)),
        };
        let step = match step.map(plain) {
            None => 1,
            Some(Some(n)) if (1..=*high).contains(&n) => n,
            Some(_) => return bad("a bad step"),
        };
        let (from, to) = if range == "*" {
            // Seven is Sunday again.
            (*low, if *high == 7 { 6 } else { *high })
        } else if let Some((from, to)) = range.split_once('-') {
            match (number(field, from), number(field, to)) {
                (Some(from), Some(to)) if from <= to => (from, to),
                (Some(_), Some(_)) => return bad("a range from the higher to the lower"),
                _ => return bad("a bad range"),
            }
        } else {
            match number(field, range) {
                Some(_) if part.contains('/') => return bad("a step needs a range or *"),
                Some(n) => (n, n),
                None => return bad("out of range or no number"),
            }
        };
        let mut n = from;
        while n <= to {
            all |= 1 << n;
            n += step;
        }
    }
    Ok(all)
}

fn plain(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn number(field: &Field, text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let word = field.words.iter().position(|w| *w == lower).and_then(|i| u32::try_from(i).ok());
    let n = word.map(|i| i + field.low).or_else(|| plain(text));
    n.filter(|n| (field.low..=field.high).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_minute_that_is_meant() {
        for (text, from, next) in [
            ("* * * * *", "2026-11-29T10:00:00", "2026-11-29T10:00:00"),
            ("* * * * *", "2026-11-29T10:00:01", "2026-11-29T10:01:00"),
            ("*/15 * * * *", "2026-11-29T10:46:00", "2026-11-29T11:00:00"),
            ("5-50/20 9-17 * * 1-5", "2026-11-28T10:00:00", "2026-11-30T09:05:00"),
            ("0 0 1 jan *", "2026-11-29T10:00:00", "2027-01-01T00:00:00"),
            ("59 23 31 12 *", "2026-12-31T23:59:00", "2026-12-31T23:59:00"),
            ("30 4 1,15 * 5", "2026-11-29T00:00:00", "2026-12-01T04:30:00"),
            ("30 4 1,15 * FRI", "2026-12-02T00:00:00", "2026-12-04T04:30:00"),
            ("0 0 * * 7", "2026-11-29T00:00:01", "2026-12-06T00:00:00"),
            ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
            ("@weekly", "2026-11-30T00:00:00", "2026-12-06T00:00:00"),
            (" @yearly ", "2026-11-30T00:00:00", "2027-01-01T00:00:00"),
        ] {
            let cron = Cron::read(text).unwrap();
            assert_eq!(cron.next(at(from)), Some(at(next)), "{text} from {from}");
        }
        assert_eq!(Cron::read("0 0 * * 0"), Cron::read("0 0 * * 7"));
    }

    #[test]
    fn what_is_no_expression() {
        for (text, said) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("0 0 * * * *", "6 fields"),
            ("60 * * * *", "minute: out of range or no number"),
            ("* 24 * * *", "hour: out of range"),
            ("* * 0 * *", "day of the month: out of range"),
            ("* * * 13 *", "month: out of range"),
            ("* * * * 8", "day of the week: out of range"),
            ("*/0 * * * *", "minute: a bad step"),
            ("*/60 * * * *", "minute: a bad step"),
            ("*/ * * * *", "minute: a bad step"),
            ("5/10 * * * *", "minute: a step needs a range"),
            ("30-10 * * * *", "minute: a range from the higher"),
            ("1- * * * *", "minute: a bad range"),
            ("-1 * * * *", "minute: a bad range"),
            ("+1 * * * *", "minute: out of range or no number"),
            ("1,, * * * *", "minute: out of range"),
            ("* * * jann *", "month: out of range or no number"),
            ("* * * mon *", "month: out of range or no number"),
            ("0 0 30 2 *", "never comes"),
            ("0 0 31 4,6,9,11 *", "never comes"),
            ("@reboot", "no time"),
            ("@dayly", "did you mean \"@daily\"?"),
            ("99999999999999999999 * * * *", "minute: out of range"),
        ] {
            let e = Cron::read(text).unwrap_err();
            assert!(e.contains(said), "{text:?}: {e}");
        }
    }

    /// The same question answered minute by minute.
    fn slowly(cron: &Cron, text: &str, from: DateTime) -> DateTime {
        let fields: Vec<Vec<u32>> = text
            .split(' ')
            .zip(&FIELDS)
            .map(|(t, f)| (0..64).filter(|n| set(f, t).unwrap() >> n & 1 == 1).collect())
            .collect();
        let mut at = from;
        loop {
            let day = fields[2].contains(&u32::from(at.day().unsigned_abs()));
            let weekday = u32::from(at.weekday().to_sunday_zero_offset().unsigned_abs());
            let weekday = fields[4].iter().any(|n| n % 7 == weekday);
            let days = if cron.either_day { day || weekday } else { day && weekday };
            if days
                && fields[0].contains(&u32::from(at.minute().unsigned_abs()))
                && fields[1].contains(&u32::from(at.hour().unsigned_abs()))
                && fields[3].contains(&u32::from(at.month().unsigned_abs()))
            {
                return at;
            }
            at = at.checked_add(jiff::Span::new().minutes(1)).unwrap();
        }
    }

    #[test]
    fn any_expression_gives_what_looking_at_every_minute_gives() {
        let mut seed = 7u64;
        let mut chance = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        for _ in 0..300 {
            let mut one = |low: u64, high: u64| match chance(4) {
                0 => "*".to_owned(),
                1 => format!("*/{}", 1 + chance(high)),
                2 => {
                    let a = low + chance(high - low);
                    format!("{a}-{}", a + chance(high - a + 1))
                }
                _ => format!("{},{}", low + chance(high - low + 1), low + chance(high - low + 1)),
            };
            let text = [one(0, 59), one(0, 23), one(1, 28), one(1, 12), one(0, 7)].join(" ");
            let cron = Cron::read(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let from = at("2026-01-31T00:00:00")
                .checked_add(jiff::Span::new().minutes(i64::try_from(chance(525_600)).unwrap()))
                .unwrap();
            let next = cron.next(from).unwrap();
            // Far ones would take the slow way too long.
            if next.duration_since(from).as_hours() < 24 * 40 {
                assert_eq!(next, slowly(&cron, &text, from), "{text} from {from}");
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces =
            ["*", "/", "-", ",", "5", "59", "60", " ", "@", "jan", "SUN", "é", "0", "\t", "99999999999"];
        let mut seed = 3usize;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..seed % 19 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(seed >> 33) % pieces.len()]);
            }
            seed = seed.wrapping_add(1_442_695_040_888_963_407);
            Cron::read(&text).ok();
        }
    }
}
