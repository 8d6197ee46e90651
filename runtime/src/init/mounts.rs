//! Builds the container's root file system inside its own mount namespace. Every target is reached through
//! `RootDir`; sources come as descriptors that the parent opened. May use: `sys`, `rootfs`, plan types.

use super::binds::{self, Late};
use super::copyup;
use crate::error::{Code, Context, Error, Result, quoted};
use crate::mountinfo;
use crate::plan::Plan;
use crate::plan::devices::DeviceNode;
use crate::plan::launch::Launch;
use crate::plan::mounts::{MountKind, MountOp, attr_pair};
use crate::rootfs::{Missing, Proc, RootDir};
use crate::sys::fs::{self, FileType, OFlags, ResolveFlags, Stat};
use crate::sys::mount::{self, FsContext, attr, propagation};
use crate::sys::process::{self, ns_flags};
use crate::sys::{BorrowedFd, OwnedFd, errno};
use crate::trace::{self, Step};
use std::os::fd::AsFd;
use std::path::Path;

/// What the parent prepared for one mount.
#[derive(Debug)]
pub enum Source {
    /// Nothing: a new file system.
    None,
    /// A detached mount with its attributes already set.
    Tree(OwnedFd),
    /// cgroup v1: one detached mount per hierarchy, by the name of its directory.
    Hierarchies(Vec<(String, OwnedFd)>),
    /// Init opens it itself.
    Late(Late),
}

impl Source {
    /// Its descriptors.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Source::None | Source::Late(_) => Vec::new(),
            Source::Tree(fd) => vec![fd.as_fd()],
            Source::Hierarchies(list) => list.iter().map(|(_, fd)| fd.as_fd()).collect(),
        }
    }
}

/// What waits until everything is in place.
#[derive(Debug, Default)]
pub struct Deferred {
    /// Mounts that become read-only.
    read_only: Vec<OwnedFd>,
    used: Used,
}

/// Descriptors that nobody needs any more. They are closed together, which takes one call in place of one for each: a
/// container has two or three for each mount.
#[derive(Debug, Default)]
struct Used(Vec<OwnedFd>);

impl Used {
    /// So many stay open at a time; the limit of descriptors has room for them (`create::sources`).
    const MOST: usize = 64;

    fn add<const N: usize>(&mut self, fds: [OwnedFd; N]) {
        self.0.extend(fds);
        if self.0.len() >= Self::MOST {
            self.close();
        }
    }

    fn close(&mut self) {
        process::close_together(std::mem::take(&mut self.0));
    }
}

/// Attaches the root file system in this mount namespace and gives a handle on it. `seen` is what the parent
/// saw at the path: if it was replaced since, the path is not trusted.
pub fn attach_root(path: &Path, seen: Stat) -> Result<RootDir> {
    // No event may travel back to the host: everything becomes a slave first.
    mount::change_propagation("/", propagation::SLAVE, true)?;
    let here = fs::open_dir_path(path)?;
    let now = fs::fstat(&here)?;
    if (now.dev, now.ino) != (seen.dev, seen.ino) {
        return Err(Error::new(Code::Spec, format!("{} was replaced", quoted(&path.to_string_lossy()))));
    }
    let tree = mount::open_tree_clone(&here, "", true)?;
    mount::move_mount(&tree, &here)?;
    Ok(RootDir::new(tree))
}

/// Makes all mounts in order.
pub fn make_all(plan: &Plan, root: &RootDir, sources: Vec<Source>) -> Result<Deferred> {
    let mut deferred = Deferred::default();
    for (op, source) in plan.mounts.iter().zip(sources) {
        make(op, source, root, &plan.launch, &mut deferred).map_err(|e| {
            let what = match &op.kind {
                MountKind::Bind { source, .. } => quoted(&source.to_string_lossy()),
                MountKind::Fs { fs, .. } => quoted(fs),
                MountKind::Cgroup => quoted("cgroup"),
                MountKind::Again => quoted("remount"),
            };
            e.field(op.field.clone()).step(format!("error mounting {what} to rootfs at {}", quoted(&op.dest)))
        })?;
        trace::step(Step::Mounted);
    }
    Ok(deferred)
}

