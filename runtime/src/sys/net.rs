//! The one network call a container needs from us: bringing loopback up.

use super::cvt;
use crate::error::Result;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Sets `IFF_UP` on `lo` in the current network namespace (netdevice(7), SIOCSIFFLAGS).
pub fn loopback_up() -> Result<()> {
    // SAFETY: a new socket descriptor or -1.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let raw = sys!("socket", cvt(raw.into()), "AF_INET, SOCK_DGRAM")?;
    // SAFETY: just made, owned by nobody else.
    let sock = unsafe { OwnedFd::from_raw_fd(raw as i32) };
    // SAFETY: ifreq is plain data; zero is valid.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    req.ifr_name[0] = b'l' as libc::c_char;
    req.ifr_name[1] = b'o' as libc::c_char;
    req.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: req is a valid ifreq that outlives the call.
    let r = unsafe { libc::ioctl(sock.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut req) };
    sys!("ioctl", cvt(r.into()), "SIOCSIFFLAGS, lo, IFF_UP").map(|_| ())
}
