//! Names of system calls, and which errors each of them can give. Pure data.

use nix::libc;

/// What is injected, by the name of its errno.
pub const ERRORS: [(&str, i32); 8] = [
    ("ENOSPC", libc::ENOSPC),
    ("ENOMEM", libc::ENOMEM),
    ("EMFILE", libc::EMFILE),
    ("EIO", libc::EIO),
    ("EROFS", libc::EROFS),
    ("EBUSY", libc::EBUSY),
    ("EINTR", libc::EINTR),
    ("EAGAIN", libc::EAGAIN),
];

/// Calls in which the kernel allocates, and which can say that it could not.
const MEMORY: &[&str] = &[
    "mmap",
    "brk",
    "mremap",
    "openat",
    "openat2",
    "clone3",
    "clone",
    "execve",
    "execveat",
    "bpf",
    "mkdirat",
    "socket",
    "socketpair",
    "sendmsg",
    "recvmsg",
    "sendto",
    "recvfrom",
    "fsopen",
    "fsconfig",
    "fsmount",
    "open_tree",
    "move_mount",
    "mount",
    "mount_setattr",
    "umount2",
    "pivot_root",
    "unshare",
    "setns",
    "ppoll",
    "poll",
    "memfd_create",
    "pidfd_open",
    "seccomp",
    "keyctl",
    "setgroups",
    "symlinkat",
    "mknodat",
    "renameat",
    "renameat2",
    "unlinkat",
    "readlinkat",
    "newfstatat",
    "statx",
    "getcwd",
    "flock",
    "write",
];

/// Calls that give a new descriptor.
const DESCRIPTOR: &[&str] = &[
    "openat",
    "openat2",
    "open_tree",
    "fsopen",
    "fsmount",
    "socket",
    "socketpair",
    "accept4",
    "dup",
    "dup3",
    "fcntl",
    "pidfd_open",
    "memfd_create",
    "clone3",
    "signalfd4",
    "epoll_create1",
    "pipe2",
    "eventfd2",
];

/// Calls that need room on a file system, or one more of something that is counted.
const ROOM: &[&str] = &[
    "write",
    "pwrite64",
    "mkdirat",
    "openat",
    "renameat",
    "renameat2",
    "symlinkat",
    "mknodat",
    "linkat",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "clone3",
    "unshare",
    "mount",
    "move_mount",
    "fsmount",
    "open_tree",
    "bind",
];

/// Calls that reach a disk.
const DISK: &[&str] = &[
    "read",
    "pread64",
    "write",
    "pwrite64",
    "openat",
    "openat2",
    "getdents64",
    "fsync",
    "fdatasync",
    "unlinkat",
    "mkdirat",
    "mknodat",
    "symlinkat",
    "readlinkat",
    "renameat",
    "renameat2",
    "fstat",
    "newfstatat",
    "statx",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "execve",
    "execveat",
    "bind",
    "sendfile",
];

/// Calls that change a file system.
const CHANGE: &[&str] = &[
    "openat",
    "openat2",
    "mkdirat",
    "mknodat",
    "symlinkat",
    "linkat",
    "unlinkat",
    "renameat",
    "renameat2",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "utimensat",
    "bind",
    "mount",
    "fsmount",
    "fsconfig",
    "mount_setattr",
];

/// Calls on something that others may hold.
const HELD: &[&str] = &[
    "mount",
    "move_mount",
    "umount2",
    "pivot_root",
    "fsconfig",
    "mount_setattr",
    "unlinkat",
    "renameat",
    "renameat2",
    "write",
    "clone3",
    "mkdirat",
    "bpf",
];

/// Calls that a signal can cut short.
const WAITS: &[&str] = &[
    "read",
    "write",
    "openat",
    "openat2",
    "recvmsg",
    "sendmsg",
    "recvfrom",
    "sendto",
    "accept4",
    "connect",
    "ppoll",
    "poll",
    "wait4",
    "waitid",
    "flock",
    "nanosleep",
    "clock_nanosleep",
    "fsync",
    "clone3",
    "getrandom",
];

/// Calls that ask to be tried again.
const AGAIN: &[&str] =
    &["clone3", "clone", "openat2", "execve", "execveat", "setresuid", "setuid", "unshare"];

/// Calls that take a path, with the number of the argument that is its address.
const PATHS: &[(&str, usize)] = &[
    ("openat", 1),
    ("openat2", 1),
    ("newfstatat", 1),
    ("statx", 1),
    ("mkdirat", 1),
    ("mknodat", 1),
    ("symlinkat", 2),
    ("linkat", 3),
    ("unlinkat", 1),
    ("renameat", 1),
    ("renameat2", 1),
    ("readlinkat", 1),
    ("faccessat", 1),
    ("faccessat2", 1),
    ("fchmodat", 1),
    ("fchownat", 1),
    ("utimensat", 1),
    ("open_tree", 1),
    ("move_mount", 3),
    ("mount_setattr", 1),
    ("mount", 1),
    ("umount2", 0),
    ("pivot_root", 0),
    ("statfs", 0),
    ("chdir", 0),
    ("chroot", 0),
    ("execve", 0),
    ("execveat", 1),
    ("open", 0),
    ("access", 0),
    ("readlink", 0),
    ("unlink", 0),
    ("rmdir", 0),
    ("mkdir", 0),
    ("rename", 0),
];

/// Which argument of a call is a path.
pub fn path_argument(call: &str) -> Option<usize> {
    PATHS.iter().find(|(name, _)| *name == call).map(|(_, argument)| *argument)
}

