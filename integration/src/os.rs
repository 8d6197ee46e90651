//! Every call to the kernel that std does not offer: this is the one module with unsafe code.
//! Nothing here knows about containers or cases.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

thread_local! {
    /// Children that std's `Child` will wait for itself.
    static OURS: RefCell<BTreeSet<i32>> = const { RefCell::new(BTreeSet::new()) };
    /// Wait status of orphans that came to us as their subreaper, in the form a shell shows.
    static ORPHANS: RefCell<BTreeMap<i32, i32>> = const { RefCell::new(BTreeMap::new()) };
}

/// Set when somebody asked the suite to end.
static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

extern "C" fn note_request(_: i32) {
    ASKED_TO_END.store(true, Ordering::Relaxed);
}

/// From now on SIGTERM, SIGINT and SIGHUP end the suite after it has cleaned up, instead of at once.
pub fn end_on_request() -> Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let action = SigAction::new(SigHandler::Handler(note_request), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.context("sigaction")?;
    }
    Ok(())
}

/// Whether the suite shall end; every wait is over then.
pub fn asked_to_end() -> bool {
    ASKED_TO_END.load(Ordering::Relaxed)
}

/// Leaves the machine's mount namespace, so that no mount of a case can reach it.
pub fn private_mounts() -> Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
    let none: Option<&str> = None;
    nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("mount / as recursively private")
}

/// Makes orphaned descendants our children, so that none can hide from the oracle.
pub fn become_subreaper() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("PR_SET_CHILD_SUBREAPER")
}

/// Waits until the process ends or the deadline passes; `true` when it ended. Orphans are reaped meanwhile.
pub fn wait_end(pid: u32, deadline: Instant) -> Result<bool> {
    let fd = rustix::process::pidfd_open(to_pid(pid as i32)?, PidfdFlags::empty()).context("pidfd_open")?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if readable(fd.as_fd(), left.min(Duration::from_millis(10)))? {
            return Ok(true);
        }
        reap_orphans();
        if left.is_zero() || asked_to_end() {
            return Ok(false);
        }
    }
}

/// Whether the descriptor became readable (or hung up) within the time.
pub fn readable(fd: BorrowedFd<'_>, within: Duration) -> Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let time = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: i64::from(within.subsec_nanos()) };
    match rustix::event::poll(&mut fds, Some(&time)) {
        Ok(n) => Ok(n > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e).context("poll"),
    }
}

/// Remembers that this child belongs to a `std::process::Child`.
pub fn track(pid: u32) {
    OURS.with_borrow_mut(|s| s.insert(pid as i32));
}

/// Forgets a child after it was waited for.
pub fn untrack(pid: u32) {
    OURS.with_borrow_mut(|s| s.remove(&(pid as i32)));
}

/// Whether a pid is one of our own commands.
pub fn is_tracked(pid: i32) -> bool {
    OURS.with_borrow(|s| s.contains(&pid))
}

/// Collects every ended orphan without blocking, as conmon or a containerd shim does at once.
pub fn reap_orphans() {
    loop {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let Ok(Some(pid)) = waitid(Id::All, look).map(|s| s.pid()) else { return };
        if is_tracked(pid.as_raw()) {
            return;
        }
        let code = match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(_, code)) => code,
            Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
            _ => return,
        };
        ORPHANS.with_borrow_mut(|m| m.insert(pid.as_raw(), code));
    }
}

/// The same on the thread that runs the cases; what the others started is known only there.
pub fn reap_orphans_of_main() {
    if rustix::thread::gettid() == rustix::process::getpid() {
        reap_orphans();
    }
}

/// Exit status of an orphan (128 + signal for a signal), once it has ended.
pub fn orphan_status(pid: i32) -> Option<i32> {
    reap_orphans();
    ORPHANS.with_borrow(|m| m.get(&pid).copied())
}

/// Sends a signal to one process; a process that is gone is no error.
pub fn kill(pid: i32, signal: i32) {
    if let Ok(p) = to_pid(pid)
        && let Some(s) = Signal::from_named_raw(signal)
    {
        let _ = rustix::process::kill_process(p, s);
    }
}

