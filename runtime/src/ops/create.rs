//! `create`: makes a container that waits for `start`.

use crate::cli::{CgroupManager, CreateArgs, Global};
use crate::create::{self, Wish};
use crate::error::Result;
use crate::fds::Kept;
use crate::handover::Asked;
use crate::state::Store;
use std::path::PathBuf;

/// See `knarr create --help`.
pub fn run(global: &Global, args: &CreateArgs) -> Result<i32> {
    let store = Store::open(&global.root, global.root_explicit)?;
    let paths = Paths::of(args)?;
    create::create(&store, &paths.wish(global, args, true, false))?.keep();
    Ok(0)
}

/// The caller's paths, made absolute before anything changes the working directory.
pub struct Paths {
    bundle: PathBuf,
    console: Option<PathBuf>,
    pidfd: Option<PathBuf>,
    pid_file: Option<PathBuf>,
}

impl Paths {
    /// Resolves the bundle and enters it: hooks run with the bundle as working directory, as under runc.
    pub fn of(args: &CreateArgs) -> Result<Paths> {
        let absolute = |p: &Option<PathBuf>| p.as_deref().map(create::absolute).transpose();
        let paths = Paths {
            bundle: create::absolute(&args.bundle)?,
            console: absolute(&args.console_socket)?,
            pidfd: absolute(&args.pidfd_socket)?,
            pid_file: absolute(&args.pid_file)?,
        };
        crate::sys::process::chdir(&paths.bundle)?;
        Ok(paths)
    }

    /// The wish that `create::create` takes.
    pub fn wish<'a>(
        &'a self,
        global: &Global,
        args: &'a CreateArgs,
        detach: bool,
        started_by_us: bool,
    ) -> Wish<'a> {
        Wish {
            id: &args.id,
            bundle: &self.bundle,
            asked: Asked {
                console_socket: self.console.as_deref(),
                pidfd_socket: self.pidfd.as_deref(),
                pid_file: self.pid_file.as_deref(),
                detach,
            },
            no_pivot: args.no_pivot,
            no_new_keyring: args.no_new_keyring,
            systemd: global.cgroup_manager == CgroupManager::Systemd,
            without_cgroup: global.cgroup_manager == CgroupManager::Disabled,
            fds: Kept::new(args.preserve_fds),
            rootless: global.rootless.choice(),
            started_by_us,
        }
    }
}
