//! Which namespaces are made, which are joined, and whether one clone is enough. Pure.

use crate::error::Result;
use crate::spec;
use crate::sys::process::ns_flags as ns;
use serde::Serialize;
use std::path::PathBuf;

/// Names of runtime-spec, the kernel's flag, and the name under /proc/PID/ns. In the order in which they are
/// joined: the time and pid namespaces only affect children, the mount namespace changes what paths mean.
pub const KINDS: &[(&str, u64, &str)] = &[
    ("cgroup", ns::CGROUP, "cgroup"),
    ("ipc", ns::IPC, "ipc"),
    ("uts", ns::UTS, "uts"),
    ("network", ns::NET, "net"),
    ("time", ns::TIME, "time"),
    ("pid", ns::PID, "pid"),
    ("mount", ns::MOUNT, "mnt"),
    ("user", ns::USER, "user"),
];

/// How the container's first process gets its namespaces.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Launch {
    /// Flags of the one clone.
    pub new: u64,
    /// Namespaces of others: the parent enters them, clones, and goes back.
    pub borrow: Vec<Join>,
    /// A user namespace of somebody else. Nobody can come back from one, so an extra process enters it and
    /// makes init from there.
    pub user: Option<Join>,
    /// A new time namespace: offsets must be written before its first process, so the parent makes it.
    pub time_offsets: Option<Vec<(String, i64, u32)>>,
    pub uid_maps: Vec<spec::IdMapping>,
    pub gid_maps: Vec<spec::IdMapping>,
}

/// A namespace to join.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Join {
    pub flag: u64,
    pub kind: String,
    pub path: PathBuf,
    /// JSON pointer of the entry's path.
    pub field: String,
}

impl Launch {
    /// True when the container has this namespace for itself or joins one; false when it stays in ours.
    pub fn has(&self, flag: u64) -> bool {
        self.new & flag != 0
            || self.borrow.iter().any(|j| j.flag == flag)
            || (flag == ns::USER && self.user.is_some())
            || (flag == ns::TIME && self.time_offsets.is_some())
    }
    /// True when the container makes this namespace.
    pub fn makes(&self, flag: u64) -> bool {
        self.new & flag != 0 || (flag == ns::TIME && self.time_offsets.is_some())
    }
}

/// The kernel's flag for a runtime-spec namespace type.
pub fn flag_of(kind: &str) -> Option<u64> {
    KINDS.iter().find(|(n, _, _)| *n == kind).map(|(_, f, _)| *f)
}

/// The host's number of an id in a user namespace with these maps; `None` when it has none.
pub fn on_host(maps: &[spec::IdMapping], id: u32) -> Option<u32> {
    maps.iter().find_map(|m| {
        let offset = id.checked_sub(m.container_id).filter(|offset| *offset < m.size)?;
        m.host_id.checked_add(offset)
    })
}

/// Maps as /proc/PID/uid_map and gid_map take them (user_namespaces(7)).
pub fn map_lines(maps: &[spec::IdMapping]) -> String {
    maps.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

/// Plans `linux.namespaces`, the id mappings and the time offsets.
pub fn plan(linux: &spec::Linux) -> Result<Launch> {
    let mut out = Launch {
        uid_maps: linux.uid_mappings.clone(),
        gid_maps: linux.gid_mappings.clone(),
        ..Launch::default()
    };
    for (i, n) in linux.namespaces.iter().enumerate() {
        let Some(flag) = flag_of(&n.kind) else { continue };
        if n.path.is_empty() {
            if flag == ns::TIME {
                let offsets = linux.time_offsets.iter().map(|(c, o)| (c.clone(), o.secs, o.nanosecs));
                out.time_offsets = Some(offsets.collect());
            } else {
                out.new |= flag;
            }
            continue;
        }
        let field = format!("/linux/namespaces/{i}/path");
        let join = Join { flag, kind: n.kind.clone(), path: n.path.clone().into(), field };
        if flag == ns::USER {
            out.user = Some(join);
        } else {
            out.borrow.push(join);
        }
    }
    let rank = |j: &Join| KINDS.iter().position(|(_, f, _)| *f == j.flag);
    out.borrow.sort_by_key(rank);
    Ok(out)
}