/// Kills the whole process group of a command of ours.
pub fn kill_group(pid: u32) {
    if let Ok(p) = to_pid(pid as i32) {
        let _ = rustix::process::kill_process_group(p, Signal::KILL);
    }
}

fn to_pid(pid: i32) -> Result<Pid> {
    Pid::from_raw(pid).filter(|p| p.as_raw_nonzero().get() > 0).context("a pid must be positive")
}

/// Gives the child descriptors under chosen numbers, open across exec.
pub fn give_fds(command: &mut Command, fds: Vec<(OwnedFd, RawFd)>) {
    let hook = move || {
        let mut parked = Vec::with_capacity(fds.len());
        for (fd, target) in &fds {
            // SAFETY: fcntl on a descriptor this closure owns; async-signal-safe.
            let high = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, 500) };
            if high < 0 {
                return Err(std::io::Error::last_os_error());
            }
            parked.push((high, *target));
        }
        for (high, target) in parked {
            // SAFETY: both numbers are plain integers; dup2 and close are async-signal-safe.
            let done = unsafe { libc::dup2(high, target) };
            // SAFETY: `high` was made above and is used by nobody else.
            unsafe { libc::close(high) };
            if done < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: this process has one thread, so allocation after fork cannot deadlock, and the hook
    // only duplicates descriptors.
    unsafe { command.pre_exec(hook) };
}

/// Makes descriptor 0 of the child its controlling terminal.
pub fn take_terminal(command: &mut Command) {
    // SAFETY: setsid and one ioctl, both async-signal-safe; no memory is shared with the parent.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    };
}

/// Runs the child in a network namespace that exists.
pub fn enter_net(command: &mut Command, netns: OwnedFd) {
    let hook = move || Ok(nix::sched::setns(&netns, CloneFlags::CLONE_NEWNET)?);
    // SAFETY: one system call on a descriptor that the closure owns.
    unsafe { command.pre_exec(hook) };
}

/// Runs the child in new namespaces of its own (mounts made private when there is a new mount namespace).
pub fn isolate(command: &mut Command, flags: CloneFlags) {
    let hook = move || {
        nix::sched::unshare(flags)?;
        if flags.contains(CloneFlags::CLONE_NEWNS) {
            let none: Option<&str> = None;
            nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        }
        Ok(())
    };
    // SAFETY: two system calls without allocation between fork and exec of a one-threaded process.
    unsafe { command.pre_exec(hook) };
}

/// Starts the child with this soft and hard limit.
pub fn with_limit(command: &mut Command, resource: rustix::process::Resource, value: u64) {
    let limit = rustix::process::Rlimit { current: Some(value), maximum: Some(value) };
    // SAFETY: one system call on copied values.
    unsafe { command.pre_exec(move || Ok(rustix::process::setrlimit(resource, limit)?)) };
}

