//! File trees by handle: a name is looked up below an open directory and never leads out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, move_mount,
};

/// Links are taken as a process with this root directory would, and no other file system is entered.
const INSIDE: ResolveFlags =
    ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);
/// So often a lookup that was disturbed by a rename is begun anew (openat2(2), EAGAIN).
const AGAIN: u32 = 128;

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, fifo or socket.
    Other,
}

/// Owner, permission bits and time of a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, those of set-user-id and the like included.
    pub mode: u32,
    /// Seconds and nanoseconds of its last change.
    pub mtime: (i64, u32),
}

/// open(2) of a directory by its path; a link is refused.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn open_in(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    for _ in 0..AGAIN {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), INSIDE) {
            Err(rustix::io::Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
    Err(rustix::io::Errno::AGAIN.into())
}

/// A directory below a root; links on the way are taken inside.
pub fn open_dir_in(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    open_in(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// A regular file below a root, for reading; links on the way are taken inside. Nothing is waited for.
///
/// # Errors
/// Those of openat2(2); `InvalidInput`: it is no regular file.
pub fn open_file_in(root: impl AsFd, path: &Path) -> io::Result<File> {
    let file = File::from(open_in(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// A directory in a directory that is no link.
pub fn open_child(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// A new file for writing, for root alone.
pub fn create_file(dir: impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// mkdirat(2), mode 0755 whatever the umask.
pub fn make_dir(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(&dir, name, Mode::RWXU)?;
    let made = open_child(&dir, name)?;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
    Ok(made)
}

/// mknodat(2) of a fifo.
pub fn make_fifo(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::mknodat(dir, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

/// symlinkat(2).
pub fn make_symlink(target: &OsStr, dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// linkat(2); a link is linked itself, not followed.
pub fn make_link(from: impl AsFd, old: &OsStr, dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::linkat(from, old, dir, name, AtFlags::empty())?)
}

/// What a name in a directory is; `None` = there is none.
pub fn kind(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Kind>> {
    let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        stat => stat?,
    };
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }))
}

/// The names in a directory, without `.` and `..`.
pub fn names(dir: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// unlinkat(2), of a directory with what is below it. Links are removed, never followed.
pub fn remove(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    if kind(&dir, name)? != Some(Kind::Directory) {
        return Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?);
    }
    let child = open_child(&dir, name)?;
    for below in names(&child)? {
        remove(&child, &below)?;
    }
    drop(child);
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Owner and permission bits of an open file or directory; in this order, because a new owner takes set-user-id away.
pub fn own(file: impl AsFd, meta: &Meta) -> io::Result<()> {
    rustix::fs::fchown(&file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode & 0o7777))?)
}

/// Owner and, but for a link, permission bits of a name.
pub fn own_at(dir: impl AsFd, name: &OsStr, meta: &Meta, link: bool) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
    rustix::fs::chownat(&dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    if link {
        return Ok(());
    }
    Ok(rustix::fs::chmodat(dir, name, Mode::from_raw_mode(meta.mode & 0o7777), AtFlags::empty())?)
}

fn stamps((secs, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: secs, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// futimens(2).
pub fn set_time(file: impl AsFd, mtime: (i64, u32)) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &stamps(mtime))?)
}

/// utimensat(2) of a name itself.
pub fn set_time_at(dir: impl AsFd, name: &OsStr, mtime: (i64, u32)) -> io::Result<()> {
    Ok(rustix::fs::utimensat(dir, name, &stamps(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// fsetxattr(2).
pub fn set_xattr(file: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty())?)
}

/// Bytes that are free for everybody, and bytes in all, of the file system of an open file.
pub fn space(file: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstatvfs(file)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// syncfs(2): everything of that file system is on its disk.
pub fn sync_all(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

/// flock(2), exclusive; whether it was to be had. With `wait` it is.
pub fn lock(file: &File, wait: bool) -> io::Result<bool> {
    let how = if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
    match rustix::fs::flock(file, how) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        done => Ok(done.map(|()| true)?),
    }
}

/// Where an open directory is, as the kernel says it (proc(5), `fd`).
pub fn place(dir: impl AsFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()))
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Mounts an overlay of `lower` with its changes in `upper` (overlayfs.rst). Through descriptors of the new mount API, so
/// that a comma in a path is part of the path.
///
/// # Errors
/// What the kernel says: it has no overlayfs, or the file system of `upper` cannot be one.
pub fn mount_overlay(lower: &Path, upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", "knarr")?;
    // Several lower directories are divided by colons.
    let mut escaped = Vec::new();
    for byte in lower.as_os_str().as_bytes() {
        if matches!(byte, b':' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    fsconfig_set_string(&fs, "lowerdir", OsStr::from_bytes(&escaped))?;
    fsconfig_set_string(&fs, "upperdir", upper)?;
    fsconfig_set_string(&fs, "workdir", work)?;
    fsconfig_create(&fs)?;
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    Ok(move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Whether statfs(2) says overlayfs (linux/magic.h).
pub fn is_overlay(path: &Path) -> io::Result<bool> {
    const OVERLAY: i128 = 0x794c_7630;
    Ok(i128::from(rustix::fs::statfs(path)?.f_type) == OVERLAY)
}
