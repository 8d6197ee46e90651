//! What this machine can do, decided by trying: cgroup layout, kernel, namespaces, programs.
//! Cases name what they need; a missing need becomes a skip with a reason that a lane can allow or forbid.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sched::CloneFlags;

/// Something a case cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Effective uid 0 with the capabilities of a real root.
    Root,
    /// A cgroup2 tree that owns this controller.
    CgroupV2Controller(&'static str),
    /// This controller anywhere, v1 or v2.
    CgroupAny(&'static str),
    /// A file that must exist in a cgroup of this controller, such as a swap limit.
    CgroupFile(&'static str, &'static str, &'static str),
    /// A mounted cgroup2 tree, whatever controllers it has.
    CgroupV2,
    /// v1 controllers beside a cgroup2 tree.
    Hybrid,
    /// New user namespaces may be made.
    Userns,
    /// Time namespaces exist (Linux 5.6).
    Timens,
    /// A static busybox for shell scripts inside containers.
    Busybox,
    /// This program is installed.
    Program(&'static str),
    /// At least this kernel.
    Kernel(u32, u32),
    /// The right to raise hard limits and to lower oom scores.
    CapSysResource,
    /// That right is missing.
    NoCapSysResource,
    /// More than one processor.
    TwoCpus,
    /// No AppArmor and no SELinux here.
    NoLsm,
    /// This controller where cgroups-rs finds it: on v1, or in a cgroup2 tree mounted on /sys/fs/cgroup itself.
    LibraryCgroup(&'static str),
    /// This v1 controller.
    V1(&'static str),
    /// This controller is not on v1.
    NoV1(&'static str),
    /// AppArmor is on.
    Apparmor,
    /// SELinux is on, with the policy of the guest.
    Selinux,
    /// A disk whose traffic can be limited.
    Disk,
    /// Memory policies.
    Numa,
    /// No resctrl is mounted.
    NoResctrl,
    /// An RDMA device.
    Rdma,
    /// Pairs of virtual network interfaces, and a command that makes them with addresses.
    Veth,
    /// An x86-64 machine, for its foreign system call tables.
    X86_64,
    /// A machine of the suite's own, whose clock may be set.
    OwnMachine,
    /// A block device that keeps in memory, compressed, what is written to it.
    Zram,
    /// The kernel counts stalls, and says of those of groups.
    Psi,
    /// A systemd that runs, with its command line.
    Systemd,
}

impl Need {
    /// The reason printed for a skip; one word, so that it can be listed on a command line.
    pub fn slug(self) -> String {
        match self {
            Need::Root => "root".into(),
            Need::CgroupV2Controller(c) => format!("cgroup2:{c}"),
            Need::CgroupAny(c) => format!("cgroup:{c}"),
            Need::CgroupFile(c, _, _) => format!("cgroup-file:{c}"),
            Need::CgroupV2 => "cgroup2".into(),
            Need::Hybrid => "hybrid".into(),
            Need::Userns => "userns".into(),
            Need::Timens => "timens".into(),
            Need::Busybox => "busybox".into(),
            Need::Program(p) => format!("program:{p}"),
            Need::Kernel(a, b) => format!("kernel>={a}.{b}"),
            Need::CapSysResource => "cap-sys-resource".into(),
            Need::NoCapSysResource => "no-cap-sys-resource".into(),
            Need::TwoCpus => "two-cpus".into(),
            Need::NoLsm => "no-lsm".into(),
            Need::LibraryCgroup(c) => format!("cgroup2-at-top:{c}"),
            Need::V1(c) => format!("cgroup1:{c}"),
            Need::NoV1(c) => format!("no-cgroup1:{c}"),
            Need::Apparmor => "apparmor".into(),
            Need::Selinux => "selinux".into(),
            Need::Disk => "disk".into(),
            Need::Numa => "numa".into(),
            Need::NoResctrl => "no-resctrl".into(),
            Need::Rdma => "rdma".into(),
            Need::Veth => "veth".into(),
            Need::X86_64 => "x86-64".into(),
            Need::OwnMachine => "own-machine".into(),
            Need::Zram => "zram".into(),
            Need::Psi => "psi".into(),
            Need::Systemd => "systemd".into(),
        }
    }
}

/// Facts about this machine, read once.
pub struct Host {
    /// v1 controllers and named hierarchies with their mount points.
    pub v1: BTreeMap<String, PathBuf>,
    /// Mount point of the cgroup2 tree.
    pub v2: Option<PathBuf>,
    /// Controllers of the cgroup2 tree.
    pub v2_controllers: BTreeSet<String>,
    pub kernel: (u32, u32),
    pub busybox: Option<PathBuf>,
    /// Set by the one who starts the suite.
    pub own_machine: bool,
    userns: bool,
    capabilities: u64,
}

impl Host {
    /// Looks around.
    pub fn look() -> Result<Host> {
        let info = std::fs::read_to_string("/proc/self/mountinfo").context("mountinfo")?;
        let (v1, v2) = cgroup_mounts(&info);
        let v2_controllers = v2
            .as_ref()
            .and_then(|p| std::fs::read_to_string(p.join("cgroup.controllers")).ok())
            .map(|s| s.split_whitespace().map(String::from).collect())
            .unwrap_or_default();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(['.', '-']).map_while(|n| n.trim().parse().ok());
        let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let capabilities = status
            .lines()
            .find_map(|l| l.strip_prefix("CapEff:"))
            .and_then(|h| u64::from_str_radix(h.trim(), 16).ok())
            .unwrap_or(0);
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().map(PathBuf::from).find(|p| is_static(p));
        Ok(Host {
            v1,
            v2,
            v2_controllers,
            kernel,
            busybox,
            own_machine: false,
            userns: try_userns(),
            capabilities,
        })
    }

    /// The first need that is not met.
    pub fn lacks(&self, needs: &[Need]) -> Option<Need> {
        needs.iter().copied().find(|n| !self.has(*n))
    }

    fn has(&self, need: Need) -> bool {
        const CAP_SYS_RESOURCE: u64 = 1 << 24;
        match need {
            Need::Root => rustix::process::geteuid().is_root(),
            Need::CgroupV2Controller(c) => self.v2_controllers.contains(c),
            Need::CgroupAny(c) => self.controller(c).is_some(),
            Need::CgroupFile(c, v1, v2) => self.cgroup_file(c, v1, v2),
            Need::CgroupV2 => self.v2.is_some(),
            Need::Hybrid => self.v2.is_some() && self.v1.keys().any(|k| !k.contains('=')),
            Need::Userns => self.userns,
            Need::Timens => Path::new("/proc/self/ns/time").exists(),
            Need::Busybox => self.busybox.is_some(),
            Need::Program(p) => find_program(p).is_some(),
            Need::Kernel(a, b) => self.kernel >= (a, b),
            Need::CapSysResource => self.capabilities & CAP_SYS_RESOURCE != 0,
            Need::NoCapSysResource => self.capabilities & CAP_SYS_RESOURCE == 0,
            Need::TwoCpus => std::thread::available_parallelism().is_ok_and(|n| n.get() > 1),
            Need::NoLsm => !apparmor() && !Path::new("/sys/fs/selinux/enforce").exists(),
            Need::Apparmor => apparmor(),
            Need::Selinux => crate::cases::has_selinux(),
            Need::LibraryCgroup(c) => {
                self.controller(c).is_some_and(|(top, v2)| !v2 || top == Path::new("/sys/fs/cgroup"))
            }
            Need::V1(c) => self.v1.contains_key(c),
            Need::NoV1(c) => !self.v1.contains_key(c),
            Need::Disk => {
                crate::cases::disk().is_ok()
                    && (self.has(Need::CgroupAny("blkio")) || self.has(Need::CgroupAny("io")))
            }
            Need::NoResctrl => std::fs::read_to_string("/proc/self/mountinfo")
                .is_ok_and(|table| !table.contains(" - resctrl ")),
            Need::Numa => Path::new("/proc/self/numa_maps").exists(),
            Need::Rdma => Path::new("/sys/class/infiniband/mlx5_0").exists(),
            Need::Veth => makes_interfaces(),
            Need::X86_64 => cfg!(target_arch = "x86_64"),
            Need::OwnMachine => self.own_machine,
            // One that was built with it and not told to use it has the files and reads none.
            Need::Psi => std::fs::read("/proc/pressure/memory").is_ok(),
            Need::Zram => Path::new("/sys/block/zram0/disksize").exists(),
            // sd_booted(3).
            Need::Systemd => Path::new("/run/systemd/system").is_dir() && find_program("systemctl").is_some(),
        }
    }

    /// Where a controller lives: its mount point and whether that is cgroup2.
    pub fn controller(&self, name: &str) -> Option<(PathBuf, bool)> {
        match self.v1.get(name) {
            Some(p) => Some((p.clone(), false)),
            // Not a controller on cgroup2: every group has cgroup.freeze (Linux 5.2).
            None if name == "freezer" || self.v2_controllers.contains(name) => {
                self.v2.clone().map(|p| (p, true))
            }
            None => None,
        }
    }

    /// Every hierarchy of this host.
    pub fn hierarchies(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = self.v1.values().cloned().collect();
        all.extend(self.v2.clone());
        all.sort();
        all.dedup();
        all
    }

    /// The layout in one word, for the report's head.
    pub fn layout(&self) -> &'static str {
        match (self.v1.is_empty(), self.v2.is_some()) {
            (true, true) => "unified",
            (false, true) => "hybrid",
            (false, false) => "v1",
            (true, false) => "none",
        }
    }

    fn cgroup_file(&self, controller: &str, v1: &str, v2: &str) -> bool {
        // Block I/O has another name under v2.
        let found = self.controller(controller);
        let found = if controller == "blkio" { found.or_else(|| self.controller("io")) } else { found };
        let Some((top, unified)) = found else { return false };
        let controller = if unified && controller == "blkio" { "io" } else { controller };
        let dir = top.join(format!("kn-try-{}", std::process::id()));
        if std::fs::create_dir(&dir).is_err() {
            return false;
        }
        if unified {
            let _ = std::fs::write(top.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let found = dir.join(if unified { v2 } else { v1 }).exists();
        let _ = std::fs::remove_dir(&dir);
        found
    }
}

/// Whether interfaces like those of the cases can be made: the kernel may lack the driver, and a small `ip` the words.
fn makes_interfaces() -> bool {
    let Some(ip) = find_program("ip") else { return false };
    let version = Command::new(&ip).arg("-V").output();
    let full = version.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("iproute2"));
    let mut command = Command::new(ip);
    command.args("link add kn0 type veth peer name kn1".split(' '));
    crate::os::isolate(&mut command, CloneFlags::CLONE_NEWNET);
    full && command.output().is_ok_and(|o| o.status.success())
}

type Mounts = (BTreeMap<String, PathBuf>, Option<PathBuf>);

/// Finds the cgroup mounts in a mountinfo text; of several for one hierarchy the last one counts.
fn cgroup_mounts(info: &str) -> Mounts {
    let mut v1 = BTreeMap::new();
    let mut v2 = None;
    for line in info.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup2") => v2 = Some(PathBuf::from(point)),
            Some("cgroup") => {
                let options = right.nth(1).unwrap_or("");
                for o in
                    options.split(',').filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children"))
                {
                    v1.insert(o.to_string(), PathBuf::from(point));
                }
            }
            _ => {}
        }
    }
    // A v1 tree hidden below a later cgroup2 mount on the same path cannot be reached any more.
    if let Some(top) = &v2 {
        v1.retain(|_, p| !p.starts_with(top) || p.join("cgroup.procs").exists());
    }
    (v1, v2)
}

/// The full path of a program.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].iter().map(PathBuf::from))
        .map(|d| d.join(name))
        .find(|p| p.is_file())
}

/// An ELF program that names no interpreter (no PT_INTERP path in its first page).
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    bytes.starts_with(b"\x7fELF")
        && !bytes
            .iter()
            .take(4096)
            .collect::<Vec<_>>()
            .windows(8)
            .any(|w| w.iter().map(|b| **b).eq(*b"/ld-linu") || w.iter().map(|b| **b).eq(*b"/ld-musl"))
}

fn apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|s| s.starts_with('Y'))
}

fn try_userns() -> bool {
    let mut command = Command::new("/proc/self/exe");
    command.arg("nothing").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    crate::os::isolate(&mut command, nix::sched::CloneFlags::CLONE_NEWUSER);
    command.status().is_ok_and(|s| s.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_mounts_of_a_hybrid_host() {
        let info = "1 0 0:1 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                    2 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                    3 1 0:3 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                    4 1 0:4 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 cgroup2 rw,nsdelegate\n";
        let (v1, v2) = cgroup_mounts(info);
        assert_eq!(v1["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(v1["cpuacct"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(v1["name=systemd"], Path::new("/sys/fs/cgroup/systemd"));
        assert_eq!(v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_covered_v1_tree_does_not_count() {
        let info = "2 1 0:2 / /no/such/top/cpu rw - cgroup cgroup rw,cpu\n\
                    4 1 0:4 / /no/such/top rw - cgroup2 cgroup2 rw\n";
        let (v1, v2) = cgroup_mounts(info);
        assert!(v1.is_empty());
        assert!(v2.is_some());
    }
}