fn make(
    op: &MountOp,
    source: Source,
    root: &RootDir,
    launch: &Launch,
    deferred: &mut Deferred,
) -> Result<()> {
    match (&op.kind, source) {
        (_, Source::Tree(tree)) => {
            let kind = || Ok(if fs::fstat(&tree)?.is_dir() { Missing::Dir } else { Missing::File });
            let target = target(root, &op.dest, kind)?;
            mount::move_mount(&tree, &target).map_err(|e| other_type(e, &tree, &target, &op.dest))?;
            deferred.used.add([tree, target]);
            Ok(())
        }
        (MountKind::Fs { fs: name, source, options, copy_up }, Source::None) => {
            let mode = if name == "tmpfs" { inherited_mode(root, &op.dest, options) } else { None };
            let target = fs_target(root, name, &op.dest)?;
            let made = match new_fs(op, name, source, options, mode) {
                Ok((made, context)) => {
                    deferred.used.add([context]);
                    made
                }
                Err(e) => from_host(op, name, launch, e)?,
            };
            if *copy_up {
                copyup::copy(root, &op.dest, &made).step("tmpcopyup")?;
            }
            if let Some(label) = &op.label {
                let top = fs::openat(&made, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
                fs::set_xattr(&top, "security.selinux", label.as_bytes()).field("/linux/mountLabel")?;
            }
            set_propagation(&made, op)?;
            mount::move_mount(&made, &target)?;
            if op.read_only() && defer_read_only(name, &op.dest) {
                deferred.read_only.push(made);
                deferred.used.add([target]);
            } else {
                deferred.used.add([made, target]);
            }
            Ok(())
        }
        (MountKind::Again, Source::None) => remount(op, root, deferred),
        (_, Source::Hierarchies(list)) => cgroup_v1(op, list, root, deferred),
        (_, Source::Late(_)) | (MountKind::Bind { .. } | MountKind::Cgroup, Source::None) => {
            Err(Error::new(Code::Internal, "no source was prepared"))
        }
    }
}

/// Changes the mount that is there. What is not named stays as it is.
fn remount(op: &MountOp, root: &RootDir, deferred: &mut Deferred) -> Result<()> {
    let there = root.open_path(&op.dest)?;
    let mut set = op.set;
    if op.read_only() && defer_read_only("", &op.dest) {
        set &= !attr::RDONLY;
    }
    for (set, clear, recursive) in [(set, op.clear, false), (op.rec_set, op.rec_clear, true)] {
        let (set, clear) = attr_pair(set, clear);
        if set | clear != 0 {
            mount::set_attr(&there, set, clear, 0, recursive).map_err(|e| {
                if e.is(errno::EINVAL) {
                    e.hint("nothing is mounted there that could be remounted")
                } else {
                    e
                }
            })?;
        }
    }
    set_propagation(&there, op)?;
    if set != op.set {
        deferred.read_only.push(there);
    }
    Ok(())
}

/// A tmpfs, and anything on /dev, gets entries of ours after it was mounted.
fn defer_read_only(fs: &str, dest: &str) -> bool {
    fs == "tmpfs" || dest.trim_end_matches('/') == "/dev"
}

/// Where a mount goes. The text of a destination was checked already; a symbolic link of the image must not lead
/// it to a place that the text would have been refused for (CVE-2019-16884). `kind` says what it is made as when it is missing.
fn target(root: &RootDir, dest: &str, kind: impl FnOnce() -> Result<Missing>) -> Result<OwnedFd> {
    if let Some(fd) = root.find_direct(dest) {
        return Ok(fd);
    }
    let missing = kind()?;
    if missing == Missing::Dir
        && let Some(fd) = root.make_direct(dest)
    {
        return Ok(fd);
    }
    let fd = root.open_or_create(dest, missing)?;
    let (seen, top) = (fs::fstat(&fd)?, fs::fstat(root.fd())?);
    if (seen.dev, seen.ino) == (top.dev, top.ino) {
        let text = format!("{} is the container's root, which cannot be covered", quoted(dest));
        return Err(Error::new(Code::Spec, text));
    }
    if fs::fs_magic(&fd)? == fs::magic::PROC {
        let direct = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        match fs::openat2(root.fd(), dest, OFlags::PATH, 0, direct) {
            Err(e) if e.is(errno::ELOOP) => {
                let text = format!("{} cannot be mounted because it is inside /proc", quoted(dest));
                return Err(Error::new(Code::Spec, text).hint("a symbolic link of the image leads there"));
            }
            r => r?,
        };
    }
    Ok(fd)
}

/// The kernel only says that it is invalid; callers look for these words.
fn other_type(e: Error, from: &OwnedFd, to: &OwnedFd, dest: &str) -> Error {
    let is_dir = |fd: &OwnedFd| fs::fstat(fd).map(|st| st.is_dir());
    match (is_dir(from), is_dir(to)) {
        (Ok(true), Ok(false)) => Error::os("move_mount", quoted(dest), errno::ENOTDIR)
            .hint("the source is a directory, the destination is not"),
        (Ok(false), Ok(true)) => Error::os("move_mount", quoted(dest), errno::EISDIR)
            .hint("not a directory is the source, the destination is one"),
        _ => e,
    }
}

/// procfs and sysfs go on real directories only: through a link that a racing process owns, they would appear
/// where later writes of ours could be led astray (CVE-2019-19921, CVE-2025-54867).
fn fs_target(root: &RootDir, fs: &str, dest: &str) -> Result<OwnedFd> {
    if fs != "proc" && fs != "sysfs" || cfg!(feature = "weak-proc") {
        return target(root, dest, || Ok(Missing::Dir));
    }
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match fs::openat2_if_there(root.fd(), dest, flags, resolve) {
        Ok(None) => root.make_dirs(dest),
        Ok(Some(fd)) => Ok(fd),
        Err(e) if e.is(errno::ELOOP) || e.is(errno::ENOTDIR) => Err(Error::new(
            Code::Spec,
            format!("{fs} must be mounted on ordinary directory, {} is not one", quoted(dest)),
        )),
        Err(e) => Err(e),
    }
}

/// A tmpfs whose mode is not given takes that of the directory it covers: what the image made private stays private.
fn inherited_mode(root: &RootDir, dest: &str, options: &[(String, Option<String>)]) -> Option<u32> {
    if options.iter().any(|(key, _)| key == "mode") {
        return None;
    }
    let covered = root.open_path(dest).and_then(fs::fstat).ok()?;
    Some(covered.mode & 0o7777)
}

fn new_fs(
    op: &MountOp,
    name: &str,
    source: &str,
    options: &[(String, Option<String>)],
    mode: Option<u32>,
) -> Result<(OwnedFd, OwnedFd)> {
    let ctx = FsContext::open(name).map_err(|e| {
        if e.is(errno::ENODEV) { e.hint("this kernel has no file system of that type") } else { e }
    })?;
    if !source.is_empty() {
        ctx.set("source", source)?;
    }
    if let Some(mode) = mode {
        ctx.set("mode", &format!("{mode:o}"))?;
    }
    for (key, value) in options {
        match value {
            Some(v) => ctx.set(key, v)?,
            None => ctx.flag(key)?,
        }
    }
    let mut attrs = op.set | op.rec_set;
    if defer_read_only(name, &op.dest) {
        attrs &= !attr::RDONLY;
    }
    ctx.mount(attrs)
}

/// A user namespace may mount these file systems only together with a namespace of its own. Without that one it would
/// show what the host's does, which is bound instead.
fn from_host(op: &MountOp, name: &str, launch: &Launch, e: Error) -> Result<OwnedFd> {
    let path = match name {
        "sysfs" if !launch.makes(ns_flags::NET) => "/sys",
        "proc" if !launch.has(ns_flags::PID) => "/proc",
        "mqueue" if !launch.has(ns_flags::IPC) => "/dev/mqueue",
        _ => return Err(explained(name, e)),
    };
    if !e.is(errno::EPERM) {
        return Err(e);
    }
    let tree = mount::open_tree_clone(fs::CWD, path, true).map_err(|bind| bind.hint(e.to_string()))?;
    // With all that the host has mounted below, such as its control groups.
    binds::set_attr(&tree, op, op.set | op.rec_set, 0, true)?;
    Ok(tree)
}

fn explained(name: &str, e: Error) -> Error {
    if e.is(errno::EPERM) && matches!(name, "proc" | "sysfs") {
        // mount_too_revealing() in fs/namespace.c.
        e.hint("parts of the host's own are covered, so the kernel allows no fresh one in a user namespace")
    } else {
        e
    }
}

fn set_propagation(fd: &OwnedFd, op: &MountOp) -> Result<()> {
    for (kind, recursive) in &op.propagation {
        mount::set_attr(fd, 0, 0, *kind, *recursive)?;
    }
    Ok(())
}

/// cgroup v1: a small tmpfs with one directory per hierarchy, each bound to the container's own directory.
fn cgroup_v1(
    op: &MountOp,
    list: Vec<(String, OwnedFd)>,
    root: &RootDir,
    deferred: &mut Deferred,
) -> Result<()> {
    let target = target(root, &op.dest, || Ok(Missing::Dir))?;
    let ctx = FsContext::open("tmpfs")?;
    ctx.set("source", "tmpfs")?;
    ctx.set("mode", "755")?;
    let (top, context) = ctx.mount((op.set | op.rec_set) & !attr::RDONLY)?;
    mount::move_mount(&top, &target)?;
    deferred.used.add([context, target]);
    for (name, tree) in list {
        fs::mkdirat(&top, &name, 0o755)?;
        let dir = fs::openat(&top, &name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0)?;
        mount::move_mount(&tree, &dir)?;
        deferred.used.add([tree, dir]);
        // Co-mounted controllers are also known by their single names.
        for alias in name.split(',').filter(|_| name.contains(',')) {
            fs::symlinkat(&name, &top, alias)?;
        }
    }
    if op.read_only() {
        deferred.read_only.push(top);
    } else {
        deferred.used.add([top]);
    }
    Ok(())
}

/// After everything is in place: deferred flags, read-only and masked paths, the root's own flags.
pub fn finish(plan: &Plan, root: &RootDir, deferred: Deferred) -> Result<()> {
    let Deferred { read_only: waiting, mut used } = deferred;
    for fd in waiting {
        mount::set_attr(&fd, attr::RDONLY, 0, 0, false).step("make a tmpfs read-only")?;
        used.add([fd]);
    }
    for (i, path) in plan.readonly_paths.iter().enumerate() {
        read_only(root, path, &mut used)
            .map_err(|e| e.field(format!("/linux/readonlyPaths/{i}")).step("read-only path"))?;
    }
    let mut masks = Masks::default();
    for (i, path) in plan.masked_paths.iter().enumerate() {
        masks
            .cover(root, path, &mut used)
            .map_err(|e| e.field(format!("/linux/maskedPaths/{i}")).step("masked path"))?;
    }
    if plan.root.readonly {
        mount::set_attr(root.fd(), attr::RDONLY, 0, 0, false).field("/root/readonly")?;
    }
    used.0.extend(masks.empty.into_iter().chain(masks.null));
    used.close();
    Ok(())
}

/// The attribute is set on the detached copy, so there is no moment in which it is writable.
fn read_only(root: &RootDir, path: &str, used: &mut Used) -> Result<()> {
    let Some(target) = root.find(path)? else { return Ok(()) };
    let copy = mount::open_tree_clone(&target, "", true)?;
    mount::set_attr(&copy, attr::RDONLY, 0, 0, true)?;
    mount::move_mount(&copy, &target)?;
    used.add([copy, target]);
    Ok(())
}

/// Covers for masked paths: one shared empty directory, and the null device of the host. The first of each, once it is
/// attached, is what the others are copies of (a detached mount can be copied since Linux 6.15 only).
#[derive(Default)]
struct Masks {
    empty: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Masks {
    fn cover(&mut self, root: &RootDir, path: &str, used: &mut Used) -> Result<()> {
        let Some(target) = root.find(path)? else { return Ok(()) };
        let is_dir = fs::fstat(&target)?.is_dir();
        let first = if is_dir { &mut self.empty } else { &mut self.null };
        if let Some(first) = first {
            let copy = mount::open_tree_clone(first, "", false)?;
            mount::move_mount(&copy, &target)?;
            used.add([copy, target]);
            return Ok(());
        }
        let made = if is_dir { empty_dir(used)? } else { null_device(used)? };
        mount::move_mount(&made, &target)?;
        used.add([target]);
        *first = Some(made);
        Ok(())
    }
}

fn empty_dir(used: &mut Used) -> Result<OwnedFd> {
    let ctx = FsContext::open("tmpfs")?;
    ctx.set("source", "tmpfs")?;
    ctx.set("nr_inodes", "1")?;
    ctx.set("mode", "755")?;
    let (made, context) = ctx.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)?;
    used.add([context]);
    Ok(made)
}

/// The host's own null device, checked to be one; never the image's (CVE-2025-31133).
fn null_device(used: &mut Used) -> Result<OwnedFd> {
    let null = host_null()?;
    let copy = mount::open_tree_clone(&null, "", false)?;
    used.add([null]);
    // Read-only does not concern what is written to a device, but its mode and owner, which are the host's.
    mount::set_attr(&copy, attr::RDONLY | attr::NOSUID | attr::NOEXEC, 0, 0, false)?;
    Ok(copy)
}

fn host_null() -> Result<OwnedFd> {
    let fd = fs::open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW, 0)?;
    if !fs::fstat(&fd)?.is_char(1, 3) {
        return Err(Error::new(Code::Unsupported, "the host's /dev/null is not the null device"));
    }
    Ok(fd)
}

