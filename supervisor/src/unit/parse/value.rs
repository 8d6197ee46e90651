//! Human units of service files, from text and back: sizes, times, signals, modes, processor lists. Pure.

use std::time::Duration;

use crate::unit::service::Signal;

/// Suffixes of sizes; all of them powers of 1024, as Docker and systemd read them.
const SIZES: [(&str, u32); 9] = [
    ("KiB", 10),
    ("MiB", 20),
    ("GiB", 30),
    ("TiB", 40),
    ("k", 10),
    ("m", 20),
    ("g", 30),
    ("t", 40),
    ("b", 0),
];

/// `64MiB`, `64M`, `512k`, `4096`: bytes.
pub(in crate::unit) fn size(text: &str) -> Result<u64, String> {
    let want = "want bytes as a number or with KiB, MiB, GiB or TiB, such as \"64MiB\"";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() {
        return Err(format!("not a size, got {text:?}, {want}"));
    }
    let shift = match SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, shift)) => *shift,
        None if unit.is_empty() => 0,
        None => return Err(format!("unknown unit {unit:?} of a size, got {text:?}, {want}")),
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| format!("too large a size, got {text:?}, want less than 16 EiB"))
}

/// The shortest exact spelling: `64MiB`, or the number.
pub(in crate::unit) fn size_text(bytes: u64) -> String {
    for (unit, shift) in SIZES[..4].iter().rev() {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Units of times, longest first, in milliseconds.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// `10s`, `1m30s`, `500ms`: units from the longest to the shortest, each once.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let want = "want a time such as \"10s\", \"1m30s\" or \"500ms\"";
    let bad = |what: &str| Err(format!("{what}, got {text:?}, {want}"));
    let mut rest = text;
    let mut units = TIMES.iter();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return bad("not a time");
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() {
            return bad("not a time");
        }
        if unit.is_empty() {
            return bad("a time without a unit");
        }
        if !TIMES.iter().any(|(name, _)| *name == unit) {
            return bad(&format!("unknown unit {unit:?} of a time"));
        }
        let Some((_, millis)) = units.find(|(name, _)| *name == unit) else {
            return bad("units of a time not from the longest to the shortest");
        };
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*millis));
        match part.and_then(|p| total.checked_add(p)) {
            Some(sum) => total = sum,
            None => return bad("too long a time"),
        }
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// The spelling that [`duration`] reads; parts of a millisecond are not shown.
pub(in crate::unit) fn duration_text(d: Duration) -> String {
    let mut rest = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in TIMES {
        if rest >= millis {
            text.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Signals by number from 1, as Linux numbers them on x86_64 and aarch64 (signal(7)).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first real-time signal that the C libraries leave to programs, and the last one.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal of this number.
pub(in crate::unit) fn signal_number(number: i64) -> Result<Signal, String> {
    let number = i32::try_from(number).ok().filter(|n| (1..=RTMAX).contains(n));
    let number = number.ok_or("no such signal, want 1 to 64")?;
    let plain = usize::try_from(number - 1).ok().and_then(|i| SIGNALS.get(i)).map(|s| (*s).to_owned());
    let name = plain.unwrap_or_else(|| match number {
        RTMIN => "RTMIN".into(),
        RTMAX => "RTMAX".into(),
        n if n > RTMIN => format!("RTMIN+{}", n - RTMIN),
        n => n.to_string(),
    });
    Ok(Signal { number, name })
}

/// `TERM`, `SIGTERM`, `15`, `RTMIN+3`, `RTMAX-1`, in any case of letters.
pub(crate) fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |s: &str| s.parse::<i32>().ok().filter(|n| (0..=RTMAX - RTMIN).contains(n));
    let number = if let Ok(n) = upper.parse::<i32>() {
        Some(n)
    } else if let Some(i) = SIGNALS.iter().position(|s| *s == name) {
        i32::try_from(i + 1).ok()
    } else {
        match name {
            "CLD" => Some(17),
            "POLL" => Some(29),
            "IOT" => Some(6),
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(RTMAX),
            _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
                (Some(n), _) => offset(n).map(|n| RTMIN + n),
                (_, Some(n)) => offset(n).map(|n| RTMAX - n),
                _ => None,
            },
        }
    };
    number.and_then(|n| signal_number(n.into()).ok()).ok_or_else(|| {
        let near = nearest(name, SIGNALS).map_or(String::new(), |n| format!("; did you mean {n:?}?"));
        format!("no such signal, got {text:?}, want a name such as \"TERM\" or \"RTMIN+3\", or 1 to 64{near}")
    })
}

/// Permission bits as `chmod` takes them, `0400`.
pub(in crate::unit) fn mode(text: &str) -> Result<u32, String> {
    let octal = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let bits = u32::from_str_radix(text, 8).ok().filter(|m| octal && *m <= 0o777);
    bits.ok_or_else(|| format!("not a mode, got {text:?}, want octal digits from \"0000\" to \"0777\""))
}

/// Processors as the kernel lists them: `0-3,6` (cpuset(7), List format without strides).
pub(in crate::unit) fn cpuset(text: &str) -> Result<(), String> {
    let number =
        |s: &str| s.parse::<u32>().ok().filter(|n| *n < 8192 && s.bytes().all(|b| b.is_ascii_digit()));
    let good = text.split(',').all(|part| match part.split_once('-') {
        Some((a, b)) => matches!((number(a), number(b)), (Some(a), Some(b)) if a <= b),
        None => number(part).is_some(),
    });
    if good { Ok(()) } else { Err(format!("not a list of processors, got {text:?}, want such as \"0-3,6\"")) }
}

/// A decimal number of processors in thousandths: `1.5` = 1500.
pub(in crate::unit) fn millis(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || part.len() > 3 || !digits(whole) || !digits(part) {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part)
}

/// The one of `known` that somebody who wrote `word` may have meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A word of outside may be a whole file long, and the distance costs its length times each known word's.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::osa_distance(&lower, &k.to_ascii_lowercase()), k))
        .filter(|(d, k)| *d <= 1 + k.len().min(word.len()) / 4)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_back() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64M", 64 << 20),
            ("64m", 64 << 20),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }
        for text in ["", "M", "-1", "1.5G", "64MB", "1e3", "99999999999999999999", "17179869184GiB", "1 2"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_come_back() {
        for (text, ms) in
            [("0s", 0), ("10s", 10_000), ("1m30s", 90_000), ("500ms", 500), ("1d2h3m4s5ms", 93_784_005)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(duration_text(Duration::from_millis(ms)), text);
        }
        for text in ["", "10", "s", "10x", "10s1m", "1s1s", "-1s", "1.5s", "99999999999999999999d", "1 s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number, name) in [
            ("TERM", 15, "TERM"),
            ("SIGTERM", 15, "TERM"),
            ("sigusr1", 10, "USR1"),
            ("9", 9, "KILL"),
            ("RTMIN", 34, "RTMIN"),
            ("RTMIN+3", 37, "RTMIN+3"),
            ("SIGRTMAX-1", 63, "RTMIN+29"),
            ("64", 64, "RTMAX"),
            ("32", 32, "32"),
        ] {
            assert_eq!(signal(text), Ok(Signal { number, name: name.into() }));
        }
        for text in ["", "SIG", "0", "65", "-9", "TREM", "RTMIN+31", "RTMIN-1", "RTMAX+1"] {
            assert!(signal(text).is_err(), "{text}");
        }
        assert!(signal("TREM").unwrap_err().contains("did you mean \"TERM\""));
    }

    #[test]
    fn processors() {
        assert_eq!(
            [millis("1.5"), millis("2"), millis("0.25"), millis("1.")],
            [1500, 2000, 250, 1000].map(Some)
        );
        for text in ["", ".5", "1.5555", "-1", "1e1", "x", "1.5.1", "99999999999999999999"] {
            assert_eq!(millis(text), None, "{text}");
        }
        for text in ["0", "0-3,6", "1,2,3"] {
            assert_eq!(cpuset(text), Ok(()));
        }
        for text in ["", "3-1", "a", "1-", ",", "0-99999", "+1"] {
            assert!(cpuset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!([mode("0400"), mode("644"), mode("0")], [Ok(0o400), Ok(0o644), Ok(0)]);
        for text in ["", "0800", "4755", "-1", "+644", "00400"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
