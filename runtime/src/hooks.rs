//! Hooks (config.md, "POSIX-platform Hooks"): programs that get the container's state on stdin, exactly the
//! environment of the config, and a time limit. May use: `sys`, std's process spawner.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result, errno_text, printable, quoted};
use crate::spec::Hook;
use crate::sys::poll::{self, Interest};
use crate::sys::process::{self, sig};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of a hook's stderr is kept, in bytes: its end is what explains a failure.
const KEEP_STDERR: usize = 4096;

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

fn run_one(hook: &Hook, state: &State<'_>) -> Result<()> {
    let json = serde_json::to_vec(state).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    let mut cmd = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        cmd.arg0(name).args(rest);
    }
    cmd.env_clear().envs(hook.env.iter().filter_map(|e| e.split_once('=')));
    cmd.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Its own group, so that a timeout also ends what it started.
    cmd.process_group(0);
    let mut child = cmd.spawn().map_err(|e| {
        let why = e.raw_os_error().map_or_else(|| e.to_string(), errno_text);
        Error::new(Code::Hook, format!("cannot execute {}: {why}", quoted(&hook.path)))
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its state; a broken pipe is no failure.
        let _ = stdin.write_all(&json);
    }
    let deadline = hook.timeout.map(|s| Duration::from_secs(s.max(0) as u64));
    let pid = child.id() as i32;
    let (tail, timed_out) = drain(&mut child, deadline)?;
    if timed_out {
        let _ = process::kill_group(pid, sig::SIGKILL);
    }
    let status = child.wait().map_err(Error::from)?;
    if timed_out {
        let limit = hook.timeout.unwrap_or_default();
        return Err(Error::new(
            Code::Hook,
            format!("{} ran longer than its timeout of {limit} s", quoted(&hook.path)),
        ));
    }
    verdict(&hook.path, status, &tail)
}

/// Reads stderr until the hook has ended, keeping its end. `true` when the time ran out first.
fn drain(child: &mut std::process::Child, deadline: Option<Duration>) -> Result<(Vec<u8>, bool)> {
    let Some(mut stderr) = child.stderr.take() else { return Ok((Vec::new(), false)) };
    let pidfd = process::pidfd_open(child.id() as i32)?;
    let end = deadline.map(|d| Instant::now() + d);
    let mut tail = Vec::new();
    let mut open = true;
    loop {
        let left = end.map(|e| e.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok((tail, true));
        }
        let mut fds = vec![(pidfd.as_fd(), Interest::Read)];
        if open {
            fds.push((stderr.as_fd(), Interest::Read));
        }
        let ready = poll::wait_any(&fds, left)?;
        if ready.get(1) == Some(&true) {
            let mut buf = [0u8; 4096];
            match stderr.read(&mut buf) {
                Ok(n) if n > 0 => {
                    tail.extend_from_slice(&buf[..n]);
                    let cut = tail.len().saturating_sub(KEEP_STDERR);
                    tail.drain(..cut);
                }
                _ => open = false,
            }
        } else if ready[0] {
            // Ended, and nothing more to read right now: what it left behind may hold the pipe open for ever.
            return Ok((tail, false));
        }
    }
}

fn verdict(path: &str, status: ExitStatus, tail: &[u8]) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(c), _) => format!("exit status {c}"),
        (None, Some(s)) => format!("signal {s}"),
        (None, None) => "unknown status".to_string(),
    };
    let text = String::from_utf8_lossy(tail);
    let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("");
    let said = if last.is_empty() { String::new() } else { format!(", stderr: {}", printable(last)) };
    Err(Error::new(Code::Hook, format!("{}: {how}{said}", quoted(path))))
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
    fn much_output_does_not_block() {
        try_hook(
            "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890 >&2; i=$((i+1)); done",
            Some(60),
        )
        .unwrap();
    }
}
