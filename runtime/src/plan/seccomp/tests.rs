//! Compiled programs against the profile itself, see `oracle`; mistakes and limits.

use super::arch::X32_BIT;
use super::code::op;
use super::oracle::*;
use super::words::ret;
use super::*;
use crate::plan::syscalls;
use crate::spec::types::{SeccompArg, SeccompRule};
use proptest::prelude::*;

const DEFAULT: &str = include_str!("../../../../bundles/profiles/default-seccomp.json");
const DEFAULT_ARM: &str = include_str!("../../../../bundles/profiles/default-seccomp-aarch64.json");

fn profile(text: &str) -> Seccomp {
    serde_json::from_str(text).unwrap()
}

fn rule(names: &[&str], action: &str, args: &[(u32, &str, u64, u64)]) -> SeccompRule {
    SeccompRule {
        names: names.iter().map(|n| n.to_string()).collect(),
        action: format!("SCMP_ACT_{action}"),
        errno_ret: None,
        args: args
            .iter()
            .map(|(index, op, value, value_two)| SeccompArg {
                index: *index,
                value: *value,
                value_two: *value_two,
                op: format!("SCMP_CMP_{op}"),
            })
            .collect(),
    }
}

fn allow_list(rules: Vec<SeccompRule>) -> Seccomp {
    Seccomp { default_action: "SCMP_ACT_ERRNO".into(), syscalls: rules, ..Seccomp::default() }
}

/// Our default, with the rules that the best known engine has for sockets: many values of one argument.
fn engine_like() -> Seccomp {
    let mut p = profile(DEFAULT);
    p.syscalls.retain(|r| r.names != ["socket"] && r.names != ["ioctl"]);
    p.syscalls.push(rule(&["ioctl", "socketcall"], "ALLOW", &[]));
    p.syscalls.push(rule(&["socket"], "ALLOW", &[(0, "LT", 12, 0)]));
    for family in (13..46).filter(|f| ![19, 20, 23, 25, 34, 37, 38, 40].contains(f)) {
        p.syscalls.push(rule(&["socket"], "ALLOW", &[(0, "EQ", family, 0)]));
    }
    p
}

fn print_size(what: &str, p: &Seccomp) {
    let mut times: Vec<_> = (0..50)
        .map(|_| {
            let start = std::time::Instant::now();
            std::hint::black_box(compile(std::hint::black_box(p), Arch::X86_64).unwrap());
            start.elapsed()
        })
        .collect();
    times.sort();
    let len = compile(p, Arch::X86_64).unwrap().program.len();
    println!("{what}: {len} instructions, compiled in {:?} (median)", times[times.len() / 2]);
}

#[test]
fn default_profile_does_what_it_says() {
    let p = profile(DEFAULT);
    print_size("default", &p);
    assert_eq!(compile(&p, Arch::X86_64).unwrap().warnings, [""; 0]);
    println!("{} calls compared", compare(&p, Arch::X86_64, true));
    let p = profile(DEFAULT_ARM);
    println!("{} calls compared", compare(&p, Arch::Aarch64, true));
}

#[test]
fn engine_profile_does_what_it_says() {
    let mut p = engine_like();
    print_size("engine, 3 architectures", &p);
    println!("{} calls compared", compare(&p, Arch::X86_64, true));
    p.architectures.clear();
    print_size("engine, x86_64 only", &p);
    println!("{} calls compared", compare(&p, Arch::X86_64, true));
    for native in
        [Arch::Aarch64, Arch::Arm, Arch::Riscv64, Arch::S390x, Arch::Ppc64le, Arch::Mips64, Arch::X86]
    {
        compare(&p, native, true);
    }
}

