//! Terminals of our own: making one, starting a program on it, reading, writing, its size.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pty::OpenptFlags;

/// A new terminal: our end, and the one for a program. posix_openpt(3), unlockpt(3), TIOCGPTPEER (Linux 4.13).
pub fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok((master, terminal))
}

/// The program gets a session of its own whose controlling terminal is its standard input: it is told when the size
/// changes and when our end is closed. setsid(2), TIOCSCTTY.
pub fn controlled(command: &mut tokio::process::Command) {
    let own = || {
        rustix::process::setsid()?;
        Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
    };
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated, no lock is taken.
    unsafe { command.pre_exec(own) };
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
