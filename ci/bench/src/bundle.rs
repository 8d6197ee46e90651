//! The measured bundles: what `runc spec` writes, and one of the size that Kubernetes writes, with one static program as
//! root file system. Writes below one fresh directory and removes it by its exact name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::profile::{self, CAPABILITIES};

/// Mounts of the larger bundle: the seven of every container and what a pod with some volumes has.
const CLUSTER_MOUNTS: usize = 40;

/// Where everything of one measurement lies.
pub struct Yard {
    /// Holds a directory for each runtime, and the root file system all bundles share.
    pub dir: PathBuf,
    /// Where runtimes keep their state: on a tmpfs, as /run is, so that no disk is waited for.
    pub state: PathBuf,
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

/// How large a configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// What `runc spec` writes.
    Plain,
    /// Forty mounts, thirty variables, twenty annotations, fourteen capabilities, a cgroup namespace.
    Cluster,
}

/// One bundle.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub payload: Payload,
    pub shape: Shape,
    pub filter: bool,
    /// Bytes of memory that the container may use.
    pub memory: Option<u64>,
    /// Tells containers that live at the same time apart.
    pub number: usize,
}

impl Kind {
    /// A plain bundle without filter and limit.
    pub fn of(payload: Payload) -> Kind {
        Kind { payload, shape: Shape::Plain, filter: false, memory: None, number: 0 }
    }

    /// With the profile or without.
    pub fn filtered(self, filter: bool) -> Kind {
        Kind { filter, ..self }
    }

    fn name(self) -> String {
        format!("{:?}-{:?}-{}", self.payload, self.shape, self.number)
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
        let memory = Path::new("/dev/shm");
        let state = if memory.is_dir() { memory.join(&name) } else { dir.join("states") };
        fs::create_dir_all(&state)?;
        let yard = Yard { dir, state, name, seccomp };
        yard.make_sources()?;
        Ok(yard)
    }

    /// What the larger bundle binds: every fourth one a directory.
    fn make_sources(&self) -> Result<()> {
        for n in 0..CLUSTER_MOUNTS {
            let at = self.dir.join("volumes").join(n.to_string());
            if n % 4 == 0 {
                fs::create_dir_all(&at)?;
            } else {
                fs::create_dir_all(self.dir.join("volumes"))?;
                fs::write(&at, "value\n")?;
            }
        }
        Ok(())
    }

    /// Whether figures with a filter can be measured.
    pub fn has_filter(&self) -> bool {
        self.seccomp.is_some()
    }

    /// The profile in the form of a config.json.
    pub fn profile(&self) -> Option<&Value> {
        self.seccomp.as_ref()
    }

    /// How many system calls the profile names; for the page.
    pub fn filter_names(&self) -> usize {
        let rules = self.seccomp.iter().flat_map(|s| s["syscalls"].as_array()).flatten();
        rules.filter_map(|r| r["names"].as_array()).map(Vec::len).sum()
    }

    /// Name of the cgroup of one container.
    pub fn cgroup(&self, runtime: &str, kind: Kind) -> String {
        format!("{}-{runtime}-{}", self.name, kind.name())
    }

    /// Writes one bundle and gives its directory.
    pub fn bundle(&self, runtime: &str, kind: Kind) -> Result<PathBuf> {
        let limit = kind.memory.map_or(String::new(), |n| format!("-{n}"));
        let dir = self.dir.join(runtime).join(format!("{}-{}{limit}", kind.name(), kind.filter));
        fs::create_dir_all(&dir)?;
        let cgroup = format!("/{}", self.cgroup(runtime, kind));
        let mut config = plain(
            &self.dir.join("rootfs"),
            &cgroup,
            kind.payload,
            self.seccomp.as_ref().filter(|_| kind.filter),
        );
        if kind.shape == Shape::Cluster {
            self.enlarge(&mut config);
        }
        if let Some(bytes) = kind.memory {
            config["linux"]["resources"]["memory"] = json!({"limit": bytes});
        }
        fs::write(dir.join("config.json"), format!("{config:#}"))?;
        Ok(dir)
    }

    /// Turns a plain configuration into one as an orchestrator writes it.
    fn enlarge(&self, config: &mut Value) {
        const CAPS: [&str; 14] = [
            "CAP_AUDIT_WRITE",
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_KILL",
            "CAP_MKNOD",
            "CAP_NET_BIND_SERVICE",
            "CAP_NET_RAW",
            "CAP_SETFCAP",
            "CAP_SETGID",
            "CAP_SETPCAP",
            "CAP_SETUID",
            "CAP_SYS_CHROOT",
        ];
        config["process"]["capabilities"] = json!({"bounding": CAPS, "effective": CAPS, "permitted": CAPS});
        config["root"]["readonly"] = json!(false);
        let pairs = |n: usize| (0..n).map(|i| format!("SERVICE_{i}_PORT_443_TCP_ADDR=10.96.0.{i}"));
        let env = config["process"]["env"].as_array_mut();
        env.into_iter().for_each(|env| env.extend(pairs(28).map(Value::from)));
        let note =
            |i: usize| (format!("io.kubernetes.cri.key-{i}"), json!(format!("value of annotation {i}")));
        config["annotations"] = (0..20).map(note).collect::<serde_json::Map<_, _>>().into();
        let mounts = config["mounts"].as_array_mut();
        for mounts in mounts.into_iter() {
            for n in mounts.len()..CLUSTER_MOUNTS {
                let source = self.dir.join("volumes").join(n.to_string());
                let mode = if n % 3 == 0 { "rw" } else { "ro" };
                mounts.push(json!({
                    "destination": format!("/var/run/volumes/{n}"), "type": "bind", "source": source,
                    "options": ["rbind", "rprivate", mode],
                }));
            }
        }
        let namespaces = config["linux"]["namespaces"].as_array_mut();
        namespaces.into_iter().for_each(|list| list.push(json!({"type": "cgroup"})));
    }

    /// Removes everything.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.state).with_context(|| self.state.display().to_string())?;
        fs::remove_dir_all(&self.dir).with_context(|| self.dir.display().to_string())
    }
}

fn read_profile(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    profile::plain(&serde_json::from_slice(&text)?).with_context(|| path.display().to_string())
}

fn plain(rootfs: &Path, cgroup: &str, payload: Payload, seccomp: Option<&Value>) -> Value {
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
