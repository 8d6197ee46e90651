//! `process` of config.json (or exec's process.json) to numbers and masks. Pure.

use crate::error::{Code, Error, Result, quoted};
use crate::spec;
use crate::sys::sched::SchedAttr;
use serde::Serialize;

/// Everything about the payload that is set between the clone and execve, the same for init and exec.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessPlan {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub terminal: bool,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
    pub uid: u32,
    pub gid: u32,
    /// Exactly these, also when empty.
    pub groups: Vec<u32>,
    pub umask: u32,
    /// `None` when the config has no `capabilities`: then all sets are emptied, as in runc.
    pub caps: Caps,
    pub rlimits: Vec<Limit>,
    pub no_new_privs: bool,
    pub oom_score_adj: Option<i64>,
    pub apparmor: Option<String>,
    pub selinux: Option<String>,
    #[serde(skip)]
    pub scheduler: Option<SchedAttr>,
    /// Class and level of ioprio_set(2).
    pub io_priority: Option<(u32, u32)>,
    /// CPU masks for `exec`, bit n of the bytes is CPU n: before and after the cgroup is entered.
    pub affinity: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// Prefix for JSON pointers, `/process` for config.json.
    pub base: String,
}

/// One limit of setrlimit(2).
#[derive(Debug, Clone, Serialize)]
pub struct Limit {
    pub name: &'static str,
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
    /// JSON pointer of the entry.
    pub field: String,
}

/// Five capability sets as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Caps {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// capabilities(7), in the kernel's order.
pub const CAP_NAMES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// getrlimit(2), names and numbers (the same on every architecture but MIPS and SPARC, which are not built).
pub const RLIMITS: &[(&str, u32)] = &[
    ("RLIMIT_AS", 9),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_CPU", 0),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_STACK", 3),
];

/// Number of RLIMIT_NOFILE, which the runtime itself may need to raise for a while.
pub const RLIMIT_NOFILE: u32 = 7;

/// Plans a checked process. `base` is the prefix of JSON pointers.
pub fn plan(p: &spec::Process, base: &str) -> Result<ProcessPlan> {
    let spec::Process {
        terminal,
        console_size,
        user,
        args,
        command_line: _, // Windows only; config.md says Linux ignores it
        env,
        cwd,
        capabilities,
        rlimits,
        no_new_privileges,
        apparmor_profile,
        oom_score_adj,
        selinux_label,
        scheduler,
        io_priority,
        exec_cpu_affinity,
    } = p;
    let spec::User { uid, gid, umask, additional_gids, username: _ } = user; // username: Windows only
    let mut caps = match capabilities {
        Some(c) => plan_caps(c, base)?,
        None => Caps::default(),
    };
    // The kernel raises an ambient capability only when it is permitted and inheritable (capabilities(7)). Configs
    // that name it without the inheritable set are common, and run elsewhere without it: `spec::check` warns.
    caps.ambient &= caps.permitted & caps.inheritable;
    Ok(ProcessPlan {
        args: args.clone(),
        env: env.clone(),
        cwd: cwd.clone(),
        terminal: *terminal,
        console_size: console_size
            .as_ref()
            .map(|s| (s.height.min(u16::MAX.into()) as u16, s.width.min(u16::MAX.into()) as u16)),
        uid: *uid,
        gid: *gid,
        groups: additional_gids.clone(),
        umask: umask.unwrap_or(0o022),
        caps,
        rlimits: plan_rlimits(rlimits, base)?,
        no_new_privs: *no_new_privileges,
        oom_score_adj: *oom_score_adj,
        apparmor: Some(apparmor_profile.clone()).filter(|s| !s.is_empty()),
        selinux: Some(selinux_label.clone()).filter(|s| !s.is_empty()),
        scheduler: scheduler.as_ref().map(|s| plan_scheduler(s, base)).transpose()?,
        io_priority: io_priority.as_ref().map(|i| plan_io_priority(i, base)).transpose()?,
        affinity: match exec_cpu_affinity {
            Some(a) => (
                cpu_mask(&a.initial, &format!("{base}/execCPUAffinity/initial"))?,
                cpu_mask(&a.r#final, &format!("{base}/execCPUAffinity/final"))?,
            ),
            None => (None, None),
        },
        base: base.to_string(),
    })
}

/// Number of a capability name such as `CAP_KILL`.
pub fn cap_number(name: &str) -> Option<u32> {
    CAP_NAMES.iter().position(|n| *n == name).map(|i| i as u32)
}

fn plan_caps(c: &spec::Capabilities, base: &str) -> Result<Caps> {
    let spec::Capabilities { bounding, effective, inheritable, permitted, ambient } = c;
    let mask = |names: &[String], set: &str| -> Result<u64> {
        let mut out = 0;
        for (i, name) in names.iter().enumerate() {
            let bit = cap_number(name).ok_or_else(|| {
                let text = format!("unknown capability, got {}, want a name such as CAP_KILL", quoted(name));
                Error::spec(format!("{base}/capabilities/{set}/{i}"), text)
            })?;
            out |= 1 << bit;
        }
        Ok(out)
    };
    Ok(Caps {
        bounding: mask(bounding, "bounding")?,
        effective: mask(effective, "effective")?,
        inheritable: mask(inheritable, "inheritable")?,
        permitted: mask(permitted, "permitted")?,
        ambient: mask(ambient, "ambient")?,
    })
}

fn plan_rlimits(limits: &[spec::Rlimit], base: &str) -> Result<Vec<Limit>> {
    let one = |(i, r): (usize, &spec::Rlimit)| {
        let field = format!("{base}/rlimits/{i}");
        match RLIMITS.iter().find(|(n, _)| *n == r.kind) {
            Some((name, number)) => Ok(Limit { name, resource: *number, soft: r.soft, hard: r.hard, field }),
            None => {
                let text =
                    format!("unknown limit, got {}, want a name such as RLIMIT_NOFILE", quoted(&r.kind));
                Err(Error::spec(format!("{field}/type"), text))
            }
        }
    };
    limits.iter().enumerate().map(one).collect()
}

/// Policies of sched(7) that sched_setattr(2) takes.
pub const SCHED_POLICIES: &[(&str, u32)] = &[
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// Flags of sched_setattr(2).
pub const SCHED_FLAGS: &[(&str, u64)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

fn plan_scheduler(s: &spec::Scheduler, base: &str) -> Result<SchedAttr> {
    let spec::Scheduler { policy, nice, priority, flags, runtime, deadline, period } = s;
    let find = |field: String, name: &str, known: Option<u64>| {
        known.ok_or_else(|| Error::spec(field, format!("unknown name, got {}", quoted(name))))
    };
    let number = SCHED_POLICIES.iter().find(|(n, _)| n == policy).map(|(_, v)| u64::from(*v));
    let mut bits = 0;
    for (i, f) in flags.iter().enumerate() {
        let value = SCHED_FLAGS.iter().find(|(n, _)| n == f).map(|(_, v)| *v);
        bits |= find(format!("{base}/scheduler/flags/{i}"), f, value)?;
    }
    Ok(SchedAttr {
        size: 0,
        policy: find(format!("{base}/scheduler/policy"), policy, number)? as u32,
        flags: bits,
        nice: *nice,
        priority: (*priority).max(0) as u32,
        runtime: *runtime,
        deadline: *deadline,
        period: *period,
    })
}

fn plan_io_priority(p: &spec::IoPriority, base: &str) -> Result<(u32, u32)> {
    let class = match p.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            let text =
                format!("got {}, want IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE", quoted(other));
            return Err(Error::spec(format!("{base}/ioPriority/class"), text));
        }
    };
    let level = u32::try_from(p.priority).ok().filter(|l| *l <= 7).ok_or_else(|| {
        Error::spec(format!("{base}/ioPriority/priority"), format!("got {}, want 0 to 7", p.priority))
    })?;
    Ok((class, level))
}

/// A list such as `0-3,7` as a mask for sched_setaffinity(2); `None` when it is empty.
fn cpu_mask(list: &str, field: &str) -> Result<Option<Vec<u8>>> {
    /// More than any kernel is built for.
    const MAX: usize = 8192;
    let wrong = || Error::spec(field, format!("got {}, want CPUs such as 0-3,7", quoted(list)));
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |s: &str| s.parse::<usize>().ok().filter(|n| *n < MAX).ok_or_else(wrong);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        mask.resize(mask.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|n| mask[n / 8] |= 1 << (n % 8));
    }
    // The kernel takes whole words.
    mask.resize(mask.len().next_multiple_of(8), 0);
    Ok(Some(mask).filter(|m| !m.is_empty()))
}

