//! Namespaces: open, verify the type, enter, leave.

use super::{cvt, show};
use crate::error::Result;
use std::os::fd::{AsFd, AsRawFd};

/// setns(2) with an explicit type (0 = any), on a namespace descriptor or a pidfd (Linux 5.8).
pub fn setns<F: AsFd>(fd: F, flags: u64) -> Result<()> {
    // SAFETY: setns changes only the calling thread's namespaces.
    let r = unsafe { libc::setns(fd.as_fd().as_raw_fd(), flags as i32) };
    sys!("setns", cvt(r.into()), "{}, {flags:#x}", show(&fd)).map(|_| ())
}

/// unshare(2).
pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: CLONE_FILES and CLONE_FS are not among the flags that callers pass (namespaces only).
    let r = unsafe { libc::unshare(flags as i32) };
    sys!("unshare", cvt(r.into()), "{flags:#x}").map(|_| ())
}

/// ioctl NS_GET_NSTYPE (Linux 4.11): the `CLONE_NEW*` flag of a namespace descriptor. Fails with ENOTTY on
/// anything that is not one.
pub fn ns_type<F: AsFd>(fd: F) -> Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request takes no argument.
    let r = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE as _) };
    sys!("ioctl", cvt(r.into()), "{}, NS_GET_NSTYPE", show(&fd)).map(|v| v as u64)
}

/// sethostname(2).
pub fn sethostname(name: &str) -> Result<()> {
    sys!("sethostname", rustix::system::sethostname(name.as_bytes()), "{name:?}")
}

/// setdomainname(2).
pub fn setdomainname(name: &str) -> Result<()> {
    // SAFETY: pointer and length describe `name`.
    let r = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    sys!("setdomainname", cvt(r.into()), "{name:?}").map(|_| ())
}
