//! Where everything of one daemon lives. Two trees: `state` survives a reboot, `run` does not. Pure.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::names::{Instance, RunId, ServiceName};

/// The directories of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// What the operator wants: one `NAME.toml` a service.
    pub services: PathBuf,
    /// What must survive a reboot: journal, logs, last good service files, exit records.
    pub state: PathBuf,
    /// What must not: sockets, generated bundles, the runtime's own state. On tmpfs.
    pub run: PathBuf,
}

impl Default for Dirs {
    fn default() -> Dirs {
        Dirs {
            services: "/etc/knarr/services.d".into(),
            state: "/var/lib/knarrd".into(),
            run: "/run/knarrd".into(),
        }
    }
}

impl Dirs {
    /// The service file of a name.
    pub fn service_file(&self, name: &ServiceName) -> PathBuf {
        self.services.join(format!("{name}.toml"))
    }
    /// Copies of the service files that were last accepted, by the same names.
    pub fn accepted(&self) -> PathBuf {
        self.state.join("accepted")
    }
    /// The texts of the last versions of each service, `NAME/NUMBER.toml`.
    pub fn generations(&self) -> PathBuf {
        self.state.join("generations")
    }
    /// Imported images: names, records, file trees.
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }
    /// What instances of images have written, `INSTANCE/VERSION`.
    pub fn layers(&self) -> PathBuf {
        self.state.join("layers")
    }
    /// The root file system of an instance of an image: a mount, or a link to a copy.
    pub fn root(&self, instance: &Instance) -> PathBuf {
        self.run.join("roots").join(instance.to_string())
    }

    /// The token of the loopback address, where `--web` asks for one.
    pub fn web_token(&self) -> PathBuf {
        self.state.join("web-token")
    }
    /// The journal's directory.
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal")
    }
    /// The log directory of an instance: kept over runs.
    pub fn log(&self, instance: &Instance) -> PathBuf {
        self.logs().join(instance.to_string())
    }
    /// All log directories.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
    /// The exit record of a run, there from its end until the daemon has journalled it.
    pub fn exit_record(&self, run: &RunId) -> PathBuf {
        self.exits().join(run.to_string())
    }
    /// All exit records.
    pub fn exits(&self) -> PathBuf {
        self.state.join("exits")
    }
    /// Held with flock(2) by the one daemon of these directories.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }
    /// There from the daemon's first start after a boot on: when it is missing, everything of before is gone.
    pub fn boot_mark(&self) -> PathBuf {
        self.run.join("boot")
    }
    /// The read-write socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("knarrd.sock")
    }
    /// The socket for those who may only look.
    pub fn socket_read_only(&self) -> PathBuf {
        self.run.join("knarrd-ro.sock")
    }
    /// What the runtime gets as `--root`.
    pub fn runtime_root(&self) -> PathBuf {
        self.run.join("runtime")
    }
    /// All keepers' directories.
    pub fn keepers(&self) -> PathBuf {
        self.run.join("keepers")
    }
    /// The directory of a run's keeper: its socket `sock`, `pid` of the container, the runtime's log `runtime.log`.
    pub fn keeper(&self, run: &RunId) -> PathBuf {
        self.keepers().join(run.to_string())
    }
    /// The directory of the process that holds listening sockets: its socket `sock`.
    pub fn held(&self) -> PathBuf {
        self.run.join("held")
    }
    /// The runtime's logs of `exec` calls, each as long as its call.
    pub fn exec(&self) -> PathBuf {
        self.run.join("exec")
    }
    /// The generated bundle of a run.
    pub fn bundle(&self, run: &RunId) -> PathBuf {
        self.run.join("bundles").join(run.to_string())
    }
    /// Secret and config files of a run, on tmpfs, mode 0700 root.
    pub fn files(&self, run: &RunId) -> PathBuf {
        self.run.join("files").join(run.to_string())
    }
}

/// Whether a file in the services directory is a service file: `NAME.toml` and no dropping of an editor.
pub fn is_service_file(path: &Path) -> bool {
    path.file_name()
        .and_then(|n| n.to_str())
        .is_some_and(|n| n.ends_with(".toml") && !n.starts_with('.') && !n.starts_with('#'))
}
