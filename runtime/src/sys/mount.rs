//! The mount API by descriptor: open_tree, fsopen, mount_setattr, move_mount, pivot_root.

use super::{cvt, show};
use crate::error::{Error, Result, quoted};
use rustix::mount as rm;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attr {
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    /// Mask of the three access time modes; relatime is the zero value.
    pub const ATIME_MASK: u64 = 0x70;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const IDMAP: u64 = 0x0010_0000;
    /// Linux 5.14.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// Propagation types of mount_setattr(2).
pub mod propagation {
    pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;
    pub const PRIVATE: u64 = libc::MS_PRIVATE;
    pub const SLAVE: u64 = libc::MS_SLAVE;
    pub const SHARED: u64 = libc::MS_SHARED;
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// open_tree(2) with `OPEN_TREE_CLONE` (Linux 5.2): a detached copy of the mount at `path` below `dir`; with
/// `recursive` of the whole tree. An empty `path` means `dir` itself.
pub fn open_tree_clone<D: AsFd>(dir: D, path: impl AsRef<Path>, recursive: bool) -> Result<OwnedFd> {
    let path = path.as_ref();
    let mut flags = rm::OpenTreeFlags::OPEN_TREE_CLONE
        | rm::OpenTreeFlags::OPEN_TREE_CLOEXEC
        | rm::OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= rm::OpenTreeFlags::AT_RECURSIVE;
    }
    sys!(
        "open_tree",
        rm::open_tree(&dir, path, flags),
        "{}, {}, CLONE{}",
        show(&dir),
        quoted(&path.to_string_lossy()),
        if recursive { "|RECURSIVE" } else { "" }
    )
}

/// mount_setattr(2) (Linux 5.12) on the mount that `fd` is the root of.
pub fn set_attr<F: AsFd>(fd: F, set: u64, clear: u64, propagation: u64, recursive: bool) -> Result<()> {
    setattr_raw(&fd, MountAttr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 }, recursive)
}

/// mount_setattr(2) with `MOUNT_ATTR_IDMAP`: the mount, which must be detached, shows ids as the user namespace `userns` maps
/// them.
pub fn set_idmap<F: AsFd, U: AsFd>(fd: F, userns: U, recursive: bool) -> Result<()> {
    let userns_fd = userns.as_fd().as_raw_fd() as u64;
    setattr_raw(&fd, MountAttr { attr_set: attr::IDMAP, attr_clr: 0, propagation: 0, userns_fd }, recursive)
}

fn setattr_raw<F: AsFd>(fd: &F, a: MountAttr, recursive: bool) -> Result<()> {
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `a` is valid for its size and the path is an empty C string.
    let r = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const a,
            size_of::<MountAttr>(),
        )
    };
    sys!(
        "mount_setattr",
        cvt(r),
        "{}, set={:#x}, clear={:#x}, propagation={:#x}{}",
        show(fd),
        a.attr_set,
        a.attr_clr,
        a.propagation,
        if recursive { ", RECURSIVE" } else { "" }
    )
    .map(|_| ())
}

/// move_mount(2) by two descriptors: attaches the mount `from` on the object `to`.
pub fn move_mount<F: AsFd, T: AsFd>(from: F, to: T) -> Result<()> {
    let flags = rm::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | rm::MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    sys!("move_mount", rm::move_mount(&from, "", &to, "", flags), "{}, {}", show(&from), show(&to))
}

/// A file system being configured (fsopen(2), Linux 5.2).
pub struct FsContext {
    fd: OwnedFd,
    name: String,
}

impl FsContext {
    /// fsopen(2).
    pub fn open(fs: &str) -> Result<Self> {
        let fd = sys!("fsopen", rm::fsopen(fs, rm::FsOpenFlags::FSOPEN_CLOEXEC), "{}", quoted(fs))?;
        Ok(FsContext { fd, name: fs.to_string() })
    }
    /// fsconfig(2) with a value.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        sys!(
            "fsconfig",
            rm::fsconfig_set_string(self.fd.as_fd(), key, value),
            "{}, {}={}",
            self.name,
            key,
            quoted(value)
        )
        .map_err(|e| self.explain(e))
    }
    /// fsconfig(2) without a value.
    pub fn flag(&self, key: &str) -> Result<()> {
        sys!("fsconfig", rm::fsconfig_set_flag(self.fd.as_fd(), key), "{}, {}", self.name, quoted(key))
            .map_err(|e| self.explain(e))
    }
    /// Creates the superblock and returns a detached mount with the given attributes, and the context's descriptor, to be
    /// closed together with others.
    pub fn mount(self, attrs: u64) -> Result<(OwnedFd, OwnedFd)> {
        sys!("fsconfig", rm::fsconfig_create(self.fd.as_fd()), "{}, CMD_CREATE", self.name)
            .map_err(|e| self.explain(e))?;
        let flags = rm::MountAttrFlags::from_bits_retain(attrs as u32);
        sys!(
            "fsmount",
            rm::fsmount(self.fd.as_fd(), rm::FsMountFlags::FSMOUNT_CLOEXEC, flags),
            "{}, {attrs:#x}",
            self.name
        )
        .map(|mount| (mount, self.fd))
    }
    /// The file system's own message about the last failure, which it writes into the context.
    fn explain(&self, e: Error) -> Error {
        let mut buf = [0u8; 512];
        match rustix::io::read(&self.fd, &mut buf) {
            Ok(n) if n > 2 => e.hint(String::from_utf8_lossy(&buf[2..n]).trim_end().to_string()),
            _ => e,
        }
    }
}

/// mount(2), the classic call: for the few things that the new API does not cover.
pub fn mount(source: &str, target: &Path, fs: &str, flags: u64, data: &str) -> Result<()> {
    let cdata = CString::new(data).map_err(|_| Error::os("mount", "data with NUL", libc::EINVAL))?;
    sys!(
        "mount",
        rm::mount(source, target, fs, rm::MountFlags::from_bits_retain(flags as u32), Some(cdata.as_c_str())),
        "{}, {}, {fs}, {flags:#x}, {}",
        quoted(source),
        quoted(&target.to_string_lossy()),
        quoted(data)
    )
}

/// mount(2) that changes propagation of `target` (recursively with `MS_REC`).
pub fn change_propagation(target: &str, flags: u64, recursive: bool) -> Result<()> {
    let f = rm::MountPropagationFlags::from_bits_retain(
        (flags | if recursive { libc::MS_REC } else { 0 }) as u32,
    );
    sys!("mount", rm::mount_change(target, f), "{}, {f:?}", quoted(target))
}

/// pivot_root(2) with both arguments ".": the new root is the working directory, the old one is stacked on it.
pub fn pivot_root_here() -> Result<()> {
    sys!("pivot_root", rustix::process::pivot_root(".", "."), "\".\", \".\"")
}

/// umount2(2) with `MNT_DETACH`.
pub fn umount_detach(target: &Path) -> Result<()> {
    sys!(
        "umount2",
        rm::unmount(target, rm::UnmountFlags::DETACH),
        "{}, MNT_DETACH",
        quoted(&target.to_string_lossy())
    )
}
