//! Compiled filters in the kernel. Each test starts this binary again; the second run installs a filter and
//! executes a tiny program, written here byte by byte, that makes one system call and exits with its errno.
#![cfg(target_arch = "x86_64")]
#![forbid(unsafe_code)]

use knarr::plan::seccomp::{Arch, compile};
use knarr::spec::types::Seccomp;
use knarr::sys::seccomp::install;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Mutex;

const DEFAULT: &str = include_str!("../../bundles/profiles/default-seccomp.json");

/// How the little program enters the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enter {
    /// `syscall` in a 64-bit program; with bit 30 in the number this is x32.
    Syscall,
    /// `int 0x80` in a 64-bit program: a 32-bit call with 64-bit registers.
    Int80,
    /// `int 0x80` in a 32-bit program.
    Compat,
}

/// An executable that makes one call and exits with the negated result.
fn program(enter: Enter, nr: u32, args: [u64; 3]) -> Vec<u8> {
    let mut code = Vec::new();
    // The opcodes that load a constant into the registers of number and arguments.
    let registers = match enter {
        Enter::Syscall => [0xb8, 0xbf, 0xbe, 0xba],
        Enter::Int80 | Enter::Compat => [0xb8, 0xbb, 0xb9, 0xba],
    };
    for (register, value) in registers.into_iter().zip([u64::from(nr), args[0], args[1], args[2]]) {
        match enter {
            Enter::Compat => {
                code.push(register);
                code.extend((value as u32).to_le_bytes());
            }
            Enter::Syscall | Enter::Int80 => {
                code.extend([0x48, register]);
                code.extend(value.to_le_bytes());
            }
        }
    }
    code.extend(if enter == Enter::Syscall { [0x0f, 0x05] } else { [0xcd, 0x80] });
    match enter {
        // mov edi, eax; neg edi; mov eax, 231 (exit_group); syscall
        Enter::Syscall | Enter::Int80 => {
            code.extend([0x89, 0xc7, 0xf7, 0xdf, 0xb8, 231, 0, 0, 0, 0x0f, 0x05])
        }
        // mov ebx, eax; neg ebx; mov eax, 1 (exit); int 0x80
        Enter::Compat => code.extend([0x89, 0xc3, 0xf7, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]),
    }
    if enter == Enter::Compat { elf32(&code) } else { elf64(&code) }
}

