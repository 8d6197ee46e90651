//! An alarm on the wall clock, for schedules: it rings when its time comes, however the clock gets there, and when somebody sets
//! the clock. Nothing wakes up in between.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use jiff::Timestamp;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use crate::sys::pty::watched;
use crate::sys::time::{set_wall_timer, wall_timer, wall_timer_rang};

/// At most one time.
#[derive(Default)]
pub(super) struct Alarm {
    timer: Option<AsyncFd<OwnedFd>>,
    at: Option<Timestamp>,
}

impl Alarm {
    /// Rings at this time. Without a timer of the kernel the full pass of each minute has to do.
    pub(super) fn set(&mut self, at: Option<Timestamp>) {
        if self.at == at {
            return;
        }
        if self.timer.is_none() {
            match wall_timer().and_then(watched) {
                Ok(timer) => self.timer = Some(timer),
                Err(e) => return warn!("no timer for schedules, they are late by up to a minute: {e}"),
            }
        }
        let Some(timer) = &self.timer else { return };
        let parts = at.map(|t| (t.as_second(), t.subsec_nanosecond().unsigned_abs()));
        match set_wall_timer(timer.get_ref(), parts) {
            Ok(()) => self.at = at,
            Err(e) => warn!("the timer for schedules cannot be set, they are late by up to a minute: {e}"),
        }
    }

    /// Comes back when it rings.
    pub(super) async fn rings(&mut self) {
        let Some(timer) = self.timer.as_ref().filter(|_| self.at.is_some()) else {
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = timer.readable().await else { return std::future::pending().await };
            if wall_timer_rang(timer.get_ref()) {
                break;
            }
            ready.clear_ready();
        }
        self.at = None;
    }
}
