//! Files and directories by descriptor: open, openat2, create, read, write, list, rename.

use super::show;
use crate::error::{Code, Error, Result, quoted};
use rustix::fs as rfs;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

pub use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

/// `AT_FDCWD`, for the few paths that belong to the host and the caller.
pub const CWD: BorrowedFd<'static> = rfs::CWD;

fn p(path: &(impl AsRef<Path> + ?Sized)) -> String {
    quoted(&path.as_ref().to_string_lossy())
}

/// open(2), always close-on-exec, interrupted calls repeated.
pub fn open(path: impl AsRef<Path>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    openat(CWD, path, flags, mode)
}

/// openat(2), always close-on-exec.
pub fn openat<D: AsFd>(dir: D, path: impl AsRef<Path>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let path = path.as_ref();
    let flags = flags | OFlags::CLOEXEC;
    let r = loop {
        match rfs::openat(&dir, path, flags, Mode::from_raw_mode(mode)) {
            Err(rustix::io::Errno::INTR) => continue,
            r => break r,
        }
    };
    sys!("openat", r, "{}, {}, {:?}", show(&dir), p(path), flags).map_err(|e| e.path(path.to_string_lossy()))
}

/// openat2(2) (Linux 5.6), always close-on-exec. EAGAIN, which a concurrent rename causes, is retried 128
/// times and then reported, so that a renamer cannot stall us.
pub fn openat2<D: AsFd>(
    dir: D,
    path: impl AsRef<Path>,
    flags: OFlags,
    mode: u32,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    let path = path.as_ref();
    let flags = flags | OFlags::CLOEXEC;
    let mut tries = 0;
    let r = loop {
        match rfs::openat2(&dir, path, flags, Mode::from_raw_mode(mode), resolve) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) if tries < 128 => tries += 1,
            r => break r,
        }
    };
    sys!("openat2", r, "{}, {}, {:?}, {:?}", show(&dir), p(path), flags, resolve)
        .map_err(|e| e.path(path.to_string_lossy()))
}

/// As [`openat2`], for what may be missing: `None` for ENOENT. Costs no more than the call itself, because no error is
/// made that names the directory.
pub fn openat2_if_there<D: AsFd>(
    dir: D,
    path: impl AsRef<Path>,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<Option<OwnedFd>> {
    match rfs::openat2(&dir, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Ok(fd) => Ok(Some(fd)),
        // Once more, with what belongs to a failure: retries and a text.
        Err(_) => openat2(dir, path, flags, 0, resolve).map(Some),
    }
}

/// An `O_PATH` handle on a directory.
pub fn open_dir_path(path: impl AsRef<Path>) -> Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY, 0)
}

/// mkdirat(2). The umask applies.
pub fn mkdirat<D: AsFd>(dir: D, path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    sys!(
        "mkdirat",
        rfs::mkdirat(&dir, path, Mode::from_raw_mode(mode)),
        "{}, {}, {mode:#o}",
        show(&dir),
        p(path)
    )
    .map_err(|e| e.path(path.to_string_lossy()))
}

/// mknodat(2) for any type. The umask applies.
pub fn mknodat<D: AsFd>(
    dir: D,
    path: impl AsRef<Path>,
    kind: FileType,
    mode: u32,
    major: u32,
    minor: u32,
) -> Result<()> {
    let path = path.as_ref();
    sys!(
        "mknodat",
        rfs::mknodat(&dir, path, kind, Mode::from_raw_mode(mode), rfs::makedev(major, minor)),
        "{}, {}, {kind:?}, {mode:#o}, {major}:{minor}",
        show(&dir),
        p(path)
    )
    .map_err(|e| e.path(path.to_string_lossy()))
}

/// symlinkat(2): makes `link` in `dir` point at `target`.
pub fn symlinkat<D: AsFd>(target: impl AsRef<Path>, dir: D, link: impl AsRef<Path>) -> Result<()> {
    let (target, link) = (target.as_ref(), link.as_ref());
    sys!("symlinkat", rfs::symlinkat(target, &dir, link), "{}, {}, {}", p(target), show(&dir), p(link))
        .map_err(|e| e.path(link.to_string_lossy()))
}

/// unlinkat(2) of a file.
pub fn unlinkat<D: AsFd>(dir: D, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    sys!("unlinkat", rfs::unlinkat(&dir, path, AtFlags::empty()), "{}, {}", show(&dir), p(path))
        .map_err(|e| e.path(path.to_string_lossy()))
}

