//! Hooks (config.md, "POSIX-platform Hooks"): programs that get the container's state on stdin, exactly the
//! environment of the config, and a time limit. May use: `sys`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result, errno_text, printable, quoted};
use crate::interrupt;
use crate::spec::{Hook, annotations};
use crate::sys::poll::{self, Interest};
use crate::sys::process::{self, Child, Exit, sig};
use crate::sys::spawn::Program;
use crate::sys::{BorrowedFd, OwnedFd, errno, fs};
use serde::Serialize;
use std::collections::BTreeMap;
use std::mem::take;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much of a hook's stderr is kept, in bytes: its end is what explains a failure.
const KEEP_STDERR: usize = 4096;
/// What a pipe holds unless told otherwise, in bytes (pipe(7)).
const PIPE_SIZE: usize = 64 * 1024;

/// runtime.md, "State": what a hook reads on stdin.
#[derive(Debug, Clone, Serialize)]
pub struct State<'a> {
    #[serde(rename = "ociVersion")]
    pub oci_version: &'a str,
    pub id: &'a str,
    pub status: &'a str,
    pub pid: i32,
    pub bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
}

/// Runs all hooks of one kind in order and stops at the first that fails.
///
/// # Errors
/// Names kind, index, cause and the last line of stderr.
pub fn run(kind: &str, hooks: &[Hook], state: &State<'_>) -> Result<()> {
    for (i, hook) in hooks.iter().enumerate() {
        run_one(hook, state).map_err(|e| {
            Error::new(Code::Hook, format!("error running {kind} hook #{i}: {e}"))
                .field(format!("/hooks/{kind}/{i}"))
        })?;
    }
    Ok(())
}

/// As [`run`], but a failure does not stop the rest (runtime.md: poststop hooks). Gives all failures.
pub fn run_all(kind: &str, hooks: &[Hook], state: &State<'_>) -> Vec<Error> {
    let one = |(i, hook): (usize, &Hook)| {
        let e = run_one(hook, state).err()?;
        Some(
            Error::new(Code::Hook, format!("error running {kind} hook #{i}: {e}"))
                .field(format!("/hooks/{kind}/{i}")),
        )
    };
    hooks.iter().enumerate().filter_map(one).collect()
}

/// The longest that hooks may take; `None` when one of them has no timeout, and so for ever (config.md).
pub fn time_of(hooks: &[Hook]) -> Option<Duration> {
    hooks.iter().map(|h| h.timeout.map(seconds)).sum()
}

/// A timeout of more than a century is one that nothing can be added to.
fn seconds(timeout: i64) -> Duration {
    Duration::from_secs(timeout.clamp(0, u32::MAX.into()) as u64)
}

fn run_one(hook: &Hook, state: &State<'_>) -> Result<()> {
    let json = serde_json::to_vec(state).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    // Of two of one name the last counts; without a name it is none.
    let env: BTreeMap<_, _> = hook.env.iter().filter_map(|e| Some((e.split_once('=')?.0, e))).collect();
    let argv = if hook.args.is_empty() { std::slice::from_ref(&hook.path) } else { &hook.args[..] };
    let program = Program::new(&hook.path, argv, env.values())?;
    let [stdout, stderr] = annotations::hook_files(state.annotations);
    let stdout = stdout.map_or_else(nowhere, append_to)?;
    let copy = stderr.map(append_to).transpose()?;
    let (its_stdin, stdin) = process::pipe()?;
    let (stderr, its_stderr) = process::pipe()?;
    let mut child = program.start([its_stdin.as_fd(), stdout.as_fd(), its_stderr.as_fd()]).map_err(|e| {
        let why = e.errno().map_or_else(|| e.to_string(), errno_text);
        Error::new(Code::Hook, format!("cannot execute {}: {why}", quoted(&hook.path)))
    })?;
    // The ends of the pipes are its alone.
    drop((its_stdin, its_stderr, stdout));
    let attended =
        Attended::new(&child, (stdin, stderr), &json, copy).and_then(|mut a| a.until_end(hook.timeout));
    if !matches!(attended, Ok((_, false))) {
        let _ = process::kill_group(child.pid(), sig::SIGKILL);
    }
    let exit = child.wait()?;
    match attended? {
        (tail, false) => verdict(&hook.path, exit, &tail),
        (tail, true) => {
            let limit = hook.timeout.unwrap_or_default();
            let text = format!("{} ran longer than its timeout of {limit} s", quoted(&hook.path));
            Err(Error::new(Code::Hook, text + &said(&tail)))
        }
    }
}

