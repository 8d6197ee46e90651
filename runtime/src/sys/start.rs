//! What runs before libc: the program's first instructions make the sealed copy of `seal` and execute it, so that only
//! the copy pays for the start of a C library (on a virtual machine half a millisecond, most of it `cpuid`). An
//! optimisation and no more: whatever it cannot do it leaves to [`crate::seal::ensure`], which checks in any case.
//!
//! Nothing here may call a function of libc, allocate, panic or need a relocation: memory is not set up yet. Not even
//! two slices may be compared, because that calls `memcmp`, whose address is not known yet.

use super::process::{MFD_EXEC, SEALS};
use std::arch::{asm, global_asm};
use std::sync::atomic::{AtomicBool, Ordering};

// The entry point of the program `knarr` (see build.rs). The stack is as the kernel made it: argc, argv, envp. What the
// call leaves behind is what it found, and libc's own entry point goes on from there; rdx is a function that a dynamic
// loader wants called at the end.
global_asm!(
    ".globl knarr_start",
    ".type knarr_start, @function",
    "knarr_start:",
    "mov rbx, rsp",
    "mov r12, rdx",
    "mov rdi, rsp",
    "call {before_libc}",
    "mov rsp, rbx",
    "mov rdx, r12",
    "jmp {libc}",
    before_libc = sym before_libc,
    libc = sym _start,
);

unsafe extern "C" {
    /// The C library's entry point.
    fn _start();
}

/// Whether this program was seen to run from a file with all seals. The kernel has zeroed it, and nothing that runs later does
/// so again.
static SEALED: AtomicBool = AtomicBool::new(false);

/// True when the program's first instructions have found that it runs from a sealed copy.
pub(crate) fn is_sealed() -> bool {
    SEALED.load(Ordering::Relaxed)
}

/// The commands that make processes of a container.
const VERBS: (u64, u64, u64) = (word(b"create"), word(b"exec"), word(b"run"));

/// A string of at most eight bytes as a number.
const fn word(text: &[u8]) -> u64 {
    let (mut n, mut i) = (0, 0);
    while i < text.len() {
        n |= (text[i] as u64) << (8 * i);
        i += 1;
    }
    n
}

/// Executes the sealed copy, or does nothing.
unsafe extern "C" fn before_libc(stack: *const usize) {
    // SAFETY: the kernel's layout of a fresh stack (execve(2), "System V ABI", process initialization).
    unsafe {
        let count = *stack;
        let argv = stack.add(1);
        let envp = argv.add(count + 1);
        if makes_processes(argv, count) && !cfg!(feature = "weak-seal") {
            execute_copy(argv, envp);
        }
    }
}

/// Whether one of the arguments is such a verb. It may be an argument of another verb: then there is a copy that nobody
/// needs.
unsafe fn makes_processes(argv: *const usize, count: usize) -> bool {
    let mut n = 1;
    while n < count {
        // SAFETY: `count` pointers to strings that end with NUL, behind which nothing is read.
        let arg = unsafe { first_eight(*argv.add(n) as *const u8) };
        if arg == VERBS.0 || arg == VERBS.1 || arg == VERBS.2 {
            return true;
        }
        n += 1;
    }
    false
}

unsafe fn first_eight(text: *const u8) -> u64 {
    let (mut n, mut i) = (0, 0);
    while i < 8 {
        // SAFETY: not behind the NUL.
        let byte = unsafe { *text.add(i) };
        if byte == 0 {
            break;
        }
        n |= (byte as u64) << (8 * i);
        i += 1;
    }
    n
}

/// The same calls as `seal` makes. Returns when one of them fails, and when this is the copy.
unsafe fn execute_copy(argv: *const usize, envp: *const usize) {
    // SAFETY: pointers to strings that end with NUL, to our own memory of the size stated, and to the vectors of our own
    // start. The descriptors are ours alone.
    unsafe {
        let path = c"/proc/self/exe".as_ptr() as usize;
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let own = call(libc::SYS_openat, libc::AT_FDCWD as usize, path, flags as usize, 0, 0);
        if own < 0 {
            return;
        }
        let seals = call(libc::SYS_fcntl, own as usize, libc::F_GET_SEALS as usize, 0, 0, 0);
        let is_copy = seals >= 0 && seals & SEALS as isize == SEALS as isize;
        // Relative to the instruction, whatever the compiler makes of statics: their addresses are not known yet.
        asm!(
            "mov byte ptr [rip + {flag}], {value}",
            flag = sym SEALED,
            value = in(reg_byte) u8::from(is_copy),
            options(nostack, preserves_flags),
        );
        if !is_copy && may_grow() {
            let (name, flags) = (c"knarr".as_ptr() as usize, libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            let mut copy = call(libc::SYS_memfd_create, name, (flags | MFD_EXEC) as usize, 0, 0, 0);
            if copy < 0 {
                copy = call(libc::SYS_memfd_create, name, flags as usize, 0, 0, 0);
            }
            if copy >= 0 {
                if fill(copy as usize, own as usize)
                    && call(libc::SYS_fcntl, copy as usize, libc::F_ADD_SEALS as usize, SEALS as usize, 0, 0)
                        == 0
                {
                    let empty = c"".as_ptr() as usize;
                    let flags = libc::AT_EMPTY_PATH as usize;
                    call(libc::SYS_execveat, copy as usize, empty, argv as usize, envp as usize, flags);
                }
                call(libc::SYS_close, copy as usize, 0, 0, 0, 0);
            }
        }
        call(libc::SYS_close, own as usize, 0, 0, 0, 0);
    }
}

/// Whether files may have any size. Beyond a limit there is a signal that ends the process; `seal` makes an error of it.
unsafe fn may_grow() -> bool {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: 0 is this process, and the last argument a structure of the kernel's layout.
    let r =
        unsafe { call(libc::SYS_prlimit64, 0, libc::RLIMIT_FSIZE as usize, 0, &raw mut limit as usize, 0) };
    r == 0 && limit.rlim_cur == libc::RLIM64_INFINITY
}

/// Copies the whole file; `false` when it could not.
unsafe fn fill(copy: usize, own: usize) -> bool {
    /// More than a binary has, less than sendfile(2) takes at once.
    const MOST: usize = 1 << 30;
    // SAFETY: descriptors and numbers only.
    unsafe {
        call(libc::SYS_sendfile, copy, own, 0, MOST, 0) > 0
            && call(libc::SYS_sendfile, copy, own, 0, MOST, 0) == 0
    }
}

/// One system call, straight into the kernel; the result is negative for an error.
#[inline(always)]
unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result;
    // SAFETY: the kernel's calling convention (syscall(2)); what the arguments mean is the caller's business.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}
