//! One call of a program: its time on the clock, processor time and exit, with a time limit.
//! Starts and waits for processes; knows nothing about containers.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A call that takes longer than this hangs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// What one call cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// From before the start to after the collection of the exit status.
    pub wall: Duration,
    /// User and system time of the program and of everything it waited for.
    pub cpu: Duration,
    /// Peak resident memory in KiB.
    pub peak: i64,
}

impl std::ops::Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost { wall: self.wall + other.wall, cpu: self.cpu + other.cpu, peak: self.peak.max(other.peak) }
    }
}

/// Runs a command to its end; a status other than success is an error that carries what it said in `words`.
pub fn call(command: &mut Command, words: &Path) -> Result<Cost> {
    let said = File::create(words).with_context(|| words.display().to_string())?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    timed(command, words)
}

/// The same on a terminal of its own, which is what `words` then names.
pub fn call_on_terminal(command: &mut Command, words: &Path) -> Result<Cost> {
    let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let terminal =
        File::options().read(true).write(true).open(Path::new(name.to_str()?)).context("terminal")?;
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    let cost = timed(command, words);
    // A command keeps what it was given until it is started again or dropped.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    cost
}

fn timed(command: &mut Command, words: &Path) -> Result<Cost> {
    let begun = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let (status, mut cost) = collect(child.id())?;
    cost.wall = begun.elapsed();
    if status != 0 {
        let text = std::fs::read(words).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last = text.trim().lines().next_back().unwrap_or("nothing said");
        let status =
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
        bail!("status {status}: {}", last.chars().take(300).collect::<String>());
    }
    Ok(cost)
}

/// Waits for a child (or for an orphan that came to us) and gives its raw status and its cost without `wall`.
pub fn collect(pid: u32) -> Result<(i32, Cost)> {
    let raw = i32::try_from(pid)?;
    let pid = Pid::from_raw(raw).context("no process id")?;
    let watched = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let within = Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&watched.as_fd(), PollFlags::IN)], Some(&within)).context("poll")? > 0;
    if !ended {
        pidfd_send_signal(&watched, Signal::KILL).context("kill")?;
    }
    let mut status = 0;
    // SAFETY: zero is a valid value of every field of this plain C structure.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the types that wait4(2) writes.
    let got = unsafe { libc::wait4(raw, &raw mut status, 0, &raw mut used) };
    ensure!(got == raw, "wait4: {}", std::io::Error::last_os_error());
    ensure!(ended, "did not end within {} s", LIMIT.as_secs());
    let cpu = duration(used.ru_utime) + duration(used.ru_stime);
    Ok((status, Cost { wall: Duration::ZERO, cpu, peak: used.ru_maxrss }))
}

fn duration(t: libc::timeval) -> Duration {
    Duration::from_secs(t.tv_sec.unsigned_abs()) + Duration::from_micros(t.tv_usec.unsigned_abs())
}

/// Collects orphans that have ended, so that they do not pile up.
pub fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
}

/// `knarr-bench peak`: a parent as small as a program can be here, for a peak that is the command's own.
pub fn peak(command: &mut Command) -> ExitCode {
    // A container inherits these: it must neither hold the pipe of the answer open nor write into it.
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    match child.map_err(anyhow::Error::from).and_then(|c| collect(c.id())) {
        Ok((0, cost)) => {
            println!("{}", cost.peak);
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("knarr-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}
