//! `knarr run`.
use crate::cli::{Global, RunArgs};
use crate::error::{Code, Error, Result};
/// Placeholder.
pub fn run(_: &Global, _: &RunArgs) -> Result<i32> {
    Err(Error::new(Code::Unsupported, "run: not built"))
}
