//! Which cgroup hierarchies this host mounts, and where this process is in them. The parsers are pure;
//! `detect` reads two files of /proc and one of the v2 tree. May use: `sys::fs`, `error`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result};
use crate::mountinfo::unescape;
use crate::sys::fs;
use serde::Serialize;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where every distribution mounts its hierarchies.
const USUAL: &str = "/sys/fs/cgroup";

/// The three shapes of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only cgroup v2.
    Unified,
    /// cgroup v1 hierarchies and a v2 tree.
    Hybrid,
    /// Only cgroup v1.
    Legacy,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// "" for cgroup v2; else the v1 controllers as /proc/PID/cgroup lists them, such as `cpu,cpuacct` or
    /// `name=systemd`.
    pub key: String,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup that is the root of this mount; not "/" in a container without a cgroup namespace.
    pub root: String,
    /// Our own cgroup, seen from the mount; begins with "/".
    pub own: String,
    /// Controllers of this hierarchy. For v2 those of the mount's root; a directory below may have fewer.
    pub controllers: Vec<String>,
}

impl Tree {
    /// True when the hierarchy carries this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// How this host mounts its hierarchies; facts read once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The shape.
    pub kind: Kind,
    /// The cgroup v2 tree.
    pub v2: Option<Tree>,
    /// The cgroup v1 hierarchies, in the kernel's order.
    pub v1: Vec<Tree>,
}

impl Layout {
    /// Reads what is mounted. On a host with cgroup v2 at its usual place the mount table, which grows with
    /// the number of containers, is not read.
    ///
    /// # Errors
    /// No cgroup file system is mounted, or /proc cannot be read.
    pub fn detect() -> Result<Layout> {
        let own = fs::read_kernel_value("/proc/self/cgroup", 1 << 20)?;
        let mut layout = match usual_unified(&own) {
            Some(l) => l,
            None => parse(&fs::read_kernel("/proc/self/mountinfo", 256 << 20)?, &own)?,
        };
        if let Some(v2) = &mut layout.v2 {
            let file = v2.mount.join("cgroup.controllers");
            let text = fs::read_kernel_value(&file, 1 << 16)?;
            v2.controllers = words(&text);
        }
        Ok(layout)
    }

    /// The v1 hierarchy that carries `controller`.
    pub fn v1_tree(&self, controller: &str) -> Option<&Tree> {
        self.v1.iter().find(|t| t.has(controller))
    }

    /// True when the v2 tree offers `controller`.
    pub fn v2_has(&self, controller: &str) -> bool {
        self.v2.as_ref().is_some_and(|t| t.has(controller))
    }
}

/// The sentence that ends every "cannot be applied here" message.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Unified => "unified",
            Kind::Hybrid => "hybrid",
            Kind::Legacy => "legacy",
        };
        write!(f, "{kind} layout")?;
        if !self.v1.is_empty() {
            let names: Vec<&str> = self.v1.iter().map(|t| t.key.as_str()).collect();
            write!(f, ", cgroup v1 has {}", names.join(" "))?;
        }
        match &self.v2 {
            Some(t) if t.controllers.is_empty() => write!(f, ", cgroup v2 has no controller"),
            Some(t) => write!(f, ", cgroup v2 has {}", t.controllers.join(" ")),
            None => Ok(()),
        }
    }
}

/// cgroup v2 at its usual place, and our own cgroup visible there: then the mount shows the whole hierarchy
/// (or our namespace's part of it), and nothing else needs to be known.
fn usual_unified(own: &[u8]) -> Option<Layout> {
    let top = fs::open_dir_path(USUAL).ok()?;
    if fs::fs_magic(&top).ok()? != fs::magic::CGROUP2 {
        return None;
    }
    let (_, path) = own_groups(own).find(|(key, _)| key.is_empty())?;
    let seen = below(&path, "/")?;
    fs::statat(&top, Path::new(".").join(&seen[1..]), fs::AtFlags::empty()).ok()?;
    let tree = Tree {
        key: String::new(),
        mount: USUAL.into(),
        root: "/".into(),
        own: seen,
        controllers: Vec::new(),
    };
    Some(Layout { kind: Kind::Unified, v2: Some(tree), v1: Vec::new() })
}

