//! Who is at the other end of a unix socket, and who we are.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// The process that called connect(2), as it was at that moment, in the ids of our user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// `SO_PEERCRED` and `SO_PEERGROUPS` (unix(7); the second since Linux 4.13).
pub fn of<S: AsFd>(socket: S) -> io::Result<Peer> {
    let cred = rustix::net::sockopt::socket_peercred(&socket)?;
    Ok(Peer { uid: cred.uid.as_raw(), gid: cred.gid.as_raw(), groups: groups(&socket)? })
}

/// `SO_PEERGROUPS`. The kernel says how much room it wants when the first guess is too small.
fn groups<S: AsFd>(socket: S) -> io::Result<Vec<u32>> {
    let mut list = vec![0u32; 64];
    loop {
        let mut bytes =
            libc::socklen_t::try_from(list.len() * size_of::<u32>()).unwrap_or(libc::socklen_t::MAX);
        // SAFETY: `list` has room for `bytes` bytes, which the kernel does not write beyond, and any bits are a u32.
        let r = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                list.as_mut_ptr().cast(),
                &mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        match r {
            0 => {
                list.truncate(count);
                return Ok(list);
            }
            _ => match io::Error::last_os_error() {
                e if e.raw_os_error() == Some(libc::ERANGE) && count > list.len() => list.resize(count, 0),
                e => return Err(e),
            },
        }
    }
}

/// poll(2) without waiting: whether the other end is closed, read to the end or not.
pub fn hung_up<S: AsFd>(socket: S) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok()
        && fds.iter().any(|f| f.revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR))
}

/// geteuid(2).
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes the calling thread, and no other, somebody without any right. For tests that run as root.
#[cfg(test)]
pub fn become_nobody(groups: &[u32]) -> io::Result<()> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let groups: Vec<rustix::process::Gid> =
        groups.iter().map(|g| rustix::process::Gid::from_raw(*g)).collect();
    set_thread_groups(&groups)?;
    let (uid, gid) = (rustix::process::Uid::from_raw(65534), rustix::process::Gid::from_raw(65534));
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}
