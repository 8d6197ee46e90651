//! System calls of one run, counted and timed by strace.
//! Starts strace and reads what it wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::call;

/// Longer than this, on an idle machine, is a wait for something and not work.
const SLOW: f64 = 0.003;

/// Calls whose purpose is to wait for another process (opening a fifo too); how long they take says nothing.
const WAITS: &[&str] = &[
    "accept",
    "accept4",
    "clock_nanosleep",
    "connect",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "flock",
    "futex",
    "nanosleep",
    "openat",
    "pause",
    "poll",
    "ppoll",
    "pselect6",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "restart_syscall",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "select",
    "vfork",
    "wait4",
    "waitid",
];

/// Calls that make a process or a thread.
const MAKES: &[&str] = &["clone", "clone3", "fork", "vfork"];
/// Calls that put another program in the place of this one.
const STARTS: &[&str] = &["execve", "execveat"];

/// What one traced run did.
#[derive(Debug)]
pub struct Traced {
    /// System calls of all its processes.
    pub calls: usize,
    /// Processes and threads that it made.
    pub forks: usize,
    /// Programs that it started, itself included.
    pub programs: usize,
    /// Slow calls by name.
    pub slow: BTreeMap<String, usize>,
}

/// Runs a command under strace; all processes it starts are followed.
pub fn trace(command: &Command, dir: &Path) -> Result<Traced> {
    let file = dir.join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-T", "-o"]).arg(&file).arg(command.get_program()).args(command.get_args());
    call::call(&mut strace, &dir.join("words")).context("under strace")?;
    Ok(read(&fs::read_to_string(&file).context("trace")?))
}

/// A command under strace whose process of the container stays when it ends, and is traced until then.
pub struct Traces {
    strace: Child,
    file: PathBuf,
}

impl Traces {
    /// Begins it and waits until the command itself, the first process, has ended.
    pub fn of(command: &Command, dir: &Path) -> Result<Traces> {
        let file = dir.join("trace-create");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-T", "-o"]).arg(&file).arg(command.get_program()).args(command.get_args());
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let traces = Traces { strace: strace.spawn().context("strace")?, file };
        let end = Instant::now() + call::LIMIT;
        while own_part(&fs::read_to_string(&traces.file).unwrap_or_default()).is_none() {
            ensure!(Instant::now() < end, "did not end within {} s under strace", call::LIMIT.as_secs());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(traces)
    }

    /// What happened until the command ended. To be called when the container has ended.
    pub fn collect(self) -> Result<Traced> {
        call::collect(self.strace.id())?;
        let text = fs::read_to_string(&self.file).context("trace")?;
        Ok(read(own_part(&text).context("the trace has lost its end")?))
    }
}

/// The lines up to the end of the process that the first one is of.
fn own_part(text: &str) -> Option<&str> {
    let first = text.split_whitespace().next()?;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let mut words = line.split_whitespace();
        if words.next() == Some(first) && words.next() == Some("+++") {
            return Some(&text[..at]);
        }
    }
    None
}

fn read(text: &str) -> Traced {
    let mut traced = Traced { calls: 0, forks: 0, programs: 0, slow: BTreeMap::new() };
    for line in text.lines() {
        let Some((name, whole)) = name(line) else { continue };
        traced.calls += usize::from(whole);
        if succeeded(line) {
            traced.forks += usize::from(MAKES.contains(&name));
            traced.programs += usize::from(STARTS.contains(&name));
        }
        let took =
            line.rsplit_once('<').and_then(|(_, t)| t.strip_suffix('>')).and_then(|t| t.parse::<f64>().ok());
        if took.is_some_and(|t| t > SLOW) && !WAITS.contains(&name) {
            *traced.slow.entry(name.to_owned()).or_default() += 1;
        }
    }
    traced
}

/// Whether a line tells the result of a call, and that it is not an error.
fn succeeded(line: &str) -> bool {
    let result = line.rsplit_once(" = ").map_or("", |(_, r)| r);
    result.starts_with(|c: char| c.is_ascii_digit())
}

/// The call of a line such as `123 read(3, ...) = 0 <0.01>`, and whether this is the line that counts it: a call that
/// was interrupted has a second line, `<... read resumed>`.
fn name(line: &str) -> Option<(&str, bool)> {
    let text = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    if let Some(rest) = text.strip_prefix("<... ") {
        return rest.split_once(" resumed").map(|(name, _)| (name, false));
    }
    let (name, _) = text.split_once('(')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, true))
}

/// Of several runs the one with the fewest slow calls: one that is slow each time is slow by itself, one that is slow
/// once met another process.
pub fn quietest(all: Vec<Traced>) -> Option<Traced> {
    let middle = |of: fn(&Traced) -> usize| {
        let mut counts: Vec<usize> = all.iter().map(of).collect();
        counts.sort_unstable();
        counts.get(counts.len() / 2).copied()
    };
    let (calls, forks, programs) = (middle(|t| t.calls)?, middle(|t| t.forks)?, middle(|t| t.programs)?);
    let quiet = all.into_iter().min_by_key(|t| t.slow.values().sum::<usize>())?;
    Some(Traced { calls, forks, programs, ..quiet })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_call_once_and_finds_the_slow_ones() {
        let traced = read(
            "1 openat(AT_FDCWD, \"/a(b\", O_RDONLY) = 3 <0.000010>\n\
             1 read(3,  <unfinished ...>\n\
             2 write(4, \"1\", 1 <unfinished ...>\n\
             1 <... read resumed>\"x\", 1) = 1 <0.500000>\n\
             2 <... write resumed>) = 1 <0.009000>\n\
             2 +++ exited with 0 +++\n\
             1 --- SIGCHLD {si_signo=SIGCHLD} ---\n\
             1 clone3({flags=0}, 88 <unfinished ...>\n\
             1 <... clone3 resumed> => {pidfd=[3]}, 88) = 7 <0.000100>\n\
             7 execve(\"/a = b\", [\"a\"], 0x0) = 0 <0.000100>\n\
             7 execve(\"/gone\", [\"a\"], 0x0) = -1 ENOENT (No such file or directory) <0.000100>\n",
        );
        assert_eq!((traced.calls, traced.forks, traced.programs), (6, 1, 1));
        assert_eq!(traced.slow, BTreeMap::from([("write".to_owned(), 1)]));
    }

    #[test]
    fn the_commands_own_part_ends_with_it() {
        let text =
            "1 read(3) = 0 <0.1>\n2 read(3) = 0 <0.1>\n1 +++ exited with 0 +++\n2 write(3) = 0 <0.1>\n";
        assert_eq!(read(own_part(text).unwrap()).calls, 2);
        assert!(own_part("1 read(3) = 0\n2 +++ exited with 0 +++\n").is_none());
    }

    #[test]
    fn takes_the_quietest_run_and_the_median_count() {
        let run = |calls, slow: usize| Traced {
            calls,
            forks: 1,
            programs: 2,
            slow: BTreeMap::from([("mount".to_owned(), slow)]),
        };
        let best = quietest(vec![run(10, 2), run(30, 0), run(20, 1)]).unwrap();
        assert_eq!((best.calls, best.slow["mount"]), (20, 0));
        assert!(quietest(Vec::new()).is_none());
    }
}
