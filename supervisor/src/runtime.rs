//! Drives any runtime with the command line of runc: the commands, a deadline on every call, errors as one line.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::dirs::Dirs;
use crate::names::RunId;
use crate::sealed;

/// A runtime that has not answered after this long is killed, and the call has failed.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long output is still read after the end of who wrote it, while something else holds it open.
pub const AFTER_END: Duration = Duration::from_millis(300);
/// Most bytes of a runtime's output that are looked at.
const OUTPUT_MAX: u64 = 1 << 20;

/// What systemd tells the daemon and nobody else: a runtime that sees it acts on it. With NOTIFY_SOCKET the `start` of some
/// waits for a word of the container.
pub const NOT_FOR_RUNTIMES: [&str; 6] =
    ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// One runtime, with the directories of one daemon.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The program.
    pub program: PathBuf,
    dirs: Dirs,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `runtime-error`, `runtime-timeout`, `runtime-missing`.
    pub code: String,
    /// One line for people.
    pub text: String,
}

/// What `state` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ContainerState {
    /// created, running, paused, stopped, ...
    pub status: String,
    /// The first process on the host; 0 when there is none.
    #[serde(default)]
    pub pid: u32,
}

impl Runtime {
    /// A runtime for the containers of one daemon.
    pub fn new(program: PathBuf, dirs: Dirs) -> Runtime {
        Runtime { program, dirs }
    }

    /// The complete command line of `create`, for the keeper, and a container that gets this many descriptors from number 3 on.
    pub fn create_line(&self, run: &RunId, tty: bool, descriptors: usize) -> Vec<OsString> {
        let keeper = self.dirs.keeper(run);
        let mut line = vec![self.program.clone().into_os_string()];
        line.extend(self.common(run));
        line.extend(["create".into(), "--bundle".into(), self.dirs.bundle(run).into_os_string()]);
        line.extend(["--pid-file".into(), keeper.join("pid").into_os_string()]);
        if tty {
            line.extend(["--console-socket".into(), keeper.join("console").into_os_string()]);
        }
        if descriptors > 0 {
            line.extend(["--preserve-fds".into(), descriptors.to_string().into()]);
        }
        line.push(run.to_string().into());
        line
    }

