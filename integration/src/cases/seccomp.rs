//! System call filters: every action, operator, flag and architecture, and the notifying listener.
//! The probe makes one call and prints what the filter answered.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::Need;
use crate::os;

const SECCOMP: &str = "config-linux.md#seccomp";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = actions();
    all.extend(operators());
    all.extend(unknown_calls());
    all.extend(architectures());
    all.extend(surroundings());
    all.extend(late());
    all.extend(notify());
    all
}

/// A filter that allows everything but these entries.
fn profile(entries: Value) -> impl Fn(&mut Value) + 'static {
    move |s| {
        s["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
            "syscalls": entries
        });
        only_here(s);
    }
}

/// Takes the protection away.
fn unfiltered(s: &mut Value) {
    s["linux"].as_object_mut().map(|l| l.remove("seccomp"));
}

/// Leaves out architectures that this machine has not.
fn only_here(s: &mut Value) {
    let ours: &[&str] = if cfg!(target_arch = "x86_64") {
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    } else {
        &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    };
    if let Some(list) = s["linux"]["seccomp"]["architectures"].as_array_mut() {
        list.retain(|x| ours.iter().any(|o| x == o));
    }
}

/// One rule for one call.
fn rule(name: &str, action: &str) -> Value {
    json!([{"names": [name], "action": action}])
}