/// unlinkat(2) of an empty directory (or a cgroup).
pub fn rmdirat<D: AsFd>(dir: D, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    sys!(
        "unlinkat",
        rfs::unlinkat(&dir, path, AtFlags::REMOVEDIR),
        "{}, {}, AT_REMOVEDIR",
        show(&dir),
        p(path)
    )
    .map_err(|e| e.path(path.to_string_lossy()))
}

/// renameat(2) inside one directory.
pub fn renameat<D: AsFd>(dir: D, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    sys!("renameat", rfs::renameat(&dir, from, &dir, to), "{}, {}, {}", show(&dir), p(from), p(to))
}

/// readlinkat(2).
pub fn readlinkat<D: AsFd>(dir: D, path: impl AsRef<Path>) -> Result<OsString> {
    let path = path.as_ref();
    let c: CString =
        sys!("readlinkat", rfs::readlinkat(&dir, path, Vec::new()), "{}, {}", show(&dir), p(path))?;
    Ok(OsString::from_vec(c.into_bytes()))
}

/// What fstat(2) tells, reduced to what callers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u64,
    pub size: u64,
    /// Major and minor number of the device the node stands for.
    pub rdev: (u32, u32),
}

impl Stat {
    fn from(s: rfs::Stat) -> Self {
        Stat {
            dev: s.st_dev,
            ino: s.st_ino,
            mode: s.st_mode,
            uid: s.st_uid,
            gid: s.st_gid,
            nlink: s.st_nlink,
            size: s.st_size as u64,
            rdev: (rfs::major(s.st_rdev), rfs::minor(s.st_rdev)),
        }
    }
    /// The file type.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }
    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }
    /// True for the character device `major:minor`.
    pub fn is_char(&self, major: u32, minor: u32) -> bool {
        self.kind() == FileType::CharacterDevice && self.rdev == (major, minor)
    }
}

/// fstat(2); works on `O_PATH` descriptors.
pub fn fstat<F: AsFd>(fd: F) -> Result<Stat> {
    sys!("fstat", rfs::fstat(&fd), "{}", show(&fd)).map(Stat::from)
}

/// fstat(2) of descriptor number `n`, `None` when it is not open. For standard streams, which have no owner here.
pub fn fstat_number(n: i32) -> Option<Stat> {
    // SAFETY: borrowed for this call only; fstat(2) of any number is safe, EBADF when it is not open. -1 alone is no number.
    let fd = unsafe { BorrowedFd::borrow_raw(n.max(0)) };
    rfs::fstat(fd).ok().map(Stat::from)
}

/// fstatat(2).
pub fn statat<D: AsFd>(dir: D, path: impl AsRef<Path>, flags: AtFlags) -> Result<Stat> {
    let path = path.as_ref();
    sys!("fstatat", rfs::statat(&dir, path, flags), "{}, {}, {:?}", show(&dir), p(path), flags)
        .map(Stat::from)
        .map_err(|e| e.path(path.to_string_lossy()))
}

/// stat(2) of a host path.
pub fn stat(path: impl AsRef<Path>) -> Result<Stat> {
    statat(CWD, path, AtFlags::empty())
}

/// fsetxattr(2).
pub fn set_xattr<F: AsFd>(fd: F, name: &str, value: &[u8]) -> Result<()> {
    let flags = rfs::XattrFlags::empty();
    sys!("fsetxattr", rfs::fsetxattr(&fd, name, value, flags), "{}, {name}", show(&fd))
}

/// The magic number of the file system that `fd` is on; see statfs(2).
pub fn fs_magic<F: AsFd>(fd: F) -> Result<u64> {
    sys!("fstatfs", rfs::fstatfs(&fd), "{}", show(&fd)).map(|s| s.f_type as u64)
}

/// Flags of the mount that `fd` is on (statvfs(3), `ST_*`).
pub fn mount_flags<F: AsFd>(fd: F) -> Result<u64> {
    sys!("fstatvfs", rfs::fstatvfs(&fd), "{}", show(&fd)).map(|s| s.f_flag.bits())
}

/// `ST_*` of statvfs(3).
pub mod mount_flag {
    pub const RDONLY: u64 = libc::ST_RDONLY;
    pub const NOSUID: u64 = libc::ST_NOSUID;
    pub const NODEV: u64 = libc::ST_NODEV;
    pub const NOEXEC: u64 = libc::ST_NOEXEC;
    pub const NODIRATIME: u64 = libc::ST_NODIRATIME;
}