/// A hook that runs. It is told its state and heard without ever waiting for it alone: it need not read the one, and
/// what it leaves behind may write for ever.
struct Attended<'a> {
    pidfd: BorrowedFd<'a>,
    stdin: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// What it has not been told yet.
    state: &'a [u8],
    /// The end of what it said.
    tail: Vec<u8>,
    /// Where all of that goes.
    copy: Option<OwnedFd>,
}

impl<'a> Attended<'a> {
    fn new(
        child: &'a Child,
        (stdin, stderr): (OwnedFd, OwnedFd),
        state: &'a [u8],
        copy: Option<OwnedFd>,
    ) -> Result<Attended<'a>> {
        fs::set_nonblocking(&stdin)?;
        let (stdin, stderr) = (Some(stdin), Some(stderr));
        Ok(Attended { pidfd: child.pidfd(), stdin, stderr, state, tail: Vec::new(), copy })
    }

    /// Gives what it said last, and true when the time, in seconds, ran out first.
    fn until_end(&mut self, timeout: Option<i64>) -> Result<(Vec<u8>, bool)> {
        let end = timeout.map(|s| Instant::now() + seconds(s));
        loop {
            let left = end.map(|e| e.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok((take(&mut self.tail), true));
            }
            let mut fds = vec![(self.pidfd, Interest::Read)];
            fds.extend(self.stderr.iter().map(|p| (p.as_fd(), Interest::Read)));
            fds.extend(self.stdin.iter().map(|p| (p.as_fd(), Interest::Write)));
            fds.extend(interrupt::fd().map(|f| (f, Interest::Read)));
            let ready = poll::wait_any(&fds, left)?;
            interrupt::check()?;
            if ready[0] {
                self.hear_the_rest()?;
                return Ok((take(&mut self.tail), false));
            }
            let mut ready = ready[1..].iter();
            let hear = self.stderr.is_some() && ready.next() == Some(&true);
            if self.stdin.is_some() && ready.next() == Some(&true) {
                self.tell();
            }
            if hear {
                self.hear();
            }
        }
    }

    /// A broken pipe is no failure.
    fn tell(&mut self) {
        let Some(pipe) = &self.stdin else { return };
        match fs::write_some(pipe, self.state) {
            Ok(n) => self.state = &self.state[n..],
            Err(e) if e.is(errno::EAGAIN) => return,
            Err(_) => self.state = &[],
        }
        if self.state.is_empty() {
            self.stdin = None;
        }
    }

    fn hear(&mut self) {
        let Some(pipe) = &self.stderr else { return };
        let mut buf = [0u8; KEEP_STDERR];
        match fs::read_some(pipe, &mut buf) {
            Ok(n) if n > 0 => {
                // A full disk is no reason to let the hook fail.
                let _ = self.copy.as_ref().map(|file| fs::write_all(file, &buf[..n]));
                self.tail.extend_from_slice(&buf[..n]);
                let cut = self.tail.len().saturating_sub(KEEP_STDERR);
                self.tail.drain(..cut);
            }
            _ => self.stderr = None,
        }
    }

    /// What is in the pipe now, and not what others go on writing.
    fn hear_the_rest(&mut self) -> Result<()> {
        for _ in 0..PIPE_SIZE / KEEP_STDERR {
            match &self.stderr {
                Some(pipe) if poll::wait_readable(pipe, Some(Duration::ZERO))? => self.hear(),
                _ => break,
            }
        }
        Ok(())
    }
}

