//! Text made by hand: time stamps, and the exit record as JSON. Pure; what is read back by a JSON library elsewhere is
//! written here without one, so that a keeper stays small.
#![forbid(unsafe_code)]

use std::io::Write;
use std::time::Duration;

use super::record::{Memory, VERSION};

/// The length of a stamp, `2026-11-21T12:00:00.123456789Z`.
pub const STAMP: usize = 30;

/// The UTC time of so many nanoseconds since 1970, as RFC 3339 has it, always with nine digits.
pub fn stamp(nanos: u64) -> [u8; STAMP] {
    let (seconds, mut nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, second) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = civil(days);
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let fields = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
    ];
    for (at, width, mut value) in fields {
        for digit in out[at..at + width].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    for digit in out[20..29].iter_mut().rev() {
        *digit = b'0' + (nanos % 10) as u8;
        nanos /= 10;
    }
    out
}

/// Year, month and day of a day since 1970: counts in eras of 400 years that begin with March, so that a leap day is the
/// last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<'a> {
    /// Its first process returned this.
    Exited(u8),
    /// It was killed by this signal, and left a core dump.
    Signaled(i32, bool),
    /// The runtime could not make it: its code, the last line of its standard error in any bytes.
    CreateFailed(Option<i32>, &'a [u8]),
}

/// What goes into the record; see [`super::record::ExitRecord`].
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Whose end.
    pub run: &'a str,
    /// The boot's id.
    pub boot_id: &'a str,
    /// How it ended.
    pub end: End<'a>,
    /// The first process, 0 = none.
    pub pid: u32,
    /// `CLOCK_BOOTTIME` of the creation.
    pub started: Duration,
    /// The same of the end.
    pub ended: Duration,
    /// The wall clock of the end, nanoseconds since 1970.
    pub ended_wall: u64,
    /// What the cgroup said.
    pub memory: &'a Memory,
    /// Bytes of output that were dropped.
    pub log_dropped: u64,
}

/// Writes the record into `out`, in the place of what is there; no longer than 6 times the text plus 1 KiB.
pub fn record(out: &mut Vec<u8>, facts: &Facts<'_>) {
    // Writing to a vector cannot fail.
    let _ = try_record(out, facts);
}

fn try_record(out: &mut Vec<u8>, f: &Facts<'_>) -> std::io::Result<()> {
    out.clear();
    write!(out, "{{\"version\":{VERSION},\"run\":")?;
    string(out, f.run.as_bytes())?;
    write!(out, ",\"boot_id\":")?;
    string(out, f.boot_id.as_bytes())?;
    write!(out, ",\"end\":")?;
    match f.end {
        End::Exited(code) => write!(out, "{{\"how\":\"exited\",\"code\":{code}}}")?,
        End::Signaled(signal, core) => {
            write!(out, "{{\"how\":\"signaled\",\"signal\":{signal},\"core\":{core}}}")?;
        }
        End::CreateFailed(code, text) => {
            write!(out, "{{\"how\":\"create-failed\",\"code\":")?;
            match code {
                Some(code) => write!(out, "{code}")?,
                None => write!(out, "null")?,
            }
            write!(out, ",\"text\":")?;
            string(out, text)?;
            write!(out, "}}")?;
        }
    }
    write!(out, ",\"pid\":{}", f.pid)?;
    for (name, at) in [("started", f.started), ("ended", f.ended)] {
        write!(out, ",\"{name}\":{{\"secs\":{},\"nanos\":{}}}", at.as_secs(), at.subsec_nanos())?;
    }
    write!(out, ",\"ended_wall\":\"")?;
    out.write_all(&stamp(f.ended_wall))?;
    write!(out, "\",\"memory\":{{")?;
    for (i, (name, figure)) in f.memory.figures().into_iter().enumerate() {
        write!(out, "{}\"{name}\":", if i == 0 { "" } else { "," })?;
        match figure {
            Some(n) => write!(out, "{n}")?,
            None => write!(out, "null")?,
        }
    }
    write!(out, "}},\"log_dropped\":{}}}", f.log_dropped)
}

/// A JSON string of any bytes: what is no UTF-8 becomes U+FFFD, quotes and control characters are escaped (RFC 8259, 7).
fn string(out: &mut Vec<u8>, bytes: &[u8]) -> std::io::Result<()> {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for &b in chunk.valid().as_bytes() {
            match b {
                b'"' | b'\\' => out.extend([b'\\', b]),
                0..0x20 | 0x7f => write!(out, "\\u{b:04x}")?,
                _ => out.push(b),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::record::{self, ExitRecord};
    use super::*;
    use crate::clock::Boot;

    #[test]
    fn stamps_are_those_of_a_date_library() {
        let day = 86_400_000_000_000u64;
        let mut all =
            vec![0, 1, 999_999_999, day - 1, day, 951_782_400_000_000_000, 1_700_000_000_123_456_789];
        // Every day of more than 400 years begins where the library says.
        all.extend((0..150_000).map(|n| n * day));
        for nanos in all {
            let text = String::from_utf8(stamp(nanos).to_vec()).unwrap();
            let want = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap();
            assert_eq!(text, format!("{want:.9}"));
        }
    }

    fn facts<'a>(end: End<'a>, memory: &'a Memory) -> Facts<'a> {
        Facts {
            run: "web.1.17",
            boot_id: "6f5c2e0e-7a3f-4f6e-9d0b-0d6a0a1a7c11",
            end,
            pid: 4711,
            started: Duration::new(12, 345),
            ended: Duration::new(99, 999_999_999),
            ended_wall: 1_700_000_000_123_456_789,
            memory,
            log_dropped: 7,
        }
    }

    #[test]
    fn the_record_is_what_the_reader_reads() {
        let memory = Memory {
            oom_kills: Some(1),
            peak: Some(u64::MAX),
            limit: Some(0),
            max: Some(7),
            stalled: Some(u64::MAX),
            ..Memory::default()
        };
        let bad = b"a \"quoted\" \\ line\x00\x1b[31m\x7f\t\xff\xc3 \xe2\x82\xac \xf0\x9f".as_slice();
        let cases = [
            (End::Exited(3), record::End::Exited { code: 3 }),
            (End::Signaled(9, true), record::End::Signaled { signal: 9, core: true }),
            (
                End::CreateFailed(None, bad),
                record::End::CreateFailed { code: None, text: String::from_utf8_lossy(bad).into_owned() },
            ),
            (
                End::CreateFailed(Some(-1), b""),
                record::End::CreateFailed { code: Some(-1), text: String::new() },
            ),
        ];
        for (end, want) in cases {
            let mut out = b"what was before".to_vec();
            record(&mut out, &facts(end, &memory));
            let read: ExitRecord = serde_json::from_slice(&out).unwrap();
            let want = ExitRecord {
                version: VERSION,
                run: "web.1.17".parse().unwrap(),
                boot_id: "6f5c2e0e-7a3f-4f6e-9d0b-0d6a0a1a7c11".into(),
                end: want,
                pid: 4711,
                started: Boot(Duration::new(12, 345)),
                ended: Boot(Duration::new(99, 999_999_999)),
                ended_wall: "2023-11-14T22:13:20.123456789Z".parse().unwrap(),
                memory: memory.clone().into(),
                log_dropped: 7,
                victim: None,
            };
            assert_eq!(read, want);
            // And the other way: a JSON library would have written the same value.
            let back: serde_json::Value = serde_json::to_value(&want).unwrap();
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), back);
        }
    }
}
