//! Rules for the shape of `linux.seccomp`: config-linux.md, "Seccomp". Names of system calls and the size of the
//! program are the plan's. Pure.

use super::Findings;
use crate::error::quoted;
use crate::spec::at::At;
use crate::spec::types::*;

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];

const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];

const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

/// Largest error number of a system call (MAX_ERRNO in linux/err.h).
const MAX_ERRNO: i128 = 4095;

const NOTIFY: &str = "SCMP_ACT_NOTIFY";

pub(super) fn check(f: &mut Findings, at: &At<'_>, seccomp: &Seccomp) {
    let Seccomp {
        default_action,
        default_errno_ret,
        architectures,
        flags,
        listener_path,
        listener_metadata,
        syscalls,
    } = seccomp;
    let default = at.key("defaultAction");
    match default_action.as_str() {
        "" => f.fail(&default, format!("missing, want {}", ACTIONS.join(", "))),
        // The process would wait for an answer to the very call that hands over the descriptor.
        NOTIFY => f.fail(&default, "SCMP_ACT_NOTIFY cannot be used as default action"),
        action => f.one_of(&default, "action", action, &ACTIONS),
    }
    errno(f, &at.key("defaultErrnoRet"), default_action, *default_errno_ret);
    for (i, arch) in architectures.iter().enumerate() {
        f.one_of(&at.key("architectures").item(i), "architecture", arch, &ARCHITECTURES);
    }
    for (i, flag) in flags.iter().flatten().enumerate() {
        f.one_of(&at.key("flags").item(i), "flag", flag, &FLAGS);
    }
    if !listener_path.is_empty() {
        f.absolute(&at.key("listenerPath"), listener_path);
    } else if syscalls.iter().any(|rule| rule.action == NOTIFY) {
        f.fail(&at.key("listenerPath"), "missing, SCMP_ACT_NOTIFY needs the socket of an agent");
    }
    if listener_path.is_empty() && !listener_metadata.is_empty() {
        f.fail(&at.key("listenerMetadata"), "must not be set without listenerPath");
    }
    for (i, rule) in syscalls.iter().enumerate() {
        one(f, &at.key("syscalls").item(i), rule);
    }
}

fn one(f: &mut Findings, at: &At<'_>, rule: &SeccompRule) {
    let SeccompRule { names, action, errno_ret, args } = rule;
    if names.is_empty() {
        f.fail(&at.key("names"), "missing, needs at least one system call");
    }
    for (i, name) in names.iter().enumerate() {
        let here = at.key("names");
        if name.is_empty() {
            f.fail(&here.item(i), "empty name of a system call");
        }
        // Handing over the descriptor is a write.
        if action == NOTIFY && name == "write" {
            f.fail(&here.item(i), "SCMP_ACT_NOTIFY cannot be used for the write syscall");
        }
    }
    f.one_of(&at.key("action"), "action", action, &ACTIONS);
    errno(f, &at.key("errnoRet"), action, *errno_ret);
    for (i, SeccompArg { index, value: _, value_two: _, op }) in args.iter().enumerate() {
        // Go leaves out zeros, so that an absent valueTwo of SCMP_CMP_MASKED_EQ means "equal to 0".
        let here = at.key("args");
        f.within(&here.item(i).key("index"), *index, 0, 5);
        f.one_of(&here.item(i).key("op"), "operator", op, &OPERATORS);
    }
}

/// config-linux.md: an errno for an action that has none must be an error.
fn errno(f: &mut Findings, at: &At<'_>, action: &str, errno: Option<u32>) {
    let Some(errno) = errno else { return };
    match action {
        "SCMP_ACT_ERRNO" => f.within(at, errno, 0, MAX_ERRNO),
        // The tracer gets sixteen bits (SECCOMP_RET_DATA).
        "SCMP_ACT_TRACE" => f.within(at, errno, 0, u16::MAX.into()),
        _ => f.fail(at, format!("got {errno}, but {} returns no errno", quoted(action))),
    }
}