/// The file of an annotation; the hook keeps running where it was started if it is replaced.
fn append_to(path: &str) -> Result<OwnedFd> {
    let flags = fs::OFlags::WRONLY
        | fs::OFlags::CREATE
        | fs::OFlags::APPEND
        | fs::OFlags::NOCTTY
        | fs::OFlags::NONBLOCK;
    fs::open(path, flags, 0o600).map_err(|e| e.step("open the file for the output of hooks").path(path))
}

/// For who has nothing to say. Also to be read, so that no FIFO of that name makes us wait.
fn nowhere() -> Result<OwnedFd> {
    fs::open("/dev/null", fs::OFlags::RDWR | fs::OFlags::NOCTTY, 0)
}

fn verdict(path: &str, exit: Exit, tail: &[u8]) -> Result<()> {
    let how = match exit {
        Exit::Code(0) => return Ok(()),
        Exit::Code(code) => format!("exit status {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    };
    Err(Error::new(Code::Hook, format!("{}: {how}{}", quoted(path), said(tail))))
}

fn said(tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    match text.lines().rev().find(|l| !l.trim().is_empty()) {
        Some(last) => format!(", stderr: {}", printable(last)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: vec!["ONLY=this".into()],
            timeout,
        }
    }

    fn state() -> (BTreeMap<String, String>, &'static Path) {
        (BTreeMap::new(), Path::new("/b"))
    }

    fn try_hook(script: &str, timeout: Option<i64>) -> Result<()> {
        let (annotations, bundle) = state();
        let s = State {
            oci_version: "1.3.0",
            id: "x",
            status: "creating",
            pid: 1,
            bundle,
            annotations: &annotations,
        };
        run("prestart", &[hook(script, timeout)], &s)
    }

    #[test]
    fn gets_state_and_exactly_its_environment() {
        try_hook("grep -q '\"status\":\"creating\"' && test \"$ONLY\" = this && test -z \"$HOME\"", None)
            .unwrap();
    }

    #[test]
    fn a_failure_says_kind_index_status_and_last_line() {
        let e = try_hook("echo first >&2; echo second >&2; exit 3", None).unwrap_err().to_string();
        assert!(e.contains("error running prestart hook #0:"), "{e}");
        assert!(e.contains("exit status 3, stderr: second"), "{e}");
    }

    #[test]
    fn a_timeout_ends_the_whole_group() {
        let start = Instant::now();
        let e = try_hook("sleep 100 & sleep 100", Some(1)).unwrap_err().to_string();
        assert!(e.contains("timeout of 1 s"), "{e}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn the_time_of_hooks_is_their_sum_if_all_have_one() {
        assert_eq!(time_of(&[hook("", Some(2)), hook("", Some(3))]), Some(Duration::from_secs(5)));
        assert_eq!(time_of(&[hook("", Some(2)), hook("", None)]), None);
        assert!(time_of(&[hook("", Some(i64::MAX)), hook("", Some(i64::MAX))]).is_some());
        try_hook("exit 0", Some(i64::MAX)).unwrap();
    }

    #[test]
    fn a_large_state_that_nobody_reads_does_not_block() {
        let large = [("k".to_string(), "v".repeat(1 << 20))].into();
        let s = State {
            oci_version: "1.3.0",
            id: "x",
            status: "creating",
            pid: 1,
            bundle: Path::new("/b"),
            annotations: &large,
        };
        let start = Instant::now();
        let e = run("prestart", &[hook("echo busy >&2; sleep 100", Some(1))], &s).unwrap_err().to_string();
        assert!(e.contains("timeout of 1 s, stderr: busy"), "{e}");
        assert!(start.elapsed() < Duration::from_secs(20));
        run("prestart", &[hook("test $(wc -c) -gt 1048576", Some(60))], &s).unwrap();
    }

    #[test]
    fn what_a_hook_leaves_behind_is_not_waited_for() {
        let start = Instant::now();
        try_hook("(for i in 1 2 3; do timeout 8 yes >&2 & done); exit 0", None).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn much_output_does_not_block() {
        try_hook(
            "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890 >&2; i=$((i+1)); done",
            Some(60),
        )
        .unwrap();
    }
}