#[test]
fn both_default_files_differ_in_architectures_only() {
    let (x86, mut arm) = (profile(DEFAULT), profile(DEFAULT_ARM));
    assert_eq!(arm.architectures, ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    assert_eq!(x86.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    arm.architectures.clone_from(&x86.architectures);
    assert!(x86 == arm);
}

/// The answer for a call by name.
fn answer(p: &Seccomp, arch: Arch, name: &str, args: &[u64]) -> u32 {
    let native = if arch.runs_on(Arch::X86_64) { Arch::X86_64 } else { arch };
    let nr = syscalls::number(syscalls::find(name).unwrap(), arch).unwrap();
    let mut call = Call { nr, audit: arch.audit(), args: [0; 6] };
    call.args[..args.len()].copy_from_slice(args);
    run(&compile(p, native).unwrap().program, native.is_big_endian(), &call)
}

const ABIS: [Arch; 3] = [Arch::X86_64, Arch::X86, Arch::X32];
const EPERM: u32 = ret::ERRNO | 1;
const GARBAGE: u64 = 0xdead_beef << 32;

#[test]
fn default_profile_denies_the_dangerous_calls() {
    let p = profile(DEFAULT);
    let denied = "acct add_key bpf clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen \
        fspick init_module io_uring_enter io_uring_register io_uring_setup iopl ioperm kcmp kexec_load keyctl \
        lookup_dcookie mbind mount mount_setattr move_mount move_pages open_by_handle_at open_tree \
        perf_event_open pidfd_getfd pivot_root process_madvise quotactl quotactl_fd reboot request_key \
        set_mempolicy setdomainname sethostname setns settimeofday swapoff swapon syslog umount2 unshare \
        userfaultfd vhangup";
    for name in denied.split_whitespace() {
        for arch in ABIS {
            assert_eq!(answer(&p, arch, name, &[]), EPERM, "{arch:?} {name}");
        }
    }
    let allowed =
        "read openat2 execve execveat futex ptrace chroot prctl seccomp landlock_restrict_self wait4 statx";
    for name in allowed.split_whitespace() {
        for arch in ABIS {
            assert_eq!(answer(&p, arch, name, &[]), ret::ALLOW, "{arch:?} {name}");
        }
    }
}

#[test]
fn default_profile_looks_at_arguments() {
    let p = profile(DEFAULT);
    for arch in ABIS {
        for namespace in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        {
            assert_eq!(answer(&p, arch, "clone", &[namespace | 17]), EPERM, "{arch:?} {namespace:#x}");
            assert_eq!(answer(&p, arch, "clone", &[namespace | GARBAGE]), EPERM, "{arch:?} {namespace:#x}");
        }
        assert_eq!(answer(&p, arch, "clone", &[0x3d_0f00]), ret::ALLOW, "{arch:?} thread");
        assert_eq!(answer(&p, arch, "clone3", &[]), ret::ENOSYS, "{arch:?}");
        for (family, allowed) in
            [(1, true), (2, true), (10, true), (16, true), (17, true), (38, false), (40, false)]
        {
            let want = if allowed { ret::ALLOW } else { EPERM };
            assert_eq!(answer(&p, arch, "socket", &[family, 1]), want, "{arch:?} family {family}");
        }
        for tty in [0x5412, 0x541c] {
            assert_eq!(answer(&p, arch, "ioctl", &[0, tty]), ret::ERRNO | 5, "{arch:?} {tty:#x}");
            assert_eq!(answer(&p, arch, "ioctl", &[!0, tty | GARBAGE]), ret::ERRNO | 5, "{arch:?} {tty:#x}");
        }
        assert_eq!(answer(&p, arch, "ioctl", &[0, 0x5401]), ret::ALLOW, "{arch:?}");
        assert_eq!(answer(&p, arch, "personality", &[0xffff_ffff]), ret::ALLOW, "{arch:?}");
        assert_eq!(answer(&p, arch, "personality", &[0x40_0000]), EPERM, "{arch:?}");
    }
    // A vsock or AF_ALG socket cannot be had through the multiplexer either; the rest of it works.
    assert_eq!(answer(&p, Arch::X86, "socketcall", &[1]), EPERM);
    assert_eq!(answer(&p, Arch::X86, "socketcall", &[1 | GARBAGE]), EPERM);
    assert_eq!(answer(&p, Arch::X86, "socketcall", &[3]), ret::ALLOW);
    assert_eq!(answer(&p, Arch::X86, "ipc", &[21]), ret::ALLOW);
}

#[test]
fn numbers_above_the_profile_do_not_exist() {
    let p = profile(DEFAULT);
    let program = compile(&p, Arch::X86_64).unwrap().program;
    let at = |audit, nr| run(&program, false, &Call { nr, audit, args: [0; 6] });
    for audit in [0xc000_003e, 0x4000_0003] {
        // removexattrat is the newest call in the profile.
        assert_eq!(at(audit, 466), ret::ALLOW);
        for nr in [467, 471, 5000, 0x3fff_ffff] {
            assert_eq!(at(audit, nr), ret::ENOSYS, "{nr}");
        }
    }
    assert_eq!(at(0xc000_003e, X32_BIT | 548), ret::ENOSYS);
    assert_eq!(at(0xc000_00b7, 0), ret::KILL_THREAD, "foreign architecture");

    let mut open = p.clone();
    for default in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        open.default_action = default.into();
        open.default_errno_ret = None;
        let program = compile(&open, Arch::X86_64).unwrap().program;
        let got = run(&program, false, &Call { nr: 5000, audit: 0xc000_003e, args: [0; 6] });
        assert_eq!(got, action_of(default, None), "{default}");
    }
}

#[test]
fn x32_needs_to_be_asked_for() {
    let mut p = Seccomp { default_action: "SCMP_ACT_ALLOW".into(), ..Seccomp::default() };
    p.syscalls.push(rule(&["mount"], "ERRNO", &[]));
    let program = compile(&p, Arch::X86_64).unwrap().program;
    let at = |nr| run(&program, false, &Call { nr, audit: 0xc000_003e, args: [0; 6] });
    assert_eq!((at(165), at(166)), (EPERM, ret::ALLOW));
    assert_eq!((at(X32_BIT | 165), at(X32_BIT | 166)), (ret::KILL_THREAD, ret::KILL_THREAD));
    assert_eq!(at(u32::MAX), ret::ALLOW);
    compare(&p, Arch::X86_64, true);
    p.architectures = vec!["SCMP_ARCH_X32".into()];
    compare(&p, Arch::X86_64, true);
}

#[test]
fn rules_for_one_call_rank_as_documented() {
    let errno = |n, args: &[_]| SeccompRule { errno_ret: Some(n), ..rule(&["mlock2"], "ERRNO", args) };
    let answer = |rules: &[SeccompRule], args: &[u64]| {
        let p = Seccomp {
            default_action: "SCMP_ACT_ALLOW".into(),
            syscalls: rules.to_vec(),
            ..Seccomp::default()
        };
        answer(&p, Arch::X86_64, "mlock2", args) & 0xfff
    };
    let (first, second) = (errno(11, &[(0, "EQ", 1, 0)]), errno(12, &[(1, "EQ", 2, 0)]));
    for rules in [[first.clone(), second.clone()], [second, first.clone()]] {
        assert_eq!(answer(&rules, &[1, 2]), 12, "higher argument first");
        assert_eq!(answer(&rules, &[1, 3]), 11);
    }
    let always = [first.clone(), errno(13, &[]), errno(14, &[])];
    assert_eq!(answer(&always, &[1, 0]), 13, "no condition beats a condition, and the first one wins");
    let twice = [errno(15, &[(0, "EQ", 1, 0), (0, "EQ", 2, 0), (1, "EQ", 9, 0)])];
    assert_eq!((answer(&twice, &[1, 0]), answer(&twice, &[2, 0]), answer(&twice, &[3, 9])), (15, 15, 15));
    let both = [errno(16, &[(0, "GT", 1, 0), (1, "MASKED_EQ", 0xf0, 0x10)])];
    assert_eq!(
        (answer(&both, &[2, 0x1f]), answer(&both, &[1, 0x1f]), answer(&both, &[2, 0x2f])),
        (16, 0xfff & ret::ALLOW, 0xfff & ret::ALLOW)
    );
    assert_eq!(answer(&[first.clone(), errno(11, &[(0, "EQ", 1, 0)])], &[1]), 11, "said twice");
}

#[test]
fn mistakes_are_named() {
    let base = || {
        let mut p =
            allow_list(vec![rule(&["read"], "ALLOW", &[]), rule(&["mlock"], "LOG", &[(0, "EQ", 1, 0)])]);
        p.listener_path = "/run/agent".into();
        p
    };
    type Change = fn(&mut Seccomp);
    let at = "/linux/seccomp";
    let cases: &[(Change, &str, &str)] = &[
        (
            |p| p.default_action = "SCMP_ACT_NO".into(),
            "/defaultAction",
            "unknown action, got \"SCMP_ACT_NO\", want one of SCMP_ACT_ALLOW",
        ),
        (|p| p.default_action.clear(), "/defaultAction", "unknown action, got \"\""),
        (
            |p| p.default_action = "SCMP_ACT_NOTIFY".into(),
            "/defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (|p| p.default_errno_ret = Some(5000), "/defaultErrnoRet", "got 5000, want at most 4095"),
        (
            |p| (p.default_action, p.default_errno_ret) = ("SCMP_ACT_KILL".into(), Some(1)),
            "/defaultErrnoRet",
            "SCMP_ACT_KILL takes no error number, got 1",
        ),
        (|p| p.syscalls[0].errno_ret = Some(1), "/syscalls/0/errnoRet", "takes no error number"),
        (|p| p.syscalls[0].action = "ALLOW".into(), "/syscalls/0/action", "unknown action, got \"ALLOW\""),
        (
            |p| (p.syscalls[1].action, p.syscalls[1].errno_ret) = ("SCMP_ACT_TRACE".into(), Some(0x1_0000)),
            "/syscalls/1/errnoRet",
            "want at most 65535",
        ),
        (|p| p.syscalls[1].names.clear(), "/syscalls/1/names", "empty list"),
        (|p| p.syscalls[1].names.push(String::new()), "/syscalls/1/names/1", "empty system call name"),
        (
            |p| p.syscalls[1].args[0].op = "==".into(),
            "/syscalls/1/args/0/op",
            "unknown operator, got \"==\", want one of SCMP_CMP_EQ",
        ),
        (|p| p.syscalls[1].args[0].index = 6, "/syscalls/1/args/0/index", "got 6, want 0 to 5"),
        (
            |p| p.architectures = vec!["SCMP_ARCH_X86".into(), "SCMP_ARCH_Z80".into()],
            "/architectures/1",
            "unknown architecture, got \"SCMP_ARCH_Z80\"",
        ),
        (|p| p.flags = Some(vec!["SECCOMP_FILTER_FLAG_NEW_LISTENER".into()]), "/flags/0", "unknown flag"),
        (
            |p| p.syscalls.push(rule(&["read", "write"], "NOTIFY", &[])),
            "/syscalls/2/names/1",
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (|p| p.syscalls.push(rule(&["mlock"], "KILL", &[(0, "EQ", 1, 0)])), "/syscalls/2", "another action"),
        (
            |p| {
                p.syscalls.push(rule(&["mkdir"], "NOTIFY", &[]));
                p.listener_path.clear()
            },
            "/listenerPath",
            "missing",
        ),
        (
            |p| {
                p.syscalls.push(rule(&["mkdir"], "NOTIFY", &[]));
                p.listener_path = "agent".into()
            },
            "/listenerPath",
            "relative path, got \"agent\"",
        ),
    ];
    compile(&base(), Arch::X86_64).unwrap();
    for (change, pointer, text) in cases {
        let mut p = base();
        change(&mut p);
        let e = compile(&p, Arch::X86_64).unwrap_err();
        assert_eq!(e.field_path(), Some(format!("{at}{pointer}").as_str()), "{e}");
        assert!(e.to_string().contains(text), "{e} does not contain {text}");
    }
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let mut p = allow_list(vec![rule(&["read", "open_sesame\n", "cacheflush"], "ALLOW", &[])]);
    p.architectures = vec!["SCMP_ARCH_X86".into(), "SCMP_ARCH_S390X".into(), "SCMP_ARCH_SH".into()];
    p.flags = Some(vec!["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV".into(), "SECCOMP_FILTER_FLAG_LOG".into()]);
    p.listener_path = "/run/agent".into();
    let filter = compile(&p, Arch::X86_64).unwrap();
    assert_eq!(filter.flags, flag::LOG);
    assert_eq!(
        filter.warnings,
        [
            "/linux/seccomp/syscalls/0/names/1: unknown system call \"open_sesame\\n\"",
            "/linux/seccomp/flags/0: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV has no effect without SCMP_ACT_NOTIFY",
            "/linux/seccomp/listenerPath: no effect, because no rule uses SCMP_ACT_NOTIFY",
            "/linux/seccomp/architectures/1: SCMP_ARCH_S390X cannot run on this host",
            "/linux/seccomp/architectures/2: SCMP_ARCH_SH is not supported, its programs are killed",
        ]
    );
}

#[test]
fn flags() {
    let mut p = allow_list(vec![rule(&["read"], "ALLOW", &[])]);
    let flags = |p: &Seccomp| compile(p, Arch::X86_64).unwrap().flags;
    assert_eq!(flags(&p), flag::SPEC_ALLOW, "absent");
    p.flags = Some(vec![]);
    assert_eq!(flags(&p), 0, "empty");
    p.flags = Some(FLAGS.iter().map(|f| f.to_string()).collect());
    assert_eq!(flags(&p), flag::LOG | flag::SPEC_ALLOW | flag::TSYNC);
    p.syscalls.push(rule(&["mkdir"], "NOTIFY", &[]));
    p.listener_path = "/run/agent".into();
    let with_listener = compile(&p, Arch::X86_64).unwrap();
    assert!(with_listener.notify);
    assert_eq!(
        with_listener.flags,
        flag::LOG
            | flag::SPEC_ALLOW
            | flag::TSYNC
            | flag::TSYNC_ESRCH
            | flag::WAIT_KILLABLE_RECV
            | flag::NEW_LISTENER
    );
    let text = serde_json::to_string(&with_listener).unwrap();
    assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), with_listener);
    for name in FLAGS {
        assert!(
            flag_bits(name)
                .is_some_and(|bits| crate::sys::seccomp::flags_supported(bits | flag::NEW_LISTENER)
                    || bits == flag::TSYNC),
            "{name}"
        );
    }
}

#[test]
fn word_lists_are_sorted() {
    assert!(ACTIONS.is_sorted() && OPERATORS.is_sorted() && ARCHS.is_sorted() && FLAGS.is_sorted());
}

/// A long program needs far jumps; a longer one is refused.
#[test]
fn long_programs() {
    let names: Vec<String> = syscalls::all(Arch::X86_64).map(|c| c.0).collect();
    let mut p = allow_list(Vec::new());
    for (i, name) in names.iter().enumerate() {
        let action = ["ALLOW", "LOG", "TRAP", "KILL_PROCESS"][i % 4];
        let i = i as u64 % 7;
        p.syscalls.push(rule(&[name], action, &[(0, "MASKED_EQ", 0xff00_00ff, i), (2, "GT", i << 30, 0)]));
    }
    let filter = compile(&p, Arch::X86_64).unwrap();
    assert!(filter.program.iter().any(|i| i.code == op::JUMP && i.k > 255), "no far jump");
    print_size("long", &p);
    println!("{} calls compared", compare(&p, Arch::X86_64, true));

    let mut too_long = allow_list(Vec::new());
    for i in 0..5000u64 {
        too_long.syscalls.push(rule(&["read"], "ALLOW", &[(0, "MASKED_EQ", !i, 1 << 40)]));
    }
    let e = compile(&too_long, Arch::X86_64).unwrap_err();
    assert!(e.to_string().contains("the filter is too long"), "{e}");
    too_long.syscalls.truncate(2000);
    let e = compile(&too_long, Arch::X86_64).unwrap_err();
    assert!(e.to_string().contains("/linux/seccomp/syscalls: the filter is too long, got "), "{e}");
    assert_eq!(e.kind(), crate::error::Code::Unsupported);
}

// ---- Random profiles ------------------------------------------------------------------------------------

fn any_arg() -> impl Strategy<Value = SeccompArg> {
    let values =
        [0, 1, 2, 5, 7, 0xf0, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32, 5 << 32 | 7, 1 << 63, !0, !9];
    let ops = OPERATORS.to_vec();
    let value = || prop::sample::select(values.to_vec());
    (0..3u32, value(), value(), prop::sample::select(ops))
        .prop_map(|(index, value, value_two, op)| SeccompArg { index, value, value_two, op: op.to_string() })
}

fn any_rule() -> impl Strategy<Value = SeccompRule> {
    let names = "read socket connect socketcall ipc semget shmat clone ioctl preadv removexattrat listns cacheflush \
        restart_syscall no_such_call";
    let names: Vec<_> = names.split_whitespace().map(str::to_string).collect();
    let actions = ["ALLOW", "ERRNO", "ERRNO", "KILL", "LOG", "TRACE", "KILL_PROCESS"];
    (
        prop::collection::vec(prop::sample::select(names), 1..4),
        prop::sample::select(actions.to_vec()),
        prop::option::of(1..4u32),
        prop::collection::vec(any_arg(), 0..4),
    )
        .prop_map(|(names, action, errno, args)| SeccompRule {
            names,
            action: format!("SCMP_ACT_{action}"),
            errno_ret: errno.filter(|_| ["ERRNO", "TRACE"].contains(&action)),
            args,
        })
}

fn any_profile() -> impl Strategy<Value = Seccomp> {
    let defaults = ["ALLOW", "ERRNO", "KILL", "LOG", "TRACE"];
    (
        prop::sample::select(defaults.to_vec()),
        prop::collection::vec(any_rule(), 0..12),
        prop::sample::subsequence(ARCHS.to_vec(), 0..ARCHS.len()),
    )
        .prop_map(|(default, syscalls, archs)| Seccomp {
            default_action: format!("SCMP_ACT_{default}"),
            architectures: archs.iter().map(|a| a.to_string()).collect(),
            syscalls,
            ..Seccomp::default()
        })
}

fn any_native() -> impl Strategy<Value = Arch> {
    prop::sample::select(vec![
        Arch::X86_64,
        Arch::X86_64,
        Arch::Aarch64,
        Arch::S390x,
        Arch::Ppc64,
        Arch::Mips64,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_profiles_do_what_they_say(p in any_profile(), native in any_native()) {
        match compile(&p, native) {
            Ok(_) => {
                compare(&p, native, false);
            }
            Err(e) => prop_assert!(e.to_string().contains("another action"), "{}", e),
        }
    }
}
