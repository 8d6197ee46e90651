//! The fence: every call into the kernel that the standard library has no safe form for.
//! Each function is one call; nothing else in this program may be unsafe.

use crate::errno::Errno;
use std::ffi::{CStr, CString, c_int, c_long, c_void};
use std::net::TcpStream;
use std::os::fd::{FromRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

fn check(ret: i64) -> Result<i64, Errno> {
    if ret < 0 { Err(Errno::last()) } else { Ok(ret) }
}

fn cstring(text: &str) -> Result<CString, Errno> {
    CString::new(text).map_err(|_| Errno(libc::EINVAL))
}

/// Any system call with plain register values, `syscall(2)`.
pub fn raw(number: i64, a: [i64; 6]) -> Result<i64, Errno> {
    // SAFETY: the arguments come from the person who runs the probe and who may break this process with
    // them; buffers named by them are made by the caller and live until it returns.
    check(unsafe { libc::syscall(number as c_long, a[0], a[1], a[2], a[3], a[4], a[5]) })
}

/// A system call through the 32-bit gate, `int 0x80`, numbers and arguments of i386.
#[cfg(target_arch = "x86_64")]
pub fn raw32(number: i64, a: [i64; 5]) -> Result<i64, Errno> {
    let mut ret = number;
    // SAFETY: the 32-bit gate keeps the stack and every register but rax and r8-r11; rbx is reserved by the
    // compiler and therefore swapped in and out.
    unsafe {
        std::arch::asm!(
            "xchg {b}, rbx",
            "int 0x80",
            "xchg {b}, rbx",
            b = inout(reg) a[0] => _,
            inout("rax") ret,
            in("rcx") a[1],
            in("rdx") a[2],
            in("rsi") a[3],
            in("rdi") a[4],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let ret = ret as i32;
    if (-4095..0).contains(&ret) { Err(Errno(-ret)) } else { Ok(i64::from(ret)) }
}

/// Other machines have no 32-bit gate of this kind.
#[cfg(not(target_arch = "x86_64"))]
pub fn raw32(_: i64, _: [i64; 5]) -> Result<i64, Errno> {
    Err(Errno(libc::ENOSYS))
}

/// `prctl(2)` with one argument.
pub fn prctl(option: c_int, arg: u64) -> Result<i64, Errno> {
    // SAFETY: used only with options that take or return integers.
    check(i64::from(unsafe { libc::prctl(option, arg, 0, 0, 0) }))
}

/// Parent-death signal, which the kernel writes through a pointer.
pub fn parent_death_signal() -> Result<c_int, Errno> {
    let mut signal: c_int = 0;
    // SAFETY: the option writes one int to a live int.
    check(i64::from(unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &mut signal, 0, 0, 0) }))?;
    Ok(signal)
}

/// Whether this process adopts orphans, written through a pointer too.
pub fn child_subreaper() -> Result<c_int, Errno> {
    let mut yes: c_int = 0;
    // SAFETY: the option writes one int to a live int.
    check(i64::from(unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &mut yes, 0, 0, 0) }))?;
    Ok(yes)
}

/// Real, effective and saved user and group ids: `[ruid, euid, suid]`, `[rgid, egid, sgid]`.
pub fn ids() -> ([u32; 3], [u32; 3]) {
    let (mut u, mut g) = ([0; 3], [0; 3]);
    let [u0, u1, u2] = &mut u;
    let [g0, g1, g2] = &mut g;
    // SAFETY: six live integers; the calls cannot fail otherwise.
    unsafe {
        libc::getresuid(u0, u1, u2);
        libc::getresgid(g0, g1, g2);
    }
    (u, g)
}

/// Additional groups, in the kernel's order.
pub fn groups() -> Result<Vec<u32>, Errno> {
    // The kernel allows 65536 of them.
    let mut list = vec![0u32; 65536];
    // SAFETY: the count is that of the buffer.
    let n = check(i64::from(unsafe { libc::getgroups(list.len() as c_int, list.as_mut_ptr()) }))?;
    list.truncate(n as usize);
    Ok(list)
}

/// Process, parent, process group, session.
pub fn pids() -> [i32; 4] {
    // SAFETY: these calls take nothing and cannot fail.
    unsafe { [libc::getpid(), libc::getppid(), libc::getpgrp(), libc::getsid(0)] }
}