fn elf64(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [BASE + HEADERS, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let size = HEADERS + code.len() as u64;
    for word in [0, BASE, BASE, size, size, 0x1000] {
        out.extend(word.to_le_bytes());
    }
    out.extend(code);
    out
}

fn elf32(code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x40_0000;
    const HEADERS: u32 = 52 + 32;
    let mut out = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for word in [BASE + HEADERS, 52, 0, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend([52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let size = HEADERS + code.len() as u32;
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        out.extend(word.to_le_bytes());
    }
    out.extend(code);
    out
}

/// The second run: installs the profile and becomes the program.
#[test]
fn second_run() {
    let (Ok(profile), Ok(program)) = (std::env::var("SECCOMP_PROFILE"), std::env::var("SECCOMP_PROGRAM"))
    else {
        return;
    };
    let profile: Seccomp = serde_json::from_str(&profile).unwrap();
    let filter = compile(&profile, Arch::NATIVE).unwrap();
    let listener = install(&filter.program, filter.flags).unwrap();
    assert_eq!(listener.is_some(), filter.notify);
    // Nobody listens from here on.
    drop(listener);
    panic!("{}", Command::new(program).exec());
}

/// Held while executables are written and started: another thread's fork would keep one open for writing
/// (ETXTBSY).
static ALONE: Mutex<()> = Mutex::new(());

/// Writes the program for one call.
fn place(dir: &Path, enter: Enter, nr: u32, args: [u64; 3]) -> PathBuf {
    let path = dir.join(format!("{enter:?}-{nr}-{:x}-{:x}", args[0], args[1]));
    std::fs::write(&path, program(enter, nr, args)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Runs one call under a profile. `no_new_privs` lets ordinary users install filters.
fn under(profile: &str, dir: &Path, enter: Enter, nr: u32, args: [u64; 3]) -> ExitStatus {
    let path = place(dir, enter, nr, args);
    let out = Command::new("setpriv")
        .arg("--no-new-privs")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "second_run", "--nocapture"])
        .env("SECCOMP_PROFILE", profile)
        .env("SECCOMP_PROGRAM", &path)
        .output()
        .unwrap();
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    out.status
}

const EPERM: i32 = 1;
const EIO: i32 = 5;
const EBADF: i32 = 9;
const ENOSYS: i32 = 38;
/// What `int 0x80` gives on a kernel without 32-bit calls.
const SIGSEGV: i32 = 11;
const SIGSYS: i32 = 31;
const X32: u32 = 0x4000_0000;
const GARBAGE: u64 = 0xdead_beef_0000_0000;
/// An address that every program of ours can read.
const ADDRESS: u64 = 0x40_0000;

#[test]
fn default_profile() {
    use Enter::*;
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    // How, number, arguments, and the errno to expect; none for success.
    let calls = [
        // umask
        (Syscall, 95, [0o22, 0, 0], None),
        // close of nothing: allowed, and the kernel's own answer.
        (Syscall, 3, [u64::MAX, 0, 0], Some(EBADF)),
        (Compat, 6, [u64::MAX, 0, 0], Some(EBADF)),
        (Int80, 6, [u64::MAX, 0, 0], Some(EBADF)),
        // mount, unshare, keyctl, bpf, io_uring_setup, userfaultfd
        (Syscall, 165, [ADDRESS, ADDRESS, ADDRESS], Some(EPERM)),
        (Compat, 21, [ADDRESS, ADDRESS, ADDRESS], Some(EPERM)),
        (Int80, 21, [ADDRESS, ADDRESS, ADDRESS], Some(EPERM)),
        (Syscall, 272, [0x2_0000, 0, 0], Some(EPERM)),
        (Syscall, 250, [0, 0, 0], Some(EPERM)),
        (Syscall, 321, [0, 0, 0], Some(EPERM)),
        (Syscall, 425, [1, ADDRESS, 0], Some(EPERM)),
        (Syscall, 323, [0, 0, 0], Some(EPERM)),
        // AF_ALG and AF_VSOCK, direct and through socketcall
        (Syscall, 41, [38, 5, 0], Some(EPERM)),
        (Syscall, 41, [40, 1, 0], Some(EPERM)),
        (Compat, 359, [38, 5, 0], Some(EPERM)),
        (Compat, 102, [1, ADDRESS, 0], Some(EPERM)),
        (Int80, 102, [GARBAGE | 1, ADDRESS, 0], Some(EPERM)),
        // clone with CLONE_NEWUSER; clone3
        (Syscall, 56, [0x1000_0011, 0, 0], Some(EPERM)),
        (Int80, 120, [0x1000_0011 | GARBAGE, 0, 0], Some(EPERM)),
        (Syscall, 435, [ADDRESS, 64, 0], Some(ENOSYS)),
        (Compat, 435, [ADDRESS, 64, 0], Some(ENOSYS)),
        // TIOCSTI, also with rubbish above its 32 bits; another ioctl on no descriptor
        (Syscall, 16, [99, 0x5412, ADDRESS], Some(EIO)),
        (Syscall, 16, [99, 0x5412 | GARBAGE, ADDRESS], Some(EIO)),
        (Compat, 54, [99, 0x5412, ADDRESS], Some(EIO)),
        (Int80, 54, [99, 0x541c | GARBAGE, ADDRESS], Some(EIO)),
        (Syscall, 16, [99, 0x5401, ADDRESS], Some(EBADF)),
        // numbers that nobody knows
        (Syscall, 1000, [0, 0, 0], Some(ENOSYS)),
        (Compat, 1000, [0, 0, 0], Some(ENOSYS)),
        (Syscall, X32 | 1000, [0, 0, 0], Some(ENOSYS)),
        // x32: the rule for mount answers before the kernel could say that it has no x32
        (Syscall, X32 | 165, [ADDRESS, ADDRESS, ADDRESS], Some(EPERM)),
    ];
    let has_compat = Command::new(place(dir.path(), Compat, 20, [0; 3])).status().is_ok();
    for (enter, nr, args, errno) in calls {
        if enter != Syscall && !has_compat {
            println!("this kernel has no 32-bit calls: {enter:?} {nr} left out");
            continue;
        }
        let status = under(DEFAULT, dir.path(), enter, nr, args);
        match errno {
            Some(errno) => assert_eq!(status.code(), Some(errno), "{enter:?} {nr} {args:x?}: {status}"),
            None => assert!(status.code().is_some_and(|c| c == 0 || c > 133), "{enter:?} {nr}: {status}"),
        }
    }
}

/// The actions that do not return an error.
#[test]
fn actions() {
    use Enter::Syscall;
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let profile = |action: &str, extra: &str| {
        format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/unused", {extra}
                "syscalls": [{{"names": ["umask"], "action": "{action}"}}]}}"#
        )
    };
    let run = |profile: &str, nr| under(profile, dir.path(), Syscall, nr, [0o22, 0, 0]);
    for action in ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"] {
        let status = run(&profile(&format!("SCMP_ACT_{action}"), ""), 95);
        assert_eq!(status.signal(), Some(SIGSYS), "{action}: {status}");
    }
    let status = run(&profile("SCMP_ACT_LOG", ""), 95);
    assert!(status.code().is_some(), "LOG lets the call through: {status}");
    // Nobody traces, nobody listens: the kernel answers ENOSYS.
    assert_eq!(run(&profile("SCMP_ACT_TRACE", ""), 95).code(), Some(ENOSYS));
    assert_eq!(run(&profile("SCMP_ACT_NOTIFY", ""), 95).code(), Some(ENOSYS));
    let flags = r#""flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],"#;
    assert_eq!(run(&profile("SCMP_ACT_NOTIFY", flags), 95).code(), Some(ENOSYS));
    assert_eq!(run(&profile("SCMP_ACT_TRACE", flags), 95).code(), Some(ENOSYS));
    // x32 and 32-bit calls end a program whose profile lists x86_64 only.
    let status = run(&profile("SCMP_ACT_TRACE", ""), X32 | 39);
    assert_eq!(status.signal(), Some(SIGSYS), "x32: {status}");
    let status = under(&profile("SCMP_ACT_TRACE", ""), dir.path(), Enter::Int80, 20, [0; 3]);
    assert!([Some(SIGSYS), Some(SIGSEGV)].contains(&status.signal()), "i386: {status}");
}
