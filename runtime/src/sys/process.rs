//! Processes: clone3, pidfds, waiting, prctl, descriptors across exec, execve.

use super::{Errno, cvt, show};
use crate::error::{Error, Result, quoted};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process as rp;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// clone(2) namespace flags.
pub mod ns_flags {
    pub const TIME: u64 = libc::CLONE_NEWTIME as u64;
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    pub const NET: u64 = libc::CLONE_NEWNET as u64;
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// The shell's and runc's convention: 128 + signal.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(c) => c,
            Exit::Signal(s) => 128 + s,
        }
    }
}

/// A child that is killed and reaped when dropped, unless it was waited for or released.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    guard: bool,
}

impl Child {
    /// Its pid in our pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }
    /// Its pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
    /// Waits for the end and reaps.
    pub fn wait(&mut self) -> Result<Exit> {
        let exit = wait_pidfd(self.pidfd.as_fd())?;
        self.guard = false;
        Ok(exit)
    }
    /// A child that another process made for us (see `clone3_sibling`).
    ///
    /// # Errors
    /// /proc is not ours, so that it cannot tell the child's number.
    pub fn adopt(pidfd: OwnedFd) -> Result<Child> {
        Ok(Child { pid: pidfd_pid(&pidfd)?, pidfd, guard: true })
    }
    /// From now on the child outlives this value.
    pub fn release(&mut self) {
        self.guard = false;
    }
}

/// How long a killed process is waited for.
const DEATH_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

impl Drop for Child {
    fn drop(&mut self) {
        if self.guard {
            let _ = pidfd_signal(&self.pidfd, libc::SIGKILL);
            // One that a file system holds may not die; then it is whoever adopts it who reaps it.
            if super::poll::wait_readable(&self.pidfd, Some(DEATH_DEADLINE)).unwrap_or(true) {
                let _ = wait_pidfd(self.pidfd.as_fd());
            }
        }
    }
}

fn wait_pidfd(fd: BorrowedFd<'_>) -> Result<Exit> {
    loop {
        match rp::waitid(rp::WaitId::PidFd(fd), rp::WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => {
                return Err(Error::os("waitid", format_args!("P_PIDFD, {}", show(&fd)), e.raw_os_error()));
            }
            Ok(None) => continue,
            Ok(Some(st)) => {
                return Ok(match st.exit_status() {
                    Some(c) => Exit::Code(c),
                    None => Exit::Signal(st.terminating_signal().unwrap_or(libc::SIGKILL)),
                });
            }
        }
    }
}

/// Ends the process even when the closure of a cloned child unwinds.
struct ExitGuard;
impl Drop for ExitGuard {
    fn drop(&mut self) {
        exit_now(1);
    }
}

/// linux/sched.h; libc declares it with a type that cannot hold it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2) (Linux 5.3; `CLONE_INTO_CGROUP` 5.7). The child runs `body` and ends with its value; it shares no
/// memory with us. The caller must have one thread only, or allocation in the child could deadlock.
pub fn clone3(namespaces: u64, cgroup: Option<BorrowedFd<'_>>, body: impl FnOnce() -> i32) -> Result<Child> {
    clone_with(namespaces, libc::SIGCHLD as u64, cgroup, body)
}

/// As [`clone3`], with `CLONE_PARENT`: the new process is our parent's child.
pub fn clone3_sibling(namespaces: u64, body: impl FnOnce() -> i32) -> Result<Child> {
    // The kernel copies the exit signal from us; anything but 0 here is EINVAL.
    clone_with(namespaces | libc::CLONE_PARENT as u64, 0, None, body)
}

