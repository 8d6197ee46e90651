//! The fence: the only code of the supervisor that is unsafe or names libc, rustix or nix. One call a function, no policy.

pub mod journal;
pub mod logs;
pub mod time;
