//! Probes: one look at a running container, bounded in time and in memory, that leaves nothing behind.
#![forbid(unsafe_code)]

use std::time::Duration;

pub mod kind;

pub use self::kind::{Http, Kind, Tls};
use crate::names::RunId;
use crate::runtime::Runtime;

/// Most bytes of output that a result keeps.
pub const OUTPUT_MAX: usize = 4096;

/// The container that is looked at.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which run.
    pub run: RunId,
    /// Its first process on the host.
    pub pid: u32,
    /// The runtime that made it.
    pub runtime: Runtime,
}

/// What one look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// One line for people: `exit code 1`, `HTTP status 503, want 200-399`, `no answer within 5s`.
    pub text: String,
    /// What it printed or answered, the first [`OUTPUT_MAX`] bytes.
    pub output: Vec<u8>,
    /// From the question to the answer; the set-up is not in it.
    pub took: Duration,
}

/// The answer of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is well.
    Pass,
    /// It is not.
    Fail,
    /// It did not answer in time: a failure that a host under pressure may have made.
    TimedOut,
    /// The look itself could not be made, for example because the container is gone; it says nothing about the service.
    Error,
}
