//! Being told to stop while a container is made: the signals that would end us are blocked and looked at where we
//! wait, so that they are an error like any other and everything made so far is taken back. May use: `sys`, `error`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result};
use crate::sys::poll::{self, Interest};
use crate::sys::process::{self, sig};
use crate::sys::{BorrowedFd, OwnedFd};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static SIGNALS: OnceLock<OwnedFd> = OnceLock::new();
static ARMED: AtomicBool = AtomicBool::new(false);

/// From now on the signals of a terminal, of a shell and of service managers interrupt our waits and nothing else.
/// Those that our caller ignores stay ignored (nohup(1)).
///
/// # Errors
/// No descriptor is left for the signalfd.
pub fn arm() -> Result<()> {
    let told: Vec<i32> = [sig::SIGHUP, sig::SIGINT, sig::SIGQUIT, sig::SIGTERM]
        .into_iter()
        .filter(|n| !process::is_ignored(*n))
        .collect();
    // A second call keeps the first descriptor: there is one command.
    let _ = SIGNALS.set(process::signal_fd(&told)?);
    ARMED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Nobody is interrupted any more. The signals stay blocked: who stays with the payload passes them on, a child
/// unblocks them.
pub fn disarm() {
    ARMED.store(false, Ordering::Relaxed);
}

/// For waits that have a list of descriptors of their own.
pub fn fd() -> Option<BorrowedFd<'static>> {
    SIGNALS.get().filter(|_| ARMED.load(Ordering::Relaxed)).map(AsFd::as_fd)
}

/// Fails when a signal has come.
pub fn check() -> Result<()> {
    match fd().and_then(process::next_signal) {
        Some(n) => Err(Error::new(Code::Interrupted, format!("interrupted by signal {n}"))),
        None => Ok(()),
    }
}

/// Waits until `to_read` can be read or has hung up; `false` when the time ran out.
///
/// # Errors
/// [`Code::Interrupted`].
pub fn wait_readable(to_read: &OwnedFd, timeout: Option<Duration>) -> Result<bool> {
    let end = timeout.map(|t| Instant::now() + t);
    let mut fds = vec![(to_read.as_fd(), Interest::Read)];
    fds.extend(fd().map(|f| (f, Interest::Read)));
    loop {
        let left = end.map(|e| e.saturating_duration_since(Instant::now()));
        let ready = poll::wait_any(&fds, left)?;
        if ready.get(1) == Some(&true) {
            check()?;
        }
        if ready[0] || left == Some(Duration::ZERO) {
            return Ok(ready[0]);
        }
    }
}
