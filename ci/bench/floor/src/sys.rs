//! The calls of the floor, as thin as they can be: each function is one or a few system calls, and every failure is `None`.
//! The only unsafe code of the program.

use std::ffi::{CStr, c_char, c_int, c_long};
use std::ptr::null;

/// What a call gave, or that it failed.
pub type Done<T> = Option<T>;

/// `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attr {
    pub const RDONLY: u64 = 1;
    pub const NOSUID: u64 = 2;
    pub const NODEV: u64 = 4;
    pub const NOEXEC: u64 = 8;
}

/// `AT_RECURSIVE`.
pub const RECURSIVE: c_int = 0x8000;
/// No kernel has as many.
pub const CAPABILITIES: u32 = 64;

/// `CLONE_INTO_CGROUP`; libc declares it with a type that cannot hold it.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes `$command` the program, without std's own start, as the runtime has it.
macro_rules! program {
    ($command:path) => {
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main(count: i32, words: *const *const std::ffi::c_char) -> i32 {
            // SAFETY: C's main is given that many strings, which live as long as the process.
            let words = unsafe { $crate::sys::words(count, words) };
            $command(&words)
        }
    };
}
pub(crate) use program;

/// The command line.
///
/// # Safety
/// `words` points to `count` strings that end with NUL and live for ever.
pub unsafe fn words(count: i32, words: *const *const c_char) -> Vec<&'static CStr> {
    // SAFETY: as promised by the caller.
    (0..count as usize).map(|n| unsafe { CStr::from_ptr(*words.add(n)) }).collect()
}

fn done(result: impl Into<i64>) -> Done<i32> {
    let result = result.into();
    (result >= 0).then_some(result as i32)
}

/// One system call with up to six words.
fn call<const N: usize>(number: c_long, words: [usize; N]) -> Done<i32> {
    let word = |n: usize| words.get(n).copied().unwrap_or(0);
    // SAFETY: callers below pass numbers, and pointers to values that live until the call returns and are as large as the
    // call says.
    done(unsafe { libc::syscall(number, word(0), word(1), word(2), word(3), word(4), word(5)) })
}

fn at(text: &CStr) -> usize {
    text.as_ptr() as usize
}

pub fn open(path: &CStr, flags: c_int) -> Done<i32> {
    call(libc::SYS_openat, [libc::AT_FDCWD as usize, at(path), (flags | libc::O_CLOEXEC) as usize, 0])
}

pub fn mkdir(path: &CStr, mode: u32) -> Done<()> {
    call(libc::SYS_mkdirat, [libc::AT_FDCWD as usize, at(path), mode as usize]).map(drop)
}

pub fn rmdir(path: &CStr) -> Done<()> {
    call(libc::SYS_unlinkat, [libc::AT_FDCWD as usize, at(path), libc::AT_REMOVEDIR as usize]).map(drop)
}

pub fn write_file(path: &CStr, value: &[u8]) -> Done<()> {
    let fd = open(path, libc::O_WRONLY)?;
    let wrote = call(libc::SYS_write, [fd as usize, value.as_ptr() as usize, value.len()]);
    call(libc::SYS_close, [fd as usize])?;
    wrote.map(drop)
}

pub fn close_from(first: u32) -> Done<()> {
    call(libc::SYS_close_range, [first as usize, u32::MAX as usize, 0]).map(drop)
}

/// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE and attaches it (bpf(2)).
pub fn attach_devices(group: i32, program: &[u64]) -> Done<()> {
    const LOAD: usize = 5;
    const ATTACH: usize = 8;
    const TYPE_CGROUP_DEVICE: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let license = c"Apache-2.0";
    let load: [u64; 16] = {
        let mut words = [0; 16];
        words[0] = u64::from(TYPE_CGROUP_DEVICE) | (program.len() as u64) << 32;
        words[1] = program.as_ptr() as u64;
        words[2] = license.as_ptr() as u64;
        words
    };
    let fd = call(libc::SYS_bpf, [LOAD, load.as_ptr() as usize, size_of_val(&load)])?;
    let attach: [u32; 4] = [group as u32, fd as u32, CGROUP_DEVICE, ALLOW_MULTI];
    call(libc::SYS_bpf, [ATTACH, attach.as_ptr() as usize, size_of_val(&attach)])?;
    call(libc::SYS_close, [fd as usize]).map(drop)
}

