//! The terminal that a runtime hands out through a console socket: receiving its master, reading, writing, its size.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// One message with one descriptor, as runc's terminal protocol has it. recvmsg(2), does not block on a socket that is set so.
///
/// # Errors
/// `WouldBlock`; `InvalidData` when a message came without a descriptor, or the other side closed.
pub fn receive<S: AsFd>(socket: S) -> io::Result<OwnedFd> {
    let mut name = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut got = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            got = got.or(fds.into_iter().next());
        }
    }
    got.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the runtime sent no terminal"))
}

/// `O_NONBLOCK` (fcntl(2)), for an event loop.
pub fn set_nonblocking<F: AsFd>(fd: F) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    Ok(rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// read(2). A master whose other side nobody has open gives EIO (pty(7)): that is its end, as 0 bytes.
pub fn read<F: AsFd>(fd: F, buf: &mut [u8]) -> io::Result<usize> {
    match rustix::io::read(fd, buf) {
        Err(rustix::io::Errno::IO) => Ok(0),
        r => Ok(r?),
    }
}

/// write(2).
pub fn write<F: AsFd>(fd: F, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, buf)?)
}

/// `TIOCSWINSZ` (ioctl_tty(2)): the programs behind the terminal get SIGWINCH.
pub fn set_size<F: AsFd>(fd: F, rows: u16, cols: u16) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(fd, size)?)
}

/// The descriptor with tokio's event loop, which must run around this call.
pub fn watched(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is the same open descriptor for all of its life, and gives no way to another through `&`.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd) }?)
}
