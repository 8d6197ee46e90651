//! `knarr exec`.
use crate::cli::{ExecArgs, Global};
use crate::error::{Code, Error, Result};
/// Placeholder.
pub fn run(_: &Global, _: &ExecArgs) -> Result<i32> {
    Err(Error::new(Code::Unsupported, "exec: not built"))
}
