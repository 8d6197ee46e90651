//! A command of a case: put together, run with a deadline, and what it did.

use std::fs;
use std::io::Read;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::os;

/// What one command did.
#[derive(Clone, Debug, Default)]
pub struct Out {
    pub line: String,
    /// Exit code, or 128 + signal; nothing when the deadline passed.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub log: String,
}

impl Out {
    /// Requires this exit code.
    pub fn exits(self, code: i32) -> Result<Out> {
        ensure!(
            self.code == Some(code),
            "`{}` exited {}, want {code}: {}",
            self.line,
            self.code.map_or("not in time".into(), |c| c.to_string()),
            self.stderr.trim()
        );
        Ok(self)
    }

    /// Requires success.
    pub fn ok(self) -> Result<Out> {
        self.exits(0)
    }

    /// Requires a failure that is neither a crash nor a hang.
    pub fn fails(self) -> Result<Out> {
        let code = self.code.with_context(|| format!("`{}` hung", self.line))?;
        ensure!(code != 0, "`{}` succeeded, want a refusal", self.line);
        let crashed = |l: &str| {
            l.starts_with("panic: ")
                || l.starts_with("goroutine ")
                || l.contains("panicked at")
                || l.contains("SIGSEGV")
        };
        ensure!(!self.stderr.lines().any(crashed), "`{}` crashed: {}", self.line, self.stderr.trim());
        ensure!(code < 128 || code == 255, "`{}` died (exit {code})", self.line);
        Ok(self)
    }

    /// Requires that the error stream contains a text that callers match.
    pub fn says(self, text: &str) -> Result<Out> {
        ensure!(
            self.stderr.contains(text),
            "`{}`: want {text:?} in the error stream, got {:?}",
            self.line,
            self.stderr
        );
        Ok(self)
    }

    /// Requires an output.
    pub fn prints(self, text: &str) -> Result<Out> {
        ensure!(self.stdout == text, "`{}`: got {:?}, want {text:?}", self.line, self.stdout);
        Ok(self)
    }

    /// The output as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {:?}", self.stdout))
    }

    /// Messages of the error records of the JSON log.
    pub fn log_errors(&self) -> Vec<String> {
        self.log
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok())
            .filter(|r| r["level"] == "error")
            .filter_map(|r| r["msg"].as_str().map(String::from))
            .collect()
    }
}

/// A command being put together.
pub struct Cmd<'t> {
    pub(crate) command: Command,
    pub(crate) line: String,
    pub(crate) files: PathBuf,
    pub(crate) seconds: u64,
    pub(crate) history: &'t mut Vec<Out>,
    pub(crate) stdin: Option<Stdio>,
    pub(crate) own_stdio: bool,
    pub(crate) verbose: bool,
}

impl Cmd<'_> {
    /// Sets a variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.line = format!("{key}={value} {}", self.line);
        self.command.env(key, value);
        self
    }

    /// Runs in a directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Feeds a file.
    pub fn stdin(mut self, text: &str) -> Result<Self> {
        let path = self.files.with_extension("in");
        fs::write(&path, text)?;
        self.stdin = Some(fs::File::open(path)?.into());
        Ok(self)
    }

    /// Reads from this descriptor.
    pub fn stdin_from(mut self, fd: OwnedFd) -> Self {
        self.stdin = Some(fd.into());
        self
    }

    /// Hands over descriptors under chosen numbers.
    pub fn fds(mut self, fds: Vec<(OwnedFd, RawFd)>) -> Self {
        os::give_fds(&mut self.command, fds);
        self
    }

    /// Runs on a terminal instead of files.
    pub fn on_terminal(mut self, slave: OwnedFd) -> Result<Self> {
        self.command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        os::take_terminal(&mut self.command);
        self.own_stdio = true;
        Ok(self)
    }

    /// Changes the command itself.
    pub fn adjust(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Starts it and goes on.
    pub fn spawn(mut self) -> Result<Running> {
        let (out, err) = (self.files.with_extension("out"), self.files.with_extension("err"));
        if !self.own_stdio {
            self.command.stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?);
            self.command.stdin(self.stdin.take().unwrap_or_else(Stdio::null));
            self.command.process_group(0);
        }
        if self.verbose {
            eprintln!("+ {}", self.line);
        }
        let child = self.command.spawn().with_context(|| format!("cannot start `{}`", self.line))?;
        os::track(child.id());
        self.history.push(Out { line: self.line.clone(), ..Out::default() });
        Ok(Running { child, line: self.line, files: self.files, seconds: self.seconds, ended: false })
    }

    /// Runs it to its end.
    pub fn run(self) -> Result<Out> {
        // Two fields are borrowed apart: the history belongs to the trial.
        let Cmd { command, line, files, seconds, history, stdin, own_stdio, verbose } = self;
        let running =
            Cmd { command, line, files, seconds, history: &mut *history, stdin, own_stdio, verbose }
                .spawn()?;
        let out = running.wait()?;
        if let Some(last) = history.last_mut() {
            *last = out.clone();
        }
        Ok(out)
    }
}

/// A command under way; killed with its process group when dropped.
pub struct Running {
    child: Child,
    line: String,
    files: PathBuf,
    seconds: u64,
    ended: bool,
}

impl Running {
    /// Waits for the end, or kills at the deadline.
    pub fn wait(mut self) -> Result<Out> {
        let pid = self.child.id();
        let in_time = os::wait_end(pid, Instant::now() + Duration::from_secs(self.seconds))?;
        if !in_time {
            os::kill_group(pid);
            let _ = self.child.kill();
        }
        let status = self.child.wait()?;
        self.ended = true;
        os::untrack(pid);
        let code = status.code().or_else(|| status.signal().map(|s| 128 + s));
        Ok(Out {
            line: self.line.clone(),
            code: code.filter(|_| in_time),
            stdout: read_lossy(&self.files.with_extension("out")),
            stderr: read_lossy(&self.files.with_extension("err")),
            log: read_lossy(&self.files.with_extension("log")),
        })
    }

    /// Process id of the command itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn so_far(&self) -> (String, String) {
        (read_lossy(&self.files.with_extension("out")), read_lossy(&self.files.with_extension("err")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            os::kill_group(self.child.id());
            let _ = self.child.kill();
            let _ = self.child.wait();
            os::untrack(self.child.id());
        }
    }
}

/// A file's text, empty when it is not there; cut at one megabyte.
pub fn read_lossy(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(f) = fs::File::open(path) {
        let _ = f.take(1 << 20).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
