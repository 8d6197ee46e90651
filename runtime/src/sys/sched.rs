//! Limits and scheduling of a process: rlimits, policy, I/O priority, affinity, memory policy, personality.

use super::cvt;
use crate::error::Result;

/// prlimit64(2). `pid` 0 is the caller; values are raw, `u64::MAX` is infinity.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let new = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `new` is valid; the old-value pointer may be null.
    let r = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const new,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    sys!("prlimit64", cvt(r), "{pid}, {resource}, soft={soft}, hard={hard}").map(|_| ())
}

/// getrlimit(2) of the caller: (soft, hard).
pub fn rlimit(resource: u32) -> (u64, u64) {
    let mut old = libc::rlimit64 { rlim_cur: u64::MAX, rlim_max: u64::MAX };
    // SAFETY: `old` is valid; on failure it keeps its values.
    unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<libc::rlimit64>(), &raw mut old);
    }
    (old.rlim_cur, old.rlim_max)
}

/// What sched_setattr(2) takes, version 0. Times in nanoseconds.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2) (Linux 3.14) for the caller.
pub fn sched_setattr(attr: SchedAttr) -> Result<()> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..attr };
    // SAFETY: attr is a version-0 sched_attr of the size it states.
    let r = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    sys!("sched_setattr", cvt(r), "{attr:?}").map(|_| ())
}

/// ioprio_set(2) for the caller: class 1 real time, 2 best effort, 3 idle.
pub fn set_io_priority(class: u32, level: u32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: integers only.
    let r = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, class << 13 | level) };
    sys!("ioprio_set", cvt(r), "class {class}, level {level}").map(|_| ())
}

/// sched_setaffinity(2): bit n of the bytes is CPU n.
pub fn set_affinity(pid: i32, mask: &[u8]) -> Result<()> {
    // SAFETY: mask is valid for its length.
    let r = unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, mask.len(), mask.as_ptr()) };
    sys!("sched_setaffinity", cvt(r), "{pid}, {mask:x?}").map(|_| ())
}

/// set_mempolicy(2) (`CONFIG_NUMA`): mode and flags in one number, bit n of the bytes is node n.
///
/// # Errors
/// EINVAL for nodes that are not there or not in the cpuset, or a mode that does not go with them; ENOSYS without NUMA.
pub fn set_memory_policy(mode: u32, nodes: &[u8]) -> Result<()> {
    // The kernel takes one bit less than it is told, in whole words.
    let (mask, bits) =
        if nodes.is_empty() { (std::ptr::null(), 0) } else { (nodes.as_ptr(), nodes.len() * 8 + 1) };
    // SAFETY: the mask is null or valid for `bits` less one.
    let r = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    sys!("set_mempolicy", cvt(r), "{mode:#x}, {nodes:x?}").map(|_| ())
}

/// personality(2).
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: an integer.
    let r = unsafe { libc::syscall(libc::SYS_personality, persona) };
    sys!("personality", cvt(r), "{persona:#x}").map(|_| ())
}
