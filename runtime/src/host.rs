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
    pub lsm: Lsm,
}

/// Which security modules can confine by label.
#[derive(Debug, Clone, Copy)]
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
    /// Reads the facts.
    ///
    /// # Errors
    /// When /proc cannot tell how control groups are mounted, or with `systemd` when that does not answer.
    pub fn detect(systemd: bool) -> Result<Host> {
        Ok(Host {
            euid: process::euid(),
            cgroups: Layout::detect()?,
            systemd: systemd.then(Manager::reach).transpose()?,
            lsm: Lsm::detect(),
        })
    }
}

/// AppArmor is compiled in and switched on.
fn has_apparmor() -> bool {
    fs::read_regular("/sys/module/apparmor/parameters/enabled", 16).is_ok_and(|t| t.starts_with(b"Y"))
}
