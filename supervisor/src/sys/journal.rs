//! What the journal asks of the kernel: locks, room ahead of the end of a file, writes to the medium.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

/// Takes the exclusive lock of an open file without waiting, see flock(2). It goes when every copy of the descriptor is
/// closed.
///
/// # Errors
/// `WouldBlock`: somebody else has it.
pub fn lock_exclusive(file: &File) -> io::Result<()> {
    Ok(rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)?)
}

/// Sets blocks aside for `len` bytes from `offset` on and leaves the size alone: fallocate(2) with `FALLOC_FL_KEEP_SIZE`.
///
/// # Errors
/// `StorageFull`: there are none. `Unsupported`: the file system cannot do it.
pub fn reserve(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset, len)?)
}

/// Writes the names of a directory to the medium: fsync(2) on it.
///
/// # Errors
/// Those of open(2) and fsync(2).
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = rustix::fs::open(
        dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    Ok(rustix::fs::fsync(&dir)?)
}

/// Whether the medium itself failed: `EIO`, for which the standard library has no name.
pub fn is_medium_error(e: &io::Error) -> bool {
    e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