/// Magic numbers of statfs(2) that matter here.
pub mod magic {
    pub const PROC: u64 = 0x9fa0;
    pub const SYSFS: u64 = 0x6265_6572;
    pub const CGROUP: u64 = 0x27_e0eb;
    pub const CGROUP2: u64 = 0x6367_7270;
    pub const TMPFS: u64 = 0x0102_1994;
    pub const DEVPTS: u64 = 0x1cd1;
    pub const NSFS: u64 = 0x6e73_6673;
}

/// Reads a whole descriptor, at most `limit` bytes.
///
/// # Errors
/// A longer content is an error that says the limit in bytes.
pub fn read_all<F: AsFd>(fd: F, limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut chunk = [0u8; 8192];
    loop {
        match rustix::io::read(&fd, &mut chunk) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(Error::os("read", show(&fd), e.raw_os_error())),
            Ok(0) => return Ok(out),
            Ok(n) => {
                out.extend_from_slice(&chunk[..n]);
                if out.len() > limit {
                    return Err(Error::new(Code::Spec, format!("larger than the limit of {limit} bytes")));
                }
            }
        }
    }
}

/// As [`read_all`], for a file whose size was just seen: when one read gives exactly that and there was room for more, it is
/// the whole. Files of procfs and sysfs have no size; they are read to their end.
pub fn read_sized<F: AsFd>(fd: F, size: u64, limit: usize) -> Result<Vec<u8>> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size == 0 || size >= limit {
        return read_all(fd, limit);
    }
    let mut out = vec![0u8; size + 1];
    let n = read_some(&fd, &mut out)?;
    out.truncate(n);
    if n != size {
        out.extend(read_all(&fd, limit)?);
    }
    if out.len() > limit {
        return Err(Error::new(Code::Spec, format!("larger than the limit of {limit} bytes")));
    }
    Ok(out)
}

/// Reads at most `buf.len()` bytes; 0 is end of file.
pub fn read_some<F: AsFd>(fd: F, buf: &mut [u8]) -> Result<usize> {
    loop {
        match rustix::io::read(&fd, &mut *buf) {
            Err(rustix::io::Errno::INTR) => continue,
            r => return sys!("read", r, "{}, {} bytes", show(&fd), buf.len()),
        }
    }
}

/// Writes everything.
pub fn write_all<F: AsFd>(fd: F, data: &[u8]) -> Result<()> {
    write_rest(fd.as_fd(), data, false)
}

/// Writes everything, however long it takes: for streams of the caller, who may have made them non-blocking.
pub fn write_patiently<F: AsFd>(fd: F, data: &[u8]) -> Result<()> {
    write_rest(fd.as_fd(), data, true)
}

fn write_rest(fd: BorrowedFd<'_>, mut data: &[u8], wait: bool) -> Result<()> {
    while !data.is_empty() {
        match rustix::io::write(fd, data) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) if wait => {
                super::poll::wait_any(&[(fd, super::poll::Interest::Write)], None)?;
            }
            Err(e) => {
                return Err(Error::os(
                    "write",
                    format_args!("{}, {} bytes", show(&fd), data.len()),
                    e.raw_os_error(),
                ));
            }
            Ok(n) => data = &data[n..],
        }
    }
    Ok(())
}

/// Writes at most all of `data`; gives how much was taken.
pub fn write_some<F: AsFd>(fd: F, data: &[u8]) -> Result<usize> {
    loop {
        match rustix::io::write(&fd, data) {
            Err(rustix::io::Errno::INTR) => continue,
            r => return sys!("write", r, "{}, {} bytes", show(&fd), data.len()),
        }
    }
}

/// fcntl(2), `O_NONBLOCK`: for this open file description, so only for ones that nobody else shares.
pub fn set_nonblocking<F: AsFd>(fd: F) -> Result<()> {
    let flags = sys!("fcntl", rfs::fcntl_getfl(&fd), "{}, F_GETFL", show(&fd))?;
    sys!("fcntl", rfs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK), "{}, F_SETFL", show(&fd))
}

