//! Waiting for descriptors, always with an explicit deadline or an explicit "for ever".

use crate::error::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

fn wait(fd: BorrowedFd<'_>, flags: PollFlags, timeout: Option<Duration>) -> Result<bool> {
    let deadline = timeout.map(|t| Instant::now() + t);
    loop {
        let left = deadline.map(|d| to_timespec(d.saturating_duration_since(Instant::now())));
        let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
        match poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            r => return sys!("poll", r, "{timeout:?}").map(|n| n > 0),
        }
    }
}

fn to_timespec(d: Duration) -> Timespec {
    Timespec { tv_sec: d.as_secs() as i64, tv_nsec: d.subsec_nanos().into() }
}

/// Waits until `fd` can be read or has hung up; `false` when the time ran out.
pub fn wait_readable<F: AsFd>(fd: &F, timeout: Option<Duration>) -> Result<bool> {
    wait(fd.as_fd(), PollFlags::IN, timeout)
}

/// Waits for an exceptional condition, which is how cgroup event files and sysfs announce a change.
pub fn wait_priority<F: AsFd>(fd: &F, timeout: Option<Duration>) -> Result<bool> {
    wait(fd.as_fd(), PollFlags::PRI, timeout)
}

/// Waits for any of several descriptors; returns for each whether it is ready. Interrupted calls return all
/// false, so that the caller looks at its signals.
pub fn wait_any(fds: &[(BorrowedFd<'_>, Interest)], timeout: Option<Duration>) -> Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|(fd, i)| {
            let flags = match i {
                Interest::Read => PollFlags::IN,
                Interest::Write => PollFlags::OUT,
                Interest::Priority => PollFlags::PRI,
            };
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    match poll(&mut polled, timeout.map(to_timespec).as_ref()) {
        Err(rustix::io::Errno::INTR) => Ok(vec![false; fds.len()]),
        r => {
            sys!("poll", r, "{} descriptors", fds.len())?;
            Ok(polled.iter().map(|p| !p.revents().is_empty()).collect())
        }
    }
}

/// A counter that the kernel can raise (eventfd(2)), not blocking.
pub fn eventfd() -> Result<OwnedFd> {
    use rustix::event::EventfdFlags;
    sys!("eventfd2", rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK), "0")
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
    /// A change that an event file of cgroups or sysfs announces.
    Priority,
}
