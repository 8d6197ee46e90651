//! The measured bundles: what `runc spec` writes, with one static program as root file system.
//! Writes below one fresh directory and removes it by its exact name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::profile::{self, CAPABILITIES};

/// Where everything of one measurement lies.
pub struct Yard {
    /// Holds a directory for each runtime, and the root file system all bundles share.
    pub dir: PathBuf,
    /// Unique on this machine, also across pid namespaces: begins the names of cgroups.
    pub name: String,
    seccomp: Option<Value>,
}

/// What a bundle's first process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Ends at once.
    True,
    /// Stays, for `exec` and `state`.
    Sleep,
}

impl Payload {
    fn arguments(self) -> Value {
        match self {
            Payload::True => json!(["/probe", "true"]),
            Payload::Sleep => json!(["/probe", "sleep", "3600000"]),
        }
    }
}

impl Yard {
    /// Makes the directory and its root file system.
    pub fn new(probe: &Path, seccomp: Option<&Path>) -> Result<Yard> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let name = format!("kb-{:x}", now.as_nanos());
        let dir = std::env::temp_dir().join(&name);
        let program = dir.join("rootfs/probe");
        // What containers mount on; a read-only root cannot be given these later.
        for place in ["proc", "sys", "dev"] {
            fs::create_dir_all(dir.join("rootfs").join(place)).with_context(|| dir.display().to_string())?;
        }
        fs::copy(probe, &program).with_context(|| format!("copy {}", probe.display()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let seccomp = seccomp.map(read_profile).transpose()?;
        Ok(Yard { dir, name, seccomp })
    }

    /// Whether figures with a filter can be measured.
    pub fn has_filter(&self) -> bool {
        self.seccomp.is_some()
    }

    /// How many system calls the profile names; for the page.
    pub fn filter_names(&self) -> usize {
        let rules = self.seccomp.iter().flat_map(|s| s["syscalls"].as_array()).flatten();
        rules.filter_map(|r| r["names"].as_array()).map(Vec::len).sum()
    }

    /// Writes one bundle and gives its directory.
    pub fn bundle(&self, runtime: &str, payload: Payload, filter: bool) -> Result<PathBuf> {
        let dir = self.dir.join(runtime).join(format!("{payload:?}-{filter}"));
        fs::create_dir_all(&dir)?;
        let cgroup = format!("/{}-{runtime}-{payload:?}", self.name);
        let config =
            config(&self.dir.join("rootfs"), &cgroup, payload, self.seccomp.as_ref().filter(|_| filter));
        fs::write(dir.join("config.json"), format!("{config:#}"))?;
        Ok(dir)
    }

    /// Removes everything.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.dir).with_context(|| self.dir.display().to_string())
    }
}

fn read_profile(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    profile::plain(&serde_json::from_slice(&text)?).with_context(|| path.display().to_string())
}

fn config(rootfs: &Path, cgroup: &str, payload: Payload, seccomp: Option<&Value>) -> Value {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": kind, "options": options});
    let mut config = json!({
        // The oldest that has all that is used here: an old peer refuses a newer one.
        "ociVersion": "1.0.2",
        "hostname": "bench",
        "root": {"path": rootfs, "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": payload.arguments(),
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    if let Some(seccomp) = seccomp {
        config["linux"]["seccomp"] = seccomp.clone();
    }
    config
}
