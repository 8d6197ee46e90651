//! The calls of the keeper and of those who talk to it.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::EventfdFlags;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions};
use rustix::time::Timespec;

pub use rustix::event::{PollFd, PollFlags};

// ---- sockets ----

/// The address of `dir/name`, through the descriptor of the directory: a path may be longer than the 108 bytes of an address.
fn address(dir: &OwnedFd, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?)
}

fn socket(kind: SocketType) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
}

/// Connects to the packet socket `sock` in a directory, without blocking; unix(7).
///
/// # Errors
/// Nobody listens there, or as many wait as the listener takes (`WouldBlock`).
pub fn connect(dir: &Path) -> io::Result<OwnedFd> {
    let dir = open_dir(dir)?;
    let socket = socket(SocketType::SEQPACKET)?;
    rustix::net::connect(&socket, &address(&dir, "sock")?)?;
    Ok(socket)
}

/// Binds `dir/name` and listens: for packets, or for the stream that a console socket is. What had the name goes. The mode
/// is 0600 whatever the umask, so nobody else may be multi-threaded here.
///
/// # Errors
/// As of bind(2).
pub fn listen(dir: &OwnedFd, name: &str, packets: bool) -> io::Result<OwnedFd> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) | Ok(()) => {}
        Err(e) => return Err(e.into()),
    }
    let socket = socket(if packets { SocketType::SEQPACKET } else { SocketType::STREAM })?;
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &address(dir, name)?);
    rustix::process::umask(mask);
    bound?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// The next connection, without blocking, with the user at its other end.
///
/// # Errors
/// `WouldBlock`, or it went again.
pub fn accept(socket: &OwnedFd) -> io::Result<(OwnedFd, u32)> {
    let conn = rustix::net::accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let uid = rustix::net::sockopt::socket_peercred(&conn)?.uid.as_raw();
    Ok((conn, uid))
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

/// Receives a descriptor, made non-blocking; `None` = the other side went without one.
///
/// # Errors
/// `WouldBlock`, or the connection was reset.
pub fn recv_fd(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut name = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if let Some(fd) = &fd {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    Ok(fd)
}

/// The socket for datagrams to journald.
///
/// # Errors
/// No descriptor is left.
pub fn datagram_socket() -> io::Result<OwnedFd> {
    Ok(socket(SocketType::DGRAM)?)
}

/// A socket's path as an address.
///
/// # Errors
/// It is longer than 107 bytes.
pub fn socket_path(path: &str) -> io::Result<Address> {
    Ok(Address(SocketAddrUnix::new(path)?))
}

/// See [`socket_path`].
#[derive(Debug, Clone)]
pub struct Address(SocketAddrUnix);

/// Sends a datagram, without blocking.
///
/// # Errors
/// `WouldBlock`, nobody is there, or it is too long.
pub fn send_to(socket: &OwnedFd, to: &Address, parts: &[IoSlice<'_>]) -> io::Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg_addr(socket, &to.0, parts, &mut SendAncillaryBuffer::default(), flags)?;
    Ok(())
}

// ---- pipes, terminals, waiting ----

/// A pipe: the end to read, the end to write, both close-on-exec, as large as the host lets it be up to 1 MiB.
///
/// # Errors
/// No descriptor is left.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    for size in [1 << 20, 1 << 18] {
        // More than /proc/sys/fs/pipe-max-size or pipe-user-pages-soft allow: the next smaller one, then the default.
        if rustix::pipe::fcntl_setpipe_size(&read, size).is_ok() {
            break;
        }
    }
    Ok((read, write))
}

/// Makes a descriptor non-blocking for everybody who shares it.
///
/// # Errors
/// It is none of a kind that can.
pub fn non_blocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// Reads once.
///
/// # Errors
/// As of read(2).
pub fn read(fd: &OwnedFd, into: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, into)?)
}

/// Writes once.
///
/// # Errors
/// As of write(2).
pub fn write(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, bytes)?)
}

