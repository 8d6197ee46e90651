//! Handles of processes.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A descriptor that becomes readable when a process ends; it is not reaped by that. pidfd_open(2), Linux 5.3.
///
/// # Errors
/// There is none of this number, or no descriptor is left.
pub fn handle(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// Whether the process of a handle has ended, reaped or not: poll(2) without waiting.
///
/// # Errors
/// None that is known.
pub fn has_ended(handle: &OwnedFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut watched = [PollFd::new(handle, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut watched, Some(&now))? > 0)
}

/// Has a program begin in another cgroup: its process writes itself into that group's cgroup.procs before it executes the
/// program. The start fails when it cannot.
pub fn enter(command: &mut Command, procs: File) {
    let enter = move || rustix::io::write(&procs, b"0").map(drop).map_err(io::Error::from);
    // SAFETY: one write(2) and no allocation between fork and exec.
    unsafe { command.pre_exec(enter) };
}
