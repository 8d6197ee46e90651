//! The fence: the only code of the supervisor that is unsafe or names libc, rustix or nix. One call a function, no policy.

pub mod keeper;
pub mod journal;
pub mod peer;
pub mod pty;
pub mod signal;
pub mod term;
pub mod file;
pub mod logs;
pub mod time;
