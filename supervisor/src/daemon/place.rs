//! Where the daemon, its keepers and the containers are in the cgroup trees. Makes and removes directories of its own only.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tracing::debug;

use crate::names::RunId;

/// The cgroups of one daemon.
#[derive(Debug, Clone)]
pub struct Place {
    /// Path of the parent from the root of each hierarchy, `/knarrd`.
    parent: String,
    /// Mount points of all hierarchies; the v2 one first, if there is one.
    mounts: Vec<PathBuf>,
    /// Whether the first mount is cgroup2.
    unified: bool,
}

impl Place {
    /// Finds the hierarchies. Without a wish the parent is the own group when a service manager made one for this daemon and
    /// started it one level below, in `daemon`, else `/knarrd`. A v2 group with controllers for its children takes no
    /// process (cgroup-v2.rst, "No Internal Process Constraint"): a manager that starts the daemon in the upper group could
    /// not start it again while containers run below.
    ///
    /// # Errors
    /// procfs is not readable, or the wish is no absolute path.
    pub fn find(wish: Option<&str>) -> Result<Place> {
        let me = procfs::process::Process::myself().context("/proc/self")?;
        let mounts = me.mountinfo().context("/proc/self/mountinfo")?;
        let (mut unified, mut legacy) = (Vec::new(), Vec::new());
        for mount in mounts.0 {
            match mount.fs_type.as_str() {
                "cgroup2" if mount.root == "/" => unified.push(mount.mount_point),
                "cgroup" if mount.root == "/" => legacy.push(mount.mount_point),
                _ => {}
            }
        }
        unified.truncate(1);
        let found = !unified.is_empty();
        let mut place =
            Place { parent: "/knarrd".into(), mounts: [unified, legacy].concat(), unified: found };
        match wish {
            Some(path) => {
                let clean = path.trim_end_matches('/');
                anyhow::ensure!(clean.starts_with('/'), "--cgroup-parent {path:?} must begin with /");
                anyhow::ensure!(
                    !clean.split('/').any(|p| p == ".."),
                    "--cgroup-parent {path:?} must not contain .."
                );
                place.parent = clean.to_owned();
            }
            None => place.parent_of_service_manager(&me)?,
        }
        Ok(place)
    }

    /// The group above, when this is its `daemon` (`DelegateSubgroup=daemon`, systemd 254).
    fn parent_of_service_manager(&mut self, me: &procfs::process::Process) -> Result<()> {
        if std::env::var_os("INVOCATION_ID").is_none() || !self.unified {
            return Ok(());
        }
        let own = me.cgroups().context("/proc/self/cgroup")?;
        let own = own.0.into_iter().find(|c| c.hierarchy == 0).map(|c| c.pathname).unwrap_or_default();
        match own.strip_suffix("/daemon") {
            Some(parent) if !parent.is_empty() => self.parent = parent.to_owned(),
            _ => debug!("no delegated group around this daemon, containers are in {}", self.parent),
        }
        Ok(())
    }

    /// What a container gets as `linux.cgroupsPath`.
    pub fn payload(&self, run: &RunId) -> String {
        format!("{}/payload/{run}", self.parent)
    }

    /// The group of all containers.
    pub fn payloads(&self) -> String {
        format!("{}/payload", self.parent)
    }

    /// The group of a run's container in the v2 tree, where there is one, with or without controllers.
    pub fn tree_container(&self, run: &RunId) -> Option<PathBuf> {
        self.unified_dir(&format!("payload/{run}"))
    }

    /// The group of a keeper in the v2 tree, where there is one.
    pub fn keeper(&self, run: &RunId) -> Option<PathBuf> {
        self.unified_dir(&format!("keepers/{run}"))
    }

    /// The group of the process that holds sockets, in the v2 tree, where there is one.
    pub fn holder(&self) -> Option<PathBuf> {
        self.unified_dir("keepers/held")
    }

    /// The groups that a run's container may have, one in each hierarchy.
    pub fn container(&self, run: &RunId) -> Vec<PathBuf> {
        let payload = self.payload(run);
        self.mounts.iter().map(|m| m.join(payload.trim_start_matches('/'))).collect()
    }

    /// The group of a run's container in the v2 tree, when that is the only one and so has the controllers.
    pub fn unified_container(&self, run: &RunId) -> Option<PathBuf> {
        self.tree_container(run).filter(|_| self.has_controllers())
    }

    /// Whether there is a v2 tree, with or without controllers.
    pub fn has_tree(&self) -> bool {
        self.unified
    }

    /// Whether the v2 tree is the only one and so has the controllers.
    pub fn has_controllers(&self) -> bool {
        self.unified && self.mounts.len() == 1
    }

    /// Where the groups of hooks are made, the best first. A group of v1's cpuset takes nobody before it is set up.
    pub fn hooks(&self) -> Vec<PathBuf> {
        let usable = |m: &&PathBuf| !m.join("cpuset.cpus").exists();
        let below = |m: &PathBuf| m.join(self.parent.trim_start_matches('/')).join("hooks");
        self.mounts.iter().filter(usable).map(below).collect()
    }

    /// Makes the parents of all keepers' groups.
    ///
    /// # Errors
    /// mkdir(2).
    pub fn prepare(&self) -> Result<()> {
        if let Some(dir) = self.unified_dir("keepers") {
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(())
    }

    /// Removes the empty groups of this daemon, at its end; what is in use stays.
    pub fn tidy(&self) {
        for mount in &self.mounts {
            let parent = mount.join(self.parent.trim_start_matches('/'));
            for dir in [
                parent.join("hooks"),
                parent.join("keepers/held"),
                parent.join("keepers"),
                parent.join("payload"),
                parent,
            ] {
                remove(&dir);
            }
        }
    }

    fn unified_dir(&self, below: &str) -> Option<PathBuf> {
        let mount = self.mounts.first().filter(|_| self.unified)?;
        Some(mount.join(self.parent.trim_start_matches('/')).join(below))
    }
}

fn remove(dir: &Path) {
    match std::fs::remove_dir(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => debug!("{} stays: {e}", dir.display()),
        _ => {}
    }
}