    /// Lets a created container run.
    ///
    /// # Errors
    /// The runtime's own words.
    pub async fn start(&self, run: &RunId) -> Result<(), Failure> {
        self.call(run, &["start"], &[]).await.map(drop)
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// The runtime's own words.
    pub async fn kill(&self, run: &RunId, signal: i32) -> Result<(), Failure> {
        self.call(run, &["kill"], &[&signal.to_string()]).await.map(drop)
    }

    /// Changes limits of a running container to those in a file, `linux.resources` as JSON; what it does not name stays.
    ///
    /// # Errors
    /// The runtime's own words.
    pub async fn update(&self, run: &RunId, resources: &Path) -> Result<(), Failure> {
        let file = resources.display().to_string();
        self.call(run, &["update", "--resources", &file], &[]).await.map(drop)
    }

    /// The command line of `exec` for a program that gets this many descriptors from number 3 on. Not started yet.
    /// `copy` is what [`Runtime::copy`] gives.
    pub fn exec(&self, run: &RunId, copy: Option<&OwnedFd>, descriptors: usize, program: &[&str]) -> Command {
        let call = copy.map_or_else(|| self.program.clone(), sealed::path);
        self.line(Command::new(call), run, &["exec", "--preserve-fds", &descriptors.to_string()], program)
    }

    /// What the commands that make processes of a container are executed from; `None` = the file.
    pub async fn copy(&self) -> Option<Arc<OwnedFd>> {
        sealed::copy(&self.program).await
    }

    /// Ends and removes the container, whatever it is; one that does not exist is removed.
    ///
    /// # Errors
    /// The runtime's own words.
    pub async fn delete(&self, run: &RunId) -> Result<(), Failure> {
        match self.call(run, &["delete", "--force"], &[]).await {
            Err(f) if f.text.contains("does not exist") => Ok(()),
            // A program that is not there has made nothing; one that was removed since has left its state.
            Err(f) if f.code == "runtime-missing" && !self.has_state(run) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether a runtime keeps something about a container: each has a directory of its name under `--root`.
    fn has_state(&self, run: &RunId) -> bool {
        self.dirs.runtime_root().join(run.to_string()).exists()
    }

    /// What it is now; `None` when it does not exist.
    ///
    /// # Errors
    /// The runtime's own words, or an answer that is not JSON.
    pub async fn state(&self, run: &RunId) -> Result<Option<ContainerState>, Failure> {
        let output = match self.call(run, &["state"], &[]).await {
            Err(f) if f.text.contains("does not exist") => return Ok(None),
            other => other?,
        };
        serde_json::from_slice(&output)
            .map(Some)
            .map_err(|e| failure("runtime-error", format!("{} state: {e}", self.program.display())))
    }

    fn common(&self, run: &RunId) -> [OsString; 6] {
        let log = self.dirs.keeper(run).join("runtime.log");
        [
            "--root".into(),
            self.dirs.runtime_root().into_os_string(),
            "--log".into(),
            log.into_os_string(),
            "--log-format".into(),
            "json".into(),
        ]
    }

    fn command(&self, run: &RunId, verb: &[&str], after: &[&str]) -> Command {
        self.line(Command::new(&self.program), run, verb, after)
    }

    fn line(&self, mut command: Command, run: &RunId, verb: &[&str], after: &[&str]) -> Command {
        command.as_std_mut().arg0(&self.program);
        command
            .args(["--root".as_ref(), self.dirs.runtime_root().as_os_str()])
            .args(verb)
            .arg(run.to_string())
            .args(after);
        for name in NOT_FOR_RUNTIMES {
            command.env_remove(name);
        }
        command
    }

    async fn call(&self, run: &RunId, verb: &[&str], after: &[&str]) -> Result<Vec<u8>, Failure> {
        let mut command = self.command(run, verb, after);
        let what = format!("{} {} {run}", self.program.display(), verb.join(" "));
        let output = bounded(&mut command, DEADLINE).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::TimedOut => {
                failure("runtime-timeout", format!("{what}: no answer in {DEADLINE:?}"))
            }
            std::io::ErrorKind::NotFound => failure("runtime-missing", format!("{what}: {e}")),
            _ => failure("runtime-error", format!("{what}: {e}")),
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let text = last_line(&output.stderr).unwrap_or_else(|| output.status.to_string());
        Err(failure("runtime-error", format!("{what}: {text}")))
    }
}

fn failure(code: &str, text: String) -> Failure {
    Failure { code: code.into(), text }
}

/// Runs a program in the daemon's directory, without input and with bounded output; after the deadline it is killed and awaited.
///
/// # Errors
/// It cannot be executed; `TimedOut`.
pub async fn bounded(command: &mut Command, deadline: Duration) -> std::io::Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(pid) = child.id() {
        // The daemon is the last to die for want of memory, what it calls is not. Gone already is good, too.
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0").ok();
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let both = async {
        let reading = async { tokio::join!(read(stdout, &mut a), read(stderr, &mut b)) };
        tokio::pin!(reading);
        let (status, read) = tokio::select! {
            read = &mut reading => (child.wait().await?, read),
            // What it left in the background may hold its output open for ever.
            status = child.wait() => {
                let rest = tokio::time::timeout(AFTER_END, &mut reading).await;
                (status?, rest.unwrap_or((Ok(()), Ok(()))))
            }
        };
        read.0.and(read.1)?;
        Ok::<_, std::io::Error>(status)
    };
    match tokio::time::timeout(deadline, both).await {
        Ok(status) => Ok(Output { status: status?, stdout: a, stderr: b }),
        Err(_) => {
            child.kill().await?;
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no end within {deadline:?}")))
        }
    }
}

/// Reads all that comes, but no more than is looked at.
///
/// # Errors
/// read(2).
pub async fn read(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> std::io::Result<()> {
    match from {
        Some(from) => from.take(OUTPUT_MAX).read_to_end(into).await.map(drop),
        None => Ok(()),
    }
}

/// The last line that says something, at most 2,000 bytes of it.
pub fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().map(str::trim).find(|l| !l.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(2000).collect())
}

/// The last error that a runtime wrote to its JSON log, as code and text; code is there with knarr only.
pub fn logged_error(log: &Path) -> Option<(Option<String>, String)> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        level: String,
        #[serde(default)]
        msg: String,
        code: Option<String>,
    }
    let text = std::fs::read(log).ok()?;
    let lines = String::from_utf8_lossy(&text).into_owned();
    let mut from_the_end = lines.lines().rev().filter_map(|l| serde_json::from_str::<Line>(l).ok());
    let last = from_the_end.find(|l| matches!(l.level.as_str(), "error" | "fatal"))?;
    Some((last.code, last_line(last.msg.as_bytes())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines() {
        assert_eq!(last_line(b"a\nb\n\n").as_deref(), Some("b"));
        assert_eq!(last_line(b"a\x1b[1m\xff").as_deref(), Some("a[1m\u{fffd}"));
        assert_eq!(last_line(b" \n"), None);
    }

    #[test]
    fn a_runtime_does_not_see_what_systemd_told_the_daemon() {
        let runtime = Runtime::new("/bin/true".into(), Dirs::default());
        let command = runtime.command(&"web.1.1".parse().unwrap(), &["start"], &[]);
        let removed: Vec<_> =
            command.as_std().get_envs().filter(|(_, v)| v.is_none()).map(|(n, _)| n).collect();
        assert!(removed.iter().any(|n| *n == "NOTIFY_SOCKET") && removed.len() == NOT_FOR_RUNTIMES.len());
    }

    #[test]
    fn errors_of_a_log() {
        let file = std::env::temp_dir().join(format!("knarr-log-{}", std::process::id()));
        let text = "{\"level\":\"warning\",\"msg\":\"w\"}\nnot json\n{\"level\":\"error\",\"msg\":\"no\\nroot\",\"code\":\"spec\"}\n";
        std::fs::write(&file, text).unwrap();
        let read = logged_error(&file);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(read, Some((Some("spec".into()), "root".into())));
    }

    #[tokio::test]
    async fn a_call_has_a_deadline() {
        let e = bounded(Command::new("/bin/sleep").arg("60"), Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(e.kind(), std::io::ErrorKind::TimedOut);
        let output = bounded(Command::new("/bin/sh").args(["-c", "echo a; echo b >&2; exit 3"]), DEADLINE)
            .await
            .unwrap();
        assert_eq!(
            (output.stdout, output.stderr, output.status.code()),
            (b"a\n".to_vec(), b"b\n".to_vec(), Some(3))
        );
        // What it leaves in the background is not waited for.
        let mut command = Command::new("/bin/sh");
        let output = bounded(command.args(["-c", "sleep 7 & echo a"]), DEADLINE);
        let output = tokio::time::timeout(Duration::from_secs(5), output).await.unwrap().unwrap();
        assert_eq!((output.stdout, output.status.code()), (b"a\n".to_vec(), Some(0)));
    }
}
