//! Memory in use of a container, from the cgroup of its first process. Reads only.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::memory::resize::Use;

/// Bytes in use and their limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// v2 `memory.current`, v1 `memory.usage_in_bytes`.
    pub memory: Option<u64>,
    /// v2 `memory.max`, v1 `memory.limit_in_bytes`; `None` = none.
    pub limit: Option<u64>,
}

/// Where the memory controller is mounted.
#[derive(Debug, Clone, Default)]
pub struct Controllers {
    unified: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
}

impl Controllers {
    /// Finds them once; nothing found means nothing told.
    pub fn find() -> Controllers {
        let mounts = procfs::process::Process::myself().and_then(|p| p.mountinfo());
        let mut found = Controllers::default();
        for mount in mounts.map(|m| m.0).unwrap_or_default() {
            match mount.fs_type.as_str() {
                "cgroup2" => found.unified = found.unified.or(Some(mount.mount_point)),
                "cgroup" if mount.super_options.contains_key("memory") => {
                    found.memory = Some(mount.mount_point)
                }
                "cgroup" if mount.super_options.contains_key("pids") => found.pids = Some(mount.mount_point),
                _ => {}
            }
        }
        found
    }

    /// Where the memory controller is mounted, a group in it, and whether it is v2's; `None` = it is nowhere.
    pub fn below(&self, group: &str) -> Option<(PathBuf, PathBuf, bool)> {
        let (mount, v2) = match (&self.memory, &self.unified) {
            (Some(memory), _) => (memory, false),
            (None, unified) => (unified.as_ref()?, true),
        };
        Some((mount.clone(), mount.join(group.trim_start_matches('/')), v2))
    }

    /// What the container of this process uses.
    pub fn usage(&self, pid: u32) -> Usage {
        let Some((dir, v2)) = self.group(pid) else { return Usage::default() };
        let (current, limit) = match v2 {
            true => ("memory.current", "memory.max"),
            false => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
        };
        // v1 says "no limit" with the largest number of pages.
        Usage { memory: number(&dir, current), limit: number(&dir, limit).filter(|n| *n < 1 << 62) }
    }

    /// The same with what of it are contents of files.
    pub fn used(&self, pid: u32) -> Option<Use> {
        let (dir, v2) = self.group(pid)?;
        let current = number(&dir, if v2 { "memory.current" } else { "memory.usage_in_bytes" })?;
        let stat = std::fs::read_to_string(dir.join("memory.stat")).ok()?;
        let of = |name: &str| {
            let value =
                stat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
            value.unwrap_or(0)
        };
        // Those of tmpfs count as anonymous memory. v1 has totals of the group and those below it.
        let before = if v2 { "" } else { "total_" };
        let cache = ["active_file", "inactive_file"].map(|name| of(&format!("{before}{name}")));
        Some(Use { current, cache: cache.iter().sum() })
    }

    /// Limits that do not kill, and how often the container of this process ran into them since it began.
    pub fn strain(&self, pid: u32) -> Strain {
        let memory = self.group(pid).filter(|(_, v2)| *v2).map(|(dir, _)| dir);
        let pids = self.group_of(pid, "pids", self.pids.as_ref()).map(|(dir, _)| dir);
        Strain {
            // Counts of the group itself since Linux 5.2.
            slowed: memory.and_then(|dir| field(&dir, "memory.events.local", "high")),
            forks: pids.and_then(|dir| field(&dir, "pids.events", "max")),
        }
    }

    /// The memory cgroup of a process, and whether it is one of v2.
    fn group(&self, pid: u32) -> Option<(PathBuf, bool)> {
        self.group_of(pid, "memory", self.memory.as_ref())
    }

    /// The cgroup of a process for a controller that is mounted here on v1, or in v2.
    fn group_of(&self, pid: u32, controller: &str, v1: Option<&PathBuf>) -> Option<(PathBuf, bool)> {
        let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
        process.cgroups().ok()?.0.iter().find_map(|group| {
            let (mount, v2) = if group.controllers.iter().any(|c| c == controller) {
                (v1, false)
            } else if group.hierarchy == 0 && v1.is_none() {
                (self.unified.as_ref(), true)
            } else {
                return None;
            };
            Some((mount?.join(group.pathname.trim_start_matches('/')), v2))
        })
    }
}

/// How often limits were felt that end nobody; `None` = there is no such count here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strain {
    /// It used more than `memory.high` and was slowed down (v2 `memory.events.local` `high`).
    pub slowed: Option<u64>,
    /// A process or thread was not made, for `pids.max` of its own cgroup or of one above it (`pids.events` `max`).
    pub forks: Option<u64>,
}

impl Strain {
    /// In words, what there is to say.
    pub fn words(self) -> impl Iterator<Item = String> {
        let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
        let some = |n: Option<u64>| n.filter(|n| *n > 0);
        let slowed =
            some(self.slowed).map(|n| format!("slowed down {} for using more than memory_high", times(n)));
        let forks =
            some(self.forks).map(|n| format!("refused a new process {} for its limit of pids", times(n)));
        slowed.into_iter().chain(forks)
    }
}

fn field(dir: &Path, file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(dir.join(file)).ok()?;
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn number(dir: &Path, name: &str) -> Option<u64> {
    std::fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_felt_is_not_said() {
        assert_eq!(Strain::default().words().count(), 0);
        assert_eq!(Strain { slowed: Some(0), forks: Some(0) }.words().count(), 0);
        let said: Vec<_> = Strain { slowed: Some(1), forks: Some(7) }.words().collect();
        assert_eq!(said[0], "slowed down once for using more than memory_high");
        assert_eq!(said[1], "refused a new process 7 times for its limit of pids");
    }
}
