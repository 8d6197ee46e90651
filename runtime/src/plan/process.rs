//! `process` of config.json (or exec's process.json) to numbers and masks. Pure.

use crate::error::{Code, Error, Result, quoted};
use crate::spec;
use crate::spec::words::{self, cap_number};
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
    /// The groups of the caller stay, and `groups` are not set.
    pub keep_groups: bool,
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
        keep_groups: false,
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
                mask(&a.initial, &format!("{base}/execCPUAffinity/initial"))?,
                mask(&a.r#final, &format!("{base}/execCPUAffinity/final"))?,
            ),
            None => (None, None),
        },
        base: base.to_string(),
    })
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
        match words::RLIMITS.iter().find(|(n, _)| *n == r.kind) {
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

fn plan_scheduler(s: &spec::Scheduler, base: &str) -> Result<SchedAttr> {
    let spec::Scheduler { policy, nice, priority, flags, runtime, deadline, period } = s;
    let find = |field: String, name: &str, known: Option<u64>| {
        known.ok_or_else(|| Error::spec(field, format!("unknown name, got {}", quoted(name))))
    };
    let number = words::number(words::SCHED_POLICIES, policy).map(u64::from);
    let mut bits = 0;
    for (i, f) in flags.iter().enumerate() {
        bits |= find(format!("{base}/scheduler/flags/{i}"), f, words::number(words::SCHED_FLAGS, f))?;
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
    let class = words::number(words::IOPRIO_CLASSES, &p.class).ok_or_else(|| {
        let text = format!(
            "got {}, want one of {}",
            quoted(&p.class),
            words::names(words::IOPRIO_CLASSES).join(", ")
        );
        Error::spec(format!("{base}/ioPriority/class"), text)
    })?;
    let level = u32::try_from(p.priority).ok().filter(|l| *l <= 7).ok_or_else(|| {
        Error::spec(format!("{base}/ioPriority/priority"), format!("got {}, want 0 to 7", p.priority))
    })?;
    Ok((class, level))
}

/// Where a process allocates its memory: set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPolicy {
    /// Mode and flags.
    pub mode: u32,
    /// Bit n of the bytes is node n.
    pub nodes: Vec<u8>,
}

/// `linux.memoryPolicy`; `None` when it is empty, which changes nothing.
pub fn memory_policy(p: &spec::MemoryPolicy) -> Result<Option<MemoryPolicy>> {
    const AT: &str = "/linux/memoryPolicy";
    let spec::MemoryPolicy { mode, nodes, flags } = p;
    if mode.is_empty() && nodes.is_empty() && flags.is_empty() {
        return Ok(None);
    }
    let number = |table, word: &str, at: &str| {
        words::number(table, word)
            .ok_or_else(|| Error::spec(format!("{AT}/{at}"), format!("unknown name, got {}", quoted(word))))
    };
    let mut out = number(words::MEMORY_MODES, mode, "mode")?;
    for flag in flags {
        out |= number(words::MEMORY_FLAGS, flag, "flags")?;
    }
    let nodes = mask(nodes, &format!("{AT}/nodes"))?.unwrap_or_default();
    Ok(Some(MemoryPolicy { mode: out, nodes }))
}

/// A list such as `0-3,7` as a mask of CPUs or memory nodes; `None` when it is empty.
fn mask(list: &str, field: &str) -> Result<Option<Vec<u8>>> {
    /// More than any kernel is built for.
    const MAX: usize = 8192;
    let wrong = || Error::spec(field, format!("got {}, want numbers such as 0-3,7", quoted(list)));
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
    fn lists_become_masks() {
        assert_eq!(mask("0-3, 7,", "f").unwrap().unwrap(), [0x8f, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(mask("", "f").unwrap(), None);
        assert!(mask("3-1", "f").is_err() && mask("x", "f").is_err());
    }

    #[test]
    fn memory_policies_are_mode_and_flags() {
        let p = |mode: &str, nodes: &str, flags: &[&str]| {
            let flags = flags.iter().map(|f| f.to_string()).collect();
            memory_policy(&spec::MemoryPolicy { mode: mode.into(), nodes: nodes.into(), flags })
        };
        assert_eq!(p("", "", &[]).unwrap(), None);
        let bind = p("MPOL_BIND", "0,2", &["MPOL_F_STATIC_NODES"]).unwrap().unwrap();
        assert_eq!((bind.mode, bind.nodes), (0x8002, vec![5, 0, 0, 0, 0, 0, 0, 0]));
        assert!(p("MPOL_LOCAL", "", &[]).unwrap().unwrap().nodes.is_empty());
        assert!(p("MPOL_MAGIC", "", &[]).is_err() && p("MPOL_BIND", "x", &[]).is_err());
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
