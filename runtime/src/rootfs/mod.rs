//! A container's root as one directory handle. Every path below it is resolved by the kernel inside it
//! (openat2 with `RESOLVE_IN_ROOT`, never through magic links); no function takes a joined path string, so an
//! image cannot lead us outside, however it races. May use: `sys`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result, quoted};
use crate::sys::errno;
use crate::sys::fs::{self, FileType, OFlags, ResolveFlags};
use crate::sys::{BorrowedFd, OwnedFd};
use std::os::fd::AsFd;

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
        fs::openat2(&self.fd, path, OFlags::PATH, 0, INSIDE)
    }

    /// Opens an existing object with other flags.
    pub fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        fs::openat2(&self.fd, path, flags, 0, INSIDE)
    }

    /// As `open_path`, but the last component may not be a symbolic link.
    pub fn open_nofollow(&self, path: &str) -> Result<OwnedFd> {
        fs::openat2(&self.fd, path, OFlags::PATH | OFlags::NOFOLLOW, 0, INSIDE)
    }

    /// An `O_PATH` handle on `path`, created as directory or empty file when it is missing.
    pub fn open_or_create(&self, path: &str, missing: Missing) -> Result<OwnedFd> {
        match self.open_path(path) {
            Err(e) if e.is(errno::ENOENT) => {}
            r => return r,
        }
        match missing {
            Missing::Dir => self.make_dirs(path),
            Missing::File => {
                let (dir, name) = self.parent_of(path)?;
                match fs::mknodat(&dir, &name, FileType::RegularFile, 0o644, 0, 0) {
                    // Somebody else was quicker, or a dangling link is in the way: the open below decides.
                    Err(e) if !e.is(errno::EEXIST) => return Err(e),
                    _ => {}
                }
                fs::openat2(&dir, &name, OFlags::PATH | OFlags::NOFOLLOW, 0, INSIDE).and_then(not_a_link)
            }
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
        let dir = match self.open(parent, OFlags::PATH | OFlags::DIRECTORY) {
            Err(e) if e.is(errno::ENOENT) => self.make_dirs(parent)?,
            r => r?,
        };
        Ok((dir, name.to_string()))
    }

    /// mkdir -p inside the root: the longest existing prefix may go through symbolic links (inside); below it
    /// each component is made and opened without following anything.
    pub fn make_dirs(&self, path: &str) -> Result<OwnedFd> {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
        let mut depth = parts.len();
        let mut dir = loop {
            let prefix = if depth == 0 { "/".to_string() } else { parts[..depth].join("/") };
            match self.open(&prefix, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(fd) => break fd,
                Err(e) if e.is(errno::ENOENT) && depth > 0 => depth -= 1,
                Err(e) => return Err(e),
            }
        };
        for part in &parts[depth..] {
            if *part == ".." {
                return Err(Error::new(
                    Code::Spec,
                    format!("{} has .. below a missing directory", quoted(path)),
                ));
            }
            match fs::mkdirat(&dir, part, 0o755) {
                Err(e) if !e.is(errno::EEXIST) => return Err(e),
                _ => {}
            }
            dir = fs::openat2(&dir, part, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0, INSIDE)?;
        }
        Ok(dir)
    }
}

fn not_a_link(fd: OwnedFd) -> Result<OwnedFd> {
    if fs::fstat(&fd)?.kind() == FileType::Symlink {
        return Err(Error::os("openat2", "a dangling symbolic link", errno::ELOOP));
    }
    Ok(fd)
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
    fn a_dangling_link_is_not_followed_for_creation() {
        let (dir, root) = root();
        symlink("/nowhere/at/all", dir.path().join("d")).unwrap();
        let e = root.open_or_create("/d", Missing::File).unwrap_err();
        assert_eq!(e.errno(), Some(errno::ELOOP), "{e}");
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn proc_refuses_to_leave() {
        let proc = Proc::open().unwrap();
        assert!(proc.read("self/stat").is_ok());
        assert!(proc.open_file("self/root/etc", OFlags::PATH).is_err());
        assert!(proc.open_file("../etc", OFlags::PATH).is_err());
    }
}
