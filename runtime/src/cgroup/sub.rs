//! `exec --cgroup`: a process that joins the container in a group below the container's own, of every hierarchy or of
//! some. May use: `sys::fs`, the cgroup module's types.
#![forbid(unsafe_code)]

use super::{Cgroup, Dir, ExecTarget};
use crate::error::{Code, Error, Result, errno_text, quoted};
use crate::sys::{OwnedFd, errno, fs};

/// Where a process is to be below the container's group. The path has no `..`; a slash in front changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Sub<'a> {
    /// v1 controllers whose hierarchies it is about; none means all hierarchies, the v2 tree too.
    pub controllers: &'a [String],
    pub path: &'a str,
}

impl Cgroup {
    /// As [`Cgroup::exec_target`], with a group that must exist named for some hierarchies.
    ///
    /// # Errors
    /// The texts are runc's, which callers look for.
    pub(super) fn sub_target(&self, subs: &[Sub<'_>], init_pid: i32, moved: bool) -> Result<ExecTarget> {
        for name in subs.iter().flat_map(|s| s.controllers) {
            if !self.dirs.iter().any(|d| has(d, name)) {
                let text = format!("unknown controller {name} in SubCgroupPaths");
                return Err(Error::new(Code::Usage, text).hint("want v1 controllers that this host has"));
            }
        }
        let mut out = ExecTarget { v2: None, entrances: Vec::new() };
        for dir in self.dirs.iter().filter(|d| !d.is_v2()) {
            let group = match place(dir, subs)? {
                Some(path) => below(dir, path)?,
                None => below(dir, "/")?,
            };
            out.entrances
                .push(fs::openat(&group, "tasks", fs::OFlags::WRONLY, 0).map_err(|e| refused(dir, "", &e))?);
        }
        let Some(dir) = self.v2() else { return Ok(out) };
        let group = match place(dir, subs)? {
            Some(path) => below(dir, path)?,
            None => self.group_of(dir.fd()?, init_pid)?,
        };
        if moved {
            out.entrances.push(fs::openat(&group, "cgroup.procs", fs::OFlags::WRONLY, 0)?);
        } else {
            out.v2 = Some(group);
        }
        Ok(out)
    }
}

fn has(dir: &Dir, controller: &str) -> bool {
    dir.key.split(',').any(|c| c == controller)
}

/// The path for this hierarchy, `None` when nothing is said about it.
fn place<'a>(dir: &Dir, subs: &[Sub<'a>]) -> Result<Option<&'a str>> {
    let mut said =
        subs.iter().filter(|s| s.controllers.is_empty() || s.controllers.iter().any(|c| has(dir, c)));
    let Some(first) = said.next() else { return Ok(None) };
    match said.find(|s| s.path != first.path) {
        Some(other) => {
            let text = format!(
                "{} and {} are of one hierarchy, {}",
                quoted(first.path),
                quoted(other.path),
                dir.key
            );
            Err(Error::new(Code::Usage, format!("invalid --cgroup arguments: {text}")))
        }
        None => Ok(Some(first.path)),
    }
}

/// Opens the group `path` below `dir`, one component after the other beneath it.
fn below(dir: &Dir, path: &str) -> Result<OwnedFd> {
    let path = path.trim_matches('/');
    let inside = if path.is_empty() { "." } else { path };
    let how = fs::ResolveFlags::BENEATH | fs::ResolveFlags::NO_SYMLINKS | fs::ResolveFlags::NO_XDEV;
    let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY;
    fs::openat2(dir.fd()?, inside, flags, 0, how).map_err(|e| refused(dir, path, &e))
}

/// In the form in which runc says it, where the process writes itself into a file.
fn refused(dir: &Dir, path: &str, e: &Error) -> Error {
    let errno = e.errno().unwrap_or(errno::EIO);
    let file = dir.path.join(path).join("cgroup.procs");
    Error::os("openat2", quoted(&file.to_string_lossy()), errno).step(format!(
        "error adding pid 0 to cgroups: {}: {}",
        file.display(),
        errno_text(errno)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{Saved, Whose};

    fn dir(key: &str) -> Dir {
        Dir::new(key, std::path::Path::new("/sys/fs/cgroup/none"), Whose::Ours)
    }

    #[test]
    fn a_path_counts_for_the_hierarchies_it_names() {
        let (cpu, memory) = (["cpu".to_string()], ["memory".to_string()]);
        let subs = [Sub { controllers: &cpu, path: "a" }, Sub { controllers: &memory, path: "b" }];
        assert_eq!(place(&dir("cpu,cpuacct"), &subs).unwrap(), Some("a"));
        assert_eq!(place(&dir("memory"), &subs).unwrap(), Some("b"));
        assert_eq!(place(&dir("pids"), &subs).unwrap(), None);
        assert_eq!(place(&dir(""), &subs).unwrap(), None);
        let all = [Sub { controllers: &[], path: "/x" }];
        assert_eq!(place(&dir(""), &all).unwrap(), Some("/x"));
    }

    #[test]
    fn one_hierarchy_has_one_place() {
        let (cpu, acct) = (["cpu".to_string()], ["cpuacct".to_string()]);
        let subs = [Sub { controllers: &cpu, path: "a" }, Sub { controllers: &acct, path: "b" }];
        assert!(place(&dir("cpu,cpuacct"), &subs).unwrap_err().to_string().contains("one hierarchy"));
        assert_eq!(place(&dir("cpu"), &subs).unwrap(), Some("a"));
    }

    #[test]
    fn unknown_controllers_are_named() {
        let group = Cgroup::open(&Saved::default()).unwrap();
        let names = ["memory".to_string()];
        let e = group.sub_target(&[Sub { controllers: &names, path: "a" }], 1, false).unwrap_err();
        assert!(e.to_string().contains("unknown controller memory"), "{e}");
    }
}
