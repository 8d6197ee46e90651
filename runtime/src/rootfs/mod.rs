//! A container's root as one directory handle. Every path below it is resolved by the kernel inside it
//! (openat2 with `RESOLVE_IN_ROOT`, never through magic links); no function takes a joined path string, so an
//! image cannot lead us outside, however it races. May use: `sys`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result, quoted};
use crate::sys::errno;
use crate::sys::fs::{self, FileType, OFlags, ResolveFlags};
use crate::sys::{BorrowedFd, OwnedFd};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Handle on a container's root.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
}

/// What a missing path is created as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Dir,
    File,
}

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl RootDir {
    /// From an `O_PATH` handle (or the descriptor of an attached mount).
    pub fn new(fd: OwnedFd) -> Self {
        RootDir { fd }
    }

    /// The handle itself.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// An `O_PATH` handle on an existing object; symbolic links are followed inside the root.
    pub fn open_path(&self, path: &str) -> Result<OwnedFd> {
        inside(&self.fd, path, OFlags::PATH)
    }

    /// Opens an existing object with other flags.
    pub fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        inside(&self.fd, path, flags)
    }

    /// As `open_path`, but the last component may not be a symbolic link.
    pub fn open_nofollow(&self, path: &str) -> Result<OwnedFd> {
        inside(&self.fd, path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    /// As `open_path`; `None` when nothing is there.
    pub fn find(&self, path: &str) -> Result<Option<OwnedFd>> {
        inside_if_there(&self.fd, path, OFlags::PATH)
    }

    /// As `find`, for a path without any symbolic link in it; with one, and with "..", `None` as well.
    pub fn find_direct(&self, path: &str) -> Option<OwnedFd> {
        let direct = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        if path.split('/').any(|part| part == "..") {
            return None;
        }
        fs::openat2_if_there(&self.fd, path, OFlags::PATH, direct).ok().flatten()
    }

    /// Makes the last component of `path` a directory below one that [`RootDir::find_direct`] would find, and gives its handle;
    /// `None` when that is not so, or when something is there that is not a directory: then [`RootDir::open_or_create`] goes
    /// the long way. Nothing is followed in either step.
    pub fn make_direct(&self, path: &str) -> Option<OwnedFd> {
        let (parent, name) = path.trim_end_matches('/').rsplit_once('/')?;
        if name.is_empty() || name == "." {
            return None;
        }
        let parent = self.find_direct(if parent.is_empty() { "/" } else { parent })?;
        fs::mkdirat(&parent, name, 0o755).ok()?;
        let direct = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        fs::openat2(&parent, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0, direct).ok()
    }

    /// An `O_PATH` handle on `path`, created as directory or empty file when it is missing.
    pub fn open_or_create(&self, path: &str, missing: Missing) -> Result<OwnedFd> {
        match self.find(path)? {
            Some(fd) => Ok(fd),
            None => self.walk(path, missing),
        }
    }

    /// The directory that holds `path`'s last component, made when missing, and that component.
    pub fn parent_of(&self, path: &str) -> Result<(OwnedFd, String)> {
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        if name.is_empty() || name == "." || name == ".." {
            return Err(Error::new(Code::Spec, format!("{} does not name a file", quoted(path))));
        }
        let parent = if parent.is_empty() { "/" } else { parent };
        let dir = match inside_if_there(&self.fd, parent, OFlags::PATH | OFlags::DIRECTORY)? {
            Some(dir) => dir,
            None => self.make_dirs(parent)?,
        };
        Ok((dir, name.to_string()))
    }

    /// mkdir -p inside the root.
    pub fn make_dirs(&self, path: &str) -> Result<OwnedFd> {
        self.walk(path, Missing::Dir)
    }

    /// Goes down `path` one component at a time and makes what is missing. Symbolic links are followed here and not
    /// by the kernel, so that one whose target is missing leads to where it points, inside the root: images have
    /// such links (/etc/resolv.conf) where engines mount files. Nothing is followed in the step that makes an
    /// object, and no step leaves the directory it starts from, however the tree changes meanwhile.
    fn walk(&self, path: &str, missing: Missing) -> Result<OwnedFd> {
        let refused = |e: i32, why: &str| Error::os("openat2", quoted(path), e).hint(why);
        let mut here = fs::dup(&self.fd)?;
        // The components of `here`, for "..": symbolic links are resolved in it already.
        let mut done: Vec<OsString> = Vec::new();
        let mut todo = parts(OsStr::new(path));
        let (mut links, mut made) = (0, false);
        while let Some(part) = todo.pop() {
            if part == ".." {
                if made {
                    return Err(refused(errno::ENOENT, "it has .. below a missing directory"));
                }
                done.pop();
                here = if cfg!(feature = "weak-links") {
                    inside(&here, "..", OFlags::PATH)?
                } else {
                    self.open_dir(&done)?
                };
                continue;
            }
            let next = match open_component(&here, &part)? {
                Some(next) => next,
                None => {
                    made = true;
                    make_component(&here, &part, if todo.is_empty() { missing } else { Missing::Dir })?;
                    inside(&here, &part, OFlags::PATH | OFlags::NOFOLLOW)?
                }
            };
            match fs::fstat(&next)?.kind() {
                FileType::Directory => {
                    here = next;
                    done.push(part);
                }
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS || fs::fs_magic(&next)? == fs::magic::PROC {
                        return Err(refused(errno::ELOOP, "too many symbolic links, or one of procfs"));
                    }
                    let target = fs::readlinkat(&next, "")?;
                    if target.as_bytes().starts_with(b"/") {
                        here = if cfg!(feature = "weak-links") {
                            fs::open_dir_path("/")?
                        } else {
                            fs::dup(&self.fd)?
                        };
                        done.clear();
                    }
                    todo.extend(parts(&target));
                }
                _ if todo.is_empty() && missing == Missing::File => return Ok(next),
                _ => return Err(refused(errno::ENOTDIR, "something in it is not a directory")),
            }
        }
        Ok(here)
    }

    fn open_dir(&self, parts: &[OsString]) -> Result<OwnedFd> {
        let mut path = PathBuf::from("/");
        path.extend(parts);
        inside(&self.fd, path, OFlags::PATH | OFlags::DIRECTORY)
    }
}

