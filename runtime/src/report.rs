//! What the caller gets to read: log records on stderr and in the `--log` file, results on stdout. One line a
//! record, one write a line, nothing formatted that will not be written. May use: `error`, `sys::fs`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result, printable};
use crate::sys::{OwnedFd, fs};
use serde::Serialize;
use std::fmt::{Display, Write as _};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Form of log records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="..." level=error msg="..."`
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged; each level includes the ones before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    #[default]
    Warning,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Debug => "debug",
        }
    }
}

/// Where and how to log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--log`; stderr when absent.
    pub file: Option<PathBuf>,
    pub format: Format,
    pub level: Level,
}

struct Sink {
    file: Option<OwnedFd>,
    format: Format,
    level: Level,
    /// When steps are wanted.
    begun: Option<Instant>,
}

static STDERR: Sink = Sink { file: None, format: Format::Text, level: Level::Warning, begun: None };
static SINK: OnceLock<Sink> = OnceLock::new();

fn sink() -> &'static Sink {
    SINK.get().unwrap_or(&STDERR)
}

/// Opens the log. Records before this call, and all after a failure of it, go to stderr as text.
///
/// # Errors
/// The file cannot be opened for appending; a fifo nobody reads is an error, not a wait.
pub fn init(options: &Options) -> Result<()> {
    let file = match &options.file {
        None => None,
        Some(path) => {
            use fs::OFlags;
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY | OFlags::NONBLOCK;
            Some(fs::open(path, flags, 0o644).map_err(|e| e.step("open the --log file"))?)
        }
    };
    // A second call keeps the first sink: there is one command line.
    let begun = (options.level >= Level::Debug).then(Instant::now);
    let _ = SINK.set(Sink { file, format: options.format, level: options.level, begun });
    Ok(())
}

/// Logs the error a command ended with. With `--log FILE` the bare message also goes to stderr, where callers
/// without access to the file look for it.
pub fn error(e: &Error) {
    let sink = sink();
    let msg = e.to_string();
    sink.put(Level::Error, &msg, Some(e));
    if sink.file.is_some() {
        to_stderr(&format!("{msg}\n"));
    }
}

/// Logs something that went wrong without stopping the command.
pub fn warn(text: impl Display) {
    log(Level::Warning, text);
}

/// Logs a step that is done, with the time since the log was opened, when `--debug` asked for steps. For the process
/// of the command alone: what it clones keeps no log open.
pub fn step(text: impl Display) {
    if let Some(begun) = sink().begun {
        log(Level::Debug, format_args!("{:.3} ms: {text}", begun.elapsed().as_secs_f64() * 1e3));
    }
}

fn log(level: Level, text: impl Display) {
    let sink = sink();
    if sink.level >= level {
        sink.put(level, &printable(&text.to_string()), None);
    }
}

impl Sink {
    fn put(&self, level: Level, msg: &str, cause: Option<&Error>) {
        let line = match self.format {
            Format::Text => text_line(&now(), level, msg),
            Format::Json => json_line(&now(), level, msg, cause),
        };
        match &self.file {
            // A log that cannot be written must not change what the command does: a full disk is reported on
            // stderr and nowhere else.
            Some(file) => {
                if let Err(e) = fs::write_all(file, line.as_bytes()) {
                    to_stderr(&format!("cannot write the log: {e}\n"));
                }
            }
            None => to_stderr(&line),
        }
    }
}

/// The record as JSON: `level`, `msg` and `time` are what callers parse, the rest is for people and tools.
#[derive(Serialize)]
struct Json<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

fn json_line(time: &str, level: Level, msg: &str, cause: Option<&Error>) -> String {
    let record = Json {
        level: level.name(),
        msg,
        time,
        code: cause.map(Error::kind),
        errno: cause.and_then(Error::errno),
        syscall: cause.and_then(Error::syscall),
        path: cause.and_then(Error::object),
        field: cause.and_then(Error::field_path),
        hint: cause.and_then(Error::hint_text),
    };
    // Strings and numbers only: serialising them cannot fail, and the text form is still better than nothing.
    match serde_json::to_string(&record) {
        Ok(mut line) => {
            line.push('\n');
            line
        }
        Err(_) => text_line(time, level, msg),
    }
}

fn text_line(time: &str, level: Level, msg: &str) -> String {
    let mut line = format!("time=\"{time}\" level={} msg=", level.name());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !msg.is_empty() && msg.chars().all(plain) {
        line.push_str(msg);
    } else {
        line.push('"');
        for c in msg.chars() {
            match c {
                '"' | '\\' => {
                    line.push('\\');
                    line.push(c);
                }
                c if c.is_control() => line.extend(c.escape_default()),
                c => line.push(c),
            }
        }
        line.push('"');
    }
    line.push('\n');
    line
}

/// stderr may be closed, full or a broken pipe: nothing depends on it.
fn to_stderr(line: &str) {
    let _ = fs::write_patiently(std::io::stderr(), line.as_bytes());
}

/// Writes a result to stdout.
///
/// # Errors
/// A result that did not arrive is a failure of the command (`/dev/full`, a closed pipe).
pub fn print(text: &str) -> Result<()> {
    fs::write_patiently(std::io::stdout(), text.as_bytes()).map_err(|e| e.step("write to stdout"))
}

/// The current time, UTC, RFC 3339 with nanoseconds.
pub fn now() -> String {
    let t = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(t.as_secs(), t.subsec_nanos())
}

/// Seconds since 1970 as RFC 3339, UTC. Trailing zeros of the fraction are dropped, as Go's RFC3339Nano does.
pub fn rfc3339(secs: u64, nanos: u32) -> String {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days to date by counting from 0000-03-01, so that the leap day ends a year.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let mut out =
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    if nanos != 0 {
        let _ = write!(out, ".{nanos:09}");
        out.truncate(out.trim_end_matches('0').len());
    }
    out.push('Z');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (secs, nanos, want) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 0, "2000-02-28T23:59:59Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (951_868_800, 1, "2000-03-01T00:00:00.000000001Z"),
            (1_078_012_800, 500_000_000, "2004-02-29T00:00:00.5Z"),
            (1_795_251_949, 217_507_212, "2026-11-21T09:05:49.217507212Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
            (4_102_444_799, 0, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(secs, nanos), want);
        }
    }

    #[test]
    fn text_is_quoted_like_logrus() {
        assert_eq!(text_line("T", Level::Error, "word"), "time=\"T\" level=error msg=word\n");
        assert_eq!(
            text_line("T", Level::Warning, "unknown signal \"FOO\"\n"),
            "time=\"T\" level=warning msg=\"unknown signal \\\"FOO\\\"\\n\"\n"
        );
    }

    #[test]
    fn json_has_the_keys_callers_parse_and_the_facts() {
        let e = Error::os("openat2", "3, \"x\"", 2).path("x").field("/root/path").hint("make it");
        let line = json_line("T", Level::Error, &e.to_string(), Some(&e));
        let v: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(v["level"], "error");
        assert_eq!(v["msg"], e.to_string());
        assert_eq!(v["time"], "T");
        assert_eq!(v["code"], "os");
        assert_eq!(v["errno"], 2);
        assert_eq!(v["syscall"], "openat2");
        assert_eq!(v["path"], "x");
        assert_eq!(v["field"], "/root/path");
        assert_eq!(v["hint"], "make it");
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn absent_facts_are_absent_keys() {
        let line = json_line("T", Level::Warning, "m", None);
        assert_eq!(line, "{\"level\":\"warning\",\"msg\":\"m\",\"time\":\"T\"}\n");
    }
}
