//! knarrd, a minimal supervisor for the containers of one host: what the daemon, its command line and the keeper share.
//! Nothing here knows the runtime's insides: between the two stand a command line, JSON and exit codes.
#![deny(unsafe_code)]

pub mod api;
pub mod cli;
pub mod clock;
pub mod cni;
pub mod daemon;
pub mod dirs;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod health;
pub mod image;
pub mod import;
pub mod journal;
pub mod keeper;
pub mod logs;
pub mod machine;
pub mod memory;
pub mod metrics;
pub mod names;
pub mod policy;
pub mod probe;
pub mod rollout;
pub mod runtime;
pub mod schedule;
mod sealed;
#[allow(unsafe_code)]
pub mod sys;
pub mod unit;
