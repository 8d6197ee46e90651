//! Names people write for numbers the kernel wants: system calls, signals, socket families, limits.
//! Pure tables; a number in decimal or hexadecimal is always accepted too.

/// A number written in decimal or as `0x..`, with an optional minus.
pub fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        // Addresses and masks use the whole 64 bits.
        Some(hex) => u64::from_str_radix(hex, 16).ok()? as i64,
        None => digits.parse::<i64>().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

macro_rules! table {
    ($(#[$doc:meta])* $fn:ident: $prefix:ident $type:ty { $($name:ident)* } $(x86 { $($x86:ident)* })?) => {
        $(#[$doc])*
        pub fn $fn(name: &str) -> Option<i64> {
            const TABLE: &[(&str, $type)] = &[$((stringify!($name), libc::$name)),*];
            $(#[cfg(target_arch = "x86_64")]
            const X86: &[(&str, $type)] = &[$((stringify!($x86), libc::$x86)),*];
            #[cfg(target_arch = "x86_64")]
            if let Some((_, n)) = X86.iter().find(|(n, _)| n.strip_prefix(stringify!($prefix)) == Some(name)) {
                return Some(i64::from(*n));
            })?
            TABLE
                .iter()
                .find(|(n, _)| n.strip_prefix(stringify!($prefix)) == Some(name))
                .map(|(_, n)| i64::from(*n))
                .or_else(|| number(name))
        }
    };
}

table! {
    /// A system call of this machine, by name or number.
    syscall: SYS_ i64 {
        SYS_acct SYS_add_key SYS_adjtimex SYS_bind SYS_bpf SYS_brk SYS_capget SYS_capset SYS_chdir SYS_chroot
        SYS_clock_adjtime SYS_clock_gettime SYS_clock_settime SYS_clone SYS_clone3 SYS_close SYS_close_range
        SYS_connect SYS_delete_module SYS_dup SYS_epoll_create1 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit
        SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fanotify_init SYS_fchdir SYS_fchmodat SYS_fchownat
        SYS_fcntl SYS_finit_module SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_futex SYS_get_mempolicy
        SYS_getcpu SYS_getcwd SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getpgid SYS_getpid
        SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getsid SYS_gettid SYS_getuid
        SYS_init_module SYS_inotify_init1 SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup
        SYS_ioctl SYS_ioprio_get SYS_ioprio_set SYS_kcmp SYS_kexec_file_load SYS_kexec_load SYS_keyctl
        SYS_kill SYS_landlock_create_ruleset SYS_linkat SYS_listen SYS_lookup_dcookie SYS_madvise SYS_mbind
        SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_migrate_pages SYS_mincore SYS_mkdirat SYS_mknodat
        SYS_mlock SYS_mmap SYS_mount SYS_mount_setattr SYS_move_mount SYS_move_pages SYS_mprotect
        SYS_mq_open SYS_msgget SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_nfsservctl
        SYS_open_by_handle_at SYS_open_tree SYS_openat SYS_openat2 SYS_perf_event_open SYS_personality
        SYS_pidfd_getfd SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pivot_root SYS_prctl
        SYS_prlimit64 SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev
        SYS_ptrace SYS_quotactl SYS_quotactl_fd SYS_read SYS_readlinkat SYS_reboot SYS_renameat2
        SYS_request_key SYS_rseq SYS_sched_getaffinity SYS_sched_getattr SYS_sched_setaffinity
        SYS_sched_setattr SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semget SYS_sendfile
        SYS_sendmsg SYS_set_mempolicy SYS_set_mempolicy_home_node SYS_setdomainname SYS_setfsuid SYS_setgid
        SYS_setgroups SYS_sethostname SYS_setns SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid
        SYS_setresuid SYS_setreuid SYS_setrlimit SYS_setsid SYS_settimeofday SYS_setuid SYS_shmget
        SYS_signalfd4 SYS_socket SYS_socketpair SYS_statfs SYS_statx SYS_swapoff SYS_swapon SYS_symlinkat
        SYS_sync SYS_syslog SYS_timer_create SYS_timerfd_create SYS_tgkill SYS_umask SYS_umount2 SYS_uname
        SYS_unlinkat SYS_unshare SYS_userfaultfd SYS_utimensat SYS_vhangup SYS_vmsplice SYS_wait4 SYS_waitid
        SYS_write
    } x86 {
        SYS_access SYS_arch_prctl SYS_chmod SYS_chown SYS_dup2 SYS_fork
        SYS_getdents SYS_ioperm SYS_iopl SYS_link SYS_lstat SYS_mkdir SYS_mknod
        SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename
        SYS_rmdir SYS_select SYS_stat SYS_symlink SYS__sysctl SYS_sysfs SYS_time SYS_unlink SYS_uselib
        SYS_ustat SYS_utime SYS_vfork
    }
}

table! {
    /// A socket address family by its name without `AF_`, in capitals.
    family: AF_ i32 {
        AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_VSOCK AF_ALG AF_BLUETOOTH AF_CAN AF_TIPC AF_X25
        AF_KEY AF_RDS AF_XDP AF_APPLETALK AF_AX25 AF_IPX
    }
}

table! {
    /// A signal by its name without `SIG`, in capitals.
    signal_number: SIG i32 {
        SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE
        SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ
        SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS
    }
}

/// The signal a person wrote: `TERM`, `sigterm`, `15` or `RTMIN+3`.
pub fn signal(text: &str) -> Option<i32> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = match name.strip_prefix("RTMIN") {
        Some("") => i64::from(libc::SIGRTMIN()),
        Some(offset) => number(offset.strip_prefix('+')?)?.checked_add(i64::from(libc::SIGRTMIN()))?,
        None => signal_number(name)?,
    };
    number.try_into().ok().filter(|n| (1..=64).contains(n))
}

/// `SIGTERM` for 15; real-time signals count from `SIGRTMIN`.
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(number - 1).ok().and_then(|i| NAMES.get(i)) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIGRTMIN+{}", number - libc::SIGRTMIN()),
    }
}