/// Builds the layout from the bytes of /proc/self/mountinfo and /proc/self/cgroup (proc_pid_mountinfo(5),
/// cgroups(7)). The v2 controllers stay empty: they are in another file.
pub fn parse(mountinfo: &[u8], own: &[u8]) -> Result<Layout> {
    let mounts: Vec<Mount<'_>> = mountinfo.split(|b| *b == b'\n').filter_map(Mount::parse).collect();
    let visible: Vec<&Mount<'_>> =
        mounts.iter().filter(|m| m.kind.starts_with(b"cgroup")).filter(|m| is_visible(m, &mounts)).collect();
    let mut v2 = None;
    let mut v1 = Vec::new();
    for (key, path) in own_groups(own) {
        let first = key.split(',').next().unwrap_or_default();
        let fits = |m: &&&Mount<'_>| match key.is_empty() {
            true => m.kind == b"cgroup2",
            false => m.kind == b"cgroup" && m.options.split(|b| *b == b',').any(|o| o == first.as_bytes()),
        };
        let Some(m) = visible.iter().filter(fits).min_by_key(|m| m.rank()) else { continue };
        let root = text(m.root);
        let tree = Tree {
            mount: PathBuf::from(OsString::from_vec(unescape(m.point))),
            own: below(&path, &root).unwrap_or_else(|| "/".into()),
            root,
            controllers: key.split(',').filter(|c| !c.is_empty()).map(str::to_string).collect(),
            key,
        };
        match tree.key.is_empty() {
            true => v2 = Some(tree),
            false => v1.push(tree),
        }
    }
    let kind = match (&v2, v1.is_empty()) {
        (Some(_), true) => Kind::Unified,
        (Some(_), false) => Kind::Hybrid,
        (None, false) => Kind::Legacy,
        (None, true) => {
            return Err(Error::new(Code::Unsupported, "no cgroup file system is mounted")
                .hint("mount cgroup2 on /sys/fs/cgroup"));
        }
    };
    Ok(Layout { kind, v2, v1 })
}

/// The (hierarchy, path) pairs of a /proc/PID/cgroup file, in its order.
pub(super) fn own_groups(file: &[u8]) -> impl Iterator<Item = (String, String)> {
    file.split(|b| *b == b'\n').filter_map(|line| {
        let mut parts = line.splitn(3, |b| *b == b':');
        parts.next()?;
        let key = parts.next()?;
        let path = parts.next()?;
        Some((String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(path).into_owned()))
    })
}

/// `path` as seen from `root`, beginning with "/"; `None` when it is not there. Compares whole names.
pub(super) fn below(path: &str, root: &str) -> Option<String> {
    let rest = match root {
        "/" => path,
        _ => path.strip_prefix(root)?,
    };
    let seen = match rest {
        "" => "/",
        r if r.starts_with('/') => r,
        _ => return None,
    };
    (!seen.split('/').any(|c| c == "..")).then(|| seen.to_string())
}

/// The fields of a mountinfo line that matter here, still escaped.
struct Mount<'a> {
    id: &'a [u8],
    parent: &'a [u8],
    root: &'a [u8],
    point: &'a [u8],
    kind: &'a [u8],
    options: &'a [u8],
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`. The source may be
    /// empty, so fields are cut at each single space.
    fn parse(line: &'a [u8]) -> Option<Mount<'a>> {
        let mut f = line.split(|b| *b == b' ');
        let id = f.next()?;
        let parent = f.next()?;
        f.next()?;
        let root = f.next()?;
        let point = f.next()?;
        f.find(|x| *x == b"-")?;
        let kind = f.next()?;
        f.next()?;
        let options = f.next().unwrap_or_default();
        Some(Mount { id, parent, root, point, kind, options })
    }

    /// Smaller is better: the usual place, then a mount of the whole hierarchy, then the shorter path.
    fn rank(&self) -> (bool, bool, usize) {
        (!covers(USUAL.as_bytes(), self.point), self.root != b"/", self.point.len())
    }
}

/// True when the path `point` is `top` or below it.
fn covers(top: &[u8], point: &[u8]) -> bool {
    let top = top.strip_suffix(b"/").unwrap_or(top);
    point.strip_prefix(top).is_some_and(|r| r.is_empty() || r.starts_with(b"/"))
}

/// A mount is reachable by its path unless another mount lies on that path that is not one of its parents:
/// that one was put on top later.
fn is_visible(mount: &Mount<'_>, all: &[Mount<'_>]) -> bool {
    let mut parents = vec![mount.id];
    let mut next = mount.parent;
    while let Some(p) = all.iter().find(|m| m.id == next).filter(|p| !parents.contains(&p.id)) {
        parents.push(p.id);
        next = p.parent;
    }
    !all.iter().any(|m| covers(m.point, mount.point) && !parents.contains(&m.id))
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

fn words(file: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(file).split_whitespace().map(str::to_string).collect()
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
