//! The fence: the only code of the supervisor that is unsafe or names libc, rustix or nix. One call a function, no policy.

pub mod file;
pub mod group;
pub mod held;
pub mod journal;
pub mod keeper;
pub mod logs;
pub mod net;
pub mod peer;
pub mod pressure;
pub mod probe;
pub mod process;
pub mod pty;
pub mod random;
pub mod term;
pub mod time;
pub mod tree;
