//! What probes ask of the kernel: a copy of a program that nobody can change, descriptors for a child under fixed numbers,
//! who sent a message, and the children of a process that has taken in others'.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use rustix::process::{Pid, WaitOptions};

/// The numbers under which [`give`] passes descriptors on.
pub const GIVEN: [RawFd; 2] = [3, 4];

/// A copy in memory that can be executed and never be changed: memfd_create(2) with all seals, as runtimes do for
/// themselves. `FUTURE_WRITE` (Linux 5.1) forbids as much as `WRITE`, since nobody maps the copy, and need not wait until no
/// page of it is in use. `MFD_EXEC` is left out where the kernel does not know it (before Linux 6.3).
///
/// # Errors
/// The file cannot be read, or the host allows no such programs (`vm.memfd_noexec`).
pub fn sealed_copy(mut file: &File, name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        r => r?,
    };
    let mut copy = File::from(copy);
    io::copy(&mut file, &mut copy)?;
    let copy = OwnedFd::from(copy);
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE,
    )?;
    Ok(copy)
}

/// The same file under a number above those of [`give`].
///
/// # Errors
/// No descriptor is left.
pub fn out_of_the_way(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, GIVEN[1] + 1)?)
}

/// Opens /dev/null under every number up to the last of [`GIVEN`] that is free, so that nothing else gets it: between fork
/// and exec [`give`] puts descriptors there.
///
/// # Errors
/// No descriptor is left.
pub fn hold_given() -> io::Result<Vec<OwnedFd>> {
    let mut held = Vec::new();
    loop {
        let fd = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        if fd.as_raw_fd() > GIVEN[1] {
            return Ok(held);
        }
        held.push(fd);
    }
}

/// The program gets these descriptors under the numbers of [`GIVEN`], which the caller must hold.
pub fn give(command: &mut tokio::process::Command, fds: [OwnedFd; 2]) {
    let place = move || {
        // Out of the way first: one may be where the other has to go.
        let [a, b] = [&fds[0], &fds[1]].map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, GIVEN[1] + 1));
        for (fd, number) in [(a?, GIVEN[0]), (b?, GIVEN[1])] {
            // SAFETY: no pointers; what has the number is nobody's but ours, see `hold_given`.
            if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: only system calls between fork and exec; nothing is allocated, no lock is taken.
    unsafe { command.pre_exec(place) };
}

/// The second descriptor of [`give`], in the program that got it. From now on no program that is executed gets it or any
/// other: close_range(2) with `CLOSE_RANGE_CLOEXEC` (Linux 5.11), or one by one. To be called once.
///
/// # Errors
/// There is none.
pub fn given() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; descriptors stay open.
    if unsafe { libc::syscall(libc::SYS_close_range, GIVEN[0], libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }
        < 0
    {
        for number in GIVEN {
            // SAFETY: borrowed for this one call, which says when it is not open.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
        }
    }
    // SAFETY: as above.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(GIVEN[1]) })?;
    // SAFETY: open, and nobody else in this program knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(GIVEN[1]) })
}

/// SIGCHLD is held from now on, in this thread; pthread_sigmask(3).
///
/// # Errors
/// None that is known.
pub fn hold_sigchld() -> io::Result<()> {
    let mut held = SigSet::empty();
    held.add(Signal::SIGCHLD);
    Ok(held.thread_block()?)
}

/// The program begins with no signal held, whatever [`hold_sigchld`] did here.
pub fn hold_nothing(command: &mut std::process::Command) {
    let free = || Ok(SigSet::empty().thread_set_mask()?);
    // SAFETY: one system call between fork and exec.
    unsafe { command.pre_exec(free) };
}

/// Waits until a child ends and reaps it; `false` = there is none. wait(2).
pub fn reap_one() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            r => return r.is_ok_and(|ended| ended.is_some()),
        }
    }
}

/// SIGKILL to one's own child, whose number nobody else can have before it is reaped; kill(2).
///
/// # Errors
/// It is another user's by now.
pub fn kill_child(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}

/// From now on the kernel says of each message who sent it; `SO_PASSCRED`, unix(7).
///
/// # Errors
/// It is no unix socket.
pub fn want_senders(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_passcred(socket, true)?)
}

/// A message and its sender.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// Its bytes; 0 = a stream is at its end.
    pub len: usize,
    /// It was longer.
    pub cut: bool,
    /// The process that sent it, on this host; `None` when it cannot be seen from here.
    pub pid: Option<u32>,
}

/// Receives without blocking. Descriptors that come along are closed at once: there is room for none.
///
/// # Errors
/// `WouldBlock`.
pub fn receive(socket: impl AsFd, into: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(into)], &mut control, flags)?;
    let pid = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmCredentials(c) => Some(c.pid.as_raw_nonzero().get().unsigned_abs()),
        _ => None,
    });
    Ok(Received { len: got.bytes, cut: got.flags.contains(ReturnFlags::TRUNC), pid })
}

/// A socket for datagrams that is bound to a name in a directory, however long its path is; bind(2).
///
/// # Errors
/// The name is taken.
pub fn bind_datagram(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let socket = super::keeper::datagram_socket()?;
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
