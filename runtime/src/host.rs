//! Facts about this host, read once a run. Features are tried, not guessed from a version number.
//! May use: `sys`, `cgroup`.
#![forbid(unsafe_code)]

use crate::cgroup::{Layout, Manager};
use crate::error::Result;
use crate::sys::{fs, process};

/// What the plan needs to know about the machine.
#[derive(Debug, Clone)]
pub struct Host {
    pub euid: u32,
    pub cgroups: Layout,
    /// The systemd that is to make the group, if one is.
    pub systemd: Option<Manager>,
    /// The container gets no control group of its own.
    pub without_cgroup: bool,
    /// Asked only for a configuration that names a label: what is not asked for is not there.
    pub lsm: Lsm,
    /// What `--rootless` said; `None` to find out.
    pub rootless: Option<bool>,
}

/// Which security modules can confine by label.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lsm {
    pub apparmor: bool,
    pub selinux: bool,
}

impl Lsm {
    /// Asks the kernel.
    pub fn detect() -> Lsm {
        Lsm { apparmor: has_apparmor(), selinux: fs::stat("/sys/fs/selinux/enforce").is_ok() }
    }
}

impl Host {
    /// Reads the facts; those about security modules only when `labels` are to be applied.
    ///
    /// # Errors
    /// When /proc cannot tell how control groups are mounted, or with `systemd` when that does not answer.
    pub fn detect(systemd: bool, rootless: Option<bool>, labels: bool) -> Result<Host> {
        Ok(Host {
            euid: process::caller_euid(),
            cgroups: Layout::detect()?,
            systemd: systemd.then(Manager::reach).transpose()?,
            without_cgroup: false,
            lsm: if labels { Lsm::detect() } else { Lsm::default() },
            rootless,
        })
    }

    /// Whether what only root may do is not expected to work: the host's control groups may belong to others, an oom
    /// score may not be lowered. Unless said otherwise true for everybody but the root of the host, as in runc.
    pub fn is_rootless(&self) -> bool {
        is_rootless(self.rootless)
    }
}

/// See [`Host::is_rootless`]; `said` is what `--rootless` did.
pub fn is_rootless(said: Option<bool>) -> bool {
    said.unwrap_or_else(|| process::caller_euid() != 0 || in_user_namespace())
}

/// The initial user namespace maps all ids to themselves (user_namespaces(7)).
fn in_user_namespace() -> bool {
    let map = fs::read_kernel("/proc/self/uid_map", 1 << 16).unwrap_or_default();
    let text = String::from_utf8_lossy(&map);
    !text.is_empty() && text.split_ascii_whitespace().ne(["0", "0", "4294967295"])
}

/// AppArmor is compiled in and switched on.
fn has_apparmor() -> bool {
    fs::read_kernel("/sys/module/apparmor/parameters/enabled", 16).is_ok_and(|t| t.starts_with(b"Y"))
}