/// One write(2), for kernel files that take a value in one piece. A short write is an error (EIO).
pub fn write_once<F: AsFd>(fd: F, data: &[u8]) -> Result<()> {
    loop {
        match rustix::io::write(&fd, data) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(n) if n < data.len() => {
                return Err(Error::os(
                    "write",
                    format_args!("{}, {n} of {} bytes", show(&fd), data.len()),
                    libc::EIO,
                ));
            }
            r => {
                return sys!("write", r, "{}, {}", show(&fd), quoted(&String::from_utf8_lossy(data)))
                    .map(|_| ());
            }
        }
    }
}

/// Opens an existing kernel file below `dir` and writes `data` in one piece.
pub fn write_file_at<D: AsFd>(dir: D, path: impl AsRef<Path>, data: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let fd = openat(&dir, path, OFlags::WRONLY | OFlags::NOFOLLOW, 0)?;
    write_once(&fd, data).map_err(|e| e.path(path.to_string_lossy()))
}

/// Reads an attribute of a kernel file system below `dir` as text (at most 1 MiB), see [`read_kernel_value`].
pub fn read_file_at<D: AsFd>(dir: D, path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let fd = openat(&dir, path, OFlags::RDONLY | OFlags::NOFOLLOW, 0)?;
    let bytes = read_value(&fd, 1 << 20).map_err(|e| e.path(path.to_string_lossy()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a host file whole, at most `limit` bytes. Never blocks on a fifo and never opens a device: the path
/// must be a regular file (or a file of procfs or sysfs, which look like one).
pub fn read_regular(path: impl AsRef<Path>, limit: usize) -> Result<Vec<u8>> {
    let path = path.as_ref();
    // Looked at before it is opened: opening a device can already do something.
    let seen = fstat(open(path, OFlags::PATH, 0)?)?;
    let not_regular = || {
        Err(Error::new(Code::Spec, format!("{} is not a regular file", p(path))).path(path.to_string_lossy()))
    };
    if seen.kind() != FileType::RegularFile {
        return not_regular();
    }
    let fd = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?;
    let seen = fstat(&fd)?;
    if seen.kind() != FileType::RegularFile {
        return not_regular();
    }
    read_sized(&fd, seen.size, limit)
        .map_err(|e| e.path(path.to_string_lossy()).step(format!("read {}", p(path))))
}

/// Reads a file of the host's procfs, sysfs or cgroup file systems whole, at most `limit` bytes. The path is ours, not
/// somebody's: it is not looked at before it is opened, as [`read_regular`] does.
pub fn read_kernel(path: impl AsRef<Path>, limit: usize) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let fd = open(path, OFlags::RDONLY | OFlags::NOCTTY, 0)?;
    read_all(&fd, limit).map_err(|e| e.path(path.to_string_lossy()).step(format!("read {}", p(path))))
}

/// As [`read_kernel`], for a file that the kernel writes in one piece (single_open() and one-value files of procfs, kernfs
/// attributes, sysctls): one read that does not fill the buffer is the whole, so nobody asks for the end.
pub fn read_kernel_value(path: impl AsRef<Path>, limit: usize) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let fd = open(path, OFlags::RDONLY | OFlags::NOCTTY, 0)?;
    read_value(&fd, limit).map_err(|e| e.path(path.to_string_lossy()).step(format!("read {}", p(path))))
}

/// One read(2) of a file as in [`read_kernel_value`]; the rest too when it filled the buffer.
fn read_value<F: AsFd>(fd: &F, limit: usize) -> Result<Vec<u8>> {
    let mut chunk = [0u8; 8192];
    let n = read_some(fd, &mut chunk)?;
    let mut out = chunk[..n].to_vec();
    if n == chunk.len() {
        out.extend(read_all(fd, limit)?);
    }
    if out.len() > limit {
        return Err(Error::new(Code::Spec, format!("larger than the limit of {limit} bytes")));
    }
    Ok(out)
}

/// Names in a directory from where the handle stands, without `.` and `..`. `dir` must be opened for reading.
pub fn list<D: AsFd>(dir: D) -> Result<Vec<OsString>> {
    let mut out = Vec::new();
    let mut buf = Vec::with_capacity(8192);
    let mut entries = rfs::RawDir::new(&dir, buf.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = sys!("getdents64", entry, "{}", show(&dir))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            out.push(OsStr::from_bytes(name).to_os_string());
        }
    }
    Ok(out)
}

