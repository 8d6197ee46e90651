//! Handles of processes.

use std::io;
use std::os::fd::OwnedFd;

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