/// Whether the call can give this error.
pub fn can_give(call: &str, errno: i32) -> bool {
    let list = match errno {
        libc::ENOMEM => MEMORY,
        libc::EMFILE => DESCRIPTOR,
        libc::ENOSPC => ROOM,
        libc::EIO => DISK,
        libc::EROFS => CHANGE,
        libc::EBUSY => HELD,
        libc::EINTR => WAITS,
        libc::EAGAIN => AGAIN,
        _ => return false,
    };
    list.contains(&call)
}

/// The errno as people write it.
pub fn errno_name(errno: i32) -> &'static str {
    ERRORS.iter().find(|(_, n)| *n == errno).map_or("an unknown error", |(name, _)| name)
}

macro_rules! names {
    ($($call:ident)*) => {
        const NAMES: &[(i64, &str)] = &[$((paste(libc::$call), part(stringify!($call)))),*];
    };
}

/// The number of a call as the kernel gives it.
const fn paste(number: libc::c_long) -> i64 {
    number
}

/// Without the `SYS_` of the C library.
const fn part(constant: &'static str) -> &'static str {
    constant.split_at(4).1
}

names! {
    SYS_read SYS_write SYS_pread64 SYS_pwrite64 SYS_readv SYS_writev SYS_close SYS_close_range SYS_openat SYS_openat2
    SYS_fstat SYS_newfstatat SYS_statx SYS_fstatfs SYS_statfs SYS_lseek SYS_mmap SYS_munmap SYS_mprotect SYS_mremap
    SYS_brk SYS_madvise SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_ioctl SYS_dup SYS_dup3
    SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync SYS_ftruncate SYS_fallocate SYS_getdents64 SYS_getcwd SYS_chdir
    SYS_fchdir SYS_chroot SYS_mkdirat SYS_mknodat SYS_symlinkat SYS_linkat SYS_unlinkat SYS_renameat SYS_renameat2
    SYS_readlinkat SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_utimensat SYS_umask SYS_memfd_create
    SYS_sendfile SYS_splice SYS_pipe2 SYS_eventfd2 SYS_signalfd4 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
    SYS_ppoll SYS_pselect6 SYS_nanosleep SYS_clock_nanosleep SYS_clock_gettime SYS_futex SYS_sched_yield
    SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_setattr SYS_ioprio_set SYS_getpid SYS_getppid SYS_gettid
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_setresuid SYS_setresgid SYS_setuid SYS_setgid SYS_setgroups
    SYS_getgroups SYS_capget SYS_capset SYS_prctl SYS_personality SYS_prlimit64 SYS_setsid SYS_setpgid SYS_clone
    SYS_clone3 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tgkill
    SYS_pidfd_open SYS_pidfd_send_signal SYS_pidfd_getfd SYS_unshare SYS_setns SYS_mount SYS_umount2 SYS_pivot_root
    SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr SYS_sethostname
    SYS_setdomainname SYS_keyctl SYS_add_key SYS_seccomp SYS_bpf SYS_socket SYS_socketpair SYS_bind SYS_listen
    SYS_accept4 SYS_connect SYS_sendmsg SYS_recvmsg SYS_sendto SYS_recvfrom SYS_getsockopt SYS_setsockopt
    SYS_getsockname SYS_getrandom SYS_rseq SYS_set_robust_list SYS_set_tid_address SYS_uname SYS_sysinfo
    SYS_getxattr SYS_setxattr SYS_faccessat SYS_faccessat2 SYS_inotify_init1 SYS_inotify_add_watch SYS_exit
}

/// The name of a call, or its number.
pub fn name(number: i64) -> String {
    if let Some((_, name)) = NAMES.iter().find(|(n, _)| *n == number) {
        return (*name).to_string();
    }
    old_name(number).map_or_else(|| format!("call {number}"), String::from)
}

/// Calls that only old machines have.
#[cfg(target_arch = "x86_64")]
fn old_name(number: i64) -> Option<&'static str> {
    let all = [
        (libc::SYS_poll, "poll"),
        (libc::SYS_open, "open"),
        (libc::SYS_access, "access"),
        (libc::SYS_readlink, "readlink"),
        (libc::SYS_arch_prctl, "arch_prctl"),
        (libc::SYS_fork, "fork"),
        (libc::SYS_vfork, "vfork"),
        (libc::SYS_unlink, "unlink"),
        (libc::SYS_rmdir, "rmdir"),
        (libc::SYS_mkdir, "mkdir"),
        (libc::SYS_rename, "rename"),
    ];
    all.into_iter().find(|(n, _)| *n == number).map(|(_, name)| name)
}

#[cfg(not(target_arch = "x86_64"))]
fn old_name(_: i64) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_their_names() {
        assert_eq!(name(libc::SYS_openat), "openat");
        assert_eq!(name(libc::SYS_exit_group), "exit_group");
        assert_eq!(name(99_999), "call 99999");
    }

    #[test]
    fn every_error_can_be_given_and_by_known_calls_only() {
        let known: Vec<String> = (0..600).map(name).collect();
        for (text, errno) in ERRORS {
            assert_eq!(errno_name(errno), text);
            assert!(known.iter().any(|call| can_give(call, errno)), "{text}");
        }
        for list in [MEMORY, DESCRIPTOR, ROOM, DISK, CHANGE, HELD, WAITS, AGAIN] {
            for call in list.iter().filter(|c| cfg!(target_arch = "x86_64") || **c != "poll") {
                assert!(known.iter().any(|k| k == call), "{call}");
            }
        }
        assert!(!can_give("getpid", libc::EIO));
        let old = ["open", "access", "readlink", "unlink", "rmdir", "mkdir", "rename"];
        for (call, _) in PATHS.iter().filter(|(c, _)| cfg!(target_arch = "x86_64") || !old.contains(c)) {
            assert!(known.iter().any(|k| k == call), "{call}");
        }
        assert_eq!((path_argument("openat2"), path_argument("close")), (Some(1), None));
    }
}
