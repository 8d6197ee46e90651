//! seccomp(2): installing a filter and asking what the kernel knows. Also the instruction type, which the
//! filter compiler fills and the kernel reads.

use super::{Errno, cvt};
use crate::error::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::os::fd::{FromRawFd, OwnedFd};

/// `struct sock_filter` of linux/filter.h: one classic BPF instruction. Serialised as one number.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u64", from = "u64")]
pub struct Insn {
    /// What to do: `BPF_*`.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

const _: () = assert!(
    size_of::<Insn>() == size_of::<libc::sock_filter>()
        && align_of::<Insn>() == align_of::<libc::sock_filter>()
);

impl From<Insn> for u64 {
    fn from(i: Insn) -> u64 {
        u64::from(i.code) << 48 | u64::from(i.jt) << 40 | u64::from(i.jf) << 32 | u64::from(i.k)
    }
}

impl From<u64> for Insn {
    fn from(v: u64) -> Insn {
        Insn { code: (v >> 48) as u16, jt: (v >> 40) as u8, jf: (v >> 32) as u8, k: v as u32 }
    }
}

/// Filter flags of seccomp(2): `SECCOMP_FILTER_FLAG_*`.
pub mod flag {
    /// Apply to all threads (Linux 3.17).
    pub const TSYNC: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC as u32;
    /// Log all actions but allow (Linux 4.14).
    pub const LOG: u32 = libc::SECCOMP_FILTER_FLAG_LOG as u32;
    /// Leave speculative store bypass alone (Linux 4.17).
    pub const SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
    /// Return a descriptor for notifications (Linux 5.0).
    pub const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    /// Report a failed TSYNC as ESRCH, which frees the return value for a listener (Linux 5.7).
    pub const TSYNC_ESRCH: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH as u32;
    /// Only a fatal signal ends the wait for a notification's answer (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: u32 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32;
}

/// `SECCOMP_SET_MODE_FILTER` for the calling thread. Gives the listener when `flags` ask for one.
///
/// # Errors
/// EACCES without `no_new_privs` and `CAP_SYS_ADMIN`; EINVAL for a program or flag that the kernel does not
/// take; EBUSY when a listener is installed already.
pub fn install(program: &[Insn], flags: u32) -> Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let prog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `prog` and the `len` instructions behind it, of the checked layout, live across the call; the
    // kernel copies them and writes nothing.
    let ret = cvt(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &raw const prog,
        )
    });
    let ret =
        sys!("seccomp", ret, "SECCOMP_SET_MODE_FILTER, {flags:#x}, {} instructions", program.len())? as i32;
    if flags & flag::NEW_LISTENER != 0 {
        // SAFETY: with this flag success is a new descriptor, which is nobody else's.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(ret) }));
    }
    match ret {
        0 => Ok(None),
        tid => {
            Err(Error::new(Code::Os, format!("seccomp: thread {tid} cannot take over the filter (TSYNC)")))
        }
    }
}

/// True when the kernel knows this filter action, a `SECCOMP_RET_*` value without data (Linux 4.14).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads four bytes from `action`.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0 as libc::c_ulong,
            &raw const action,
        )
    };
    ret == 0
}

/// True when the kernel knows all of these filter flags. Nothing is installed: the program is a null
/// pointer, and the kernel looks at the flags (EINVAL) before it looks at the program (EFAULT).
pub fn flags_supported(flags: u32) -> bool {
    let none = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: a null program makes the call fail with EFAULT at the latest.
    let ret = cvt(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flags), none)
    });
    ret == Err(Errno(libc::EFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_survives_serialisation() {
        let i = Insn { code: 0x15, jt: 255, jf: 1, k: 0xc000_003e };
        let text = serde_json::to_string(&i).unwrap();
        assert_eq!(serde_json::from_str::<Insn>(&text).unwrap(), i);
    }

    #[test]
    fn probes_tell_known_from_unknown() {
        assert!(action_available(0x7fff_0000));
        assert!(!action_available(0x1234_0000));
        assert!(flags_supported(flag::TSYNC | flag::LOG | flag::SPEC_ALLOW));
        assert!(!flags_supported(1 << 31));
    }

    #[test]
    fn a_refused_program_names_the_call() {
        let e = install(&[], 0).unwrap_err();
        assert!(e.to_string().contains("seccomp(SECCOMP_SET_MODE_FILTER, 0x0, 0 instructions)"), "{e}");
    }
}