/// Starts the child with these supplementary groups.
pub fn with_groups(command: &mut Command, groups: Vec<u32>) {
    // SAFETY: one system call on memory the closure owns.
    unsafe {
        command.pre_exec(move || {
            if libc::setgroups(groups.len(), groups.as_ptr()) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    };
}

/// Takes one connection within the time.
pub fn accept(listener: &UnixListener, within: Duration) -> Result<UnixStream> {
    ensure!(readable(listener.as_fd(), within)?, "nobody connected within {within:?}");
    Ok(listener.accept().context("accept")?.0)
}

/// One message with the descriptors that came along.
pub fn receive_fds(stream: impl AsFd, within: Duration) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    ensure!(readable(stream.as_fd(), within)?, "no message within {within:?}");
    let mut bytes = vec![0u8; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .context("recvmsg")?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    bytes.truncate(got.bytes);
    Ok((bytes, fds))
}

/// A terminal pair of the given size: (master, slave).
pub fn open_pty(rows: u16, columns: u16) -> Result<(OwnedFd, OwnedFd)> {
    let size = nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = nix::pty::openpty(Some(&size), None).context("openpty")?;
    for fd in [&pair.master, &pair.slave] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok((pair.master, pair.slave))
}

/// Sets the size of a terminal.
pub fn set_winsize(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(fd, size).context("TIOCSWINSZ")
}

/// Reads what a terminal gives until its last user closed it.
pub fn read_all(fd: BorrowedFd<'_>, within: Duration) -> Result<String> {
    let (text, ended) = read(fd, within, |_| false)?;
    ensure!(ended, "waited {within:?} for the end and read {text:?}");
    Ok(text)
}

/// Reads what a terminal gives until it holds this.
pub fn read_until(fd: BorrowedFd<'_>, within: Duration, wanted: &str) -> Result<String> {
    let (text, _) = read(fd, within, |s| s.contains(wanted))?;
    ensure!(text.contains(wanted), "want {wanted:?}, read only {text:?}");
    Ok(text)
}

/// The text so far and whether the other side is gone, when there is enough or it ends or time is up.
fn read(fd: BorrowedFd<'_>, within: Duration, enough: impl Fn(&str) -> bool) -> Result<(String, bool)> {
    let deadline = Instant::now() + within;
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || asked_to_end() || enough(&text) {
            return Ok((text, false));
        }
        reap_orphans();
        if !readable(fd, left.min(Duration::from_millis(20)))? {
            continue;
        }
        let mut chunk = [0u8; 4096];
        match rustix::io::read(fd, &mut chunk) {
            // EIO: the last slave of a terminal was closed, which is its end of file.
            Ok(0) | Err(rustix::io::Errno::IO) => return Ok((text, true)),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(e) => return Err(e).context("read"),
        }
    }
}

/// One system call that a container with a notifying filter made.
pub struct Notification {
    pub id: u64,
    pub pid: u32,
    pub nr: i32,
}

/// Takes the next notification of a seccomp listener.
pub fn notification(listener: BorrowedFd<'_>, within: Duration) -> Result<Notification> {
    ensure!(readable(listener, within)?, "no system call was reported within {within:?}");
    // SAFETY: the struct is plain data and the kernel wants it zeroed.
    let mut request: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SECCOMP_IOCTL_NOTIF_RECV = _IOWR('!', 0, struct seccomp_notif), seccomp(2), Linux 5.0.
    let code = nix::request_code_readwrite!(b'!', 0, std::mem::size_of::<libc::seccomp_notif>());
    // SAFETY: the request matches the type it points to, which lives through the call.
    let rc = unsafe { libc::ioctl(listener.as_raw_fd(), code, &raw mut request) };
    ensure!(rc == 0, "SECCOMP_IOCTL_NOTIF_RECV: {}", std::io::Error::last_os_error());
    Ok(Notification { id: request.id, pid: request.pid, nr: request.data.nr })
}

/// Answers a notification: `errno` 0 returns `value`, another errno fails the call.
pub fn answer(listener: BorrowedFd<'_>, id: u64, value: i64, errno: i32) -> Result<()> {
    let mut reply = libc::seccomp_notif_resp { id, val: value, error: -errno, flags: 0 };
    // SECCOMP_IOCTL_NOTIF_SEND = _IOWR('!', 1, struct seccomp_notif_resp).
    let code = nix::request_code_readwrite!(b'!', 1, std::mem::size_of::<libc::seccomp_notif_resp>());
    // SAFETY: the request matches the type it points to, which lives through the call.
    let rc = unsafe { libc::ioctl(listener.as_raw_fd(), code, &raw mut reply) };
    ensure!(rc == 0, "SECCOMP_IOCTL_NOTIF_SEND: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Sets the machine's clock forwards or back. Only for machines that are the suite's own.
pub fn shift_clock(seconds: i64) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let time = libc::timespec { tv_sec: now.as_secs() as i64 + seconds, tv_nsec: 0 };
    // SAFETY: the struct lives through the call, which only reads it.
    let rc = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    ensure!(rc == 0, "clock_settime: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Starts the child in a cgroup, whose `cgroup.procs` this is.
pub fn in_group(command: &mut Command, procs: std::fs::File) {
    use std::io::Write;
    // SAFETY: one write to a descriptor that the closure owns, without allocation.
    unsafe { command.pre_exec(move || (&procs).write_all(b"0")) };
}

/// Starts the child as user and group 65534, without groups.
pub fn as_nobody(command: &mut Command) {
    // SAFETY: three system calls without memory of the parent.
    unsafe {
        command.pre_exec(|| {
            if libc::setgroups(0, std::ptr::null()) < 0 || libc::setgid(65534) < 0 || libc::setuid(65534) < 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    };
}

/// Starts the child under ptrace(2): it stops after its execve, and this process follows it.
pub fn traced(command: &mut Command) {
    // SAFETY: one system call without arguments.
    unsafe { command.pre_exec(|| Ok(nix::sys::ptrace::traceme()?)) };
}

/// Starts the child so that it is killed when this process ends.
pub fn dies_with_us(command: &mut Command) {
    let kill = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: one system call on copied values.
    unsafe { command.pre_exec(kill) };
}

/// The number of the system call that a followed process is about to make; nothing when it has just come out of one.
pub fn entered_call(pid: nix::unistd::Pid) -> Result<Option<i64>> {
    let info = nix::sys::ptrace::syscall_info(pid).context("PTRACE_GET_SYSCALL_INFO")?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: `op` says which member the kernel has filled in.
    Ok(Some(unsafe { info.u.entry.nr } as i64))
}

/// The arguments of the call that a followed process is about to make.
pub fn call_arguments(pid: nix::unistd::Pid) -> Result<[u64; 6]> {
    let info = nix::sys::ptrace::syscall_info(pid).context("PTRACE_GET_SYSCALL_INFO")?;
    ensure!(info.op == libc::PTRACE_SYSCALL_INFO_ENTRY, "process {pid} is not at the entry of a call");
    // SAFETY: `op` says which member the kernel has filled in.
    Ok(unsafe { info.u.entry.args })
}

/// Makes the call that a followed process is about to make none at all.
#[cfg(target_arch = "x86_64")]
pub fn skip_call(pid: nix::unistd::Pid) -> Result<()> {
    let mut registers = nix::sys::ptrace::getregs(pid).context("PTRACE_GETREGS")?;
    registers.orig_rax = u64::MAX;
    nix::sys::ptrace::setregs(pid, registers).context("PTRACE_SETREGS")
}

/// Gives a skipped call this errno, at its end.
#[cfg(target_arch = "x86_64")]
pub fn answer_call(pid: nix::unistd::Pid, errno: i32) -> Result<()> {
    let mut registers = nix::sys::ptrace::getregs(pid).context("PTRACE_GETREGS")?;
    registers.rax = i64::from(-errno) as u64;
    nix::sys::ptrace::setregs(pid, registers).context("PTRACE_SETREGS")
}

/// The registers of other machines are not known here; a case that wants this needs `X86_64`.
#[cfg(not(target_arch = "x86_64"))]
pub fn skip_call(_: nix::unistd::Pid) -> Result<()> {
    anyhow::bail!("system calls are skipped on x86-64 only")
}

/// See `skip_call`.
#[cfg(not(target_arch = "x86_64"))]
pub fn answer_call(_: nix::unistd::Pid, _: i32) -> Result<()> {
    anyhow::bail!("system calls are skipped on x86-64 only")
}

/// Sends a signal to one thread; one that is gone is no error.
pub fn kill_thread(process: i32, thread: i32, signal: i32) {
    // SAFETY: plain integers.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
}

extern "C" fn tick(_: i32) {}

/// While it lives, waits of this process are interrupted again and again, so that they can look at the clock.
#[derive(Debug)]
pub struct Ticks;

impl Ticks {
    /// Starts ticking.
    pub fn start(every: Duration) -> Result<Ticks> {
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        let action = SigAction::new(SigHandler::Handler(tick), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGALRM, &action) }.context("sigaction")?;
        set_timer(every).map(|()| Ticks)
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        let _ = set_timer(Duration::ZERO);
    }
}

fn set_timer(every: Duration) -> Result<()> {
    let time = libc::timeval { tv_sec: every.as_secs() as i64, tv_usec: i64::from(every.subsec_micros()) };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: the struct lives through the call, which only reads it.
    let rc = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    ensure!(rc == 0, "setitimer: {}", std::io::Error::last_os_error());
    Ok(())
}
