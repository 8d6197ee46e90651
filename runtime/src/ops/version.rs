//! `knarr --version`: three lines that machines read. Writes to stdout only.

use crate::cli::version_text;
use crate::error::Result;
use crate::report;

/// Prints the version.
pub fn run() -> Result<i32> {
    report::print(&version_text()).map(|()| 0)
}