/// As in the kernel (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Components in reverse order, without empty ones and ".".
fn parts(path: &OsStr) -> Vec<OsString> {
    let parts = path.as_bytes().split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".");
    parts.rev().map(|p| OsStr::from_bytes(p).to_os_string()).collect()
}

/// Opens what `path` names with `dir` as the root of everything.
fn inside(dir: &OwnedFd, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
    let (path, resolve) = bounds(path.as_ref());
    fs::openat2(dir, path, flags, 0, resolve)
}

/// The same; `None` when nothing is there.
fn inside_if_there(dir: &OwnedFd, path: impl AsRef<Path>, flags: OFlags) -> Result<Option<OwnedFd>> {
    let (path, resolve) = bounds(path.as_ref());
    fs::openat2_if_there(dir, path, flags, resolve)
}

/// What keeps a path inside.
#[cfg(not(feature = "weak-links"))]
fn bounds(path: &Path) -> (&Path, ResolveFlags) {
    (path, INSIDE)
}

/// As runtimes did it: links of the image lead to the host.
#[cfg(feature = "weak-links")]
fn bounds(path: &Path) -> (&Path, ResolveFlags) {
    let below = path.strip_prefix("/").unwrap_or(path);
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    (below, INSIDE.difference(ResolveFlags::IN_ROOT))
}

