//! Values of options that have a grammar of their own: users, signals, numbers, sub-cgroups. Text in, typed
//! data or one sentence out; touches nothing.

use crate::error::{Code, Error, Result, quoted};
use std::time::Duration;

/// The largest uid and gid a command line may name: what runc takes. Larger numbers are where programs that
/// keep ids in signed integers go wrong.
const MAX_ID: u64 = (1 << 31) - 1;

/// A user of `exec --user`, always by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecUser {
    pub uid: u32,
    /// Absent: the group of the container's process.
    pub gid: Option<u32>,
}

/// A sub-cgroup of `exec --cgroup [CONTROLLER,..:]PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubCgroup {
    /// v1 controllers the path is for; empty means every hierarchy.
    pub controllers: Vec<String>,
    /// Relative to the container's own group; `/` means exactly that group.
    pub path: String,
}

pub(super) fn usage(text: impl Into<String>) -> Error {
    Error::new(Code::Usage, text)
}

/// Decimal digits only: no sign, blank, prefix or leading zero, so that every reader sees the same number.
fn digits(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    if text.is_empty() || !canonical || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A uid or gid in decimal.
///
/// # Errors
/// Anything else, naming `flag` and the range.
pub fn id(flag: &str, text: &str) -> Result<u32> {
    match digits(text) {
        Some(n) if n <= MAX_ID => Ok(n as u32),
        _ => Err(usage(format!(
            "--{flag}: invalid id, got {}, want a number from 0 to {MAX_ID}",
            quoted(text)
        ))),
    }
}

/// `UID` or `UID:GID`, numbers only: a name would have to be looked up in a file of the container.
pub fn exec_user(text: &str) -> Result<ExecUser> {
    let bad = || {
        usage(format!(
            "--user: invalid user, got {}, want UID or UID:GID as numbers from 0 to {MAX_ID}",
            quoted(text)
        ))
    };
    let one = |t: &str| id("user", t).map_err(|_| bad());
    match text.split_once(':') {
        None => Ok(ExecUser { uid: one(text)?, gid: None }),
        Some((uid, gid)) => Ok(ExecUser { uid: one(uid)?, gid: Some(one(gid)?) }),
    }
}

/// A count of descriptors. runc's wording for what is not a number.
pub fn count(flag: &str, text: &str) -> Result<u32> {
    // More descriptors than one process can have (fs.nr_open's ceiling) is a typing error.
    const MAX_FDS: u64 = 1 << 20;
    match digits(text) {
        Some(n) if n <= MAX_FDS => Ok(n as u32),
        _ => Err(usage(format!(
            "invalid value {} for flag -{flag}: want a number from 0 to {MAX_FDS}",
            quoted(text)
        ))),
    }
}

fn invalid(flag: &str, text: &str, want: &str) -> Error {
    usage(format!("invalid value for {flag}: got {}, want {want}", quoted(text)))
}

/// A number of 64 bits. runc's wording for what is none.
pub fn number(flag: &str, text: &str) -> Result<u64> {
    digits(text).ok_or_else(|| invalid(flag, text, &format!("a number from 0 to {}", u64::MAX)))
}

/// A number that may be negative.
pub fn signed(flag: &str, text: &str) -> Result<i64> {
    let n = match text.strip_prefix('-') {
        Some(rest) => digits(rest).and_then(|n| 0i64.checked_sub_unsigned(n)),
        None => digits(text).and_then(|n| i64::try_from(n).ok()),
    };
    n.ok_or_else(|| invalid(flag, text, "a number, or -1 for no limit"))
}

/// A block I/O weight: 10 to 1000, 0 means not set.
pub fn weight(flag: &str, text: &str) -> Result<u16> {
    match digits(text) {
        Some(n @ (0 | 10..=1000)) => Ok(n as u16),
        _ => Err(invalid(flag, text, "10 to 1000")),
    }
}

/// A size in bytes: a number, with or without a fraction, and perhaps a unit of powers of 1024 in either case (`64m`,
/// `1.5 GiB`, `512kb`); -1 means no limit.
pub fn size(flag: &str, text: &str) -> Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    bytes(text).ok_or_else(|| {
        invalid(flag, text, "bytes, a number with one of the units k, m, g, t and p, or -1 for no limit")
    })
}