/// The file mode mask, read by setting it and setting it back.
pub fn umask() -> u32 {
    // SAFETY: no memory is involved and no other thread makes files.
    unsafe {
        let mask = libc::umask(0);
        libc::umask(mask);
        mask
    }
}

/// Soft and hard value of a limit; `None` is unlimited.
pub fn limit(number: u32) -> Result<[Option<u64>; 2], Errno> {
    let mut pair = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: one live structure.
    check(i64::from(unsafe { libc::getrlimit(number, &mut pair) }))?;
    Ok([pair.rlim_cur, pair.rlim_max].map(|v| (v != libc::RLIM_INFINITY).then_some(v)))
}

/// `uname(2)`: node name and NIS domain name.
pub fn uname() -> Result<[String; 2], Errno> {
    // SAFETY: all bytes zero is a valid utsname.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: one live structure.
    check(i64::from(unsafe { libc::uname(&mut names) }))?;
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok([text(&names.nodename), text(&names.domainname)])
}

/// Seconds and nanoseconds of a clock.
pub fn clock(id: libc::clockid_t) -> Result<(i64, i64), Errno> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one live structure.
    check(i64::from(unsafe { libc::clock_gettime(id, &mut time) }))?;
    Ok((time.tv_sec, time.tv_nsec))
}

/// What `sched_getattr(2)` fills in, first version of the structure.
#[repr(C)]
#[derive(Default)]
pub struct SchedAttr {
    size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// Scheduling of this process.
pub fn sched() -> Result<SchedAttr, Errno> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>() as i64;
    raw(libc::SYS_sched_getattr, [0, (&raw mut attr) as i64, size, 0, 0, 0])?;
    Ok(attr)
}

/// CPUs this process may run on.
pub fn affinity() -> Result<Vec<usize>, Errno> {
    let mut words = [0u64; 128];
    let bytes = raw(
        libc::SYS_sched_getaffinity,
        [0, size_of_val(&words) as i64, words.as_mut_ptr() as i64, 0, 0, 0],
    )?;
    let bits = (bytes as usize * 8).min(words.len() * 64);
    Ok((0..bits).filter(|i| words.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1)).collect())
}

/// I/O priority of this process: class and level.
pub fn ioprio() -> Result<(i32, i32), Errno> {
    const WHO_PROCESS: i64 = 1;
    let value = raw(libc::SYS_ioprio_get, [WHO_PROCESS, 0, 0, 0, 0, 0])? as i32;
    Ok((value >> 13, value & 0x1fff))
}

/// Session keyring: id, and the kernel's description `type;uid;gid;perm;name`.
pub fn session_keyring() -> Result<(i64, String), Errno> {
    let id = raw(
        libc::SYS_keyctl,
        [i64::from(libc::KEYCTL_GET_KEYRING_ID), i64::from(libc::KEY_SPEC_SESSION_KEYRING), 0, 0, 0, 0],
    )?;
    let mut text = vec![0u8; 512];
    let describe = [i64::from(libc::KEYCTL_DESCRIBE), id, text.as_mut_ptr() as i64, text.len() as i64, 0, 0];
    let length = raw(libc::SYS_keyctl, describe)? as usize;
    // The length counts the closing zero byte.
    text.truncate(length.min(text.len()).saturating_sub(1));
    Ok((id, String::from_utf8_lossy(&text).into_owned()))
}

/// The label that a security module gave to the session keyring; empty without one.
pub fn session_keyring_label() -> Result<String, Errno> {
    let mut text = vec![0u8; 512];
    let ask = [
        i64::from(libc::KEYCTL_GET_SECURITY),
        i64::from(libc::KEY_SPEC_SESSION_KEYRING),
        text.as_mut_ptr() as i64,
        text.len() as i64,
        0,
        0,
    ];
    let length = raw(libc::SYS_keyctl, ask)? as usize;
    // The length counts the closing zero byte.
    text.truncate(length.min(text.len()).saturating_sub(1));
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Execution domain and its flags, without a change.
pub fn personality() -> Result<i64, Errno> {
    const ASK: i64 = 0xffff_ffff;
    raw(libc::SYS_personality, [ASK, 0, 0, 0, 0, 0])
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: a plain integer, any value is allowed.
    unsafe { libc::isatty(fd) == 1 }
}

/// Rows and columns of a terminal.
pub fn window(fd: RawFd) -> Result<(u16, u16), Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one winsize to a live one.
    check(i64::from(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) }))?;
    Ok((size.ws_row, size.ws_col))
}

