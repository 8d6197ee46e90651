//! Memory in use of a container, from the cgroup of its first process. Reads only.
#![forbid(unsafe_code)]

use std::path::PathBuf;

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
                _ => {}
            }
        }
        found
    }

    /// What the container of this process uses.
    pub fn usage(&self, pid: u32) -> Usage {
        let groups =
            i32::try_from(pid).ok().and_then(|p| procfs::process::Process::new(p).ok()).map(|p| p.cgroups());
        let Some(Ok(groups)) = groups else { return Usage::default() };
        for group in &groups.0 {
            let (mount, current, limit) = if group.controllers.iter().any(|c| c == "memory") {
                (&self.memory, "memory.usage_in_bytes", "memory.limit_in_bytes")
            } else if group.hierarchy == 0 && self.memory.is_none() {
                (&self.unified, "memory.current", "memory.max")
            } else {
                continue;
            };
            let Some(mount) = mount else { continue };
            let dir = mount.join(group.pathname.trim_start_matches('/'));
            let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
            // v1 says "no limit" with the largest number of pages.
            return Usage { memory: read(current), limit: read(limit).filter(|n| *n < 1 << 62) };
        }
        Usage::default()
    }
}
