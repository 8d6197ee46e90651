//! Control groups: layout found at run time, limits written before anybody is inside, freeze, kill, remove.
//! May use: `sys`, `spec`, `error`. Writes to `cgroup.procs`, which waits for a grace period, only where a kernel
//! leaves no other way.
#![forbid(unsafe_code)]

mod create;
mod device;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod device_oracle;
mod ebpf;
mod lack;
mod layout;
mod limits;
mod live;
mod off;
mod oom;
mod plan;
pub mod stats;
mod stats_v1;
mod sub;
mod systemd;
mod systemd_bus;
mod systemd_plan;
mod systemd_text;
mod systemd_value;
mod tree;
mod update;
mod v1;
mod v2;

pub use device::{Node, Rule};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use layout::parse as layout_of;
pub use layout::{Kind, Layout, Tree};
pub use live::ExecTarget;
pub use off::plan_without;
pub use oom::OomWatch;
pub use plan::{Group, Plan, Write, limits_plan, plan};
pub use sub::Sub;
pub use systemd::{Manager, Unit, UnitPlan};
pub use systemd_bus::Which;
pub use systemd_plan::plan_unit;
pub use systemd_value::Value;
pub use update::{Applied, linked, merge};

use crate::error::Result;
use crate::sys::{BorrowedFd, OwnedFd, errno, fs};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What the container's record keeps: enough to find the cgroup again without config.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Absolute directory per hierarchy; the key is the v1 controllers joined by commas (`cpu,cpuacct`,
    /// `name=systemd`), or "" for the v2 tree.
    pub paths: BTreeMap<String, PathBuf>,
    /// True when the container is known to have made the directories, apart from those in `kept`. False in a
    /// record that was written before they were looked at: then nobody inside may be killed, and a directory is
    /// removed only if it is empty.
    pub created: bool,
    /// Hierarchies whose directory was there before the container and stays.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<String>,
    /// The v2 directory as /proc/PID/cgroup names it; "" without a v2 tree.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seen: String,
    /// The unit of systemd that has the directories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// A container's control group: directory handles. Of no use to several threads at once.
#[derive(Debug)]
pub struct Cgroup {
    /// The v2 directory first.
    dirs: Vec<Dir>,
    /// See [`Saved::seen`].
    seen: String,
    /// See [`Saved::unit`].
    unit: Option<Unit>,
    /// Until init is there, see [`Cgroup::settle`].
    held: Option<create::Held>,
}

/// The directory in one hierarchy, opened when first needed.
#[derive(Debug)]
struct Dir {
    key: String,
    path: PathBuf,
    whose: Whose,
    handle: OnceCell<OwnedFd>,
}

/// Who made a directory, which decides what `destroy` does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The container did.
    Ours,
    /// It was there before.
    Theirs,
    /// `create` was killed before it could write that down.
    Unknown,
}

impl Dir {
    fn new(key: &str, path: &Path, whose: Whose) -> Dir {
        Dir { key: key.to_string(), path: path.to_path_buf(), whose, handle: OnceCell::new() }
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        if let Some(fd) = self.handle.get() {
            return Ok(fd.as_fd());
        }
        // No symbolic link in cgroupfs, and none above it either: mountinfo gives resolved paths.
        let opened = fs::openat2(
            fs::CWD,
            &self.path,
            fs::OFlags::DIRECTORY,
            0,
            fs::ResolveFlags::NO_SYMLINKS | fs::ResolveFlags::NO_MAGICLINKS,
        )?;
        Ok(self.handle.get_or_init(|| opened).as_fd())
    }

    /// `None` when the directory is gone.
    fn open(&self) -> Result<Option<BorrowedFd<'_>>> {
        match self.fd() {
            Err(e) if e.is(errno::ENOENT) => Ok(None),
            r => r.map(Some),
        }
    }

    fn is_v2(&self) -> bool {
        self.key.is_empty()
    }
}

impl Cgroup {
    /// Takes up a record. Nothing is opened before it is needed, so a directory that is gone is no error here;
    /// the operations below skip it.
    pub fn open(saved: &Saved) -> Result<Cgroup> {
        let Saved { paths, created, kept, seen, unit } = saved;
        let whose = |key: &String| match (kept.contains(key), created) {
            (true, _) => Whose::Theirs,
            (false, true) => Whose::Ours,
            (false, false) => Whose::Unknown,
        };
        let dirs = paths.iter().map(|(key, path)| Dir::new(key, path, whose(key)));
        Ok(Cgroup { dirs: dirs.collect(), seen: seen.clone(), unit: unit.clone(), held: None })
    }

    /// What to record once the directories are made: [`Plan::saved`] plus which of them are the container's own.
    pub fn saved(&self) -> Saved {
        Saved {
            paths: self.dirs.iter().map(|d| (d.key.clone(), d.path.clone())).collect(),
            created: self.dirs.iter().any(|d| d.whose == Whose::Ours),
            kept: self.dirs.iter().filter(|d| d.whose == Whose::Theirs).map(|d| d.key.clone()).collect(),
            seen: self.seen.clone(),
            unit: self.unit.clone(),
        }
    }

    /// The v2 directory for `CLONE_INTO_CGROUP`, when there is a v2 tree and the directory exists.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.v2()?.fd().ok()
    }

    /// Opened `tasks` files of all v1 hierarchies, for the fresh child to write `0` into. It has one thread, so
    /// that moves all of it, and without the grace period that a write to `cgroup.procs` waits for.
    fn v1_tasks(&self) -> Result<Vec<OwnedFd>> {
        self.v1().map(|d| fs::openat(d.fd()?, "tasks", fs::OFlags::WRONLY, 0)).collect()
    }

    /// Files into which a fresh child writes `0` to be in all of the groups: those of v1, and when it was not cloned
    /// into the v2 group (`moved`), that one's `cgroup.procs`, which then costs a grace period.
    pub fn entrances(&self, moved: bool) -> Result<Vec<OwnedFd>> {
        let mut files = self.v1_tasks()?;
        if let Some(dir) = self.v2().filter(|_| moved) {
            files.push(fs::openat(dir.fd()?, "cgroup.procs", fs::OFlags::WRONLY, 0)?);
        }
        Ok(files)
    }

    /// Every hierarchy's directory, for mounts of type cgroup: (name under /sys/fs/cgroup, absolute path). On
    /// a host with v2 alone this is one entry with an empty name; elsewhere the v2 tree is `unified`.
    pub fn places(&self) -> Vec<(String, &Path)> {
        let name = |d: &Dir| match d.key.as_str() {
            "" if self.dirs.len() == 1 => String::new(),
            "" => "unified".to_string(),
            key => key.strip_prefix("name=").unwrap_or(key).to_string(),
        };
        self.dirs.iter().map(|d| (name(d), d.path.as_path())).collect()
    }

    /// The unit of systemd that has the directories: what changes limits of the container tells it first.
    pub fn unit(&self) -> Option<&Unit> {
        self.unit.as_ref()
    }

    fn v2(&self) -> Option<&Dir> {
        self.dirs.iter().find(|d| d.is_v2())
    }

    fn v1(&self) -> impl Iterator<Item = &Dir> {
        self.dirs.iter().filter(|d| !d.is_v2())
    }

    /// The v1 directory with the freezer.
    fn v1_freezer(&self) -> Option<&Dir> {
        self.v1().find(|d| v1::is_freezer(&d.key))
    }
}