/// clone3(2); the child runs `body` and ends with its value. Gives the pidfd.
pub fn clone3(namespaces: u64, group: Option<i32>, body: impl FnOnce() -> i32) -> Done<i32> {
    let mut pidfd: c_int = -1;
    // SAFETY: clone_args is plain data; all zero is its documented empty value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(fd) = group {
        args.flags |= INTO_CGROUP;
        args.cgroup = fd as u64;
    }
    match call(libc::SYS_clone3, [(&raw mut args) as usize, size_of::<libc::clone_args>()])? {
        0 => {
            let code = body();
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        _ => Some(pidfd),
    }
}

/// Waits for the end; the exit code, 128 and the signal for one that was killed.
pub fn wait(pidfd: i32) -> Done<i32> {
    // SAFETY: all zero is a valid siginfo to be overwritten.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let place = (&raw mut info) as usize;
    call(libc::SYS_waitid, [libc::P_PIDFD as usize, pidfd as usize, place, libc::WEXITED as usize, 0])?;
    // SAFETY: waitid(2) has filled it in for an ended child.
    let status = unsafe { info.si_status() };
    Some(if info.si_code == libc::CLD_EXITED { status } else { 128 + status })
}

pub fn setsid() -> Done<()> {
    call(libc::SYS_setsid, []).map(drop)
}

