//! What the kernel says about memory by itself, and how memory of a killed process comes back at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A pressure file that gives `POLLPRI` when a trigger such as `some 200000 2000000` is met; the descriptor is the trigger
/// (Documentation/accounting/psi.rst, Linux 5.2).
///
/// # Errors
/// There is no such file, or this process may not: before Linux 6.4 that takes CAP_SYS_RESOURCE.
pub fn trigger(path: &Path, text: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file =
        OpenOptions::new().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    // The kernel wants the end of the text as C has it.
    let mut text = text.as_bytes().to_vec();
    text.push(0);
    file.write_all(&text)?;
    Ok(file.into())
}

/// An eventfd that becomes readable when the use of a v1 memory group crosses a threshold, in either direction
/// (Documentation/admin-guide/cgroup-v1/memory.rst, "Memory thresholds").
///
/// # Errors
/// It is no such group, or this process may not.
pub fn threshold(group: &Path, bytes: u64) -> io::Result<OwnedFd> {
    let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let usage = File::open(group.join("memory.usage_in_bytes"))?;
    let line = format!("{} {} {bytes}", event.as_raw_fd(), usage.as_raw_fd());
    std::fs::write(group.join("cgroup.event_control"), line)?;
    Ok(event)
}

/// The descriptor with tokio's event loop, which must run around this call.
///
/// # Errors
/// Those of epoll_ctl(2): it is none that can be waited for.
pub fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same descriptor for as long as it lives, and nobody else closes that.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// A FIFO (mkfifo(3)) that everybody may read.
///
/// # Errors
/// Those of mknodat(2).
pub fn fifo(path: &Path) -> io::Result<()> {
    let cwd = rustix::fs::CWD;
    rustix::fs::mknodat(cwd, path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
    // Whatever the umask is.
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o644))?)
}

/// Opens a FIFO for both directions: that waits for nobody (fifo(7)), and whoever reads from it sees no end meanwhile.
///
/// # Errors
/// Those of open(2).
pub fn open_fifo(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// One byte into it. A full one is readable anyhow.
///
/// # Errors
/// Those of write(2).
pub fn poke(mut fifo: &File) -> io::Result<()> {
    match fifo.write(b"\n") {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
        _ => Ok(()),
    }
}

/// Gives the memory of a process back that is being killed, without waiting until it gets to that itself.
/// process_mrelease(2), Linux 5.15.
///
/// # Errors
/// `EINVAL`: it is not being killed; `ENOSYS`: an older kernel.
pub fn release(pidfd: &OwnedFd) -> io::Result<()> {
    // SAFETY: two integers; the descriptor is open for as long as it is borrowed, and the call touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_process_mrelease, pidfd.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