fn clone_with(
    flags: u64,
    exit_signal: u64,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> Result<Child> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain data; all-zero is its documented empty value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = exit_signal;
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: args is valid for its size, pidfd outlives the call; without CLONE_VM the child gets a copy of
    // our memory, so both sides may go on as after fork(2).
    let ret = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match cvt(ret) {
        Err(e) => Err(Error::os(
            "clone3",
            format_args!("flags={:#x}{}", args.flags, if cgroup.is_some() { ", cgroup" } else { "" }),
            e.raw_os_error(),
        )),
        Ok(0) => {
            let _guard = ExitGuard;
            exit_now(body())
        }
        Ok(pid) => {
            // SAFETY: the kernel stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: pid as i32, pidfd, guard: true })
        }
    }
}

/// _exit(2): no destructors, no buffers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; always allowed.
    unsafe { libc::_exit(code) }
}

/// pidfd_open(2) (Linux 5.3).
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let p = rp::Pid::from_raw(pid)
        .filter(|_| pid > 0)
        .ok_or_else(|| Error::os("pidfd_open", pid, libc::ESRCH))?;
    sys!("pidfd_open", rp::pidfd_open(p, rp::PidfdFlags::empty()), "{pid}")
}

/// The process's number in the pid namespace of /proc, from fdinfo (proc_pid_fdinfo(5), Linux 5.2).
///
/// # Errors
/// ESRCH when it has been reaped or cannot be seen from there.
pub fn pidfd_pid<F: AsFd>(fd: &F) -> Result<i32> {
    let info = super::fs::read_regular(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()), 4096)?;
    let text = String::from_utf8_lossy(&info);
    let pid = text.lines().find_map(|l| l.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|n| *n > 0).ok_or_else(|| Error::os("fdinfo", show(fd), libc::ESRCH))
}

/// pidfd_send_signal(2) (Linux 5.1). Signal 0 only checks.
pub fn pidfd_signal<F: AsFd>(fd: &F, sig: i32) -> Result<()> {
    // SAFETY: a null siginfo pointer is allowed and means "as kill(2)".
    let r = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_fd().as_raw_fd(),
            sig,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    sys!("pidfd_send_signal", cvt(r), "{}, {sig}", show(fd)).map(|_| ())
}

/// pidfd_getfd(2) (Linux 5.6): a copy of descriptor `n` of the process.
pub fn pidfd_getfd<F: AsFd>(fd: &F, n: i32) -> Result<OwnedFd> {
    // SAFETY: plain integers; the result is a new descriptor.
    let r = unsafe { libc::syscall(libc::SYS_pidfd_getfd, fd.as_fd().as_raw_fd(), n, 0) };
    let raw = sys!("pidfd_getfd", cvt(r), "{}, {n}", show(fd))?;
    // SAFETY: just returned by the kernel, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as i32) })
}

/// Our pid.
pub fn getpid() -> i32 {
    rp::getpid().as_raw_nonzero().get()
}

/// Our parent's pid; 0 when it is outside our pid namespace.
pub fn getppid() -> i32 {
    rp::getppid().map_or(0, |p| p.as_raw_nonzero().get())
}

/// Effective uid.
pub fn euid() -> u32 {
    rp::geteuid().as_raw()
}

/// Effective uid of the process of the command, asked once: it never changes. Not for the processes that it clones, whose
/// ids do.
pub fn caller_euid() -> u32 {
    static EUID: OnceLock<u32> = OnceLock::new();
    *EUID.get_or_init(euid)
}

/// Effective gid.
pub fn egid() -> u32 {
    rp::getegid().as_raw()
}

/// prctl(PR_SET_PDEATHSIG): this signal comes when the parent thread ends.
pub fn set_pdeathsig(sig: Option<i32>) -> Result<()> {
    prctl("PR_SET_PDEATHSIG", libc::PR_SET_PDEATHSIG, sig.unwrap_or(0) as usize, 0)
}

/// prctl(PR_SET_DUMPABLE): 0 keeps other processes out of our /proc entries and from ptrace.
pub fn set_dumpable(on: bool) -> Result<()> {
    prctl("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, on as usize, 0)
}

/// pipe2(2): reading end, writing end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    sys!("pipe2", rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC), "O_CLOEXEC")
}