/// Sets the size of a terminal; `TIOCSWINSZ` of ioctl_tty(2).
///
/// # Errors
/// It is no terminal, or its other end is gone.
pub fn resize(terminal: &OwnedFd, rows: u16, cols: u16) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// A bell between threads: write to ring, read to silence; eventfd(2).
///
/// # Errors
/// No descriptor is left.
pub fn bell() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Waits until something is ready; `None` = for ever.
///
/// # Errors
/// As of poll(2); an interruption is none.
pub fn poll(watched: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(|t| Timespec {
        tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    match rustix::event::poll(watched, timeout.as_ref()) {
        Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The wall clock: nanoseconds since 1970; 0 when it is set before.
pub fn wall_nanos() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let nanos = t.tv_sec.checked_mul(1_000_000_000).and_then(|s| s.checked_add(t.tv_nsec));
    nanos.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

// ---- files ----

/// Opens a directory to open, rename and remove in.
///
/// # Errors
/// It is none, or may not be searched.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a file of a directory to read it.
///
/// # Errors
/// As of openat(2).
pub fn open_read(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Opens a file of a directory to append to it and to read it, made with mode 0640 when it is missing.
///
/// # Errors
/// As of openat(2).
pub fn open_append(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o640))?)
}

/// Makes an empty file of a directory with mode 0600 in the place of an older one.
///
/// # Errors
/// As of openat(2).
pub fn open_new(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?)
}

/// Takes blocks for the first `len` bytes of a file; where the file system cannot, nothing happens; fallocate(2).
///
/// # Errors
/// No room is left, or the disk fails.
pub fn allocate(file: &OwnedFd, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Renames within a directory.
///
/// # Errors
/// As of renameat(2).
pub fn rename(dir: &OwnedFd, from: &str, to: &str) -> io::Result<()> {
    Ok(rustix::fs::renameat(dir, from, dir, to)?)
}

/// Removes a file of a directory; one that is not there is removed.
///
/// # Errors
/// As of unlinkat(2).
pub fn remove(dir: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Waits until a file or directory is on the disk.
///
/// # Errors
/// The disk fails.
pub fn sync(fd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(fd)?)
}

/// Bytes of a file system that are free for everybody, and of which it consists; one without blocks is all free.
///
/// # Errors
/// The disk fails.
pub fn free_space(on: &OwnedFd) -> io::Result<(u64, u64)> {
    let s = rustix::fs::fstatvfs(on)?;
    if s.f_blocks == 0 {
        return Ok((u64::MAX, u64::MAX));
    }
    Ok((s.f_bavail.saturating_mul(s.f_frsize), s.f_blocks.saturating_mul(s.f_frsize)))
}

// ---- processes ----

/// On which side of [`go_away`] one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The process that was called.
    Caller,
    /// The new one, nobody's child, leader of nothing in a session of its own, and whether it is in the cgroup.
    Away {
        /// The kernel put it there (Linux 5.7, v2 only).
        in_cgroup: bool,
    },
}

/// Goes into the background: a child that leads a new session, and its child that does not. The first is made with
/// `CLONE_INTO_CGROUP` when a cgroup is given and the kernel can; clone(2). For a process of one thread.
///
/// # Errors
/// No process may be made.
pub fn go_away(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let (first, in_cgroup) = match cgroup.and_then(clone_into) {
        Some(pid) => (pid, true),
        // SAFETY: one thread, so the child may do everything.
        None => (cvt(unsafe { libc::fork() }.into())?, false),
    };
    if first != 0 {
        let pid = i32::try_from(first).ok().and_then(Pid::from_raw);
        return match rustix::process::waitpid(pid, WaitOptions::empty())? {
            Some((_, status)) if status.exit_status() == Some(0) => Ok(Side::Caller),
            _ => Err(io::Error::other("the second fork failed")),
        };
    }
    // The thread id that libc remembers is wrong after a raw clone; the second fork is libc's own and corrects it.
    // SAFETY: no pointers.
    unsafe { libc::setsid() };
    // SAFETY: one thread.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Away { in_cgroup }),
        // SAFETY: ends the process without running what belongs to the caller.
        n => unsafe { libc::_exit(i32::from(n < 0)) },
    }
}