/// Device nodes and links below /dev, unless the config binds somebody else's /dev there.
pub fn make_devices(plan: &Plan, root: &RootDir) -> Result<()> {
    let bound =
        |op: &MountOp| matches!(op.kind, MountKind::Bind { .. }) && op.dest.trim_end_matches('/') == "/dev";
    if plan.mounts.iter().any(bound) {
        return Ok(());
    }
    let old = fs::umask(0);
    let mut parent = Parent::default();
    let done = make_nodes(plan, root, &mut parent).and_then(|()| make_links(root, &mut parent));
    fs::umask(old);
    done
}

/// The directory of the last entry: most go to /dev.
#[derive(Default)]
struct Parent(Option<(String, OwnedFd)>);

impl Parent {
    /// The directory that holds `path`'s last component, and that component.
    fn of(&mut self, root: &RootDir, path: &str) -> Result<(&OwnedFd, String)> {
        let (parent, last) = path.rsplit_once('/').unwrap_or(("", path));
        let again = self.0.as_ref().is_some_and(|(seen, _)| seen == parent);
        let name = if again && !matches!(last, "" | "." | "..") {
            last.to_string()
        } else {
            let (dir, name) = root.parent_of(path)?;
            self.0 = Some((parent.to_string(), dir));
            name
        };
        match &self.0 {
            Some((_, dir)) => Ok((dir, name)),
            None => Err(Error::new(Code::Internal, "no directory was opened")),
        }
    }
}

