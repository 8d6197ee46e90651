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

/// Room in the file system that a path is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that a user without privilege may still write.
    pub free: u64,
    /// Bytes, used or not.
    pub size: u64,
    /// Files that may still be made.
    pub files_free: u64,
    /// Files that there can be; 0 = the file system has no such number.
    pub files: u64,
}

/// statvfs(3).
///
/// # Errors
/// Those of statvfs(3).
pub fn room(path: &Path) -> io::Result<Room> {
    let v = rustix::fs::statvfs(path)?;
    Ok(Room {
        free: v.f_bavail.saturating_mul(v.f_frsize),
        size: v.f_blocks.saturating_mul(v.f_frsize),
        files_free: v.f_favail,
        files: v.f_files,
    })
}
