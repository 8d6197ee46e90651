//! Mount sources, opened by the parent before init exists. May use: `sys`, `cgroup`, plan types.

use super::idmap::Namespaces;
use crate::cgroup::Cgroup;
use crate::error::{Code, Context, Error, Result};
use crate::host::Host;
use crate::init::binds::{self, Late};
use crate::init::mounts::Source;
use crate::plan::Plan;
use crate::plan::mounts::{MountKind, MountOp};
use crate::plan::process::RLIMIT_NOFILE;
use crate::rootfs::Proc;
use crate::sys::fs;
use crate::sys::process::ns_flags;
use crate::sys::{errno, sched};
use std::path::Path;

/// Every bind holds a descriptor until it is mounted. For very many the soft limit is raised for the creation;
/// gives the one that the payload gets back.
pub(super) fn make_room(plan: &Plan) -> Result<Option<u64>> {
    const OUR_OWN: u64 = 128;
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
/// What an ordinary user may not open is left to init.
pub(super) fn open(plan: &Plan, group: &Cgroup, host: &Host, proc: &Proc) -> Result<Vec<Source>> {
    if !plan.launch.has(ns_flags::MOUNT) {
        return Ok(Vec::new());
    }
    let mut namespaces = Namespaces::new(proc);
    let user = plan.launch.has(ns_flags::USER);
    plan.mounts
        .iter()
        .map(|op| match &op.kind {
            MountKind::Fs { .. } | MountKind::Again => Ok(Source::None),
            MountKind::Bind { source, recursive, ids } => {
                let mut bind = || -> Result<Source> {
                    let tree = match binds::copy(fs::CWD, source, *recursive) {
                        Err(e) if user && e.is(errno::EPERM) => return Ok(Source::Late(Late::Bind)),
                        r => r.field(&format!("{}/source", op.field))?,
                    };
                    let tree = binds::dress(tree, op, plan.root.shared)?;
                    if let Some(map) = ids {
                        namespaces.apply(map, &tree).step("map ids").field(&op.field)?;
                    }
                    Ok(Source::Tree(tree))
                };
                bind().step_with(|| binds::failed(op, source))
            }
            MountKind::Cgroup => cgroup_source(op, plan, group, host).field(&op.field),
        })
        .collect()
}

/// A view of the container's own group, by binding its directory: a fresh mount of cgroup2 would wait for a
/// grace period, and could reset options of the whole host. Without a cgroup namespace the whole v2 tree is
/// shown, and of v1 the container's own directories, as in runc. A container that has no group of its own, or that
/// an ordinary user started without a cgroup namespace, is shown none: what that user may write there is outside of
/// the container (CVE-2023-25809).
fn cgroup_source(op: &MountOp, plan: &Plan, group: &Cgroup, host: &Host) -> Result<Source> {
    let layout = &host.cgroups;
    let own_view = plan.launch.has(ns_flags::CGROUP) || plan.late_cgroup_ns;
    let user = plan.launch.has(ns_flags::USER);
    let bind = |path: &Path| binds::copy(fs::CWD, path, false).and_then(|tree| binds::dress(tree, op, false));
    let later = |e: &Error| user && e.is(errno::EPERM);
    if layout.v1.is_empty() {
        let path = match &layout.v2 {
            Some(_) if !own_view && host.is_rootless() => None,
            Some(tree) if !own_view => Some(tree.mount.as_path()),
            _ => group.places().pop().map(|(_, path)| path),
        };
        let Some(path) = path else { return Ok(Source::Hierarchies(Vec::new())) };
        return match bind(path) {
            Err(e) if later(&e) => Ok(Source::Late(Late::Group(path.to_path_buf()))),
            r => r.map(Source::Tree),
        };
    }
    let v1: Vec<_> = group.places().into_iter().filter(|(name, _)| name != "unified").collect();
    let open = v1.iter().map(|(name, path)| Ok((name.clone(), bind(path)?)));
    match open.collect::<Result<Vec<_>>>() {
        Err(e) if later(&e) => {
            let late = v1.into_iter().map(|(name, path)| (name, path.to_path_buf()));
            Ok(Source::Late(Late::Groups(late.collect())))
        }
        r => r.map(Source::Hierarchies),
    }
}
