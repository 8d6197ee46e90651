//! knarr: a low-level OCI container runtime.
//!
//! Read in this order: `create` (the parent's story), `init` (the child's story), `link` (how they agree),
//! `plan` (config.json turned into data). `sys` is the only module that may call the kernel or be unsafe.
#![deny(unsafe_code)]

#[cfg(all(feature = "weak", not(debug_assertions)))]
compile_error!("a feature that takes a defence away is for controls of the suite only");

pub mod cgroup;
pub mod cli;
pub mod create;
pub mod error;
pub mod exec;
pub mod fds;
pub mod foreground;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod gate;
pub mod handover;
pub mod hooks;
pub mod host;
pub mod init;
pub mod interrupt;
pub mod link;
pub mod mountinfo;
pub mod notify;
pub mod ops;
pub mod plan;
pub mod report;
pub mod resctrl;
pub mod rootfs;
pub mod seal;
pub mod spec;
pub mod state;
#[allow(unsafe_code)]
pub mod sys;
pub mod trace;

/// The version that `--version`, `features` and saved records carry.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The newest runtime-spec whose fields are all known.
pub const SPEC_VERSION: &str = "1.3.0";
