//! What the log files' house-keeping asks of the kernel.

use std::io;
use std::path::Path;

/// Bytes of the file system that a path is on, used or not: statvfs(3) `f_blocks` times `f_frsize`.
///
/// # Errors
/// Those of statvfs(3).
pub fn filesystem_size(path: &Path) -> io::Result<u64> {
    let v = rustix::fs::statvfs(path)?;
    Ok(v.f_blocks.saturating_mul(v.f_frsize))
}
