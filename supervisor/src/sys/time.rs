//! Clocks.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// `CLOCK_BOOTTIME`, see clock_gettime(2); since Linux 2.6.39.
pub fn boottime() -> Duration {
    let t = clock_gettime(ClockId::Boottime);
    Duration::new(t.tv_sec.unsigned_abs(), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// A timer of timerfd_create(2) on the wall clock; since Linux 2.6.25.
///
/// # Errors
/// What timerfd_create(2) says.
pub fn wall_timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(timerfd_create(TimerfdClockId::Realtime, flags)?)
}

/// Has a wall timer ring at a moment, in seconds and nanoseconds since 1970, and as soon as somebody sets the clock
/// (`TFD_TIMER_CANCEL_ON_SET`, since Linux 3.0); `None` = never.
///
/// # Errors
/// What timerfd_settime(2) says.
pub fn set_wall_timer(timer: impl AsFd, at: Option<(i64, u32)>) -> io::Result<()> {
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A moment of zero would be never.
    let at = at.map_or(none, |(s, ns)| Timespec { tv_sec: s.max(0), tv_nsec: i64::from(ns).max(1) });
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(timer, flags, &Itimerspec { it_interval: none, it_value: at })?;
    Ok(())
}

/// Whether a wall timer rang since the last call. That the clock was set is a ring, too.
pub fn wall_timer_rang(timer: impl AsFd) -> bool {
    let mut count = [0; 8];
    match rustix::io::read(timer, &mut count) {
        Ok(_) | Err(rustix::io::Errno::CANCELED) => true,
        Err(_) => false,
    }
}

/// Whether somebody keeps the wall clock right: adjtimex(2), which reads only when it is asked for nothing.
///
/// # Errors
/// Those of adjtimex(2).
pub fn is_synchronised() -> io::Result<bool> {
    // SAFETY: all bytes zero are a valid `timex` (integers only), whose `modes` of 0 has nothing changed.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `timex` is a whole structure of ours that the kernel fills.
    let state = unsafe { libc::adjtimex(&mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}
