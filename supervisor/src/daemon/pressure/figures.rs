//! How much memory there is: for the host, or for the tightest limited group that all containers are in. Reads only.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use procfs::Current;

use crate::memory::ladder::Host;

/// Stalls of all processes of the host.
pub(super) const HOST_PRESSURE: &str = "/proc/pressure/memory";

/// A group with a limit above all containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// One of cgroup v2.
    pub(super) v2: bool,
    /// Bytes.
    pub(super) limit: u64,
}

/// The figures that count, and the group that they are of; `None` = the host.
pub(super) fn figures(payload: Option<&(PathBuf, PathBuf, bool)>) -> Option<(Host, Option<Group>)> {
    let host = of_host()?;
    let groups = payload.map(|(mount, dir, v2)| limited(mount, dir, *v2)).unwrap_or_default();
    let with = groups.into_iter().filter_map(|group| Some((of_group(&group, &host)?, Some(group))));
    // The one with the least is the one that runs out.
    with.chain([(host, None)]).min_by_key(|(h, _)| h.available)
}

fn of_host() -> Option<Host> {
    let info = procfs::Meminfo::current().ok()?;
    let text = std::fs::read_to_string(HOST_PRESSURE).unwrap_or_default();
    Some(Host {
        total: info.mem_total,
        available: info.mem_available.unwrap_or(info.mem_free),
        swap_total: info.swap_total,
        swap_free: info.swap_free,
        some: crate::health::pressure::avg10(&text, "some"),
        full: crate::health::pressure::avg10(&text, "full"),
    })
}

/// The groups with a limit, from the containers' own up to the root.
fn limited(mount: &Path, dir: &Path, v2: bool) -> Vec<Group> {
    let name = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let above = dir.ancestors().take_while(|d| *d != mount && d.starts_with(mount));
    // v1 says "no limit" with the largest number of pages.
    let limit = |d: &Path| number(&d.join(name)).filter(|n| *n < 1 << 62);
    above.filter_map(|d| Some(Group { dir: d.to_owned(), v2, limit: limit(d)? })).collect()
}

/// What is left below a limit: files in memory can be had, swap of the group is not asked for.
fn of_group(group: &Group, host: &Host) -> Option<Host> {
    let Group { dir, v2, limit } = group;
    let used = number(&dir.join(if *v2 { "memory.current" } else { "memory.usage_in_bytes" }))?;
    let stat = std::fs::read_to_string(dir.join("memory.stat")).ok()?;
    let before = if *v2 { "" } else { "total_" };
    let cache = ["active_file", "inactive_file"].map(|name| {
        let line = format!("{before}{name} ");
        stat.lines().find_map(|l| l.strip_prefix(&line)?.parse::<u64>().ok()).unwrap_or(0)
    });
    let total = (*limit).min(host.total);
    let taken = used.saturating_sub(cache.iter().sum());
    let text = if *v2 { std::fs::read_to_string(dir.join("memory.pressure")).ok() } else { None };
    let share = |line| text.as_deref().and_then(|t| crate::health::pressure::avg10(t, line));
    let available = total.saturating_sub(taken).min(host.available);
    Some(Host { total, available, swap_total: 0, swap_free: 0, some: share("some"), full: share("full") })
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::test_dir::TestDir;

    #[test]
    fn the_tightest_group_counts() {
        let dir = TestDir::in_memory("figures");
        let write = |place: &str, name: &str, text: &str| {
            std::fs::create_dir_all(dir.join(place)).unwrap();
            std::fs::write(dir.join(place).join(name), text).unwrap();
        };
        let payload = (dir.join(""), dir.join("a/payload"), true);
        write("a/payload", "memory.max", "max\n");
        assert_eq!(figures(Some(&payload)).unwrap().1, None, "no limit, the host");
        write("a", "memory.max", "1000000\n");
        write("a", "memory.current", "900000\n");
        write("a", "memory.stat", "anon 5\nactive_file 100000\ninactive_file 50000\n");
        write("a", "memory.pressure", "some avg10=12.50 avg60=0\nfull avg10=1.25 avg60=0\n");
        let (host, group) = figures(Some(&payload)).unwrap();
        assert_eq!(
            (host.total, host.available, host.some, host.full),
            (1_000_000, 250_000, Some(12.5), Some(1.25))
        );
        assert_eq!(group.unwrap().dir, dir.join("a"));
        let old = (dir.join(""), dir.join("b/payload"), false);
        write("b/payload", "memory.limit_in_bytes", "500000\n");
        write("b/payload", "memory.usage_in_bytes", "400000\n");
        write("b/payload", "memory.stat", "active_file 1\ntotal_inactive_file 50000\n");
        let (host, group) = figures(Some(&old)).unwrap();
        assert_eq!((host.available, host.some, group.unwrap().v2), (150_000, None, false));
        write("b/payload", "memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(figures(Some(&old)).unwrap().1, None);
    }
}
