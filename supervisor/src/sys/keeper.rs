//! The calls of the keeper and of those who talk to it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// The address of `dir/sock`, through the descriptor of the directory: a path may be longer than the 108 bytes of an address.
fn address(dir: &OwnedFd, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?)
}

fn packet_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Connects to the packet socket `sock` in a directory, without blocking; unix(7).
///
/// # Errors
/// Nobody listens there, or as many wait as the listener takes (`WouldBlock`).
pub fn connect(dir: &Path) -> io::Result<OwnedFd> {
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let socket = packet_socket()?;
    rustix::net::connect(&socket, &address(&dir, "sock")?)?;
    Ok(socket)
}

/// Sends one packet in two parts, without blocking and without SIGPIPE; send(2).
///
/// # Errors
/// `WouldBlock`, or the other side is gone.
pub fn send(socket: &impl AsFd, head: &[u8], body: &[u8]) -> io::Result<()> {
    let parts = [IoSlice::new(head), IoSlice::new(body)];
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), flags)?;
    Ok(())
}

/// Receives one packet without blocking; 0 = the other side is gone. What does not fit is cut off; recv(2).
///
/// # Errors
/// `WouldBlock`, or the connection was reset.
pub fn recv(socket: &impl AsFd, packet: &mut [u8]) -> io::Result<usize> {
    let (n, _) = rustix::net::recv(socket, packet, RecvFlags::DONTWAIT)?;
    Ok(n)
}