fn make_nodes(plan: &Plan, root: &RootDir, parent: &mut Parent) -> Result<()> {
    let in_userns = plan.launch.has(ns_flags::USER);
    for node in &plan.devices {
        let mut one = || -> Result<()> {
            let (dir, name) = parent.of(root, &node.path)?;
            if in_userns && node.kind != FileType::Fifo {
                // mknod is not allowed here: the host's node is bound.
                return bind_node(dir, &name, node);
            }
            match fs::mknodat(dir, &name, node.kind, node.mode, node.major, node.minor) {
                Err(e) if e.is(errno::EEXIST) => check_node(dir, &name, node, e)?,
                Err(e) if e.is(errno::EPERM) => return bind_node(dir, &name, node),
                r => r?,
            }
            if node.uid != 0 || node.gid != 0 {
                fs::chownat(dir, &name, Some(node.uid), Some(node.gid))?;
            }
            Ok(())
        };
        one().map_err(|e| {
            let e = e.step(format!("create device node {}", quoted(&node.path)));
            match &node.field {
                Some(f) => e.field(f.clone()),
                None => e,
            }
        })?;
    }
    Ok(())
}

fn check_node(dir: &OwnedFd, name: &str, node: &DeviceNode, e: Error) -> Result<()> {
    let st = fs::statat(dir, name, fs::AtFlags::SYMLINK_NOFOLLOW)?;
    if is_node(st, node) { Ok(()) } else { Err(e.hint("the image has something else of that name")) }
}

