//! Mount sources, opened by the parent before init exists. May use: `sys`, `cgroup`, plan types.

use super::idmap::Namespaces;
use crate::cgroup::{Cgroup, Layout};
use crate::error::{Code, Context, Error, Result, quoted};
use crate::init::mounts::Source;
use crate::plan::Plan;
use crate::plan::mounts::{MountKind, MountOp, attr_pair};
use crate::plan::process::RLIMIT_NOFILE;
use crate::rootfs::Proc;
use crate::sys::fs;
use crate::sys::mount::{self, propagation};
use crate::sys::process::ns_flags;
use crate::sys::{OwnedFd, sched};
use std::os::fd::AsFd;
use std::path::Path;

/// Every bind holds a descriptor until it is mounted. For very many the soft limit is raised for the creation;
/// gives the one that the payload gets back.
pub(super) fn make_room(plan: &Plan) -> Result<Option<u64>> {
    const OUR_OWN: u64 = 64;
    let (soft, hard) = sched::rlimit(RLIMIT_NOFILE);
    let wanted = plan.mounts.len() as u64 + OUR_OWN;
    if wanted <= soft {
        return Ok(None);
    }
    if wanted > hard {
        let text = format!(
            "{} mounts need about {wanted} descriptors, RLIMIT_NOFILE allows {hard}",
            plan.mounts.len()
        );
        return Err(Error::spec("/mounts", text).code(Code::Unsupported));
    }
    sched::set_rlimit(0, RLIMIT_NOFILE, wanted, hard)?;
    Ok(Some(soft))
}

/// Opens every mount source now, with our rights and in our mount namespace, and gives the detached copy its
/// final attributes, so that there is no moment in which it is mounted with others.
pub(super) fn open(plan: &Plan, group: &Cgroup, layout: &Layout, proc: &Proc) -> Result<Vec<Source>> {
    if !plan.launch.has(ns_flags::MOUNT) {
        return Ok(Vec::new());
    }
    let own_view = plan.launch.has(ns_flags::CGROUP) || plan.late_cgroup_ns;
    let mut namespaces = Namespaces::new(proc);
    plan.mounts
        .iter()
        .map(|op| match &op.kind {
            MountKind::Fs { .. } | MountKind::Again => Ok(Source::None),
            MountKind::Bind { source, recursive, ids } => {
                let mut bind = || -> Result<Source> {
                    let tree = open_tree(fs::CWD, source, *recursive, op, plan.root.shared)
                        .field(&format!("{}/source", op.field))?;
                    if let Some(map) = ids {
                        namespaces.apply(map, &tree).step("map ids").field(&op.field)?;
                    }
                    Ok(Source::Tree(tree))
                };
                let text = || {
                    let source = source.to_string_lossy();
                    format!("error mounting {} to rootfs at {}", quoted(&source), quoted(&op.dest))
                };
                bind().step_with(text)
            }
            MountKind::Cgroup => cgroup_source(op, group, layout, own_view).field(&op.field),
        })
        .collect()
}

/// A view of the container's own group, by binding its directory: a fresh mount of cgroup2 would wait for a
/// grace period, and could reset options of the whole host. Without a cgroup namespace the whole v2 tree is
/// shown, and of v1 the container's own directories, as in runc.
fn cgroup_source(op: &MountOp, group: &Cgroup, layout: &Layout, own_view: bool) -> Result<Source> {
    let bind = |dir: OwnedFd| open_tree(&dir, Path::new(""), false, op, false);
    if layout.v1.is_empty() {
        let dir = match &layout.v2 {
            Some(tree) if !own_view => fs::open_dir_path(&tree.mount)?,
            _ => group.dirs()?.pop().map(|(_, dir)| dir).ok_or_else(|| {
                Error::new(Code::Unsupported, "no cgroup hierarchy is mounted on this host")
            })?,
        };
        return bind(dir).map(Source::Tree);
    }
    let v1 = group.dirs()?.into_iter().filter(|(name, _)| name != "unified");
    v1.map(|(name, dir)| Ok((name, bind(dir)?))).collect::<Result<_>>().map(Source::Hierarchies)
}

fn open_tree<D: AsFd>(
    dir: D,
    path: &Path,
    recursive: bool,
    op: &MountOp,
    shared_root: bool,
) -> Result<OwnedFd> {
    let tree = mount::open_tree_clone(dir, path, recursive)?;
    let (set, clear) = attr_pair(op.set, op.clear);
    if set | clear != 0 {
        mount::set_attr(&tree, set, clear, 0, false)?;
    }
    let (set, clear) = attr_pair(op.rec_set, op.rec_clear);
    if set | clear != 0 {
        mount::set_attr(&tree, set, clear, 0, true)?;
    }
    // The copy is a peer of the host's mount. Unless the root is shared on purpose it becomes a slave first:
    // what is mounted inside must not appear outside.
    if !shared_root {
        mount::set_attr(&tree, 0, 0, propagation::SLAVE, true)?;
    }
    for (kind, rec) in &op.propagation {
        mount::set_attr(&tree, 0, 0, *kind, *rec)?;
    }
    Ok(tree)
}
