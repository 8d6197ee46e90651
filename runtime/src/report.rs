//! See ARCHITECTURE.md.
#![forbid(unsafe_code)]
/// A line for the user that is no failure.
pub fn warn(_text: &str) {}
/// A line for `--debug`.
pub fn debug(_text: &str) {}