/// `mknod(2)`.
pub fn mknod(path: &str, mode: u32, major: u32, minor: u32) -> Result<i64, Errno> {
    let path = cstring(path)?;
    // SAFETY: a live string ended by zero.
    check(i64::from(unsafe { libc::mknod(path.as_ptr(), mode, libc::makedev(major, minor)) }))
}

/// One network interface with what `getifaddrs(3)` says.
pub struct Interface {
    pub name: String,
    pub flags: u32,
    pub address: Option<std::net::IpAddr>,
}

/// Every interface, once without an address and once per address.
pub fn interfaces() -> Result<Vec<Interface>, Errno> {
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: writes the head of a list which is freed below.
    check(i64::from(unsafe { libc::getifaddrs(&mut head) }))?;
    let mut found = Vec::new();
    let mut item = head;
    while !item.is_null() {
        // SAFETY: `item` is a node of the live list; its name ends with zero, its address may be missing.
        unsafe {
            let node = &*item;
            let name = CStr::from_ptr(node.ifa_name).to_string_lossy().into_owned();
            found.push(Interface { name, flags: node.ifa_flags, address: address(node.ifa_addr) });
            item = node.ifa_next;
        }
    }
    // SAFETY: the list of the call above, freed once.
    unsafe { libc::freeifaddrs(head) };
    Ok(found)
}

/// # Safety
/// `raw` is null or points to a socket address of the size that its family has.
unsafe fn address(raw: *const libc::sockaddr) -> Option<std::net::IpAddr> {
    if raw.is_null() {
        return None;
    }
    // SAFETY: not null, and every socket address starts with its family.
    match i32::from(unsafe { (*raw).sa_family }) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in; it may be unaligned in the list.
            let v4 = unsafe { raw.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(std::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6; it may be unaligned in the list.
            let v6 = unsafe { raw.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Maps one MiB and writes to each page of it, so that it is charged; it stays until the process ends.
pub fn take_mib() -> Result<(), Errno> {
    const MIB: usize = 1 << 20;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping chosen by the kernel touches nothing of ours.
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), MIB, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    for offset in (0..MIB).step_by(4096) {
        // SAFETY: inside the mapping made above.
        unsafe { start.cast::<u8>().add(offset).write_volatile(1) };
    }
    Ok(())
}

/// `fork(2)`: 0 in the child. This program has one thread, so the child may do anything.
pub fn fork() -> Result<i32, Errno> {
    // SAFETY: single-threaded.
    check(i64::from(unsafe { libc::fork() })).map(|pid| pid as i32)
}

/// Ends the process at once, no buffers written.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: no memory is involved.
    unsafe { libc::_exit(status) }
}

/// Raises SIGABRT as `abort(3)` does; the first process of a pid namespace ignores that signal and dies of
/// the trap which the C library runs next.
pub fn abort() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// Reads address zero, which ends the process with SIGSEGV even as the first of its pid namespace.
pub fn segfault() {
    // SAFETY: the fault is the purpose: page zero is never mapped here, and nothing after it runs.
    unsafe { std::arch::asm!("mov {x}, [{x}]", x = inout(reg) 0usize => _) };
}

/// Sleeps until a signal ends the process.
pub fn pause() {
    // SAFETY: no memory is involved.
    unsafe { libc::pause() };
}

/// Waits for a child: its `wait(2)` status.
pub fn wait(pid: i32) -> Result<(i32, c_int), Errno> {
    let mut status = 0;
    // SAFETY: one live integer.
    let child = check(i64::from(unsafe { libc::waitpid(pid, &mut status, 0) }))?;
    Ok((child as i32, status))
}

/// `kill(2)`.
pub fn kill(pid: i32, signal: i32) -> Result<i64, Errno> {
    // SAFETY: no memory is involved.
    check(i64::from(unsafe { libc::kill(pid, signal) }))
}

/// What a signal does to this process from now on: ignored, or the default.
pub fn ignore(signal: i32, yes: bool) {
    // SAFETY: both dispositions are constants of the kernel.
    unsafe { libc::signal(signal, if yes { libc::SIG_IGN } else { libc::SIG_DFL }) };
}

static STATUS: AtomicI32 = AtomicI32::new(0);

extern "C" fn leave(_signal: c_int) {
    exit_now(STATUS.load(Ordering::Relaxed));
}

/// Ends the process with `status` when `signal` comes. A handler is needed: the default action of SIGTERM
/// does not happen to the first process of a pid namespace.
pub fn exit_on(signal: i32, status: i32) {
    STATUS.store(status, Ordering::Relaxed);
    let handler: extern "C" fn(c_int) = leave;
    // SAFETY: the handler only reads an atomic and calls _exit, both safe at any point.
    unsafe { libc::signal(signal, handler as *const c_void as libc::sighandler_t) };
}

/// Holds back `signals` and waits for the first of them; `ready` is called once nothing can be lost.
pub fn wait_signal(signals: &[i32], ready: impl FnOnce()) -> Result<i32, Errno> {
    // SAFETY: all bytes zero is a valid set, and it is emptied before use.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: one live set.
    unsafe { libc::sigemptyset(&mut set) };
    for signal in signals {
        // SAFETY: one live set.
        check(i64::from(unsafe { libc::sigaddset(&mut set, *signal) }))?;
    }
    // SAFETY: one live set, the old mask is not asked for.
    check(i64::from(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) }))?;
    ready();
    let mut got = 0;
    // SAFETY: two live objects.
    match unsafe { libc::sigwait(&set, &mut got) } {
        0 => Ok(got),
        error => Err(Errno(error)),
    }
}

