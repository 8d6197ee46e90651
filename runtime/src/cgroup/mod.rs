//! Control groups: layout found at run time, limits written before anybody is inside, freeze, kill, remove.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result};
use crate::spec::Resources;
use crate::sys::{BorrowedFd, OwnedFd};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the container's record keeps: enough to find the cgroup again without config.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Absolute directory per hierarchy; the key is the v1 controller name, or "" for the v2 tree.
    pub paths: BTreeMap<String, PathBuf>,
    /// True when this container made the directory, so that `delete` may remove it.
    pub created: bool,
}

/// How this host mounts its hierarchies; facts read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    _private: (),
}

impl Layout {
    /// Reads /proc/self/mountinfo and /proc/self/cgroup.
    pub fn detect() -> Result<Layout> {
        Err(Error::new(Code::Internal, "not built"))
    }
}

/// Directories and writes of one container: pure data, printable as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    _private: (),
}

/// Turns `linux.cgroupsPath` and `linux.resources` into a plan for `layout`. Pure.
pub fn plan(_layout: &Layout, _cgroups_path: &str, _id: &str, _resources: &Resources) -> Result<Plan> {
    Err(Error::new(Code::Internal, "not built"))
}

impl Layout {
    /// True when any v1 hierarchy is mounted.
    pub fn has_v1(&self) -> bool { true }
}

impl Plan {
    /// What was asked for and has no meaning here.
    pub fn warnings(&self) -> &[String] { &[] }
    /// Where the directories will be; recorded before they are made.
    pub fn saved(&self) -> Saved {
        Saved::default()
    }
}

/// A container's control group: directory handles.
#[derive(Debug)]
pub struct Cgroup {
    _private: (),
}

impl Cgroup {
    /// Makes the directories and writes all limits and the device program, before anybody is inside. On
    /// failure nothing made here is left.
    pub fn create(_layout: &Layout, _plan: &Plan) -> Result<Cgroup> {
        Err(Error::new(Code::Internal, "not built"))
    }
    /// Opens the directories of a record; those that are gone are skipped.
    pub fn open(_saved: &Saved) -> Result<Cgroup> {
        Err(Error::new(Code::Internal, "not built"))
    }
    /// The v2 directory for `CLONE_INTO_CGROUP`, when there is a v2 tree.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Opened `tasks` files of all v1 hierarchies, for the fresh child to write `0` into.
    pub fn v1_tasks(&self) -> Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }
    /// Every hierarchy's directory, for mounts of type cgroup: (name under /sys/fs/cgroup, O_PATH handle).
    pub fn dirs(&self) -> Result<Vec<(String, OwnedFd)>> {
        Ok(Vec::new())
    }
    /// What a mount of type cgroup shows.
    pub fn views(&self, _whole: bool) -> Result<Vec<(String, OwnedFd)>> { Ok(Vec::new()) }
    /// x
    pub fn exec_target(&self, _pid: i32) -> Result<ExecTarget> { Ok(ExecTarget{v2_dir:None,v1_tasks:vec![]}) }
    /// True when any directory still exists.
    pub fn exists(&self) -> bool {
        false
    }
    /// Processes in this group and below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        Ok(Vec::new())
    }
    /// Freezes and waits until frozen.
    pub fn freeze(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }
    /// Thaws and waits until thawed.
    pub fn thaw(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }
    /// Whether the group is frozen now.
    pub fn frozen(&self) -> Result<bool> {
        Ok(false)
    }
    /// SIGKILL to everything inside, frozen or not, and waits until it is empty.
    pub fn kill_all(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }
    /// Removes the directories, children first; waits for dying processes up to the deadline. Directories
    /// that were not made by us stay.
    pub fn destroy(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }
    /// Number of OOM kills the kernel has counted in this group, if it tells.
    pub fn oom_kills(&self) -> Option<u64> {
        None
    }
}
/// x
pub struct ExecTarget { /// x
 pub v2_dir: Option<OwnedFd>, /// x
 pub v1_tasks: Vec<OwnedFd> }