/// Every id of the process must exist in a user namespace that the container makes.
pub fn ids_mapped(p: &ProcessPlan, uids: &[spec::IdMapping], gids: &[spec::IdMapping]) -> Result<()> {
    let check = |id: u32, maps: &[spec::IdMapping], field: String| {
        if maps
            .iter()
            .any(|m| id >= m.container_id && u64::from(id) < u64::from(m.container_id) + u64::from(m.size))
        {
            return Ok(());
        }
        let ranges: Vec<String> =
            maps.iter().map(|m| format!("{}+{} at {}", m.container_id, m.size, m.host_id)).collect();
        Err(Error::spec(
            field,
            format!("{id} is not mapped in the user namespace, mapped are {}", ranges.join(", ")),
        ))
    };
    check(p.uid, uids, format!("{}/user/uid", p.base))?;
    check(p.gid, gids, format!("{}/user/gid", p.base))?;
    let mut extra = p.groups.iter().enumerate();
    extra.try_for_each(|(i, g)| check(*g, gids, format!("{}/user/additionalGids/{i}", p.base)))
}

/// The domain of personality(2): `LINUX` or `LINUX32`.
pub fn personality(p: &spec::Personality) -> Result<u64> {
    if !p.flags.is_empty() {
        return Err(
            Error::spec("/linux/personality/flags", "flags are not supported").code(Code::Unsupported)
        );
    }
    match p.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => {
            let text = format!("got {}, want LINUX or LINUX32", quoted(other));
            Err(Error::spec("/linux/personality/domain", text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_numbers_are_the_kernels() {
        assert_eq!(cap_number("CAP_SYS_ADMIN"), Some(21));
        assert_eq!(cap_number("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(cap_number("CAP_NONE"), None);
    }

    #[test]
    fn cpu_lists_become_masks() {
        assert_eq!(cpu_mask("0-3, 7,", "f").unwrap().unwrap(), [0x8f, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(cpu_mask("", "f").unwrap(), None);
        assert!(cpu_mask("3-1", "f").is_err() && cpu_mask("x", "f").is_err());
    }

    #[test]
    fn absent_umask_is_022_and_groups_are_exact() {
        let p = spec::Process { args: vec!["a".into()], cwd: "/".into(), ..Default::default() };
        let plan = plan(&p, "/process").unwrap();
        assert_eq!(plan.umask, 0o022);
        assert!(plan.groups.is_empty());
        assert_eq!(plan.caps, Caps::default());
    }
}