/// Opens a socket and closes it again.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<i64, Errno> {
    // SAFETY: no memory is involved; the descriptor is closed below and not used.
    let fd = check(i64::from(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }))?;
    // SAFETY: the descriptor made above.
    unsafe { libc::close(fd as RawFd) };
    Ok(0)
}

static CAME: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: c_int) {
    CAME.store(true, Ordering::Relaxed);
}

/// Says from now on whether `signal` has come.
pub fn flag_on(signal: i32) -> impl Fn() -> bool {
    let handler: extern "C" fn(c_int) = note;
    // SAFETY: the handler only writes an atomic, safe at any point.
    unsafe { libc::signal(signal, handler as *const c_void as libc::sighandler_t) };
    || CAME.load(Ordering::Relaxed)
}

/// Nobody who shares this descriptor waits in it any more.
pub fn non_blocking(fd: RawFd) -> Result<i64, Errno> {
    // SAFETY: no memory is involved.
    let flags = check(i64::from(unsafe { libc::fcntl(fd, libc::F_GETFL) }))?;
    // SAFETY: as above.
    check(i64::from(unsafe { libc::fcntl(fd, libc::F_SETFL, flags as c_int | libc::O_NONBLOCK) }))
}

/// Those that have something, after waiting so long for the first; none when a signal came.
pub fn readable(fds: &[RawFd], patience: Duration) -> Vec<RawFd> {
    let mut all: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: the list is alive and as long as it says.
    let ready =
        unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, patience.as_millis() as c_int) };
    if ready <= 0 {
        return Vec::new();
    }
    all.iter().filter(|p| p.revents != 0).map(|p| p.fd).collect()
}

/// The next connection of a listening socket of any family; only what the sockets of all families can is to be done with it.
pub fn accept(fd: RawFd) -> Result<TcpStream, Errno> {
    let null = std::ptr::null_mut();
    // SAFETY: no address is asked for.
    let stream = check(i64::from(unsafe { libc::accept4(fd, null, null.cast(), libc::SOCK_CLOEXEC) }))?;
    // SAFETY: the descriptor made above, which nobody else knows.
    Ok(unsafe { TcpStream::from_raw_fd(stream as RawFd) })
}

/// Sends one datagram back to where it came from; whether the socket is one for datagrams.
pub fn echo_datagram(fd: RawFd) -> bool {
    let mut kind: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: a live integer and its length.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut len) };
    if kind != libc::SOCK_DGRAM {
        return false;
    }
    let mut bytes = [0u8; 2048];
    // SAFETY: all bytes zero is a valid address.
    let mut from: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let to = (&raw mut from).cast();
    // SAFETY: live buffers with their lengths.
    let got = unsafe { libc::recvfrom(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0, to, &raw mut len) };
    if let Ok(n) = usize::try_from(got) {
        // SAFETY: the same, as long as was received.
        unsafe { libc::sendto(fd, bytes.as_ptr().cast(), n, 0, to, len) };
    }
    true
}
