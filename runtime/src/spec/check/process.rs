//! Rules for `process`: config.md, "Process", and what the kernel's own calls accept. Pure; shared by config.json
//! and the document of `exec --process`.

use super::{Findings, number_list};
use crate::error::quoted;
use crate::spec::at::At;
use crate::spec::types::*;
use crate::spec::words::{self, cap_number};
use std::collections::BTreeMap;

/// Largest CPU number a kernel can be built for (NR_CPUS of x86, 8192).
pub(super) const MAX_CPU: u32 = 8191;
/// Groups a process may be in (NGROUPS_MAX in linux/limits.h).
const MAX_GROUPS: usize = 65536;
/// Bytes of one argument with its NUL: MAX_ARG_STRLEN is 32 pages, and a page is 4 KiB on x86, at most 64 KiB
/// elsewhere.
const MAX_STRING: usize = if cfg!(target_arch = "x86_64") { 32 << 12 } else { 32 << 16 };
/// Bytes of all arguments and variables with NUL and pointer: three quarters of the kernel's default stack limit
/// (bprm_stack_limits in fs/exec.c), however high the limit is set.
const MAX_STRINGS: usize = 6 << 20;

pub(super) fn check(f: &mut Findings, at: &At<'_>, p: &Process) {
    let Process {
        terminal,
        console_size,
        user,
        args,
        command_line,
        env,
        cwd,
        capabilities,
        rlimits,
        no_new_privileges: _,
        apparmor_profile,
        oom_score_adj,
        selinux_label,
        scheduler,
        io_priority,
        exec_cpu_affinity,
    } = p;
    match console_size {
        // config.md: the size must be ignored when there is no terminal.
        Some(size) if *terminal => terminal_size(f, &at.key("consoleSize"), size),
        _ => {}
    }
    identity(f, &at.key("user"), user);
    if args.is_empty() {
        f.fail(&at.key("args"), "missing, needs at least one element: the program");
    } else if args.first().is_some_and(String::is_empty) {
        f.fail(&at.key("args").item(0), "empty program name");
    }
    if !command_line.is_empty() {
        f.warn(&at.key("commandLine"), "ignored: it is for Windows, Linux uses args");
    }
    environment(f, &at.key("env"), env);
    exec_size(f, at, args, env);
    f.absolute(&at.key("cwd"), cwd);
    if let Some(capabilities) = capabilities {
        capability_sets(f, &at.key("capabilities"), capabilities);
    }
    resource_limits(f, &at.key("rlimits"), rlimits);
    f.one_line(&at.key("apparmorProfile"), apparmor_profile);
    if let Some(adj) = oom_score_adj {
        f.within(&at.key("oomScoreAdj"), *adj, -1000, 1000);
    }
    f.one_line(&at.key("selinuxLabel"), selinux_label);
    if let Some(scheduler) = scheduler {
        scheduling(f, &at.key("scheduler"), scheduler);
    }
    if let Some(IoPriority { class, priority }) = io_priority {
        let at = at.key("ioPriority");
        f.one_of(&at.key("class"), "class", class, &words::names(words::IOPRIO_CLASSES));
        f.within(&at.key("priority"), *priority, 0, 7);
    }
    if let Some(ExecCpuAffinity { initial, r#final }) = exec_cpu_affinity {
        for (name, list) in [("initial", initial), ("final", r#final)] {
            if let Err(text) = number_list(list, MAX_CPU) {
                f.fail(&at.key("execCPUAffinity").key(name), format!("not a list of CPUs: {text}"));
            }
        }
    }
}

/// struct winsize holds sixteen bits a side (TIOCSWINSZ, ioctl_tty(2)).
fn terminal_size(f: &mut Findings, at: &At<'_>, size: &ConsoleSize) {
    let ConsoleSize { height, width } = size;
    f.within(&at.key("height"), *height, 1, u16::MAX.into());
    f.within(&at.key("width"), *width, 1, u16::MAX.into());
}

fn identity(f: &mut Findings, at: &At<'_>, user: &User) {
    let User { uid, gid, umask, additional_gids, username } = user;
    f.identity(&at.key("uid"), *uid);
    f.identity(&at.key("gid"), *gid);
    if let Some(umask) = umask
        && *umask > 0o777
    {
        f.fail(&at.key("umask"), format!("out of range: got 0{umask:o}, want 0 to 0777"));
    }
    let gids = at.key("additionalGids");
    if additional_gids.len() > MAX_GROUPS {
        f.fail(&gids, format!("{} groups, the kernel takes at most {MAX_GROUPS}", additional_gids.len()));
    }
    // A group named twice is harmless, and engines do it when a user is in a group of the image and asks for it.
    for (i, gid) in additional_gids.iter().enumerate() {
        f.identity(&gids.item(i), *gid);
    }
    if !username.is_empty() {
        f.warn(&at.key("username"), "ignored: it is for Windows, Linux uses uid and gid");
    }
}

/// Entries of an environment, of the process or of a hook.
pub(super) fn environment(f: &mut Findings, at: &At<'_>, env: &[String]) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, entry) in env.iter().enumerate() {
        match entry.split_once('=') {
            None => {
                f.fail(&at.item(i), format!("variable without \"=\": got {}, want NAME=value", quoted(entry)))
            }
            Some(("", _)) => f.fail(&at.item(i), format!("variable without a name: got {}", quoted(entry))),
            Some((name, _)) => {
                if let Some(before) = first.insert(name, i) {
                    let winner = format!("the last one wins, {} has no effect", at.item(before).pointer());
                    f.warn(&at.item(i), format!("variable {} is set twice: {winner}", quoted(name)));
                }
            }
        }
    }
}

/// execve(2), "Limits on size of arguments and environment".
fn exec_size(f: &mut Findings, at: &At<'_>, args: &[String], env: &[String]) {
    let pointer = std::mem::size_of::<usize>();
    let mut total = 0;
    for (key, list) in [("args", args), ("env", env)] {
        for (i, entry) in list.iter().enumerate() {
            total += entry.len() + 1 + pointer;
            if entry.len() >= MAX_STRING {
                let got = format!("got {} bytes, want less than {MAX_STRING}", entry.len());
                f.fail(&at.key(key).item(i), format!("too long for execve: {got}"));
            }
        }
    }
    if total > MAX_STRINGS {
        let got = format!("got {total} bytes, want at most {MAX_STRINGS}");
        f.fail(&at.key("args"), format!("arguments and environment are too large for execve: {got}"));
    }
}

fn capability_sets(f: &mut Findings, at: &At<'_>, sets: &Capabilities) {
    let Capabilities { bounding, effective, inheritable, permitted, ambient } = sets;
    for (key, set) in [
        ("bounding", bounding),
        ("effective", effective),
        ("inheritable", inheritable),
        ("permitted", permitted),
        ("ambient", ambient),
    ] {
        for (i, name) in set.iter().enumerate() {
            if cap_number(name).is_none() {
                let rule = "want a name of capabilities(7) such as CAP_KILL";
                f.fail(&at.key(key).item(i), format!("unknown capability: got {}, {rule}", quoted(name)));
            }
        }
    }
    let bits = |set: &[String]| set.iter().filter_map(|n| cap_number(n)).fold(0u64, |bits, i| bits | 1 << i);
    let (permitted, inheritable) = (bits(permitted), bits(inheritable));
    let here = at.key("ambient");
    let mut off = Vec::new();
    for (i, name) in ambient.iter().enumerate() {
        let bit = cap_number(name).map_or(0, |i| 1 << i);
        if permitted & bit == 0 {
            f.fail(&here.item(i), format!("{} cannot be raised: it is not in permitted", quoted(name)));
        } else if inheritable & bit == 0 {
            off.push(name.as_str());
        }
    }
    if !off.is_empty() {
        // The default configuration of the command `spec` of other runtimes is like this, and so is that of image builders,
        // which show every line to their user: one line for all of them.
        f.warn(&here, format!("{} stays off: not in inheritable", quoted(&off.join(" "))));
    }
}

fn resource_limits(f: &mut Findings, at: &At<'_>, rlimits: &[Rlimit]) {
    let mut seen = BTreeMap::new();
    for (i, Rlimit { kind, hard, soft }) in rlimits.iter().enumerate() {
        let here = at.item(i);
        f.one_of(&here.key("type"), "limit", kind, &words::names(words::RLIMITS));
        if soft > hard {
            let got = format!("got soft {soft} and hard {hard}");
            f.fail(&here.key("soft"), format!("{kind}: soft limit above the hard limit: {got}"));
        }
        f.once(at, "type", &mut seen, kind, i);
    }
}

/// sched(7) and sched_setattr(2).
fn scheduling(f: &mut Findings, at: &At<'_>, s: &Scheduler) {
    let Scheduler { policy, nice, priority, flags, runtime, deadline, period } = s;
    f.one_of(&at.key("policy"), "policy", policy, &words::names(words::SCHED_POLICIES));
    f.within(&at.key("nice"), *nice, -20, 19);
    if matches!(policy.as_str(), "SCHED_FIFO" | "SCHED_RR") {
        f.within(&at.key("priority"), *priority, 1, 99);
    } else if *priority != 0 {
        f.fail(
            &at.key("priority"),
            format!("got {priority}, but only SCHED_FIFO and SCHED_RR have a priority"),
        );
    }
    let known = words::names(words::SCHED_FLAGS);
    for (i, flag) in flags.iter().enumerate() {
        f.one_of(&at.key("flags").item(i), "flag", flag, &known);
    }
    let times = [("runtime", *runtime), ("deadline", *deadline), ("period", *period)];
    if policy != "SCHED_DEADLINE" {
        for (key, time) in times.into_iter().filter(|(_, time)| *time != 0) {
            f.fail(&at.key(key), format!("got {time}, but only SCHED_DEADLINE has a {key}"));
        }
        return;
    }
    // __checkparam_dl in kernel/sched: a period of 0 means the deadline.
    let period = if *period == 0 { *deadline } else { *period };
    if *runtime < 1024 || runtime > deadline || *deadline > period || period > i64::MAX as u64 {
        let got = format!("got runtime {runtime}, deadline {deadline}, period {period}");
        let rule = "want 1024 <= runtime <= deadline <= period, in nanoseconds";
        f.fail(&at.key("runtime"), format!("SCHED_DEADLINE: {got}, {rule}"));
    }
}