fn bytes(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (value, unit) = text.split_at_checked(end)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let (letter, rest) = unit.split_at_checked(unit.len().min(1))?;
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|u| *u == letter);
    let shift = match (power, rest) {
        (Some(n), "" | "b" | "ib") => 10 * n as u32,
        (None, "") if letter == "b" => 0,
        _ => return None,
    };
    if let Some((whole, fraction)) = value.split_once('.') {
        let number = |t: &str| !t.is_empty() && t.len() <= 15 && t.bytes().all(|b| b.is_ascii_digit());
        if !number(whole) || !number(fraction) {
            return None;
        }
        let bytes = value.parse::<f64>().ok()? * (1u64 << shift) as f64;
        return (bytes < i64::MAX as f64).then_some(bytes as i64);
    }
    i64::try_from(digits(value)?).ok()?.checked_mul(1i64 << shift)
}

/// A duration as Go writes it: numbers with units, the larger first by custom only (`1m30s`, `1.5h`, `500ms`).
///
/// # Errors
/// Anything else; nothing at all, or less.
pub fn duration(flag: &str, text: &str) -> Result<Duration> {
    let bad = || invalid(flag, text, "a duration such as 500ms, 5s or 1m30s");
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0.0;
    let mut rest = body;
    while !rest.is_empty() && body != "0" {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        seconds += number.parse::<f64>().map_err(|_| bad())? * unit.1;
        rest = tail;
    }
    match Duration::try_from_secs_f64(seconds) {
        _ if body.is_empty() => Err(bad()),
        Ok(d) if !negative && !d.is_zero() => Ok(d),
        Ok(_) => Err(usage("duration interval must be greater than 0")),
        Err(_) => Err(bad()),
    }
}

/// Units of time(7) as Go names them, in seconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// The words for a boolean that Go's parser takes, and so every caller of runc may use.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// All `--cgroup` values of one command line.
///
/// # Errors
/// A path that leaves the container's group; a path without controller beside others; a controller twice.
pub fn sub_cgroups(values: &[String]) -> Result<Vec<SubCgroup>> {
    let mut seen: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    for value in values {
        let bad = |why: &str| usage(format!("invalid --cgroup argument {}: {why}", quoted(value)));
        let (controllers, path) = match value.split_once(':') {
            Some((c, p)) if !p.contains(':') => (c.split(',').collect(), p),
            Some(_) => return Err(bad("more than one colon")),
            None if values.len() > 1 => return Err(bad("missing <controller>: prefix")),
            None => (Vec::new(), value.as_str()),
        };
        for c in &controllers {
            if c.is_empty() {
                return Err(bad("empty controller name"));
            }
            if seen.contains(c) {
                return Err(bad(&format!("controller {c} given twice")));
            }
            seen.push(c);
        }
        if path.is_empty() || path.split('/').any(|part| part == "..") {
            return Err(bad(&format!(
                "bad sub cgroup path: {}, want a path below the container's",
                quoted(path)
            )));
        }
        let controllers = controllers.into_iter().map(str::to_string).collect();
        out.push(SubCgroup { controllers, path: path.to_string() });
    }
    Ok(out)
}

/// Names of signal(7) on the architectures Linux numbers alike (x86, arm, riscv, s390, ppc).
const SIGNALS: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// SIGKILL, which has rules of its own.
pub const SIGKILL: i32 = 9;
/// What `kill` sends when nothing is said.
pub const SIGTERM: i32 = 15;
/// First real-time signal that the C library leaves to programs.
const RTMIN: i32 = 34;
/// Last signal number.
const RTMAX: i32 = 64;

