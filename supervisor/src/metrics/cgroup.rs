//! The figures of one container, from the files of its cgroups at the moment somebody asks: cgroup v2 where it has the
//! controller, else v1. Reads only.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::psi::{self, Psi};

/// Where the cgroup hierarchies are mounted.
#[derive(Debug, Clone, Default)]
pub struct Hierarchies {
    unified: Option<PathBuf>,
    /// By controller.
    v1: Vec<(String, PathBuf)>,
}

impl Hierarchies {
    /// Finds them; what is not mounted has no figures.
    pub fn find() -> Hierarchies {
        let mounts = procfs::process::Process::myself().and_then(|p| p.mountinfo());
        let mut found = Hierarchies::default();
        for mount in mounts.map(|m| m.0).unwrap_or_default() {
            match mount.fs_type.as_str() {
                "cgroup2" => found.unified = found.unified.or(Some(mount.mount_point)),
                "cgroup" => {
                    for controller in ["memory", "cpu", "cpuacct", "blkio", "pids"] {
                        if mount.super_options.contains_key(controller) {
                            found.v1.push((controller.into(), mount.mount_point.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The directory of a group in the hierarchy of a v1 controller.
    fn old(&self, controller: &str, group: &str) -> Option<Dir> {
        let mount = self.v1.iter().find(|(name, _)| name == controller).map(|(_, mount)| mount)?;
        Some(Dir(mount.join(group.trim_start_matches('/'))))
    }

    /// The directory of a group in the v2 tree.
    fn tree(&self, group: &str) -> Option<Dir> {
        Some(Dir(self.unified.as_ref()?.join(group.trim_start_matches('/'))))
    }

    /// Everything about a group, given by its path from the root of each hierarchy.
    pub fn read(&self, group: &str) -> Group {
        let tree = self.tree(group);
        let mut all = Group::default();
        match (self.old("memory", group), &tree) {
            (Some(dir), _) => all.memory_v1(&dir),
            (None, Some(dir)) => all.memory_v2(dir),
            (None, None) => {}
        }
        // The v2 tree accounts for processor time without its controller, too.
        if let Some(dir) = &tree {
            all.cpu_v2(dir);
            all.pressure = dir.pressure();
        }
        if let Some(dir) = self.old("cpuacct", group) {
            all.cpu_v1(&dir);
        }
        if let Some(dir) = self.old("cpu", group) {
            all.throttling_v1(&dir);
        }
        match (self.old("blkio", group), &tree) {
            (Some(dir), _) => all.io_v1(&dir),
            (None, Some(dir)) => all.io_v2(dir),
            (None, None) => {}
        }
        if let Some(dir) = self.old("pids", group).or(tree) {
            all.pids = dir.number("pids.current");
            all.pids_max = dir.number("pids.max");
            all.pids_refused = dir.field("pids.events", "max");
        }
        all
    }

    /// The little of it that is kept over time: five files.
    pub fn pulse(&self, group: &str) -> Pulse {
        let tree = self.tree(group);
        let memory = match (self.old("memory", group), &tree) {
            (Some(dir), _) => dir.number("memory.usage_in_bytes"),
            (None, Some(dir)) => dir.number("memory.current"),
            (None, None) => None,
        };
        let mut all = Group::default();
        match (self.old("cpuacct", group), &tree) {
            (Some(dir), _) => all.cpu[0] = dir.cpu_v1("cpuacct.usage"),
            (None, Some(dir)) => all.cpu_v2(dir),
            (None, None) => {}
        }
        let pressure = tree.map(|dir| dir.pressure()).unwrap_or_default();
        Pulse { memory, cpu: all.cpu[0], stalled: pressure.map(|psi| psi.some.map(|stall| stall.total)) }
    }

    /// Its limits of memory in bytes: from where it is slowed down, and the most.
    pub fn memory_limits(&self, group: &str) -> (Option<u64>, Option<u64>) {
        match (self.old("memory", group), self.tree(group)) {
            (Some(dir), _) => (None, dir.memory_max_v1()),
            (None, Some(dir)) => (dir.number("memory.high"), dir.number("memory.max")),
            (None, None) => (None, None),
        }
    }
}

/// What is kept of a group over time; `None` = there is no such file here.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pulse {
    /// Bytes in use.
    pub memory: Option<u64>,
    /// Seconds of processor time.
    pub cpu: Option<f64>,
    /// Seconds in which some of its processes stalled, by [`RESOURCES`].
    pub stalled: [Option<f64>; RESOURCES.len()],
}

impl Pulse {
    /// Of a group that was made just now.
    pub fn zero() -> Pulse {
        Pulse { memory: Some(0), cpu: Some(0.0), stalled: [Some(0.0); RESOURCES.len()] }
    }
}

/// The labels of [`Group::memory_events`].
pub const MEMORY_EVENTS: [&str; 5] = ["low", "high", "max", "oom", "oom_kill"];
/// The labels of [`Group::pressure`].
pub const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// What the kernel says of one group; `None` = there is no such file here, or no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// Bytes in use.
    pub memory: Option<u64>,
    /// Most bytes ever in use.
    pub memory_peak: Option<u64>,
    /// Bytes of it that are swapped out.
    pub swap: Option<u64>,
    /// From here on it is slowed down.
    pub memory_high: Option<u64>,
    /// The limit.
    pub memory_max: Option<u64>,
    /// How often limits were felt, by [`MEMORY_EVENTS`].
    pub memory_events: [Option<u64>; MEMORY_EVENTS.len()],
    /// By [`RESOURCES`].
    pub pressure: [Psi; RESOURCES.len()],
    /// Processor time in seconds: all, of it in programs, of it in the kernel.
    pub cpu: [Option<f64>; 3],
    /// Periods of its quota.
    pub periods: Option<u64>,
    /// Those in which it ran out.
    pub throttled: Option<u64>,
    /// For how many seconds altogether.
    pub throttled_seconds: Option<f64>,
    /// Bytes read from and written to block devices.
    pub io: Option<[u64; 2]>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The limit of them.
    pub pids_max: Option<u64>,
    /// How often one was not made for it.
    pub pids_refused: Option<u64>,
}

impl Group {
    fn memory_v2(&mut self, dir: &Dir) {
        self.memory = dir.number("memory.current");
        self.memory_peak = dir.number("memory.peak");
        self.swap = dir.number("memory.swap.current");
        self.memory_high = dir.number("memory.high");
        self.memory_max = dir.number("memory.max");
        let events = dir.text("memory.events").unwrap_or_default();
        self.memory_events = MEMORY_EVENTS.map(|name| field(&events, name));
    }

    fn memory_v1(&mut self, dir: &Dir) {
        self.memory = dir.number("memory.usage_in_bytes");
        self.memory_peak = dir.number("memory.max_usage_in_bytes");
        self.memory_max = dir.memory_max_v1();
        let kills = dir.field("memory.oom_control", "oom_kill");
        self.memory_events = [None, None, dir.number("memory.failcnt"), None, kills];
    }

    fn cpu_v2(&mut self, dir: &Dir) {
        let stat = dir.text("cpu.stat").unwrap_or_default();
        let seconds = |name| field(&stat, name).map(|usec| usec as f64 / 1e6);
        self.cpu = ["usage_usec", "user_usec", "system_usec"].map(seconds);
        self.periods = field(&stat, "nr_periods");
        self.throttled = field(&stat, "nr_throttled");
        self.throttled_seconds = seconds("throttled_usec");
    }

    fn cpu_v1(&mut self, dir: &Dir) {
        self.cpu = ["cpuacct.usage", "cpuacct.usage_user", "cpuacct.usage_sys"].map(|n| dir.cpu_v1(n));
    }

    fn throttling_v1(&mut self, dir: &Dir) {
        let stat = dir.text("cpu.stat").unwrap_or_default();
        self.periods = field(&stat, "nr_periods");
        self.throttled = field(&stat, "nr_throttled");
        self.throttled_seconds = field(&stat, "throttled_time").map(|nsec| nsec as f64 / 1e9);
    }

    /// `8:0 rbytes=1 wbytes=2 rios=...` a device.
    fn io_v2(&mut self, dir: &Dir) {
        self.io = dir.text("io.stat").map(|text| {
            let sum = |key: &str| {
                let fields = text.split_ascii_whitespace().filter_map(|f| f.strip_prefix(key));
                fields.filter_map(|n| n.parse::<u64>().ok()).fold(0, u64::saturating_add)
            };
            ["rbytes=", "wbytes="].map(sum)
        });
    }

    /// `8:0 Read 1` a device and kind of transfer.
    fn io_v1(&mut self, dir: &Dir) {
        self.io = dir.text("blkio.throttle.io_service_bytes").map(|text| {
            let sum = |kind: &str| {
                let of =
                    text.lines().filter_map(|l| l.split_once(' ')?.1.strip_prefix(kind)?.parse::<u64>().ok());
                of.fold(0, u64::saturating_add)
            };
            ["Read ", "Write "].map(sum)
        });
    }
}

/// The directory of a group.
struct Dir(PathBuf);

impl Dir {
    fn text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.0.join(name)).ok()
    }

    /// `max` is no number.
    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    fn field(&self, file: &str, name: &str) -> Option<u64> {
        field(&self.text(file)?, name)
    }

    /// v1 says "no limit" with the largest number of pages.
    fn memory_max_v1(&self) -> Option<u64> {
        self.number("memory.limit_in_bytes").filter(|n| *n < 1 << 62)
    }

    /// Seconds, of one of the files of cpuacct.
    fn cpu_v1(&self, name: &str) -> Option<f64> {
        self.number(name).map(|nsec| nsec as f64 / 1e9)
    }

    fn pressure(&self) -> [Psi; RESOURCES.len()] {
        RESOURCES.map(|r| self.text(&format!("{r}.pressure")).map(|t| psi::parse(&t)).unwrap_or_default())
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::test_dir::TestDir;

    struct Tree(TestDir);

    impl Tree {
        fn put(&self, dir: &str, file: &str, text: &str) {
            let dir = self.0.join(dir).join("payload/web.1.7");
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(file), text).unwrap();
        }
    }

    #[test]
    fn the_unified_tree() {
        let tree = Tree(TestDir::in_memory("metrics-v2"));
        for (file, text) in [
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("memory.high", "max\n"),
            ("memory.max", "65536\n"),
            ("memory.events", "low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n"),
            ("memory.pressure", "some avg10=1.00 avg60=0 avg300=0 total=1000000\n"),
            (
                "cpu.stat",
                "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 250000\n",
            ),
            ("io.stat", "8:0 rbytes=100 wbytes=7 rios=1\n8:16 rbytes=1 wbytes=0 rios=1\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("pids.events", "max 5\n"),
        ] {
            tree.put("u", file, text);
        }
        let all = Hierarchies { unified: Some(tree.0.join("u")), v1: vec![] }.read("/payload/web.1.7");
        assert_eq!((all.memory, all.memory_peak), (Some(4096), Some(8192)));
        assert_eq!((all.memory_high, all.memory_max), (None, Some(65536)));
        assert_eq!(all.memory_events, [Some(0), Some(2), Some(3), Some(1), Some(1)]);
        assert_eq!(all.pressure[1].some.unwrap().total, 1.0);
        assert_eq!(all.cpu, [Some(1.5), Some(1.0), Some(0.5)]);
        assert_eq!((all.periods, all.throttled, all.throttled_seconds), (Some(9), Some(4), Some(0.25)));
        assert_eq!(all.io, Some([101, 7]));
        assert_eq!((all.pids, all.pids_max, all.pids_refused), (Some(3), None, Some(5)));
        let here = Hierarchies { unified: Some(tree.0.join("u")), v1: vec![] };
        let pulse = Pulse { memory: Some(4096), cpu: Some(1.5), stalled: [None, Some(1.0), None] };
        assert_eq!(here.pulse("/payload/web.1.7"), pulse);
        assert_eq!(here.memory_limits("/payload/web.1.7"), (None, Some(65536)));
    }

    #[test]
    fn controllers_of_v1_beside_a_tree_without_any() {
        let tree = Tree(TestDir::in_memory("metrics-v1"));
        tree.put("u", "cpu.stat", "usage_usec 9\n");
        tree.put("u", "io.pressure", "some avg10=0 avg60=0 avg300=0 total=500000\n");
        for (dir, file, text) in [
            ("m", "memory.usage_in_bytes", "4096\n"),
            ("m", "memory.limit_in_bytes", "9223372036854771712\n"),
            ("m", "memory.failcnt", "6\n"),
            ("m", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("c", "cpuacct.usage", "2000000000\n"),
            ("c", "cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 500000000\n"),
            ("b", "blkio.throttle.io_service_bytes", "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n"),
            ("p", "pids.max", "10\n"),
        ] {
            tree.put(dir, file, text);
        }
        let of = |name: &str, dir: &str| (name.to_owned(), tree.0.join(dir));
        let v1 =
            vec![of("memory", "m"), of("cpuacct", "c"), of("cpu", "c"), of("blkio", "b"), of("pids", "p")];
        let here = Hierarchies { unified: Some(tree.0.join("u")), v1 };
        let pulse = Pulse { memory: Some(4096), cpu: Some(2.0), stalled: [None, None, Some(0.5)] };
        assert_eq!(here.pulse("/payload/web.1.7"), pulse);
        assert_eq!(here.memory_limits("/payload/web.1.7"), (None, None));
        let all = here.read("/payload/web.1.7");
        assert_eq!((all.memory, all.memory_max), (Some(4096), None));
        assert_eq!(all.memory_events, [None, None, Some(6), None, Some(2)]);
        assert_eq!(all.pressure[2].some.unwrap().total, 0.5);
        assert_eq!(all.cpu, [Some(2.0), None, None]);
        assert_eq!((all.throttled, all.throttled_seconds), (Some(1), Some(0.5)));
        assert_eq!((all.io, all.pids_max), (Some([10, 20]), Some(10)));
    }

    #[test]
    fn a_group_that_is_gone_has_no_figures() {
        let tree = TestDir::in_memory("metrics-gone");
        let here = Hierarchies { unified: Some(tree.join("u")), v1: vec![] };
        assert_eq!(here.read("/payload/web.1.7"), Group::default());
        assert_eq!(here.pulse("/payload/web.1.7"), Pulse::default());
    }
}