fn open_component(dir: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>> {
    inside_if_there(dir, name, OFlags::PATH | OFlags::NOFOLLOW)
}

/// Somebody may be quicker: what is there then is looked at by the caller.
fn make_component(dir: &OwnedFd, name: &OsStr, kind: Missing) -> Result<()> {
    let made = match kind {
        Missing::Dir => fs::mkdirat(dir, name, 0o755),
        Missing::File => fs::mknodat(dir, name, FileType::RegularFile, 0o644, 0, 0),
    };
    match made {
        Err(e) if e.is(errno::EEXIST) => Ok(()),
        r => r,
    }
}

/// The host's /proc, opened before anything of the container is touched. Writes to process attributes go
/// through it and never through a path that an image controls.
#[derive(Debug)]
pub struct Proc {
    fd: OwnedFd,
}

/// proc(5): the inode number of a procfs root.
const PROC_ROOT_INO: u64 = 1;

impl Proc {
    /// Opens and verifies /proc.
    ///
    /// # Errors
    /// When /proc is not the root of a procfs.
    pub fn open() -> Result<Proc> {
        let fd = fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0)?;
        if fs::fs_magic(&fd)? != fs::magic::PROC || fs::fstat(&fd)?.ino != PROC_ROOT_INO {
            return Err(
                Error::new(Code::Unsupported, "/proc is not a procfs").hint("mount -t proc proc /proc")
            );
        }
        Ok(Proc { fd })
    }

    /// The handle itself.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Another handle on the same, which needs no second look.
    pub fn again(&self) -> Result<Proc> {
        fs::dup(&self.fd).map(|fd| Proc { fd })
    }

    /// Opens a file of this procfs. `RESOLVE_NO_XDEV` refuses anything that is mounted over a part of it.
    pub fn open_file(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        fs::openat2(&self.fd, path, flags, 0, resolve)
    }

    /// Writes a value in one piece.
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        let fd = self.open_file(path, OFlags::WRONLY)?;
        fs::write_once(&fd, value.as_bytes()).map_err(|e| e.path(format!("/proc/{path}")))
    }

    /// Reads a small file as text.
    pub fn read(&self, path: &str) -> Result<String> {
        let fd = self.open_file(path, OFlags::RDONLY)?;
        Ok(String::from_utf8_lossy(&fs::read_all(&fd, 1 << 20)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, RootDir) {
        let dir = tempfile::tempdir().unwrap();
        let fd = fs::open_dir_path(dir.path()).unwrap();
        (dir, RootDir::new(fd))
    }

    #[test]
    fn links_resolve_inside() {
        let (dir, root) = root();
        symlink("/etc", dir.path().join("out")).unwrap();
        symlink("../../../..", dir.path().join("up")).unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        root.open_or_create("/out/made/here", Missing::Dir).unwrap();
        root.open_or_create("/up/file", Missing::File).unwrap();
        assert!(dir.path().join("etc/made/here").is_dir());
        assert!(dir.path().join("file").is_file());
    }

    #[test]
    fn dangling_links_lead_to_where_they_point_inside() {
        let (dir, root) = root();
        let here = dir.path();
        std::fs::create_dir(here.join("etc")).unwrap();
        symlink("../run/a/resolv.conf", here.join("etc/resolv.conf")).unwrap();
        symlink("/../../var/data", here.join("data")).unwrap();
        root.open_or_create("/etc/resolv.conf", Missing::File).unwrap();
        assert!(here.join("run/a/resolv.conf").is_file());
        root.open_or_create("/data/deep/er", Missing::Dir).unwrap();
        assert!(here.join("var/data/deep/er").is_dir());
        // Now that the targets are there, the kernel resolves the same.
        assert!(root.open_path("/etc/resolv.conf").is_ok() && root.open_path("/data/deep/er").is_ok());
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let (dir, root) = root();
        symlink("loop", dir.path().join("loop")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        for (path, errno) in [
            ("/loop", errno::ELOOP),
            ("/loop/x", errno::ELOOP),
            ("/file/x", errno::ENOTDIR),
            ("/gone/../x", errno::ENOENT),
        ] {
            let e = root.make_dirs(path).unwrap_err();
            assert_eq!(e.errno(), Some(errno), "{path}: {e}");
        }
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn proc_refuses_to_leave() {
        let proc = Proc::open().unwrap();
        assert!(proc.read("self/stat").is_ok());
        assert!(proc.open_file("self/root/etc", OFlags::PATH).is_err());
        assert!(proc.open_file("../etc", OFlags::PATH).is_err());
    }
}
