//! `knarr create`.
use crate::cli::{CreateArgs, Global};
use crate::error::{Code, Error, Result};
/// Placeholder.
pub fn run(_: &Global, _: &CreateArgs) -> Result<i32> {
    Err(Error::new(Code::Unsupported, "create: not built"))
}
