//! The keeper of one container: its frozen protocol, both ends.
#![forbid(unsafe_code)]

pub mod record;