/// prctl(PR_SET_CHILD_SUBREAPER).
pub fn set_subreaper(on: bool) -> Result<()> {
    prctl("PR_SET_CHILD_SUBREAPER", libc::PR_SET_CHILD_SUBREAPER, on as usize, 0)
}

/// prctl(PR_SET_NAME).
pub fn set_name(name: &CStr) -> Result<()> {
    prctl("PR_SET_NAME", libc::PR_SET_NAME, name.as_ptr() as usize, 0)
}

/// prctl(2) with two arguments; the name is for the message only.
pub(crate) fn prctl(name: &str, op: i32, a: usize, b: usize) -> Result<()> {
    // SAFETY: callers pass integers, or pointers valid for the call.
    let r = unsafe { libc::prctl(op, a, b, 0usize, 0usize) };
    sys!("prctl", cvt(r.into()), "{name}, {a:#x}").map(|_| ())
}

/// setsid(2).
pub fn setsid() -> Result<()> {
    sys!("setsid", rp::setsid(), "").map(|_| ())
}

/// close_range(2) (Linux 5.9): closes every descriptor from `first` on, now.
pub fn close_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, 0)
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC` (Linux 5.11): marks every descriptor from `first` on.
pub fn cloexec_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    // SAFETY: closing descriptors that safe code still owns would be wrong; callers do this before they own any,
    // keep those that they own, or only mark close-on-exec.
    let r = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    sys!("close_range", cvt(r), "{first}, {last:#x}, {flags}").map(|_| ())
}

/// Closes every descriptor from `first` on, except those in `keep`.
pub fn close_all_but(first: u32, keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut numbers: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).filter(|n| *n >= first).collect();
    numbers.sort_unstable();
    let mut from = first;
    for n in numbers {
        if n > from {
            close_range(from, n - 1, 0)?;
        }
        from = n + 1;
    }
    close_range(from, u32::MAX, 0)
}

/// Closes descriptors with one call for each run of numbers that follow each other, which those of one piece of work do.
pub fn close_together(fds: Vec<OwnedFd>) {
    let mut numbers: Vec<u32> = fds.into_iter().map(|fd| fd.into_raw_fd() as u32).collect();
    numbers.sort_unstable();
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        // Given up above: nobody else closes them. An error would mean that they are closed.
        let _ = close_range(run[0], run[run.len() - 1], 0);
    }
}

/// killpg(3).
pub fn kill_group(pgid: i32, sig: i32) -> Result<()> {
    let r = Signal::try_from(sig).and_then(|s| nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pgid), s));
    sys!("kill", r.map_err(from_nix), "-{pgid}, {sig}")
}

/// Clears or sets close-on-exec of one descriptor by number; fails with EBADF when it is not open.
pub fn set_cloexec(fd: i32, on: bool) -> Result<()> {
    // SAFETY: F_SETFD on a number has no effect on memory; EBADF when it is not open.
    let r = unsafe { libc::fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }) };
    sys!("fcntl", cvt(r.into()), "{fd}, F_SETFD").map(|_| ())
}

/// dup3(2) onto a fixed number, without close-on-exec: for standard streams.
pub fn dup_onto<F: AsFd>(fd: F, target: i32) -> Result<()> {
    // SAFETY: replaces descriptor `target`; callers use 0, 1 and 2 only.
    let r = unsafe { libc::dup2(fd.as_fd().as_raw_fd(), target) };
    sys!("dup2", cvt(r.into()), "{}, {target}", show(&fd)).map(|_| ())
}

/// fcntl(2), F_GETFD: true when there is an open descriptor of this number.
pub fn is_open(fd: u32) -> bool {
    // SAFETY: F_GETFD on any number is safe; a number too large for one is -1 here, which is never open.
    unsafe { libc::fcntl(i32::try_from(fd).unwrap_or(-1), libc::F_GETFD) >= 0 }
}

/// A copy of descriptor number `fd`, or `None` when it is not open.
pub fn dup_number(fd: i32) -> Option<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC on any number is safe; the result is new.
    let n = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: n is a descriptor just made for us.
    (n >= 0).then(|| unsafe { OwnedFd::from_raw_fd(n) })
}

/// chdir(2).
pub fn chdir(path: &std::path::Path) -> Result<()> {
    sys!("chdir", rp::chdir(path), "{}", quoted(&path.to_string_lossy()))
        .map_err(|e| e.path(path.to_string_lossy()))
}

/// fchdir(2).
pub fn fchdir<F: AsFd>(fd: F) -> Result<()> {
    sys!("fchdir", rp::fchdir(&fd), "{}", show(&fd))
}

/// chroot(2).
pub fn chroot(path: &str) -> Result<()> {
    sys!("chroot", rp::chroot(path), "{}", quoted(path))
}

/// getcwd(2), raw: the kernel puts "(unreachable)" in front when the directory is outside our root.
pub fn getcwd() -> Result<PathBuf> {
    let mut buf = vec![0u8; libc::PATH_MAX as usize + 1];
    // SAFETY: buf is valid for its length.
    let r = unsafe { libc::syscall(libc::SYS_getcwd, buf.as_mut_ptr(), buf.len()) };
    let n = sys!("getcwd", cvt(r), "")? as usize;
    buf.truncate(n.saturating_sub(1));
    Ok(PathBuf::from(std::ffi::OsString::from_vec(buf)))
}

/// Argument or environment vector as execve(2) wants it.
pub struct CStrings {
    _owned: Vec<CString>,
    ptrs: Vec<*const libc::c_char>,
}

impl CStrings {
    /// Copies the strings; a NUL inside one is EINVAL.
    pub fn new<S: AsRef<[u8]>>(items: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut owned = Vec::new();
        for s in items {
            owned.push(
                CString::new(s.as_ref())
                    .map_err(|_| Error::os("execve", "a string with NUL", libc::EINVAL))?,
            );
        }
        let mut ptrs: Vec<_> = owned.iter().map(|c| c.as_ptr()).collect();
        ptrs.push(std::ptr::null());
        Ok(CStrings { _owned: owned, ptrs })
    }
}

/// execve(2). Returns only on failure.
pub fn execve(path: &CStr, argv: &CStrings, envp: &CStrings) -> Error {
    let errno = execve_errno(path, argv, envp).raw_os_error();
    Error::os("execve", quoted(&path.to_string_lossy()), errno)
}

/// The same without a text, which would be made on the heap.
pub(super) fn execve_errno(path: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    // SAFETY: all three are NUL-terminated and live until the call returns or the image is replaced.
    unsafe { libc::execve(path.as_ptr(), argv.ptrs.as_ptr(), envp.ptrs.as_ptr()) };
    Errno::last()
}

/// execveat(2) of an open file, with `AT_EMPTY_PATH`. Returns only on failure.
pub fn execveat<F: AsFd>(fd: &F, argv: &CStrings, envp: &CStrings) -> Error {
    // SAFETY: as execve; the empty path with AT_EMPTY_PATH names the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.ptrs.as_ptr(),
            envp.ptrs.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Error::os("execveat", show(fd), Errno::last().raw_os_error())
}

/// faccessat2(2) with `AT_EACCESS` (Linux 5.8): may we execute this file?
pub fn may_execute<D: AsFd>(dir: D, path: &std::path::Path) -> Result<()> {
    sys!(
        "faccessat2",
        rustix::fs::accessat(&dir, path, rustix::fs::Access::EXEC_OK, rustix::fs::AtFlags::EACCESS),
        "{}, {}, X_OK",
        show(&dir),
        quoted(&path.to_string_lossy())
    )
}

/// faccessat2(2) with `AT_EACCESS`: may we make entries in this directory?
pub fn may_write<D: AsFd>(dir: D) -> Result<()> {
    sys!(
        "faccessat2",
        rustix::fs::accessat(&dir, ".", rustix::fs::Access::WRITE_OK, rustix::fs::AtFlags::EACCESS),
        "{}, W_OK",
        show(&dir)
    )
}

/// `FUTURE_WRITE` (Linux 5.1) and not `WRITE`: nobody ever maps the copy, so both forbid the same, but `WRITE` has to
/// wait until no page is pinned by anybody, for up to 150 ms, and may then still fail with EBUSY.
pub(super) const SEALS: i32 =
    libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE;

/// True when the first instructions of this program (see `start`) have looked at its own file already, and found all four seals.
pub fn runs_sealed() -> bool {
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    return super::start::is_sealed();
    #[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
    false
}

/// True when the file is a memfd with all four seals: nobody can ever write to it.
pub fn is_sealed<F: AsFd>(fd: F) -> bool {
    // SAFETY: F_GET_SEALS takes no pointer.
    let r = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GET_SEALS) };
    r >= 0 && r & SEALS == SEALS
}

/// memfd_create(2), Linux 6.3; libc does not have it yet.
pub(super) const MFD_EXEC: u32 = 0x10;

/// A sealed, executable memfd with the content of `src` (`size` bytes). `MFD_EXEC` is left out where the kernel does not
/// know it.
pub fn sealed_copy<F: AsFd>(name: &CStr, src: F, size: u64) -> Result<OwnedFd> {
    let base = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let make = |flags: u32| {
        // SAFETY: name is NUL-terminated.
        cvt(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) })
    };
    let raw = match make(base | MFD_EXEC) {
        Err(Errno(libc::EINVAL)) => make(base),
        r => r,
    };
    let raw = sys!("memfd_create", raw, "{name:?}")?;
    // SAFETY: just made by the kernel.
    let fd = unsafe { OwnedFd::from_raw_fd(raw as i32) };
    // A limit on the size of files (RLIMIT_FSIZE) shall be an error, not a signal.
    // SAFETY: no handler of ours is involved.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let copied = copy_file(&fd, src.as_fd(), size);
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGXFSZ, before) };
    copied?;
    // SAFETY: F_ADD_SEALS takes an integer.
    let r = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, SEALS) };
    sys!("fcntl", cvt(r.into()), "F_ADD_SEALS")?;
    Ok(fd)
}

fn copy_file(to: &OwnedFd, src: BorrowedFd<'_>, size: u64) -> Result<()> {
    let mut left = size;
    while left > 0 {
        let r = rustix::fs::sendfile(to, src, None, left as usize);
        let n = sys!("sendfile", r, "{}, {left}", show(&src))? as u64;
        if n == 0 {
            return Err(Error::os("sendfile", "end of file before the end of the binary", libc::EIO));
        }
        left -= n;
    }
    Ok(())
}

/// The signals that this process ignores, bit n - 1 for signal n (`SigIgn` of proc_pid_status(5)): three calls in place of
/// one for each signal. Asked once; a process that is cloned later inherits the answer with the signals. `None` when
/// /proc does not tell.
fn ignored_signals() -> Option<u64> {
    static IGNORED: OnceLock<Option<u64>> = OnceLock::new();
    *IGNORED.get_or_init(|| {
        let text = super::fs::read_kernel_value("/proc/self/status", 8192).ok()?;
        let text = String::from_utf8_lossy(&text);
        let mask = text.lines().find_map(|l| l.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    })
}

/// Puts every ignored signal back to its default action and unblocks all: what execve(2) of a payload expects.
/// Our start ignores SIGPIPE (`sys::program`), and ignored signals survive exec. Raw calls, because libc refuses the two
/// real-time signals that it uses itself, and a caller may have ignored those too.
pub fn reset_signals() {
    /// Largest kernel layout of sigaction; its first word is the handler, and all zero is `SIG_DFL`.
    type KernelAction = [u64; 8];
    const SET_SIZE: usize = 8;
    let may_be_ignored = ignored_signals().unwrap_or(u64::MAX);
    for sig in (1..=64).filter(|n| may_be_ignored & 1 << (n - 1) != 0) {
        let mut old: KernelAction = [0; 8];
        let none = std::ptr::null_mut::<KernelAction>();
        // SAFETY: `old` is larger than the kernel's structure on every architecture.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, sig, none, old.as_mut_ptr(), SET_SIZE) };
        if old[0] == libc::SIG_IGN as u64 {
            let default: KernelAction = [0; 8];
            // SAFETY: as above; SIG_DFL needs no handler.
            unsafe { libc::syscall(libc::SYS_rt_sigaction, sig, default.as_ptr(), none, SET_SIZE) };
        }
    }
    unblock_signals();
}

/// True when this signal is ignored; asks sigaction(2) when /proc does not tell.
pub fn is_ignored(signal: i32) -> bool {
    if let Some(mask) = ignored_signals() {
        return mask & 1 << (signal - 1) != 0;
    }
    // SAFETY: all zero is a valid sigaction to be overwritten; the pointer for a new one may be null.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

/// sigprocmask(2): no signal stays blocked, those that libc keeps for itself included.
pub fn unblock_signals() {
    const SET_SIZE: usize = 8;
    let empty = 0u64;
    // SAFETY: the set is eight bytes, as the size says.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty,
            std::ptr::null_mut::<u64>(),
            SET_SIZE,
        );
    }
}

/// Blocks these signals and returns a signalfd for them (signalfd(2)).
pub fn signal_fd(signals: &[i32]) -> Result<OwnedFd> {
    signal_fd_of(
        signals.iter().filter_map(|s| Signal::try_from(*s).ok()).collect(),
        format_args!("{signals:?}"),
    )
}

/// As [`signal_fd`], for every signal but those in `except`.
pub fn signal_fd_but(except: &[i32]) -> Result<OwnedFd> {
    let mut set = SigSet::all();
    for s in except.iter().filter_map(|s| Signal::try_from(*s).ok()) {
        set.remove(s);
    }
    signal_fd_of(set, format_args!("all but {except:?}"))
}

fn signal_fd_of(set: SigSet, names: std::fmt::Arguments<'_>) -> Result<OwnedFd> {
    let made = set
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK));
    sys!("signalfd", made.map(OwnedFd::from).map_err(from_nix), "{names}")
}

/// Reaps every dead child but `keep` (waitid(2)): as a subreaper we inherit what a container leaves behind, and
/// nobody else would. Stops at `keep`, whose end ends everything.
pub fn reap_others(keep: i32) {
    loop {
        // SAFETY: all zero is a valid siginfo to be overwritten.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` is valid; the kernel fills it in, or leaves the pid zero when there is nobody.
        let pid = unsafe {
            if libc::waitid(libc::P_ALL, 0, &raw mut info, look) != 0 {
                return;
            }
            info.si_pid()
        };
        if pid == 0 || pid == keep {
            return;
        }
        // SAFETY: integers, and a null pointer where the status would go.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Pending signals of a signalfd, at most eight; fewer than that is all there are.
pub fn pending_signals<F: AsFd>(fd: F) -> Vec<i32> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut buf = [0u8; 8 * SIZE];
    let n = rustix::io::read(&fd, &mut buf).unwrap_or(0);
    // The first field, `ssi_signo`.
    buf[..n].chunks_exact(SIZE).map(|i| i32::from_ne_bytes([i[0], i[1], i[2], i[3]])).collect()
}

/// The next pending signal of a signalfd, if any.
pub fn next_signal<F: AsFd>(fd: F) -> Option<i32> {
    let mut buf = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(&fd, &mut buf) {
        Ok(n) if n == buf.len() => Some(i32::from_ne_bytes([buf[0], buf[1], buf[2], buf[3]])),
        _ => None,
    }
}

fn from_nix(e: nix::errno::Errno) -> Errno {
    Errno(e as i32)
}

/// Signal numbers other modules name.
pub mod sig {
    pub use libc::{
        SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU,
        SIGURG, SIGUSR1, SIGUSR2, SIGWINCH,
    };
}
