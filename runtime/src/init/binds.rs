//! Mount sources as detached copies that have their final attributes. The parent opens them; where it has no right to
//! mount, because it is an ordinary user, init does, in its new user namespace. May use: `sys`, plan types.

use super::mounts::Source;
use crate::error::{Code, Context, Error, Result, quoted};
use crate::plan::Plan;
use crate::plan::mounts::{MountKind, MountOp, attr_pair};
use crate::sys::fs;
use crate::sys::mount::{self, attr, propagation};
use crate::sys::{OwnedFd, errno};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What only init may open.
#[derive(Debug)]
pub enum Late {
    /// The source of a bind mount, as the plan has it.
    Bind,
    /// The container's cgroup2 directory.
    Group(PathBuf),
    /// Its cgroup v1 directories, by the name that each gets.
    Groups(Vec<(String, PathBuf)>),
}

/// Opens what the parent could not, before anything is mounted: paths are the host's.
pub fn open_late(plan: &Plan, sources: Vec<Source>) -> Result<Vec<Source>> {
    let one = |(op, source): (&MountOp, Source)| match source {
        Source::Late(late) => open_one(op, late, plan.root.shared),
        source => Ok(source),
    };
    plan.mounts.iter().zip(sources).map(one).collect()
}

fn open_one(op: &MountOp, late: Late, shared_root: bool) -> Result<Source> {
    let group = |path: &Path| copy(fs::CWD, path, false).and_then(|t| dress(t, op, false)).field(&op.field);
    match (late, &op.kind) {
        (Late::Group(path), _) => group(&path).map(Source::Tree),
        (Late::Groups(list), _) => {
            let each = list.into_iter().map(|(name, path)| Ok((name, group(&path)?)));
            each.collect::<Result<_>>().map(Source::Hierarchies)
        }
        (Late::Bind, MountKind::Bind { ids: Some(_), .. }) => {
            let text = "mapping the ids of a mount needs CAP_SYS_ADMIN over its file system";
            Err(Error::spec(&op.field, text).code(Code::Unsupported))
        }
        (Late::Bind, MountKind::Bind { source, recursive, ids: None }) => {
            let bind = || copy(fs::CWD, source, *recursive).field(&format!("{}/source", op.field));
            bind()
                .and_then(|tree| dress(tree, op, shared_root))
                .map(Source::Tree)
                .step_with(|| failed(op, source))
        }
        (Late::Bind, _) => Err(Error::new(Code::Internal, "not a bind mount")),
    }
}

/// The words that callers of runc know.
pub fn failed(op: &MountOp, source: &Path) -> String {
    format!("error mounting {} to rootfs at {}", quoted(&source.to_string_lossy()), quoted(&op.dest))
}

/// A detached copy of what is mounted at `path`.
pub fn copy<D: AsFd>(dir: D, path: &Path, recursive: bool) -> Result<OwnedFd> {
    mount::open_tree_clone(dir, path, recursive).map_err(|e| {
        if e.is(errno::EINVAL) && !recursive {
            e.hint("a user namespace sees what is mounted below it only together: use rbind")
        } else {
            e
        }
    })
}

/// Gives a copy the attributes and the propagation of its mount.
pub fn dress(tree: OwnedFd, op: &MountOp, shared_root: bool) -> Result<OwnedFd> {
    for (set, clear, recursive) in [(op.set, op.clear, false), (op.rec_set, op.rec_clear, true)] {
        set_attr(&tree, op, set, clear, recursive)?;
    }
    // The copy is a peer of the host's mount. Unless the root is shared on purpose it becomes a slave first:
    // what is mounted inside must not appear outside. What is to be private is nobody's peer either.
    let private = op.propagation.first() == Some(&(propagation::PRIVATE, true));
    if !shared_root && !private {
        mount::set_attr(&tree, 0, 0, propagation::SLAVE, true)?;
    }
    for (kind, rec) in &op.propagation {
        mount::set_attr(&tree, 0, 0, *kind, *rec)?;
    }
    Ok(tree)
}

/// Changes what is named and nothing else: what a more privileged namespace has put on a mount stays on it.
pub fn set_attr(tree: &OwnedFd, op: &MountOp, set: u64, clear: u64, recursive: bool) -> Result<()> {
    let (set, clear) = attr_pair(set, clear);
    if set | clear == 0 {
        return Ok(());
    }
    match mount::set_attr(tree, set, clear, 0, recursive) {
        Err(e) if e.is(errno::EPERM) => {
            let locked = locked(fs::mount_flags(tree)?, clear);
            match locked.as_slice() {
                [] if !recursive => Err(e),
                names => Err(e.field(format!("{}/options", op.field)).code(Code::Unsupported).hint(format!(
                    "whoever made this mount has more rights, and locked {}",
                    if names.is_empty() { "flags below it".into() } else { names.join(", ") }
                ))),
            }
        }
        r => r,
    }
}

/// The flags of a mount that stand against taking attributes away (mount_namespaces(7), "Restrictions").
fn locked(flags: u64, clear: u64) -> Vec<&'static str> {
    const NAMES: [(u64, u64, &str); 5] = [
        (attr::RDONLY, fs::mount_flag::RDONLY, "ro"),
        (attr::NOSUID, fs::mount_flag::NOSUID, "nosuid"),
        (attr::NODEV, fs::mount_flag::NODEV, "nodev"),
        (attr::NOEXEC, fs::mount_flag::NOEXEC, "noexec"),
        (attr::NODIRATIME, fs::mount_flag::NODIRATIME, "nodiratime"),
    ];
    let mut names: Vec<&str> =
        NAMES.iter().filter(|(a, f, _)| clear & a != 0 && flags & f != 0).map(|(_, _, name)| *name).collect();
    if clear & attr::ATIME_MASK != 0 {
        names.push("its access time mode");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_flags_are_those_that_were_to_go() {
        let flags = fs::mount_flag::NOSUID | fs::mount_flag::NODEV;
        assert_eq!(locked(flags, attr::NOSUID | attr::RDONLY), ["nosuid"]);
        assert_eq!(locked(flags, attr::ATIME_MASK), ["its access time mode"]);
        assert!(locked(flags, 0).is_empty());
    }
}