/// The libc crate's own constant is of a type that is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A fork whose child begins in a cgroup; `None` = the kernel cannot or does not want to.
fn clone_into(cgroup: BorrowedFd<'_>) -> Option<i64> {
    // SAFETY: all zero is a valid clone_args: nothing asked for.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = u64::try_from(cgroup.as_raw_fd()).ok()?;
    // SAFETY: no shared memory and no stack: the child goes on with a copy of everything, as after fork(2).
    cvt(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) }).ok()
}

fn cvt(ret: i64) -> io::Result<i64> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Closes everything from descriptor 3 on; close_range(2), Linux 5.9. For the first line of a program.
pub fn close_inherited() {
    // SAFETY: nothing is open yet that anybody here owns. On an older kernel it stays open, without harm.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// Puts /dev/null in the place of standard input, output and error.
///
/// # Errors
/// There is no /dev/null.
pub fn quiet_stdio() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Whether standard error is a pipe that nobody reads any more: POLLERR, poll(2). Of a file or a terminal never.
pub fn stderr_is_dead() -> bool {
    let mut watched = [PollFd::from_borrowed_fd(rustix::stdio::stderr(), PollFlags::empty())];
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut watched, Some(&none)).is_ok() && watched[0].revents().contains(PollFlags::ERR)
}

/// The user that this process is; geteuid(2).
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Orphans below this process become its children; `PR_SET_CHILD_SUBREAPER` of prctl(2).
///
/// # Errors
/// None that is known.
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Every signal does what it does by default, except SIGPIPE, which does nothing; all that can be held back are.
///
/// # Errors
/// None that is known.
pub fn hold_signals() -> io::Result<()> {
    default_signals()?;
    // SAFETY: sets no handler.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
    let mut held = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT] {
        held.remove(fault);
    }
    held.thread_set_mask()?;
    Ok(())
}

fn default_signals() -> io::Result<()> {
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: sets no handler; async-signal-safe.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Says when children end. SIGCHLD must be held.
#[derive(Debug)]
pub struct Children(SignalFd);

impl Children {
    /// From now on.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn watch() -> io::Result<Children> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        Ok(Children(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Forgets what it has said; call it before [`reap`].
    pub fn silence(&self) {
        while let Ok(Some(_)) = self.0.read_signal() {}
    }
}

impl AsFd for Children {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It returned this.
    Exited(u8),
    /// It was killed by this signal, and left a core dump.
    Signaled(i32, bool),
}

/// Takes the status of a child that has ended: of this one, or of any. `None` = none has.
pub fn reap(child: Option<u32>) -> Option<(u32, Status)> {
    let pid = match child {
        Some(pid) => Some(Pid::from_raw(i32::try_from(pid).ok()?)?),
        None => None,
    };
    let ended = match pid {
        Some(pid) => rustix::process::waitpid(Some(pid), WaitOptions::NOHANG),
        None => rustix::process::wait(WaitOptions::NOHANG),
    };
    let (pid, status) = ended.ok().flatten()?;
    let raw = status.as_raw();
    let how = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Status::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (_, Some(signal)) => Status::Signaled(signal, libc::WCOREDUMP(raw)),
        _ => return None,
    };
    Some((pid.as_raw_nonzero().get().unsigned_abs(), how))
}

/// A handle of a child, which may have ended but is not yet reaped; pidfd_open(2), Linux 5.3.
///
/// # Errors
/// It is no child of this process (`ECHILD`), or the kernel is older.
pub fn open_child(pid: u32) -> io::Result<OwnedFd> {
    let bad = || io::Error::from_raw_os_error(libc::ECHILD);
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(bad)?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let look = rustix::process::WaitIdOptions::EXITED
        | rustix::process::WaitIdOptions::NOHANG
        | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::PidFd(handle.as_fd()), look)?;
    Ok(handle)
}

/// Sends a signal to the process of a handle; pidfd_send_signal(2), Linux 5.1.
///
/// # Errors
/// It is gone, the number is none, or this process may not.
pub fn signal(handle: &OwnedFd, number: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no information is given, the kernel fills in its own.
    let ret = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), number, none, 0) };
    cvt(ret).map(drop)
}

