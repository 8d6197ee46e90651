//! The exit record: what a keeper knows about the end of its container. Written by the keeper without a JSON library, read
//! by everybody else with one. Frozen: fields are only added.
#![forbid(unsafe_code)]

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Boot;
use crate::names::RunId;

/// The version of the record and of the protocol.
pub const VERSION: u32 = 1;

/// What a keeper knows about the end of its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// [`VERSION`] of the keeper that wrote it.
    pub version: u32,
    /// Whose end.
    pub run: RunId,
    /// The boot in which `started` and `ended` are moments.
    pub boot_id: String,
    /// How it ended.
    pub end: End,
    /// The container's first process on the host; 0 when there never was one.
    pub pid: u32,
    /// When the runtime had made it (`CLOCK_BOOTTIME`).
    pub started: Boot,
    /// When the keeper learnt of the end.
    pub ended: Boot,
    /// The same for people.
    pub ended_wall: Timestamp,
    /// What its cgroup said before it went; `None` where the layout has no such file.
    pub memory: Box<Memory>,
    /// Bytes of output that were dropped because the log could not be written in time.
    pub log_dropped: u64,
    /// Whom the kernel killed for memory last; the daemon adds it from the kernel's log, where it may read that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<Box<Victim>>,
}

/// A process that the kernel killed for memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// On the host.
    pub pid: u32,
    /// As it called itself: nothing to rely on, and nothing to print raw.
    pub name: String,
    /// What had run out; `None` = the kernel did not say, or an earlier daemon did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<Short>,
}

/// Which memory had run out when the kernel killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Short {
    /// That of the container: its own limit, or one that it set below.
    Own,
    /// That of a cgroup above it.
    Above,
    /// That of the host.
    Host,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum End {
    /// Its first process returned this code.
    Exited {
        /// 0 to 255.
        code: u8,
    },
    /// Its first process was killed.
    Signaled {
        /// By this signal.
        signal: i32,
        /// And left a core dump.
        core: bool,
    },
    /// The runtime could not make it: `create` failed.
    CreateFailed {
        /// What the runtime exited with; `None` = it was killed or could not be executed.
        code: Option<i32>,
        /// The last line of its standard error.
        text: String,
    },
}

/// Memory figures of a container's cgroup at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Processes that the kernel killed for memory (v2 `memory.events` `oom_kill`, v1 `memory.oom_control` `oom_kill`).
    pub oom_kills: Option<u64>,
    /// How often the own limit was hit with nothing left to reclaim (v2 `memory.events` `oom`; v1 has no such count).
    pub oom_events: Option<u64>,
    /// Most bytes ever in use (v2 `memory.peak`, since Linux 5.19; v1 `memory.max_usage_in_bytes`).
    pub peak: Option<u64>,
    /// The limit in bytes at the end; `None` = none.
    pub limit: Option<u64>,
    /// How often it was slowed down for using more than `memory.high` (v2 `memory.events` `high`).
    #[serde(default)]
    pub high: Option<u64>,
    /// How often it came to its limit, whether or not something could be reclaimed (v2 `memory.events` `max`; v1
    /// `memory.failcnt`).
    #[serde(default)]
    pub max: Option<u64>,
    /// Most bytes ever in swap (v2 `memory.swap.peak`, since Linux 6.5).
    #[serde(default)]
    pub swap_peak: Option<u64>,
    /// How often something could not be swapped out, for the swap limit or because the host had none left (v2
    /// `memory.swap.events` `fail`).
    #[serde(default)]
    pub swap_full: Option<u64>,
    /// How often that was for its own swap limit (v2 `memory.swap.events` `max`).
    #[serde(default)]
    pub swap_limited: Option<u64>,
    /// Microseconds in which none of its processes went on for want of memory (v2 `memory.pressure` `full` `total`).
    #[serde(default)]
    pub stalled: Option<u64>,
}

impl Memory {
    /// Each figure with its name in the record, in their order.
    pub fn figures(&self) -> [(&'static str, Option<u64>); 10] {
        let Memory { oom_kills, oom_events, peak, limit, high, max, .. } = *self;
        let Memory { swap_peak, swap_full, swap_limited, stalled, .. } = *self;
        [
            ("oom_kills", oom_kills),
            ("oom_events", oom_events),
            ("peak", peak),
            ("limit", limit),
            ("high", high),
            ("max", max),
            ("swap_peak", swap_peak),
            ("swap_full", swap_full),
            ("swap_limited", swap_limited),
            ("stalled", stalled),
        ]
    }
}
