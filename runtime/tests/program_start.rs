//! The built program's first steps, before and after libc starts: the sealed copy is made early and once, and what
//! stands in its way is an error with a name. Needs no container.
#![cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#![forbid(unsafe_code)]

use knarr::plan::seccomp::{Arch, compile};
use knarr::spec::types::Seccomp;
use knarr::sys::seccomp::install;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output};

const KNARR: &str = env!("CARGO_BIN_EXE_knarr");
/// What a command says that got as far as its bundle, which is not there.
const ARRIVED: &str = "no-such-bundle";
const STEP: &str = "protect the runtime's own binary";

/// Runs `knarr run` in a shell after `setup`.
fn after(setup: &str) -> Output {
    let script = format!("{setup}\nexec \"$@\"");
    let mut c = Command::new("sh");
    c.args(["-ec", &script, "sh", KNARR]).args(RUN).output().unwrap()
}

const RUN: [&str; 6] = ["--root", "/no-such-root", "run", "--bundle", "/no-such-bundle", "id"];

/// One line on stderr, exit 1, with all of `texts` in it.
#[track_caller]
fn fails(out: &Output, texts: &[&str]) {
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{} {err}", out.status);
    assert_eq!(err.lines().count(), 1, "{err}");
    for text in texts {
        assert!(err.contains(text), "want {text:?} in {err}");
    }
}

/// The second run: installs the profile and becomes the program.
#[test]
fn second_run() {
    let Ok(profile) = std::env::var("START_PROFILE") else { return };
    let profile: Seccomp = serde_json::from_str(&profile).unwrap();
    let filter = compile(&profile, Arch::NATIVE).unwrap();
    install(&filter.program, filter.flags).unwrap();
    panic!("{}", Command::new(KNARR).args(RUN).exec());
}

/// Runs `knarr run` where one system call gets `errno`, perhaps only with such arguments.
fn where_fails(call: &str, errno: i32, args: &str) -> Output {
    let profile = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
            [{{"names": ["{call}"], "action": "SCMP_ACT_ERRNO", "errnoRet": {errno}, "args": [{args}]}}]}}"#
    );
    Command::new("setpriv")
        .arg("--no-new-privs")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "second_run", "--nocapture"])
        .env("START_PROFILE", profile)
        .output()
        .unwrap()
}

#[test]
fn copy_comes_before_libc_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-e", "trace=execve,execveat,memfd_create,arch_prctl", "-o"]).arg(&trace).arg(KNARR);
    let Ok(out) = strace.args(RUN).output() else { return println!("skipped: needs strace") };
    if !trace.exists() || String::from_utf8_lossy(&out.stderr).contains("PTRACE") {
        return println!("skipped: nothing may be traced here");
    }
    fails(&out, &[ARRIVED]);
    let trace = std::fs::read_to_string(trace).unwrap();
    let calls: Vec<&str> = trace.lines().filter_map(|l| l.split_once('(')).map(|(name, _)| name).collect();
    // libc sets the thread's register up before anything of ours in `main`; the other calls of memfd_create are those
    // of kernels that do not know its flag.
    let (early, late) = calls.split_at(calls.iter().position(|c| *c == "arch_prctl").unwrap());
    assert_eq!((early.first(), early.last()), (Some(&"execve"), Some(&"execveat")), "{trace}");
    assert!(late.iter().all(|c| *c == "arch_prctl"), "{trace}");
}

#[test]
fn kernels_without_the_flag() {
    // MFD_EXEC is 16 in the second argument: EINVAL before Linux 6.3.
    let flag = r#"{"index": 1, "value": 16, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}"#;
    fails(&where_fails("memfd_create", 22, flag), &[ARRIVED]);
}

#[test]
fn refused_calls_have_names() {
    for (call, errno, args, text) in [
        ("memfd_create", 1, "", "memfd_create"),
        ("memfd_create", 38, "", "memfd_create"),
        ("sendfile", 5, "", "sendfile"),
        ("execveat", 13, "", "execveat"),
        // F_ADD_SEALS
        ("fcntl", 1, r#"{"index": 1, "value": 1033, "op": "SCMP_CMP_EQ"}"#, "F_ADD_SEALS"),
    ] {
        fails(&where_fails(call, errno, args), &[STEP, text]);
    }
}

#[test]
fn limits_are_errors() {
    fails(&after("ulimit -n 3"), &[STEP, "openat", "too many open files"]);
    fails(&after("ulimit -n 4"), &[STEP, "memfd_create", "too many open files"]);
    // Not SIGXFSZ.
    let out = after("ulimit -f 8");
    assert_eq!(out.status.signal(), None);
    fails(&out, &[STEP, "sendfile", "file too large"]);
}

#[test]
fn enough_is_enough() {
    fails(&after("ulimit -n 5"), &[ARRIVED]);
    // A limit that the copy fits in: it is made after libc has started.
    fails(&after("ulimit -f 1000000"), &[ARRIVED]);
}

#[test]
fn streams_that_are_closed() {
    fails(&after("exec <&- >&-"), &[ARRIVED]);
    let out = after("exec 2>&-");
    assert_eq!((out.status.code(), out.stderr.len()), (Some(1), 0));
}

/// The copy gets the arguments as they were, bytes that are no text included.
#[test]
fn arguments_arrive() {
    let bundle = OsStr::from_bytes(b"/no such\xffbundle");
    let out = Command::new(KNARR).args(["run", "--bundle"]).arg(bundle).arg("id").output().unwrap();
    fails(&out, &["chdir", "/no such\u{fffd}bundle"]);
}
