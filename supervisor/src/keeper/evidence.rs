//! What a container's cgroup says about its memory, read before the cgroup goes. Touches /proc and the cgroup trees, only
//! to read.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::record::Memory;
use crate::sys::keeper as sys;

/// Where the figures are.
#[derive(Debug)]
pub struct Place {
    dir: OwnedFd,
    tree: Tree,
}

/// Which files a directory has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// The memory controller of cgroup v1.
    V1,
    /// cgroup v2.
    V2,
}

/// A v1 limit from here on is none: the largest number of whole pages.
const V1_NO_LIMIT: u64 = i64::MAX as u64 / 65536 * 65536;

impl Place {
    /// The memory cgroup of a process; `None` = it has none that can be seen.
    pub fn of(pid: u32) -> Option<Place> {
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let (path, tree) = find(&cgroups, &mounts)?;
        Some(Place { dir: sys::open_dir(&path).ok()?, tree })
    }

    /// The figures of now; what has no file, or no longer, is `None`.
    pub fn read(&self) -> Memory {
        match self.tree {
            Tree::V2 => Memory {
                // Kills anywhere below count; a limit that is hit counts where it is set.
                oom_kills: self.field("memory.events", "oom_kill"),
                oom_events: self
                    .field("memory.events.local", "oom")
                    .or_else(|| self.field("memory.events", "oom")),
                peak: self.number("memory.peak"),
                limit: self.number("memory.max"),
                high: self.field("memory.events", "high"),
                max: self.field("memory.events", "max"),
                swap_peak: self.number("memory.swap.peak"),
                swap_full: self.field("memory.swap.events", "fail"),
                swap_limited: self.field("memory.swap.events", "max"),
                stalled: self.with("memory.pressure", total_of_full),
            },
            Tree::V1 => Memory {
                oom_kills: self.field("memory.oom_control", "oom_kill"),
                oom_events: None,
                peak: self.number("memory.max_usage_in_bytes"),
                limit: self.number("memory.limit_in_bytes").filter(|n| *n < V1_NO_LIMIT),
                max: self.number("memory.failcnt"),
                ..Memory::default()
            },
        }
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.with(file, |text| text.trim().parse().ok())
    }

    fn field(&self, file: &str, name: &str) -> Option<u64> {
        self.with(file, |text| field(text, name))
    }

    fn with<T>(&self, file: &str, see: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let file = File::from(sys::open_read(&self.dir, file).ok()?);
        let mut space = [0; 512];
        let n = file.read_at(&mut space, 0).ok()?;
        see(std::str::from_utf8(space.get(..n)?).ok()?)
    }
}

/// The number after a word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let (_, number) = text.lines().filter_map(|l| l.split_once(' ')).find(|(n, _)| *n == name)?;
    number.trim().parse().ok()
}

/// `total` of the line `full` of a pressure file, in microseconds.
fn total_of_full(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("full "))?;
    line.split(' ').find_map(|w| w.strip_prefix("total="))?.trim().parse().ok()
}

/// The directory of a process' memory cgroup, from the contents of its /proc/PID/cgroup and of our mountinfo.
fn find(cgroups: &str, mounts: &str) -> Option<(PathBuf, Tree)> {
    // ID:CONTROLLERS:PATH, see cgroups(7). A v1 memory controller is the one that counts; else it is in v2.
    let lines = || cgroups.lines().filter_map(|l| l.splitn(3, ':').collect::<Vec<_>>().try_into().ok());
    let v1 = lines().find(|[_, c, _]: &[&str; 3]| c.split(',').any(|c| c == "memory"));
    let (tree, path) = match v1 {
        Some([_, _, path]) => (Tree::V1, path),
        None => (Tree::V2, lines().find(|[id, c, _]| *id == "0" && c.is_empty())?[2]),
    };
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (fstype, options) = (after.next()?, after.nth(1)?);
        let right = match tree {
            Tree::V1 => fstype == "cgroup" && options.split(',').any(|o| o == "memory"),
            Tree::V2 => fstype == "cgroup2",
        };
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let below = path.strip_prefix(if root == "/" { "" } else { root })?;
        let apart = below.is_empty() || below.starts_with('/');
        (right && apart).then(|| (PathBuf::from(format!("{point}{below}")), tree))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 8:1 / / rw - ext4 /dev/sda rw
30 24 0:26 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory
31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn the_time_without_progress_is_read() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=900\nfull avg10=1.00 avg60=0.10 avg300=0.00 total=123456\n";
        assert_eq!((total_of_full(text), total_of_full("some total=1\n")), (Some(123_456), None));
    }

    #[test]
    fn the_directory_is_found_in_each_layout() {
        let v1 = "9:memory:/knarrd/web.1.17\n3:cpu,cpuacct:/x\n0::/other\n";
        let at = |p: &str, t| Some((PathBuf::from(p), t));
        assert_eq!(find(v1, HYBRID), at("/sys/fs/cgroup/memory/knarrd/web.1.17", Tree::V1));
        let v2 = "0::/knarrd/a:b\n";
        assert_eq!(find(v2, HYBRID), at("/sys/fs/cgroup/unified/knarrd/a:b", Tree::V2));
        let part = "40 1 0:5 /outer /sys/fs/cgroup rw - cgroup2 none rw\n";
        assert_eq!(find("0::/outer/in\n", part), at("/sys/fs/cgroup/in", Tree::V2));
        assert_eq!(find("0::/outer\n", part), at("/sys/fs/cgroup", Tree::V2));
        assert_eq!(find("0::/outerspace\n", part), None);
        assert_eq!(find("1:name=systemd:/\n", HYBRID), None);
        assert_eq!(find("", ""), None);
    }

    fn place(tree: Tree, files: &[(&str, &str)]) -> Memory {
        let dir = std::env::temp_dir().join(format!("knarr-evidence-{}-{tree:?}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let memory = Place { dir: sys::open_dir(&dir).unwrap(), tree }.read();
        std::fs::remove_dir_all(&dir).unwrap();
        memory
    }

    #[test]
    fn figures_are_read_and_missing_ones_are_none() {
        let v2 = place(
            Tree::V2,
            &[
                ("memory.events", "low 0\nhigh 6\nmax 9\noom 5\noom_kill 2\n"),
                ("memory.events.local", "low 0\noom 4\noom_kill 0\n"),
                ("memory.max", "max\n"),
                ("memory.swap.events", "high 0\nmax 1\nfail 3\n"),
                ("memory.pressure", "some avg10=0.00 total=99\nfull avg10=0.00 total=77\n"),
            ],
        );
        let want = Memory {
            oom_kills: Some(2),
            oom_events: Some(4),
            high: Some(6),
            max: Some(9),
            swap_full: Some(3),
            swap_limited: Some(1),
            stalled: Some(77),
            ..Memory::default()
        };
        assert_eq!(v2, want);
        let v1 = place(
            Tree::V1,
            &[
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
                ("memory.max_usage_in_bytes", "4096\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.failcnt", "5\n"),
            ],
        );
        assert_eq!(v1, Memory { oom_kills: Some(3), peak: Some(4096), max: Some(5), ..Memory::default() });
    }

    #[test]
    fn this_process_has_a_place_or_none_without_failing() {
        let _ = Place::of(std::process::id()).map(|p| p.read());
        assert!(Place::of(0).is_none());
    }
}