/// A signal by number (0 to 64, of which 0 only asks whether there is somebody), by name with or without `SIG` in any case, or as `RTMIN+n`, `RTMAX-n`.
pub fn signal(text: &str) -> Result<i32> {
    let by_number = || digits(text).filter(|n| *n <= RTMAX as u64).map(|n| n as i32);
    by_number().or_else(|| signal_by_name(text)).ok_or_else(|| {
        usage(format!("unknown signal {}", quoted(text)))
            .hint("want 0 to 64, or a name such as TERM, SIGKILL, RTMIN+3")
    })
}

fn signal_by_name(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, n)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Some(*n);
    }
    let (base, sign, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (RTMIN, '+', rest),
        (_, Some(rest)) => (RTMAX, '-', rest),
        _ => return None,
    };
    if rest.is_empty() {
        return Some(base);
    }
    let offset = digits(rest.strip_prefix(sign)?).filter(|n| *n <= (RTMAX - RTMIN) as u64)? as i32;
    Some(if sign == '+' { base + offset } else { base - offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S40 and S41 of the catalogue: the shapes that other parsers turned into uid 0.
    #[test]
    fn users() {
        let refused = [
            "",
            ":",
            "1:",
            ":1",
            "1:1:1",
            "+1",
            " 1",
            "1 ",
            "1a",
            "0x0",
            "-0",
            "-1",
            "01",
            "1:01",
            "root",
            "2147483648",
            "4294967295",
            "4294967296",
            "9223372036854775808",
            "18446744073709551616",
            "1:-1",
            "１",
        ];
        for text in refused {
            let e = exec_user(text).unwrap_err();
            assert!(e.to_string().contains("--user"), "{text}: {e}");
            assert_eq!(e.kind(), Code::Usage);
        }
        for (text, uid, gid) in [
            ("1", 1, None),
            ("0", 0, None),
            ("1:1", 1, Some(1)),
            ("0:0", 0, Some(0)),
            ("1000:5", 1000, Some(5)),
            ("2147483647", 2_147_483_647, None),
        ] {
            assert_eq!(exec_user(text).unwrap(), ExecUser { uid, gid }, "{text}");
        }
    }

    /// B108.
    #[test]
    fn signals() {
        for text in [
            "FOO",
            "65",
            "-9",
            "SIGSIGKILL",
            "9x",
            "RTMIN+40",
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN+",
            "+9",
            "",
            "SIG",
            "09",
            "4294967305",
            "RTMAX-31",
            "SIGRTMIN+-1",
        ] {
            let e = signal(text).unwrap_err();
            assert!(e.to_string().contains("unknown signal"), "{text}: {e}");
        }
        for (text, n) in [
            ("0", 0),
            ("9", 9),
            ("KILL", 9),
            ("kill", 9),
            ("SIGKILL", 9),
            ("sigkill", 9),
            ("SigTerm", 15),
            ("64", 64),
            ("1", 1),
            ("RTMIN", 34),
            ("SIGRTMIN+0", 34),
            ("rtmin+3", 37),
            ("RTMIN+30", 64),
            ("RTMAX", 64),
            ("RTMAX-30", 34),
            ("IOT", 6),
        ] {
            assert_eq!(signal(text).unwrap(), n, "{text}");
        }
    }

    #[test]
    fn counts() {
        for text in ["-1", "abc", "1000000000", "", "+1", "1.0"] {
            let e = count("preserve-fds", text).unwrap_err().to_string();
            assert!(e.contains("preserve-fds"), "{text}: {e}");
        }
        assert_eq!(count("preserve-fds", "0").unwrap(), 0);
        assert_eq!(count("preserve-fds", "17").unwrap(), 17);
    }

    #[test]
    fn sizes_and_numbers() {
        const MIB: i64 = 1 << 20;
        for (text, want) in [
            ("0", 0),
            ("-1", -1),
            ("67108864", 64 * MIB),
            ("64m", 64 * MIB),
            ("64M", 64 * MIB),
            ("64MB", 64 * MIB),
            ("64MiB", 64 * MIB),
            ("64 mb", 64 * MIB),
            ("1.5g", 1536 * MIB),
            ("0.5k", 512),
            ("7b", 7),
            ("1T", 1 << 40),
            ("1p", 1 << 50),
        ] {
            assert_eq!(size("memory", text).unwrap(), want, "{text}");
        }
        for text in [
            "",
            "-2",
            "m",
            "64x",
            "64mm",
            "64  m",
            "6 4m",
            " 64m",
            "1.m",
            ".5m",
            "1..5m",
            "+1",
            "1e3",
            "0x10",
            "64bb",
            "8192p",
            "9223372036854775808",
            "99999999999999999999",
            "64m ",
            "64MiBs",
            "bib",
            "\u{663}",
        ] {
            let e = size("memory", text).unwrap_err().to_string();
            assert!(e.contains("invalid value for memory"), "{text}: {e}");
        }
        assert_eq!(number("cpu-period", "18446744073709551615").unwrap(), u64::MAX);
        assert_eq!(signed("cpu-quota", "-1").unwrap(), -1);
        assert_eq!(signed("x", "-9223372036854775808").unwrap(), i64::MIN);
        for text in ["", "-", "--1", "x", "1x", "9223372036854775808", "1.5", "+1"] {
            assert!(signed("cpu-quota", text).is_err(), "{text}");
        }
        for text in ["", "-1", "x", "18446744073709551616", "50m"] {
            let e = number("cpu-period", text).unwrap_err().to_string();
            assert!(e.contains("invalid value for cpu-period"), "{text}: {e}");
        }
        assert_eq!((weight("w", "10").unwrap(), weight("w", "0").unwrap()), (10, 0));
        for text in ["9", "1001", "65546", "-1"] {
            assert!(weight("blkio-weight", text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("5s", 5000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("+2s", 2000),
            ("1s500ms", 1500),
        ] {
            assert_eq!(duration("interval", text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        assert_eq!(duration("interval", "3us").unwrap(), duration("interval", "3\u{b5}s").unwrap());
        for text in ["", "5", "s", "-", "5x", "5 s", "1..5s", "1e9s", "5sx", "x5s", ".s"] {
            let e = duration("interval", text).unwrap_err().to_string();
            assert!(e.contains("invalid value for interval"), "{text}: {e}");
        }
        for text in ["0", "0s", "-1s", "-0"] {
            let e = duration("interval", text).unwrap_err().to_string();
            assert!(e.contains("must be greater than 0"), "{text}: {e}");
        }
    }

    #[test]
    fn sub_cgroup_paths() {
        let strings = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        for (values, want) in [
            (vec!["../x"], "bad sub cgroup path"),
            (vec!["a/../../x"], "bad sub cgroup path"),
            (vec!["memory:.."], "bad sub cgroup path"),
            (vec![""], "bad sub cgroup path"),
            (vec!["a", "b"], "missing <controller>"),
            (vec!["memory:a", "memory,cpu:b"], "given twice"),
            (vec!["a:b:c"], "more than one colon"),
            (vec![":b"], "empty controller"),
        ] {
            let e = sub_cgroups(&strings(&values)).unwrap_err().to_string();
            assert!(e.contains(want) && e.contains("--cgroup"), "{values:?}: {e}");
        }
        let ok = sub_cgroups(&strings(&["memory,cpu:a", "pids:/b"])).unwrap();
        assert_eq!(ok[0].controllers, ["memory", "cpu"]);
        assert_eq!(ok[1].path, "/b");
        assert_eq!(sub_cgroups(&strings(&["/"])).unwrap()[0].controllers.len(), 0);
    }
}