/// Names of the directories in a directory, without `.` and `..`. Only for file systems that tell the type of
/// an entry, as cgroupfs, procfs and tmpfs do.
pub fn list_dirs<D: AsFd>(dir: D) -> Result<Vec<OsString>> {
    let mut out = Vec::new();
    for entry in sys!("getdents64", rfs::Dir::read_from(&dir), "{}", show(&dir))? {
        let entry = sys!("getdents64", entry, "{}", show(&dir))?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            out.push(OsStr::from_bytes(name).to_os_string());
        }
    }
    Ok(out)
}

/// fchownat(2) with `AT_EMPTY_PATH`; `None` leaves an id alone.
pub fn chown<F: AsFd>(fd: F, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    sys!(
        "fchownat",
        rfs::chownat(&fd, "", uid.map(rfs::Uid::from_raw), gid.map(rfs::Gid::from_raw), AtFlags::EMPTY_PATH),
        "{}, {uid:?}, {gid:?}",
        show(&fd)
    )
}

/// fchownat(2) below `dir`, never through a symbolic link.
pub fn chownat<D: AsFd>(dir: D, path: impl AsRef<Path>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let path = path.as_ref();
    sys!(
        "fchownat",
        rfs::chownat(
            &dir,
            path,
            uid.map(rfs::Uid::from_raw),
            gid.map(rfs::Gid::from_raw),
            AtFlags::SYMLINK_NOFOLLOW
        ),
        "{}, {}, {uid:?}, {gid:?}",
        show(&dir),
        p(path)
    )
}

/// fchmod(2); not for `O_PATH` descriptors.
pub fn chmod<F: AsFd>(fd: F, mode: u32) -> Result<()> {
    sys!("fchmod", rfs::fchmod(&fd, Mode::from_raw_mode(mode)), "{}, {mode:#o}", show(&fd))
}

/// fchmodat(2) below `dir`. Follows a symbolic link in the last component: only for names we just made.
pub fn chmodat<D: AsFd>(dir: D, path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    sys!(
        "fchmodat",
        rfs::chmodat(&dir, path, Mode::from_raw_mode(mode), AtFlags::empty()),
        "{}, {}, {mode:#o}",
        show(&dir),
        p(path)
    )
}

/// Sets the umask and returns the old one.
pub fn umask(mask: u32) -> u32 {
    rustix::process::umask(Mode::from_raw_mode(mask)).as_raw_mode()
}

/// How to lock with flock(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    Shared,
    Exclusive,
    TryShared,
    TryExclusive,
    /// Gives the lock up for every descriptor of the same open file, also those a child inherited.
    Unlock,
}

/// flock(2) on an open file or directory; `false` when one of the `Try` kinds found it taken.
pub fn flock<F: AsFd>(fd: F, how: Lock) -> Result<bool> {
    let op = match how {
        Lock::Shared => rfs::FlockOperation::LockShared,
        Lock::Exclusive => rfs::FlockOperation::LockExclusive,
        Lock::TryShared => rfs::FlockOperation::NonBlockingLockShared,
        Lock::TryExclusive => rfs::FlockOperation::NonBlockingLockExclusive,
        Lock::Unlock => rfs::FlockOperation::Unlock,
    };
    loop {
        match rfs::flock(&fd, op) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            r => return sys!("flock", r, "{}, {how:?}", show(&fd)).map(|()| true),
        }
    }
}

/// dup(2) with close-on-exec.
pub fn dup<F: AsFd>(fd: F) -> Result<OwnedFd> {
    sys!("fcntl", rustix::io::fcntl_dupfd_cloexec(&fd, 3), "{}, F_DUPFD_CLOEXEC", show(&fd))
}

/// fsync(2).
pub fn fsync<F: AsFd>(fd: F) -> Result<()> {
    sys!("fsync", rfs::fsync(&fd), "{}", show(&fd))
}

/// Writes `name` in `dir` by a temporary file and a rename: a reader sees the old or the new content, whole.
pub fn write_aside<D: AsFd>(dir: D, name: &str, data: &[u8], mode: u32) -> Result<()> {
    let tmp = format!(".{name}.tmp");
    let make = || openat(&dir, &tmp, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode);
    let fd = match make() {
        // Left by a writer that was killed.
        Err(e) if e.is(libc::EEXIST) => unlinkat(&dir, &tmp).and_then(|()| make())?,
        r => r?,
    };
    let done = write_all(&fd, data).and_then(|()| renameat(&dir, &tmp, name));
    if done.is_err() {
        let _ = unlinkat(&dir, &tmp);
    }
    done
}
