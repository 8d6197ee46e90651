//! User namespaces that exist only to say how an id-mapped mount maps ids: made by a process that lives until the parent
//! has a handle on them. May use: `sys`, `rootfs::Proc`, plan types.

use super::birth::open_namespace;
use crate::error::{Context, Error, Result};
use crate::plan::idmap::{IdMap, Ids};
use crate::plan::launch::map_lines;
use crate::rootfs::Proc;
use crate::sys::fs::{self, OFlags};
use crate::sys::process::{self, ns_flags, sig};
use crate::sys::{OwnedFd, errno, mount, sock};
use std::os::fd::AsFd;

/// The namespaces of one container's mounts; mounts with the same maps share one.
pub(super) struct Namespaces<'a> {
    proc: &'a Proc,
    open: Vec<(&'a Ids, OwnedFd)>,
}

impl<'a> Namespaces<'a> {
    /// None yet.
    pub(super) fn new(proc: &'a Proc) -> Self {
        Namespaces { proc, open: Vec::new() }
    }

    /// Maps the ids of `tree`, a detached mount.
    pub(super) fn apply(&mut self, map: &'a IdMap, tree: &OwnedFd) -> Result<()> {
        let at = match self.open.iter().position(|(ids, _)| **ids == map.ids) {
            Some(at) => at,
            None => {
                self.open.push((&map.ids, open(&map.ids, self.proc)?));
                self.open.len() - 1
            }
        };
        let Some((_, userns)) = self.open.get(at) else { return Ok(()) };
        mount::set_idmap(tree, userns, map.recursive).map_err(explain)
    }
}

fn explain(e: Error) -> Error {
    match e.errno() {
        Some(errno::ENOSYS) => e.hint("id-mapped mounts need Linux 5.12"),
        Some(errno::EINVAL) => e.hint(
            "the file system of the source cannot be id-mapped on this kernel: ext4, xfs since Linux 5.12, btrfs 5.15, \
             tmpfs 6.3; a mount that is id-mapped already, and overlayfs, cannot",
        ),
        Some(errno::EPERM) => e.hint("the file system of the source belongs to another user namespace"),
        _ => e,
    }
}

fn open(ids: &Ids, proc: &Proc) -> Result<OwnedFd> {
    let (uids, gids) = match ids {
        Ids::Joined(join) => return open_namespace(join),
        Ids::Maps { uids, gids } => (map_lines(uids), map_lines(gids)),
    };
    let (ours, theirs) = sock::pair()?;
    // Killed and reaped when it is dropped: by then we have the namespace.
    let holder = process::clone3(ns_flags::USER, None, || {
        let keep = process::close_all_but(3, &[theirs.as_fd()]);
        // End of file says that we are gone.
        i32::from(
            keep.and_then(|()| process::set_pdeathsig(Some(sig::SIGKILL)))
                .and_then(|()| sock::recv(&theirs))
                .is_err(),
        )
    })?;
    let pid = holder.pid();
    proc.write(&format!("{pid}/uid_map"), &uids).step("map uids")?;
    proc.write(&format!("{pid}/gid_map"), &gids).step("map gids")?;
    let userns = fs::open(format!("/proc/{pid}/ns/user"), OFlags::RDONLY, 0);
    drop(ours);
    userns
}