fn is_node(st: Stat, node: &DeviceNode) -> bool {
    st.kind() == node.kind && (node.kind == FileType::Fifo || st.rdev == (node.major, node.minor))
}

/// The host's node of the same path, if it is the device that was asked for.
fn bind_node(dir: &OwnedFd, name: &str, node: &DeviceNode) -> Result<()> {
    let host = fs::open(&node.path, OFlags::PATH | OFlags::NOFOLLOW, 0)
        .step("mknod is not allowed here, and the host's node cannot be bound")?;
    if !is_node(fs::fstat(&host)?, node) {
        let text =
            format!("mknod is not allowed here, and the host's {} is another device", quoted(&node.path));
        return Err(Error::new(Code::Unsupported, text));
    }
    match fs::mknodat(dir, name, FileType::RegularFile, 0o666, 0, 0) {
        Err(e) if !e.is(errno::EEXIST) => return Err(e),
        _ => {}
    }
    let target = fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW, 0)?;
    let source = mount::open_tree_clone(&host, "", false)?;
    mount::move_mount(&source, &target)
}

fn make_links(root: &RootDir, parent: &mut Parent) -> Result<()> {
    for (target, link) in crate::plan::devices::LINKS {
        if *target == "/proc/kcore" && fs::stat(target).is_err() {
            continue;
        }
        let mut one = || -> Result<()> {
            let (dir, name) = parent.of(root, link)?;
            match fs::symlinkat(target, dir, &name) {
                Err(e) if !e.is(errno::EEXIST) => Err(e),
                Err(_) if name == "ptmx" => {
                    // An image's own ptmx would be a terminal of the host's devpts.
                    fs::unlinkat(dir, &name)?;
                    fs::symlinkat(target, dir, &name)
                }
                _ => Ok(()),
            }
        };
        one().step_with(|| format!("create link {link}"))?;
    }
    Ok(())
}

