//! THE FENCE. The only module that calls the kernel (through rustix, nix and libc) and the only one that may
//! be unsafe. No policy: each function is one call, with an error that prints the call as it was made.

/// Runs `$call`; on failure makes an `Error::os` with the call's name and its arguments as made.
macro_rules! sys {
    ($name:literal, $call:expr, $($arg:tt)+) => {
        match $call {
            Ok(v) => Ok(v),
            Err(e) => Err($crate::error::Error::os($name, format_args!($($arg)+), e.raw_os_error())),
        }
    };
}

pub mod bpf;
pub mod cred;
pub mod fs;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod ns;
pub mod poll;
pub mod process;
pub mod program;
pub mod sched;
pub mod seccomp;
pub mod shared;
pub mod sock;
pub mod spawn;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod start;
pub mod tty;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

/// Owned and borrowed descriptors, so that nobody needs to name another crate for them.
pub use std::os::fd::{BorrowedFd, OwnedFd};

/// A descriptor as messages show it: number and what it points at, read only when an error is printed.
pub struct ShowFd<'a>(BorrowedFd<'a>);

/// See [`ShowFd`].
pub fn show<F: AsFd>(fd: &F) -> ShowFd<'_> {
    ShowFd(fd.as_fd())
}

impl fmt::Display for ShowFd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.as_raw_fd();
        if n == libc::AT_FDCWD {
            return f.write_str("AT_FDCWD");
        }
        match std::fs::read_link(format!("/proc/self/fd/{n}")) {
            Ok(p) => write!(f, "{n}<{}>", p.display()),
            Err(_) => write!(f, "{n}"),
        }
    }
}

/// The errno of a failed raw call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub i32);

impl Errno {
    pub(crate) fn raw_os_error(self) -> i32 {
        self.0
    }
    pub(crate) fn last() -> Self {
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

/// Turns libc's -1 into an errno.
pub(crate) fn cvt(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret == -1 { Err(Errno::last()) } else { Ok(ret) }
}

/// errno values other modules compare with.
pub mod errno {
    pub use libc::{
        E2BIG, EACCES, EAGAIN, EBADF, EBUSY, ECHILD, ECONNREFUSED, ECONNRESET, EDQUOT, EEXIST, EINTR, EINVAL,
        EIO, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENODEV, ENOENT, ENOEXEC, ENOMEM, ENOSPC, ENOSYS, ENOTDIR,
        ENOTEMPTY, ENOTSUP, ENOTTY, ENXIO, EOPNOTSUPP, EPERM, EPIPE, ERANGE, EROFS, ESRCH, ETXTBSY, EXDEV,
    };
}
