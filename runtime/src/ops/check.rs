//! `knarr check`.
use crate::cli::{CheckArgs, Global};
use crate::error::{Code, Error, Result};
/// Placeholder.
pub fn run(_: &Global, _: &CheckArgs) -> Result<i32> {
    Err(Error::new(Code::Unsupported, "check: not built"))
}
