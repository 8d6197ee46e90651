//! Rules for namespaces, id mappings and clock offsets: config-linux.md, namespaces(7), user_namespaces(7),
//! time_namespaces(7). Pure.

use super::Findings;
use crate::error::quoted;
use crate::spec::at::At;
use crate::spec::types::*;
use std::collections::BTreeMap;

const KINDS: [&str; 8] = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];

/// Bytes of a host or domain name (__NEW_UTS_LEN in linux/utsname.h).
const UTS_NAME_MAX: usize = 64;
/// Lines of uid_map and gid_map since Linux 4.15 (user_namespaces(7)).
const MAX_MAPPINGS: usize = 340;
/// Seconds a clock can be moved: KTIME_SEC_MAX.
const MAX_OFFSET: i128 = (i64::MAX / 1_000_000_000) as i128;

/// Which namespaces the container does not share with the runtime, made or joined.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    pub mount: bool,
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
    pub user: bool,
    pub time: bool,
    /// Those that are joined: their ids and clocks are not ours to set.
    user_joined: bool,
    time_joined: bool,
}

impl Spaces {
    pub fn of(linux: Option<&Linux>) -> Spaces {
        let mut s = Spaces::default();
        for Namespace { kind, path } in linux.iter().flat_map(|l| &l.namespaces) {
            match kind.as_str() {
                "mount" => s.mount = true,
                "network" => s.network = true,
                "ipc" => s.ipc = true,
                "uts" => s.uts = true,
                "user" => (s.user, s.user_joined) = (true, !path.is_empty()),
                "time" => (s.time, s.time_joined) = (true, !path.is_empty()),
                _ => {}
            }
        }
        s
    }
}

pub(super) fn check(f: &mut Findings, at: &At<'_>, namespaces: &[Namespace]) {
    let mut seen = BTreeMap::new();
    for (i, Namespace { kind, path }) in namespaces.iter().enumerate() {
        let here = at.item(i);
        f.one_of(&here.key("type"), "namespace", kind, &KINDS);
        f.once(at, "type", &mut seen, kind, i);
        if !path.is_empty() {
            f.absolute(&here.key("path"), path);
        }
    }
}

/// `hostname` and `domainname`: sethostname(2).
pub(super) fn uts_name(f: &mut Findings, at: &At<'_>, name: &str, spaces: &Spaces) {
    if name.is_empty() {
        return;
    }
    if !spaces.uts {
        f.fail(at, format!("{} needs a uts namespace in /linux/namespaces", quoted(name)));
    }
    if name.len() > UTS_NAME_MAX {
        f.fail(at, format!("too long: got {} bytes, want at most {UTS_NAME_MAX}", name.len()));
    }
}

/// `uidMappings` and `gidMappings` of the container.
pub(super) fn identities(f: &mut Findings, at: &At<'_>, linux: &Linux, spaces: &Spaces) {
    for (key, map) in [("uidMappings", &linux.uid_mappings), ("gidMappings", &linux.gid_mappings)] {
        let here = at.key(key);
        if !map.is_empty() && !spaces.user {
            f.fail(&here, "mappings need a user namespace in /linux/namespaces");
        }
        if map.is_empty() && spaces.user && !spaces.user_joined {
            f.fail(&here, "missing, a new user namespace needs at least one mapping");
        }
        mappings(f, &here, map);
    }
}

/// One map, by the rules of map_write in kernel/user_namespace.c.
pub(super) fn mappings(f: &mut Findings, at: &At<'_>, map: &[IdMapping]) {
    if map.len() > MAX_MAPPINGS {
        f.fail(at, format!("{} mappings, the kernel takes at most {MAX_MAPPINGS}", map.len()));
        return;
    }
    for (i, IdMapping { container_id, host_id, size }) in map.iter().enumerate() {
        let here = at.item(i);
        if *size == 0 {
            f.fail(&here.key("size"), "got 0, want at least 1");
        }
        for (key, first) in [("containerID", container_id), ("hostID", host_id)] {
            if first.checked_add(*size).is_none() || *first == u32::MAX {
                let got = format!("got {size} ids from {first}");
                f.fail(
                    &here.key(key),
                    format!("runs past the last id: {got}, want none above {}", u32::MAX - 1),
                );
            }
        }
        let meets = |a: u32, m: u32, b: u32, n: u32| {
            u64::from(a) < u64::from(b) + u64::from(n) && u64::from(b) < u64::from(a) + u64::from(m)
        };
        let earlier = map.iter().take(i).position(|e| {
            meets(e.container_id, e.size, *container_id, *size) || meets(e.host_id, e.size, *host_id, *size)
        });
        if let Some(before) = earlier {
            f.fail(&here, format!("overlaps with {}", at.item(before).pointer()));
        }
    }
}

/// `timeOffsets`: timens_offsets in kernel/time/namespace.c.
pub(super) fn clocks(f: &mut Findings, at: &At<'_>, offsets: &BTreeMap<String, TimeOffset>, spaces: &Spaces) {
    if offsets.is_empty() {
        return;
    }
    if !spaces.time {
        f.fail(at, "offsets need a time namespace in /linux/namespaces");
    } else if spaces.time_joined {
        f.fail(
            at,
            "offsets of a time namespace that is joined cannot be set, want no path in /linux/namespaces",
        );
    }
    for (clock, TimeOffset { secs, nanosecs }) in offsets {
        let here = at.key(clock);
        f.one_of(&here, "clock", clock, &["monotonic", "boottime"]);
        f.within(&here.key("secs"), *secs, -MAX_OFFSET, MAX_OFFSET);
        f.within(&here.key("nanosecs"), *nanosecs, 0, 999_999_999);
    }
}