fn actions() -> Vec<Case> {
    let yield_with = |action: &str| profile(rule("sched_yield", action));
    vec![
        case("seccomp.none").checks(SECCOMP).probe(["status"]).line("Seccomp:\t0"),
        case("seccomp.is-on")
            .checks(SECCOMP)
            .probe(["status"])
            .spec(yield_with("SCMP_ACT_ERRNO"))
            .line("Seccomp:\t2"),
        case("seccomp.one-filter")
            .checks("performance: one program")
            .probe(["status"])
            .spec(yield_with("SCMP_ACT_ERRNO"))
            .output(|o| {
                let line =
                    o.lines().find_map(|l| l.strip_prefix("Seccomp_filters:")).context("no such field")?;
                ensure!(line.trim() == "1", "{line}");
                Ok(())
            }),
        case("seccomp.allow")
            .checks(SECCOMP)
            .probe(["syscall", "sched_yield"])
            .spec(yield_with("SCMP_ACT_ALLOW"))
            .stdout("ok 0\n"),
        case("seccomp.errno-default")
            .checks(SECCOMP)
            .probe(["syscall", "sched_yield"])
            .unprotected(unfiltered, "ok 0\n")
            .spec(yield_with("SCMP_ACT_ERRNO"))
            .stdout("errno 1 EPERM\n"),
        case("seccomp.errno-given")
            .checks("config-linux.md#seccomp errnoRet")
            .probe(["syscall", "sched_yield"])
            .unprotected(unfiltered, "ok 0\n")
            .spec(profile(json!([{"names": ["sched_yield"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}])))
            .stdout_has("errno 77 "),
        case("seccomp.errno-several")
            .checks("config-linux.md#seccomp errnoRet")
            .probe([
                "all",
                "syscall",
                "sched_yield",
                "--",
                "syscall",
                "getpgid",
                "0",
                "--",
                "syscall",
                "getsid",
                "0",
                "--",
                "syscall",
                "sync",
            ])
            .spec(profile(json!([
                {"names": ["sched_yield"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
                {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["getsid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
                {"names": ["sync"], "action": "SCMP_ACT_ERRNO"}
            ])))
            .stdout("errno 13 EACCES\nerrno 38 ENOSYS\nerrno 95 EOPNOTSUPP\nerrno 1 EPERM\n"),
        case("seccomp.errno-zero")
            .checks("config-linux.md#seccomp errnoRet")
            .probe(["syscall", "getpgid", "0"])
            .spec(profile(json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}])))
            .stdout("ok 0\n"),
        case("seccomp.kill")
            .checks(SECCOMP)
            .probe(["syscall", "sched_yield"])
            .unprotected(unfiltered, "ok 0\n")
            .spec(yield_with("SCMP_ACT_KILL"))
            .exit(159)
            .stdout(""),
        case("seccomp.kill-thread")
            .checks(SECCOMP)
            .probe(["syscall", "sched_yield"])
            .unprotected(unfiltered, "ok 0\n")
            .spec(yield_with("SCMP_ACT_KILL_THREAD"))
            .exit(159)
            .stdout(""),
        case("seccomp.kill-process")
            .checks(SECCOMP)
            .probe(["syscall", "sched_yield"])
            .unprotected(unfiltered, "ok 0\n")
            .spec(yield_with("SCMP_ACT_KILL_PROCESS"))
            .exit(159)
            .stdout(""),
        case("seccomp.trap")
            .checks(SECCOMP)
            .probe(["syscall", "sched_yield"])
            .unprotected(unfiltered, "ok 0\n")
            .spec(yield_with("SCMP_ACT_TRAP"))
            .exit(159)
            .stdout(""),
        case("seccomp.trace-without-tracer")
            .checks(SECCOMP)
            .probe(["syscall", "sched_yield"])
            .unprotected(unfiltered, "ok 0\n")
            .spec(yield_with("SCMP_ACT_TRACE"))
            .stdout("errno 38 ENOSYS\n"),
        case("seccomp.log")
            .checks(SECCOMP)
            .probe(["syscall", "sched_yield"])
            .spec(yield_with("SCMP_ACT_LOG"))
            .stdout("ok 0\n"),
        case("seccomp.actions-mixed")
            .checks(SECCOMP)
            .probe([
                "all",
                "syscall",
                "getpgid",
                "0",
                "--",
                "syscall",
                "getsid",
                "0",
                "--",
                "syscall",
                "sched_yield",
            ])
            .spec(profile(json!([
                {"names": ["sched_yield"], "action": "SCMP_ACT_KILL_PROCESS"},
                {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
                {"names": ["getsid"], "action": "SCMP_ACT_TRACE"}
            ])))
            .exit(159)
            .stdout("errno 13 EACCES\nerrno 38 ENOSYS\n"),
        case("seccomp.unknown-name-ignored")
            .checks("config-linux.md#seccomp")
            .probe(["syscall", "sched_yield"])
            .unprotected(unfiltered, "ok 0\n")
            .spec(profile(
                json!([{"names": ["no_such_call_here", "sched_yield"], "action": "SCMP_ACT_ERRNO"}]),
            ))
            .stdout("errno 1 EPERM\n"),
    ]
}

fn operators() -> Vec<Case> {
    // The filter sees all 64 bits of an argument. Nobody but the probe asks for the group of a process that
    // is not there, so the runtime's own calls are not caught.
    let table: [(&str, Value, &[u64], &[u64]); 8] = [
        ("eq", json!({"op": "SCMP_CMP_EQ", "value": 700}), &[700], &[699, 701, 0x1_0000_02bc]),
        ("ne", json!({"op": "SCMP_CMP_NE", "value": 700}), &[699, 701, 0x1_0000_02bc], &[700]),
        ("lt", json!({"op": "SCMP_CMP_LT", "value": 700}), &[650, 699], &[700, 701, 0x1_0000_1000]),
        ("le", json!({"op": "SCMP_CMP_LE", "value": 700}), &[650, 700], &[701, 0x1_0000_1000]),
        ("gt", json!({"op": "SCMP_CMP_GT", "value": 700}), &[701, 0x1_0000_1000], &[650, 700]),
        ("ge", json!({"op": "SCMP_CMP_GE", "value": 700}), &[700, 701, 0x1_0000_1000], &[650, 699]),
        (
            "masked",
            json!({"op": "SCMP_CMP_MASKED_EQ", "value": 0xff0, "valueTwo": 0x2b0}),
            &[0x2b0, 0x2bf, 0x12b5],
            &[0x2c0, 0x3b0],
        ),
        (
            "eq-64",
            json!({"op": "SCMP_CMP_EQ", "value": 0x2_0000_02bcu64}),
            &[0x2_0000_02bc],
            &[700, 0x1_0000_02bc],
        ),
    ];
    let mut all: Vec<Case> = table
        .into_iter()
        .map(|(name, mut arg, hit, miss)| {
            arg["index"] = json!(0);
            let calls = |v: &[u64]| v.iter().map(|n| format!("--\nsyscall\ngetpgid\n{n:#x}")).collect::<Vec<_>>();
            let words: Vec<String> =
                calls(hit).into_iter().chain(calls(miss)).flat_map(|c| c.split('\n').map(String::from).collect::<Vec<_>>()).skip(1).collect();
            let want = "errno 95 EOPNOTSUPP\n".repeat(hit.len()) + &"errno 3 ESRCH\n".repeat(miss.len());
            case(format!("seccomp.op-{name}")).checks("config-linux.md#seccomp args").spec(profile(json!([{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [arg]}]))).spec(move |s| {
                let mut args = vec![PROBE.to_string(), "all".into()];
                args.extend(words.iter().cloned());
                s["process"]["args"] = json!(args);
            }).stdout(want)
        })
        .collect();
    let close = |calls: &'static [&'static str]| {
        move |s: &mut Value| {
            let mut args = vec![PROBE, "all"];
            args.extend(calls);
            s["process"]["args"] = json!(args);
        }
    };
    all.extend([
        case("seccomp.args-are-anded").checks("config-linux.md#seccomp args").spec(profile(json!([{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [
            {"index": 0, "op": "SCMP_CMP_EQ", "value": 700}, {"index": 1, "op": "SCMP_CMP_EQ", "value": 5}
        ]}]))).spec(close(&["syscall", "8", "700", "5", "--", "syscall", "8", "700", "6", "--", "syscall", "8", "701", "5"])).needs([Need::X86_64]).stdout("errno 95 EOPNOTSUPP\nerrno 9 EBADF\nerrno 9 EBADF\n"),
        case("seccomp.rules-are-ored").checks("config-linux.md#seccomp args").spec(profile(json!([
            {"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 700}]},
            {"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 800}]}
        ]))).spec(close(&["syscall", "close", "700", "--", "syscall", "close", "800", "--", "syscall", "close", "750"])).stdout("errno 95 EOPNOTSUPP\nerrno 95 EOPNOTSUPP\nerrno 9 EBADF\n"),
        case("seccomp.same-arg-twice-is-or").checks("cli: as runc compiles it").spec(profile(json!([{"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [
            {"index": 0, "op": "SCMP_CMP_EQ", "value": 700}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 800}
        ]}]))).spec(close(&["syscall", "close", "700", "--", "syscall", "close", "800", "--", "syscall", "close", "750"])).stdout("errno 95 EOPNOTSUPP\nerrno 95 EOPNOTSUPP\nerrno 9 EBADF\n"),
        case("seccomp.last-argument").checks("config-linux.md#seccomp args index 5").spec(profile(json!([{"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [{"index": 5, "op": "SCMP_CMP_EQ", "value": 9}]}]))).spec(close(&["syscall", "close", "700", "0", "0", "0", "0", "9", "--", "syscall", "close", "700", "0", "0", "0", "0", "8"])).stdout("errno 95 EOPNOTSUPP\nerrno 9 EBADF\n"),
    ]);
    all
}

/// Calls that a static program and a runtime need, as an allow list.
fn allow_list(action: &str) -> impl Fn(&mut Value) + 'static {
    let action = action.to_string();
    move |s| {
        let names: Vec<&str> = ALLOWED.split_whitespace().collect();
        s["linux"]["seccomp"] = json!({
            "defaultAction": action,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]
        });
        only_here(s);
    }
}

const ALLOWED: &str = "accept4 access arch_prctl brk capget capset chdir clone clone3 close close_range dup dup2 dup3 \
    epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat faccessat2 fchdir \
    fchown fcntl fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getgroups getpgid getpid getppid getrandom \
    getresgid getresuid getrlimit gettid getuid ioctl kill lseek lstat madvise mmap mprotect mremap munmap nanosleep \
    clock_nanosleep newfstatat open openat openat2 pipe pipe2 poll ppoll prctl pread64 prlimit64 pselect6 read readlink \
    readlinkat recvfrom recvmsg rseq rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sched_getaffinity \
    sched_yield sendmsg sendto set_robust_list set_tid_address setgid setgroups setresgid setresuid setsid setuid \
    sigaltstack socketpair stat statx tgkill umask uname unlinkat wait4 waitid write writev";

fn unknown_calls() -> Vec<Case> {
    let text = "cli: calls newer than the profile give ENOSYS";
    vec![
        case("seccomp.newer-call-is-enosys")
            .checks(text)
            .probe(["syscall", "1000"])
            .spec(allow_list("SCMP_ACT_ERRNO"))
            .stdout("errno 38 ENOSYS\n"),
        case("seccomp.older-call-is-eperm")
            .checks(text)
            .probe(["syscall", "getsid", "0"])
            .unprotected(unfiltered, "ok ")
            .spec(allow_list("SCMP_ACT_ERRNO"))
            .stdout("errno 1 EPERM\n"),
        case("seccomp.older-call-default-errno")
            .checks("config-linux.md#seccomp defaultErrnoRet")
            .probe(["syscall", "getsid", "0"])
            .unprotected(unfiltered, "ok ")
            .spec(allow_list("SCMP_ACT_ERRNO"))
            .spec(|s| s["linux"]["seccomp"]["defaultErrnoRet"] = json!(95))
            .stdout("errno 95 EOPNOTSUPP\n"),
        case("seccomp.newer-call-under-kill")
            .checks(text)
            .probe(["syscall", "1000"])
            .spec(allow_list("SCMP_ACT_KILL_PROCESS"))
            .output(|o| {
                ensure!(o == "errno 38 ENOSYS\n", "{o}");
                Ok(())
            }),
        case("seccomp.default-kill")
            .checks(SECCOMP)
            .probe(["syscall", "getsid", "0"])
            .unprotected(unfiltered, "ok ")
            .spec(allow_list("SCMP_ACT_KILL_PROCESS"))
            .exit(159),
        case("seccomp.allow-list-works")
            .checks(SECCOMP)
            .probe(["all", "id", "--", "status"])
            .spec(allow_list("SCMP_ACT_ERRNO"))
            .stdout_has("uid=0 gid=0")
            .line("Seccomp:\t2"),
    ]
}

fn architectures() -> Vec<Case> {
    let text = "config-linux.md#seccomp architectures";
    let only_native = |s: &mut Value| {
        profile(rule("sched_yield", "SCMP_ACT_ERRNO"))(s);
        s["linux"]["seccomp"]["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    };
    vec![
        // i386 sched_yield is 158; x32 numbers have bit 30 set.
        case("seccomp.i386-filtered").unprotected(unfiltered, "ok 0\n").checks(text).needs([Need::X86_64]).probe(["all", "syscall32", "158", "--", "syscall", "sched_yield"]).spec(profile(rule("sched_yield", "SCMP_ACT_ERRNO"))).stdout("errno 1 EPERM\nerrno 1 EPERM\n"),
        case("seccomp.i386-other-call").checks(text).needs([Need::X86_64]).probe(["syscall32", "20"]).spec(profile(rule("sched_yield", "SCMP_ACT_ERRNO"))).stdout("ok 1\n"),
        case("seccomp.i386-not-listed").unprotected(unfiltered, "ok 0\n").checks("catalogue S37").needs([Need::X86_64]).probe(["syscall32", "158"]).spec(only_native).exit(159).stdout(""),
        case("seccomp.x32-not-listed").checks("catalogue S37").needs([Need::X86_64]).steps(move |t| {
            only_native(&mut t.spec);
            t.spec["process"]["args"] = json!([PROBE, "syscall", "0x40000018"]);
            // The control: what the kernel itself answers, which has these calls or not, is not the filter's answer.
            let kernels = t.unprotected(unfiltered, "")?;
            let out = t.run()?;
            ensure!(
                out.code == Some(159) || out.stdout.starts_with("errno ") && out.stdout != kernels,
                "an x32 call went through: {:?} {:?}", out.code, out.stdout
            );
            Ok(())
        }),
        case("seccomp.i386-args").checks(text).needs([Need::X86_64]).probe(["all", "syscall32", "6", "700", "--", "syscall32", "6", "701"]).spec(profile(json!([{"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 700}]}]))).stdout("errno 95 EOPNOTSUPP\nerrno 9 EBADF\n"),
        case("seccomp.no-architectures").unprotected(unfiltered, "ok 0\n").checks(text).probe(["syscall", "sched_yield"]).spec(|s| {
            profile(rule("sched_yield", "SCMP_ACT_ERRNO"))(s);
            s["linux"]["seccomp"].as_object_mut().map(|o| o.remove("architectures"));
        }).stdout("errno 1 EPERM\n"),
    ]
}

fn surroundings() -> Vec<Case> {
    vec![
        case("seccomp.without-no-new-privs").checks("catalogue S37").probe(["all", "status", "--", "syscall", "sched_yield"]).spec(profile(rule("sched_yield", "SCMP_ACT_ERRNO"))).spec(|s| s["process"]["noNewPrivileges"] = false.into()).line("NoNewPrivs:\t0").line("Seccomp:\t2").line("errno 1 EPERM"),
        case("seccomp.other-user").unprotected(unfiltered, "ok 0\n").checks("catalogue S37").probe(["syscall", "sched_yield"]).spec(profile(rule("sched_yield", "SCMP_ACT_ERRNO"))).spec(|s| {
            s["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            s["process"]["noNewPrivileges"] = false.into();
            base::capabilities(s, &[]);
        }).stdout("errno 1 EPERM\n"),
        case("seccomp.exec-too").checks("cli: exec loads the same filter").spec(profile(rule("sched_yield", "SCMP_ACT_ERRNO"))).steps(|t| {
            let protected = t.spec.clone();
            unfiltered(&mut t.spec);
            t.resident()?;
            t.exec_probe(&["syscall", "sched_yield"])?.ok()?.prints("ok 0\n").context("the control")?;
            t.remove()?;
            t.spec = protected;
            t.resident()?;
            t.exec_probe(&["syscall", "sched_yield"])?.ok()?.prints("errno 1 EPERM\n")?;
            t.process = crate::run::process_json(&t.spec, &[PROBE, "syscall", "sched_yield"]);
            t.exec_process()?.ok()?.prints("errno 1 EPERM\n")?;
            Ok(())
        }),
        case("seccomp.flag-log").checks("config-linux.md#seccomp flags").probe(["syscall", "sched_yield"]).spec(profile(rule("sched_yield", "SCMP_ACT_ERRNO"))).spec(|s| s["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"])).stdout("errno 1 EPERM\n"),
        case("seccomp.flag-spec-allow").checks("config-linux.md#seccomp flags").probe(["syscall", "sched_yield"]).spec(profile(rule("sched_yield", "SCMP_ACT_ERRNO"))).spec(|s| s["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])).stdout("errno 1 EPERM\n"),
        case("seccomp.flag-tsync").checks("config-linux.md#seccomp flags").probe(["syscall", "sched_yield"]).spec(profile(rule("sched_yield", "SCMP_ACT_ERRNO"))).spec(|s| s["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_TSYNC"])).stdout("errno 1 EPERM\n"),
        case("seccomp.runtime-calls-not-caught").checks("the filter meets only the program").probe(["echo", "fine"])
            .stdout("fine\n").spec(profile(json!([{"names": ["mount", "umount2", "pivot_root", "sethostname", "setns", "unshare", "chroot", "mknodat", "setgroups", "setresuid", "setuid", "capset"], "action": "SCMP_ACT_KILL_PROCESS"}]))).spec(|s| {
            s["process"]["noNewPrivileges"] = true.into();
        }),
        case("seccomp.many-rules").checks(SECCOMP).probe(["all", "syscall", "close", "0x1387", "--", "syscall", "close", "0x1388"]).spec(|s| {
            let args: Vec<Value> = (4800..5000u32).map(|n| json!({"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": n}]})).collect();
            profile(json!(args))(s);
        }).stdout("errno 95 EOPNOTSUPP\nerrno 9 EBADF\n"),
    ]
}

/// What a runtime does between confining itself and execve, and the probe does not need.
const OURS: [&str; 9] = [
    "accept",
    "accept4",
    "sendmsg",
    "recvmsg",
    "setresuid",
    "setresgid",
    "setgroups",
    "faccessat2",
    "statfs",
];

/// The profile is the program's: a runtime that loads it early is its first victim.
fn late() -> Vec<Case> {
    let late = |name: &str, no_new_privs: bool| {
        case(name)
            .checks(SECCOMP)
            .probe(["status"])
            .spec(profile(json!([{"names": OURS, "action": "SCMP_ACT_KILL_PROCESS"}])))
            .spec(move |s| {
                s["process"]["noNewPrivileges"] = no_new_privs.into();
                base::capabilities(s, &["CAP_KILL"]);
            })
            .created(|_| Ok(()))
            .line("Seccomp:\t2")
            .line("CapPrm:\t0000000000000020")
            .line("CapEff:\t0000000000000020")
            .line("CapBnd:\t0000000000000020")
    };
    vec![late("seccomp.late", true), late("seccomp.late-without-no-new-privs", false)]
}

fn notify() -> Vec<Case> {
    let text = "config-linux.md#containerprocessstate";
    vec![
        case("seccomp.notify-answered").checks(text).needs([Need::Kernel(5, 6)]).steps(|t| {
            let path = t.dir.join("n.sock");
            let listener = UnixListener::bind(&path)?;
            profile(rule("sched_yield", "SCMP_ACT_NOTIFY"))(&mut t.spec);
            t.spec["linux"]["seccomp"]["listenerPath"] = path.display().to_string().into();
            t.spec["linux"]["seccomp"]["listenerMetadata"] = "the metadata".into();
            t.spec["process"]["args"] =
                json!([PROBE, "all", "syscall", "sched_yield", "--", "syscall", "sched_yield"]);
            let within = Duration::from_secs(t.seconds());
            let run = t.run_background()?;
            let stream = os::accept(&listener, within)?;
            let (bytes, fds) = os::receive_fds(&stream, within)?;
            let message: Value = serde_json::from_slice(&bytes).context("the message is not JSON")?;
            ensure!(fds.len() == 1, "{} descriptors came", fds.len());
            ensure!(message["fds"] == json!(["seccompFd"]), "fds: {}", message["fds"]);
            ensure!(message["metadata"] == "the metadata", "metadata: {}", message["metadata"]);
            ensure!(
                message["state"]["id"] == *t.id && message["state"]["status"] == "creating",
                "state: {}",
                message["state"]
            );
            ensure!(message["pid"].as_i64().is_some_and(|p| p > 0), "pid: {}", message["pid"]);
            for (value, errno) in [(42, 0), (0, 95)] {
                let n = os::notification(fds[0].as_fd(), within)?;
                ensure!(i64::from(n.pid) == message["pid"].as_i64().unwrap_or(0), "pid {} notified", n.pid);
                ensure!(i64::from(n.nr) == libc::SYS_sched_yield, "call {} notified", n.nr);
                os::answer(fds[0].as_fd(), n.id, value, errno)?;
            }
            run.wait()?.ok()?.prints("ok 42\nerrno 95 EOPNOTSUPP\n")?;
            Ok(())
        }),
        case("seccomp.notify-sendmsg").checks(text).needs([Need::Kernel(5, 6)]).steps(|t| {
            // A runtime that hands the listener over with the very call that now waits for an agent hangs here.
            let path = t.dir.join("n.sock");
            let listener = UnixListener::bind(&path)?;
            profile(rule("sendmsg", "SCMP_ACT_NOTIFY"))(&mut t.spec);
            t.spec["linux"]["seccomp"]["listenerPath"] = path.display().to_string().into();
            t.spec["process"]["args"] = json!([PROBE, "echo", "through"]);
            let within = Duration::from_secs(t.seconds());
            let run = t.run_background()?;
            let _held = os::receive_fds(&os::accept(&listener, within)?, within)?;
            run.wait()?.ok()?.prints("through\n")?;
            Ok(())
        }),
        case("seccomp.notify-exec").checks(text).needs([Need::Kernel(5, 6)]).steps(|t| {
            let path = t.dir.join("n.sock");
            let listener = UnixListener::bind(&path)?;
            profile(rule("sched_yield", "SCMP_ACT_NOTIFY"))(&mut t.spec);
            t.spec["linux"]["seccomp"]["listenerPath"] = path.display().to_string().into();
            t.resident()?;
            let within = Duration::from_secs(t.seconds());
            let _first = os::receive_fds(&os::accept(&listener, within)?, within)?;
            let id = t.id.clone();
            let exec = t.rt(&["exec", &id, PROBE, "syscall", "sched_yield"]).spawn()?;
            let (bytes, fds) = os::receive_fds(&os::accept(&listener, within)?, within)?;
            let message: Value = serde_json::from_slice(&bytes)?;
            ensure!(message["state"]["status"] == "running", "state: {}", message["state"]);
            let n = os::notification(fds.first().context("no descriptor")?.as_fd(), within)?;
            os::answer(fds[0].as_fd(), n.id, 7, 0)?;
            exec.wait()?.ok()?.prints("ok 7\n")?;
            Ok(())
        }),
        case("seccomp.notify-without-listener")
            .checks("catalogue B091")
            .needs([Need::Kernel(5, 6)])
            .fault(|t| {
                profile(rule("sched_yield", "SCMP_ACT_NOTIFY"))(&mut t.spec);
                Ok(())
            })
            .refused("/linux/seccomp", "listenerPath"),
        case("seccomp.notify-nobody-listens")
            .checks("catalogue B091")
            .needs([Need::Kernel(5, 6)])
            .fault(|t| {
                profile(rule("sched_yield", "SCMP_ACT_NOTIFY"))(&mut t.spec);
                t.spec["linux"]["seccomp"]["listenerPath"] =
                    t.dir.join("nobody").display().to_string().into();
                Ok(())
            })
            .refused("/linux/seccomp/listenerPath", "nobody"),
        case("seccomp.notify-write-refused")
            .checks("cli: SCMP_ACT_NOTIFY cannot be used for the write syscall")
            .needs([Need::Kernel(5, 6)])
            .fault(|t| {
                let path = t.dir.join("n.sock");
                t.spec["linux"]["seccomp"] = Value::Null;
                profile(rule("write", "SCMP_ACT_NOTIFY"))(&mut t.spec);
                t.spec["linux"]["seccomp"]["listenerPath"] = path.display().to_string().into();
                Ok(())
            })
            .refused("/linux/seccomp", "SCMP_ACT_NOTIFY cannot be used for the write syscall"),
    ]
}
