//! A time line of one command, for `--trace FILE`: steps of the parent and of the process that it makes, in the trace event
//! format of Chrome, which chrome://tracing and Perfetto show. Off, a step is one look at a static; on, it is one look at a
//! clock and three words in memory that both processes share, made before the clone, so that nothing is allocated, sent or
//! written on the way. May use: `sys::shared`, `sys::fs`, `error`.
#![forbid(unsafe_code)]

use crate::error::Result;
use crate::sys::{OwnedFd, fs, process, shared};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Defines the steps and their names in the picture.
macro_rules! steps {
    ($($step:ident $name:literal,)*) => {
        /// A step that is done. The names are what the picture shows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $(#[doc = $name] $step,)* }
        const NAMES: &[&str] = &[$($name,)*];
    };
}

steps! {
    Begin "begin",
    Load "read and check config.json",
    Plan "look at the host and plan",
    Open "open the root and /proc",
    Record "reserve the id and write the record",
    Group "make the cgroup",
    Sources "open mount sources",
    Clone "clone",
    Prepare "id maps and limits from outside",
    RootBuilt "wait for the root",
    RuntimeHooks "prestart and createRuntime hooks",
    Confined "wait for confinement",
    Created "write the record of the created container",
    Go "start the program and wait for its execve",
    Ended "wait for the end of the program",
    Processes "see that no process is left",
    GroupGone "remove the cgroup",
    RecordGone "remove the record",
    Look "read the record and the configuration",
    Strangers "close descriptors",
    Held "wait for id maps and limits",
    Namespaces "session, loopback, names",
    RootAttached "attach the root",
    Mounted "mount",
    Devices "device nodes and links",
    Hooked "wait for hooks outside",
    ContainerHooks "createContainer hooks and sysctls",
    Masks "read-only and masked paths",
    Pivot "pivot_root",
    Terminal "terminal",
    Joined "enter the namespaces",
    Identity "labels, keyring, ids, capabilities",
    Program "find the program",
    Started "wait for the start",
    Limits "limits and signals",
    Filter "install the filter",
}

/// A step takes three words: what it was, when it began, when it ended. The last is written last.
const WORDS: usize = 3;
/// More steps than a container with 400 mounts has.
const STEPS: usize = 512;

/// Who did a step: the command, or the process that it made.
static LANE: AtomicU64 = AtomicU64::new(COMMAND);
const COMMAND: u64 = 1;
const CHILD: u64 = 2;
/// When this process ended its last step, in nanoseconds.
static LAST: AtomicU64 = AtomicU64::new(0);
static TAPE: OnceLock<Tape> = OnceLock::new();

struct Tape {
    /// The number of steps so far, then the steps.
    words: &'static [AtomicU64],
    file: OwnedFd,
}

/// Opens the file, and from now on steps are kept.
///
/// # Errors
/// The file cannot be opened for writing, or no memory is left.
pub fn init(path: Option<&Path>) -> Result<()> {
    use fs::OFlags;
    let Some(path) = path else { return Ok(()) };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = fs::open(path, flags, 0o644).map_err(|e| e.step("open the --trace file"))?;
    let words = shared::words(1 + WORDS * STEPS)?;
    LAST.store(shared::monotonic_ns(), Ordering::Relaxed);
    // A second call keeps the first file: there is one command line.
    let _ = TAPE.set(Tape { words, file });
    Ok(())
}

/// Called first in a process that was cloned: its steps get a line of their own.
pub fn enter_child() {
    if TAPE.get().is_some() {
        LANE.store(CHILD, Ordering::Relaxed);
        LAST.store(shared::monotonic_ns(), Ordering::Relaxed);
    }
}

/// This step is done. It began where the one before it in this process ended.
pub fn step(step: Step) {
    if let Some(tape) = TAPE.get() {
        tape.put(step);
    }
}

impl Tape {
    fn put(&self, step: Step) {
        let now = shared::monotonic_ns();
        let began = LAST.swap(now, Ordering::Relaxed);
        let Some((count, steps)) = self.words.split_first() else { return };
        let n = count.fetch_add(1, Ordering::Relaxed) as usize;
        let Some([what, from, to]) = steps.get(n * WORDS..(n + 1) * WORDS) else { return };
        what.store(LANE.load(Ordering::Relaxed) << 8 | step as u64, Ordering::Relaxed);
        from.store(began, Ordering::Relaxed);
        to.store(now, Ordering::Release);
    }

    /// All steps in the trace event format: complete events, whose times are in microseconds.
    fn text(&self, command: i32) -> String {
        let count = self.words.first().map_or(0, |n| n.load(Ordering::Relaxed) as usize);
        let mut out = String::from("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
        for (lane, name) in [(COMMAND, "knarr"), (CHILD, "container")] {
            let _ = write!(
                out,
                "\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":{command},\"tid\":{lane},\"args\":{{\"name\":\"{name}\"}}}},"
            );
        }
        for step in self.words.get(1..).unwrap_or_default().chunks_exact(WORDS).take(count) {
            let [what, from, to] = [0, 1, 2].map(|i: usize| step[i].load(Ordering::Acquire));
            // Begun by a process that has not ended it, or will never.
            if to == 0 {
                continue;
            }
            let name = NAMES.get((what & 0xff) as usize).copied().unwrap_or("?");
            let took = to.saturating_sub(from);
            let _ = write!(
                out,
                "\n{{\"name\":\"{name}\",\"ph\":\"X\",\"ts\":{}.{:03},\"dur\":{}.{:03},\"pid\":{command},\"tid\":{}}},",
                from / 1000,
                from % 1000,
                took / 1000,
                took % 1000,
                what >> 8
            );
        }
        // The last comma.
        out.pop();
        let lost = count.saturating_sub(STEPS);
        let _ = writeln!(out, "\n],\"otherData\":{{\"stepsLost\":{lost}}}}}");
        out
    }
}

/// Writes what was kept, when something was. Called once, at the end of the command.
///
/// # Errors
/// The file cannot be written.
pub fn write() -> Result<()> {
    let Some(tape) = TAPE.get() else { return Ok(()) };
    fs::write_all(&tape.file, tape.text(process::getpid()).as_bytes())
        .map_err(|e| e.step("write the --trace file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape(steps: usize) -> Tape {
        let words = shared::words(1 + WORDS * steps).unwrap();
        Tape { words, file: fs::open("/dev/null", fs::OFlags::WRONLY, 0).unwrap() }
    }

    #[test]
    fn steps_are_in_their_order_and_unfinished_ones_are_left_out() {
        let t = tape(STEPS);
        t.put(Step::Load);
        t.put(Step::Plan);
        // Somebody was killed between the first and the last word.
        t.words[0].fetch_add(1, Ordering::Relaxed);
        t.put(Step::Clone);
        let v: serde_json::Value = serde_json::from_str(&t.text(7)).unwrap();
        let events = v["traceEvents"].as_array().unwrap();
        let names: Vec<&str> =
            events.iter().filter(|e| e["ph"] == "X").map(|e| e["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["read and check config.json", "look at the host and plan", "clone"]);
        assert_eq!(v["otherData"]["stepsLost"], 0);
        assert!(events.iter().all(|e| e["pid"] == 7));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let t = tape(STEPS);
        (0..STEPS + 3).for_each(|_| t.put(Step::Mounted));
        let v: serde_json::Value = serde_json::from_str(&t.text(7)).unwrap();
        assert_eq!(v["traceEvents"].as_array().unwrap().len(), STEPS + 2);
        assert_eq!(v["otherData"]["stepsLost"], 3);
    }
}
