//! Files that belong to others, and file systems in memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, statfs};
use rustix::mount::{MountFlags, UnmountFlags};

/// open(2) for reading without waiting for the other end of a fifo and without becoming anybody's terminal.
pub fn open_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Whether statfs(2) says tmpfs or ramfs (linux/magic.h).
pub fn in_memory(path: &Path) -> io::Result<bool> {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    let kind = i128::from(statfs(path)?.f_type);
    Ok(kind == TMPFS || kind == RAMFS)
}

/// mount(2) of a new tmpfs with these options.
pub fn mount_tmpfs(path: &Path, options: &std::ffi::CStr) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("tmpfs", path, "tmpfs", flags, options)?)
}

/// umount2(2) with `MNT_DETACH`.
pub fn unmount(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// The own hard limit of open files (getrlimit(2), `RLIMIT_NOFILE`); `None` = none.
pub fn nofile_hard() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum
}

/// Major and minor number of a block device, by stat(2).
///
/// # Errors
/// Those of stat(2); `InvalidInput`: it is no block device.
pub fn block_device(path: &Path) -> io::Result<(u32, u32)> {
    let stat = rustix::fs::stat(path)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::BlockDevice {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a block device"));
    }
    Ok((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
}
