//! Network namespaces, and sockets in them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The calling thread, and no other, goes into this network namespace; setns(2), `CLONE_NEWNET`.
///
/// # Errors
/// It is none, or this process may not (`CAP_SYS_ADMIN` in both user namespaces).
pub fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// A TCP socket of the calling thread's network namespace, which it keeps wherever it is used; socket(2).
///
/// # Errors
/// The kernel has no IPv6 (`EAFNOSUPPORT`), or no descriptor is left.
pub fn tcp_socket(v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}
