//! `tmpcopyup`: fills a new tmpfs with what the image has at its mount point, by descriptors only.

use crate::error::{Code, Error, Result};
use crate::rootfs::RootDir;
use crate::sys::fs::{self, AtFlags, FileType, OFlags, Stat};
use crate::sys::{OwnedFd, errno};
use std::os::fd::AsFd;

/// Directories nested deeper than this are refused: an image must not exhaust our stack or descriptors.
const MAX_DEPTH: usize = 64;

/// Copies the tree at `dest` below `root` into the detached mount `into`. A missing directory is no error.
pub fn copy(root: &RootDir, dest: &str, into: &OwnedFd) -> Result<()> {
    let from = match root.open(dest, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(e) if e.is(errno::ENOENT) => return Ok(()),
        r => r?,
    };
    let to = fs::openat(into, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    let st = fs::fstat(&from)?;
    fs::chown(&to, Some(st.uid), Some(st.gid))?;
    let old = fs::umask(0);
    let done = copy_dir(&from, &to, 0);
    fs::umask(old);
    done
}

fn copy_dir<A: AsFd, B: AsFd>(from: &A, to: &B, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::new(Code::Spec, format!("directories nested deeper than {MAX_DEPTH}")));
    }
    for name in fs::list(from)? {
        let st = fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = st.mode & 0o7777;
        match st.kind() {
            FileType::Directory => {
                fs::mkdirat(to, &name, mode)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let (a, b) = (fs::openat(from, &name, flags, 0)?, fs::openat(to, &name, flags, 0)?);
                copy_dir(&a, &b, depth + 1)?;
                same_rights(&b, st)?;
                continue;
            }
            FileType::RegularFile => {
                let a = fs::openat(from, &name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, 0)?;
                let b = fs::openat(to, &name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode)?;
                copy_bytes(&a, &b)?;
                same_rights(&b, st)?;
                continue;
            }
            FileType::Symlink => fs::symlinkat(fs::readlinkat(from, &name)?, to, &name)?,
            kind => fs::mknodat(to, &name, kind, mode, st.rdev.0, st.rdev.1)?,
        }
        fs::chownat(to, &name, Some(st.uid), Some(st.gid))?;
    }
    Ok(())
}

/// In this order: a change of owner takes set-user-ID away (chown(2)), and mkdir(2) does not take set-group-ID.
fn same_rights(to: &OwnedFd, st: Stat) -> Result<()> {
    fs::chown(to, Some(st.uid), Some(st.gid))?;
    fs::chmod(to, st.mode & 0o7777)
}

fn copy_bytes(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut buf = vec![0u8; 64 * 1024];
    loop {
        match fs::read_some(from, &mut buf)? {
            0 => return Ok(()),
            n => fs::write_all(to, &buf[..n])?,
        }
    }
}
