//! What a keeper gives up when its container is there: capabilities and system calls that it no longer needs. Best effort
//! on hosts that do not know them: a keeper that runs is worth more than one that is sealed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use caps::{CapSet, Capability, CapsHashSet};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, TargetArch,
};

use crate::sys::keeper::nr;

/// Every system call of the loop, of the disk's thread, and of what libc does beneath them: memory, locks, an abort.
const ALLOWED: [i64; 41] = [
    nr::SYS_accept4,
    nr::SYS_brk,
    nr::SYS_clock_gettime,
    nr::SYS_clock_nanosleep,
    nr::SYS_close,
    nr::SYS_exit,
    nr::SYS_exit_group,
    nr::SYS_fallocate,
    nr::SYS_fcntl,
    nr::SYS_fstat,
    nr::SYS_fstatfs,
    nr::SYS_fsync,
    nr::SYS_ftruncate,
    nr::SYS_futex,
    nr::SYS_getpid,
    nr::SYS_getrandom,
    nr::SYS_getsockopt,
    nr::SYS_gettid,
    nr::SYS_lseek,
    nr::SYS_madvise,
    nr::SYS_mremap,
    nr::SYS_munmap,
    nr::SYS_newfstatat,
    nr::SYS_openat,
    nr::SYS_pidfd_send_signal,
    nr::SYS_ppoll,
    nr::SYS_pread64,
    nr::SYS_pwrite64,
    nr::SYS_read,
    nr::SYS_recvfrom,
    nr::SYS_recvmsg,
    nr::SYS_renameat2,
    nr::SYS_restart_syscall,
    nr::SYS_rt_sigaction,
    nr::SYS_rt_sigprocmask,
    nr::SYS_rt_sigreturn,
    nr::SYS_sendmsg,
    nr::SYS_sigaltstack,
    nr::SYS_statx,
    nr::SYS_unlinkat,
    nr::SYS_wait4,
];

/// The compiled filter.
#[derive(Debug, Clone)]
pub struct Filter(BpfProgram);

impl Filter {
    /// Compiles it.
    ///
    /// # Errors
    /// This machine's architecture is none that the compiler knows.
    pub fn compile() -> Result<Filter, seccompiler::BackendError> {
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let all = ALLOWED.iter().chain(nr::OLD).chain(&[nr::SYS_write, nr::SYS_tgkill]);
        let mut rules: BTreeMap<i64, Vec<Rule>> = all.map(|n| (*n, Vec::new())).collect();
        // Memory that can be executed is not needed again, and a terminal is only ever resized or made non-blocking.
        let exec = nr::PROT_EXEC as u64;
        let no_exec = || Condition::new(2, Len::Dword, Op::MaskedEq(exec), 0);
        rules.insert(nr::SYS_mmap, vec![Rule::new(vec![no_exec()?])?]);
        rules.insert(nr::SYS_mprotect, vec![Rule::new(vec![no_exec()?])?]);
        let ioctl = |request| Rule::new(vec![Condition::new(1, Len::Dword, Op::Eq, request)?]);
        rules.insert(nr::SYS_ioctl, vec![ioctl(nr::TIOCSWINSZ)?, ioctl(nr::FIONBIO)?]);
        // An unknown call fails and the keeper goes on: a container without its keeper is worse than a failed call, and
        // what is not allowed is out of reach either way.
        let refuse = SeccompAction::Errno(nr::EPERM as u32);
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into().map(Filter)
    }

    /// Gives up, for the calling thread: privileges by execve, capabilities except those of `keep`, system calls.
    /// Returns whether all is given up.
    pub fn apply(&self, keep: &[Capability]) -> bool {
        let capabilities = drop_capabilities(keep).is_ok();
        // Sets no_new_privs before the filter.
        seccompiler::apply_filter(&self.0).is_ok() && capabilities
    }
}

/// Only those of `keep` that the process has are left.
fn drop_capabilities(keep: &[Capability]) -> Result<(), caps::errors::CapsError> {
    let has = caps::read(None, CapSet::Permitted)?;
    let left: CapsHashSet = keep.iter().copied().filter(|c| has.contains(c)).collect();
    // Needs CAP_SETPCAP, and only counts at an execve, which the filter refuses.
    let _ = caps::clear(None, CapSet::Bounding);
    let _ = caps::clear(None, CapSet::Ambient);
    caps::set(None, CapSet::Effective, &left)?;
    caps::set(None, CapSet::Permitted, &left)?;
    caps::clear(None, CapSet::Inheritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_is_small() {
        let filter = Filter::compile().unwrap();
        // BPF_MAXINSNS is 4096; each call of the loop walks through it.
        assert!((50..400).contains(&filter.0.len()), "{}", filter.0.len());
    }

    #[test]
    fn a_sealed_thread_writes_but_does_not_open_sockets_or_execute() {
        let sealed = std::thread::spawn(|| {
            let sealed = Filter::compile().unwrap().apply(&[Capability::CAP_KILL]);
            let path = std::env::temp_dir().join(format!("knarr-seal-{}", std::process::id()));
            std::fs::write(&path, "x").unwrap();
            let exec = std::process::Command::new("/bin/true").status().map(drop).unwrap_err();
            let socket = std::os::unix::net::UnixDatagram::unbound().map(drop).unwrap_err();
            let left = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let _ = std::fs::remove_file(&path);
            (sealed, exec, socket, left)
        });
        let (sealed, exec, socket, status) = sealed.join().unwrap();
        assert!(sealed);
        assert_eq!(exec.raw_os_error(), Some(nr::EPERM));
        assert_eq!(socket.raw_os_error(), Some(nr::EPERM));
        let line = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!((line("Seccomp:"), line("NoNewPrivs:")), ("2".into(), "1".into()));
        let mask = u64::from_str_radix(&line("CapPrm:"), 16).unwrap();
        assert_eq!(mask & !Capability::CAP_KILL.bitmask(), 0);
        assert_eq!(line("CapInh:"), "0000000000000000");
    }
}
