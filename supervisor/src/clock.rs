//! The two clocks: boot time for every duration, wall time for what people read. Nothing is ever computed from the wall.
#![forbid(unsafe_code)]

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment as `CLOCK_BOOTTIME` has it: since the boot, suspended time included; settimeofday(2) does not move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Boot(pub Duration);

impl Boot {
    /// Now.
    pub fn now() -> Boot {
        Boot(crate::sys::time::boottime())
    }

    /// How long ago `earlier` was; zero when it is not past.
    pub fn since(self, earlier: Boot) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This much later.
    pub fn after(self, d: Duration) -> Boot {
        Boot(self.0.saturating_add(d))
    }
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// For durations, within one boot.
    pub boot: Boot,
    /// For people.
    pub wall: Timestamp,
}

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        Moment { boot: Boot::now(), wall: Timestamp::now() }
    }
}

/// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`); moments and pids of another boot mean nothing now.
///
/// # Errors
/// procfs is not there.
pub fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
