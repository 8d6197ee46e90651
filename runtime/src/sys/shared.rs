//! Memory that this process and those it clones see alike, and the clock that they have in common.

use super::cvt;
use crate::error::Result;
use std::sync::atomic::AtomicU64;

/// `count` words, all zero, shared with every process cloned from now on until it executes a program (mmap(2),
/// `MAP_SHARED | MAP_ANONYMOUS`). They are never given back.
///
/// # Errors
/// No memory is left.
pub fn words(count: usize) -> Result<&'static [AtomicU64]> {
    let bytes = count * size_of::<AtomicU64>();
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    let made = if at == libc::MAP_FAILED { cvt(-1) } else { Ok(0) };
    sys!("mmap", made, "{bytes} bytes, MAP_SHARED|MAP_ANONYMOUS")?;
    // SAFETY: page-aligned, zeroed, `count` words long, never unmapped; atomics may be changed by other processes.
    Ok(unsafe { std::slice::from_raw_parts(at.cast(), count) })
}

/// Nanoseconds of CLOCK_MONOTONIC (clock_gettime(2)), the same in every time namespace that was not given an offset. Read
/// without entering the kernel where the vDSO can tell (vdso(7)).
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