/// The sixteen limits, in the kernel's order, so the index is the number.
pub const LIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// Name of a scheduling policy, as in `sched(7)`.
pub fn policy(number: u32) -> String {
    const NAMES: [&str; 8] = [
        "SCHED_OTHER",
        "SCHED_FIFO",
        "SCHED_RR",
        "SCHED_BATCH",
        "SCHED_ISO",
        "SCHED_IDLE",
        "SCHED_DEADLINE",
        "SCHED_EXT",
    ];
    NAMES.get(number as usize).map_or_else(|| number.to_string(), |n| (*n).to_owned())
}

/// Name of an I/O priority class, as in `ioprio_set(2)`.
pub fn ioprio_class(number: i32) -> String {
    const NAMES: [&str; 4] = ["IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];
    usize::try_from(number)
        .ok()
        .and_then(|i| NAMES.get(i))
        .map_or_else(|| number.to_string(), |n| (*n).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("-100"), Some(-100));
        assert_eq!(number("0x10"), Some(16));
        assert_eq!(number("0xffffffffffffffff"), Some(-1));
        assert_eq!(number("-0x8000000000000000"), Some(i64::MIN));
        for bad in ["", "-", "0x", "ten", "0x1ffffffffffffffff"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_and_numbers_of_calls_and_families() {
        assert_eq!(syscall("getpid"), Some(libc::SYS_getpid));
        assert_eq!(syscall("SYS_getpid"), None);
        assert_eq!(syscall("1073741863"), Some(1_073_741_863));
        assert_eq!(family("VSOCK"), Some(40));
    }

    #[test]
    fn signals_read_back_what_they_print() {
        for n in (1..=31).chain(libc::SIGRTMIN()..=64) {
            assert_eq!(signal(&signal_name(n)), Some(n));
        }
        assert_eq!(signal("term"), Some(15));
        assert_eq!(signal("RTMIN"), Some(libc::SIGRTMIN()));
        for bad in ["0", "65", "RTMIN+100", "RTMIN+x", "TERMX", ""] {
            assert_eq!(signal(bad), None, "{bad}");
        }
    }
}