/// Writes `linux.sysctl` through the host's procfs handle: values land in the caller's namespaces.
pub fn write_sysctls(plan: &Plan, proc: &Proc) -> Result<()> {
    for (name, path, value) in &plan.sysctls {
        proc.write(path, value).map_err(|e| e.field(format!("/linux/sysctl/{name}")).step("write sysctl"))?;
    }
    Ok(())
}

/// Makes the container's root the process's root and drops the host's tree.
pub fn enter(plan: &Plan, root: &RootDir, proc: &Proc) -> Result<()> {
    process::fchdir(root.fd())?;
    if !plan.launch.has(ns_flags::MOUNT) {
        return process::chroot(".");
    }
    if plan.no_pivot {
        move_root(&plan.root.path, proc)?;
    } else {
        mount::pivot_root_here()?;
        // The old root is now stacked on ".": one lazy unmount and nothing of the host is reachable.
        mount::umount_detach(Path::new("."))?;
    }
    process::chdir(Path::new("/"))?;
    // Not earlier: pivot_root refuses a shared mount.
    if let Some((kind, recursive)) = plan.root.propagation {
        mount::set_attr(root.fd(), 0, 0, kind, recursive).field("/linux/rootfsPropagation")?;
    }
    Ok(())
}

/// `--no-pivot`, for a root on ramfs, where pivot_root is refused: the mount is moved onto "/" instead. The host's
/// tree stays below, out of reach, but its procfs and sysfs would make the kernel allow unmasked new ones to user
/// namespaces inside (mount_too_revealing() in fs/namespace.c), so those go.
fn move_root(root: &Path, proc: &Proc) -> Result<()> {
    let table = fs::read_all(proc.open_file("thread-self/mountinfo", OFlags::RDONLY)?, MAX_MOUNTINFO)?;
    for point in mountinfo::points(&table, &["proc", "sysfs"]) {
        // What cannot be unmounted is covered.
        if !point.starts_with(root) && mount::umount_detach(&point).is_err() {
            mount::mount("tmpfs", &point, "tmpfs", 0, "")?;
        }
    }
    mount::mount(".", Path::new("/"), "", MS_MOVE, "")?;
    process::chroot(".")
}

/// 100 000 mounts, the kernel's limit for a namespace (fs.mount-max), with long paths, in bytes.
const MAX_MOUNTINFO: usize = 64 << 20;

/// mount(2).
const MS_MOVE: u64 = 8192;

/// Only for the console: where a bind of one file goes.
pub fn bind_file(root: &RootDir, source: BorrowedFd<'_>, dest: &str) -> Result<()> {
    let target = match root.open_nofollow(dest) {
        Err(e) if e.is(errno::ENOENT) => root.open_or_create(dest, Missing::File)?,
        r => r?,
    };
    if fs::fstat(&target)?.kind() == FileType::Symlink {
        return Err(Error::os("openat2", quoted(dest), errno::ELOOP).hint("a symbolic link is in the way"));
    }
    let copy = mount::open_tree_clone(source, "", false)?;
    mount::move_mount(&copy, &target)
}