/// SIOCSIFFLAGS, netdevice(7).
pub fn loopback_up() -> Done<()> {
    let fd = call(
        libc::SYS_socket,
        [libc::AF_INET as usize, (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize, 0],
    )?;
    // SAFETY: ifreq is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    call(libc::SYS_ioctl, [fd as usize, libc::SIOCSIFFLAGS as usize, (&raw mut request) as usize])?;
    call(libc::SYS_close, [fd as usize]).map(drop)
}

pub fn sethostname(name: &[u8]) -> Done<()> {
    call(libc::SYS_sethostname, [name.as_ptr() as usize, name.len()]).map(drop)
}

/// mount(2).
pub fn mount(from: Option<&CStr>, to: &CStr, kind: Option<&CStr>, flags: u64, options: &CStr) -> Done<()> {
    let from = from.map_or(0, at);
    let kind = kind.map_or(0, at);
    call(libc::SYS_mount, [from, at(to), kind, flags as usize, at(options)]).map(drop)
}

/// open_tree(2) with `OPEN_TREE_CLONE`.
pub fn copy(dir: i32, path: &CStr, flags: c_int) -> Done<i32> {
    let clone = libc::OPEN_TREE_CLONE as usize | libc::O_CLOEXEC as usize;
    call(libc::SYS_open_tree, [dir as usize, at(path), clone | (libc::AT_EMPTY_PATH | flags) as usize])
}

/// mount_setattr(2).
pub fn set_attr(tree: i32, set: u64) -> Done<()> {
    let attr = [set, 0, 0, 0];
    let empty = libc::AT_EMPTY_PATH as usize;
    call(libc::SYS_mount_setattr, [tree as usize, at(c""), empty, attr.as_ptr() as usize, size_of_val(&attr)])
        .map(drop)
}

/// move_mount(2) to a path below the working directory.
pub fn attach(tree: i32, to: &CStr) -> Done<()> {
    const F_EMPTY_PATH: usize = 4;
    let here = libc::AT_FDCWD as usize;
    call(libc::SYS_move_mount, [tree as usize, at(c""), here, at(to), F_EMPTY_PATH]).map(drop)
}

/// move_mount(2) by two descriptors.
pub fn attach_on(tree: i32, place: i32) -> Done<()> {
    const BOTH_EMPTY: usize = 0x44;
    call(libc::SYS_move_mount, [tree as usize, at(c""), place as usize, at(c""), BOTH_EMPTY]).map(drop)
}

/// A read-only tmpfs for masked directories.
pub fn empty_dir() -> Done<i32> {
    const SET_STRING: usize = 1;
    const CREATE: usize = 6;
    let fs = call(libc::SYS_fsopen, [at(c"tmpfs"), 1])? as usize;
    for (key, value) in [(c"nr_inodes", c"1"), (c"mode", c"755")] {
        call(libc::SYS_fsconfig, [fs, SET_STRING, at(key), at(value), 0])?;
    }
    call(libc::SYS_fsconfig, [fs, CREATE, 0, 0, 0])?;
    let flags = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    call(libc::SYS_fsmount, [fs, 1, flags as usize])
}

/// fstat(2): a directory?
pub fn is_dir(fd: i32) -> Done<bool> {
    // SAFETY: plain data, overwritten by the call.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` lives until the call returns.
    done(unsafe { libc::fstat(fd, &raw mut stat) })?;
    Some(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

pub fn umask(mask: u32) {
    let _ = call(libc::SYS_umask, [mask as usize]);
}

pub fn mknod(path: &CStr, major: u32, minor: u32) -> Done<()> {
    let device = libc::makedev(major, minor) as usize;
    call(libc::SYS_mknodat, [libc::AT_FDCWD as usize, at(path), (libc::S_IFCHR | 0o666) as usize, device])
        .map(drop)
}

pub fn symlink(target: &CStr, path: &CStr) -> Done<()> {
    call(libc::SYS_symlinkat, [at(target), libc::AT_FDCWD as usize, at(path)]).map(drop)
}

pub fn chdir(path: &CStr) -> Done<()> {
    call(libc::SYS_chdir, [at(path)]).map(drop)
}

/// pivot_root(2) to the working directory, and the old root detached.
pub fn pivot_here() -> Done<()> {
    call(libc::SYS_pivot_root, [at(c"."), at(c".")])?;
    call(libc::SYS_umount2, [at(c"."), libc::MNT_DETACH as usize])?;
    chdir(c"/")
}

/// sched_setaffinity(2): what the cgroup allows.
pub fn all_processors() {
    let mask = [0xffu8; 128];
    let _ = call(libc::SYS_sched_setaffinity, [0, mask.len(), mask.as_ptr() as usize]);
}

/// keyctl(2): a session keyring of its own, that its owner may search.
pub fn new_keyring(name: &CStr) -> Done<()> {
    const JOIN: usize = 1;
    const SET_PERMISSION: usize = 5;
    let serial = call(libc::SYS_keyctl, [JOIN, at(name)])?;
    call(libc::SYS_keyctl, [SET_PERMISSION, serial as usize, 0x3f1b_0000]).map(drop)
}

/// The container's null device in place of the caller's.
pub fn own_null() -> Done<()> {
    let fd = open(c"/dev/null", libc::O_RDWR)?;
    call(libc::SYS_dup3, [fd as usize, 0, 0]).map(drop)
}

fn prctl(operation: c_int, value: usize) -> Done<()> {
    call(libc::SYS_prctl, [operation as usize, value, 0, 0, 0]).map(drop)
}

pub fn drop_bounding(cap: u32) -> Done<()> {
    prctl(libc::PR_CAPBSET_DROP, cap as usize)
}

pub fn no_new_privs() -> Done<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

pub fn root_without_groups() -> Done<()> {
    call(libc::SYS_setgroups, [0, 0])?;
    call(libc::SYS_setresgid, [0, 0, 0])?;
    call(libc::SYS_setresuid, [0, 0, 0]).map(drop)
}

/// capset(2): effective and permitted.
pub fn set_caps(caps: u64) -> Done<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let (low, high) = (caps as u32, (caps >> 32) as u32);
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    call(libc::SYS_capset, [header.as_ptr() as usize, data.as_ptr() as usize]).map(drop)
}

pub fn limit_descriptors(most: u64) -> Done<()> {
    let limit = [most, most];
    call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, limit.as_ptr() as usize, 0]).map(drop)
}

/// seccomp(2), a program of `struct sock_filter`.
pub fn filter(program: &[u64]) -> Done<()> {
    let header =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr() as *mut libc::sock_filter };
    call(libc::SYS_seccomp, [1, 0, (&raw const header) as usize]).map(drop)
}

/// execve(2). Comes back only with a failure.
pub fn execve(path: &CStr, words: &[&CStr], environment: &[&CStr]) -> Done<()> {
    let list = |items: &[&CStr]| -> Vec<*const c_char> {
        items.iter().map(|s| s.as_ptr()).chain([null()]).collect()
    };
    let (words, environment) = (list(words), list(environment));
    call(libc::SYS_execve, [at(path), words.as_ptr() as usize, environment.as_ptr() as usize]).map(drop)?;
    None
}