/// Sends a signal to a process group.
///
/// # Errors
/// It is gone or the number is none.
pub fn signal_group(group: u32, number: i32) -> io::Result<()> {
    let group = i32::try_from(group).ok().filter(|g| *g > 1).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: no pointers.
    cvt(unsafe { libc::kill(-group, number) }.into()).map(drop)
}

/// Starts a program, from this file if one is given, in a process group of its own with the state that a shell would give it: default signals, none held,
/// `oom_score_adj` 0. Returns its pid; it is to be reaped by [`reap`].
///
/// # Errors
/// It cannot be executed.
pub fn spawn(argv: &[OsString], from: Option<&OwnedFd>, stdio: [OwnedFd; 3]) -> io::Result<u32> {
    let [stdin, stdout, stderr] = stdio;
    let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = match from {
        Some(from) => Command::new(format!("/proc/self/fd/{}", from.as_raw_fd())),
        None => Command::new(program),
    };
    command.arg0(program).args(args).process_group(0).current_dir("/");
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    // SAFETY: only async-signal-safe calls and no allocation between fork and exec.
    unsafe { command.pre_exec(ordinary) };
    Ok(command.spawn()?.id())
}

/// See [`spawn`]. The score is best effort: going down is not allowed to everybody, and a host that raised it meant it.
fn ordinary() -> io::Result<()> {
    if let Ok(score) =
        rustix::fs::open("/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
    {
        let _ = rustix::io::write(&score, b"0");
    }
    default_signals()?;
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

// ---- memory ----

/// A heap for a small process: one arena for all threads, since a second one costs more than it brings to a thread that
/// does not allocate; nothing kept in reserve, so that each buffer from 16 KiB on is pages of its own, of which only those
/// are taken that are used; mallopt(3).
pub fn small_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 16 * 1024);
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
    trim_heap();
}

/// Gives free heap back to the kernel; malloc_trim(3).
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the whole pages of a buffer back to the kernel: its content is zero afterwards; `MADV_DONTNEED` of madvise(2).
/// For memory that was allocated for the buffer alone.
pub fn release(buffer: &mut [u8]) {
    const PAGE: usize = 4096;
    let skip = buffer.as_ptr().align_offset(PAGE).min(buffer.len());
    let whole = &mut buffer[skip..];
    let len = whole.len() / PAGE * PAGE;
    // SAFETY: the range is within the buffer, which is borrowed mutably, and any byte is a valid u8. Where pages are
    // larger the call fails and nothing happens.
    unsafe { libc::madvise(whole.as_mut_ptr().cast(), len, libc::MADV_DONTNEED) };
}

/// A descriptor's number, for tests and messages.
pub fn number(fd: &impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// Numbers of the system calls that the keeper's filter knows, and of what it looks at in their arguments.
pub mod nr {
    pub use libc::{
        EPERM, FIONBIO, PROT_EXEC, SYS_accept4, SYS_brk, SYS_clock_gettime, SYS_clock_nanosleep, SYS_close,
        SYS_exit, SYS_exit_group, SYS_fallocate, SYS_fcntl, SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate,
        SYS_futex, SYS_getpid, SYS_getrandom, SYS_getsockopt, SYS_gettid, SYS_ioctl, SYS_lseek, SYS_madvise,
        SYS_mmap, SYS_mprotect, SYS_mremap, SYS_munmap, SYS_newfstatat, SYS_openat, SYS_pidfd_send_signal,
        SYS_ppoll, SYS_pread64, SYS_pwrite64, SYS_read, SYS_recvfrom, SYS_recvmsg, SYS_renameat2,
        SYS_restart_syscall, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sendmsg,
        SYS_sigaltstack, SYS_statx, SYS_tgkill, SYS_unlinkat, SYS_wait4, SYS_write, TIOCSWINSZ,
    };

    /// Older forms of the same calls, where an architecture has them and libraries use them.
    #[cfg(target_arch = "x86_64")]
    pub const OLD: &[i64] = &[libc::SYS_poll, libc::SYS_renameat, libc::SYS_rename, libc::SYS_unlink];
    /// Older forms of the same calls, where an architecture has them and libraries use them.
    #[cfg(not(target_arch = "x86_64"))]
    pub const OLD: &[i64] = &[];
}
