//! Secret and config files: copies in memory with their mode and owner, bound read-only into the container, and replaced
//! in place when their source changes. A bound file is one inode for good, so new content goes into that inode: a reader
//! between the two sees a mix, a program that reads when it is told by the signal never does.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Failure;
use crate::dirs::Dirs;
use crate::names::RunId;
use crate::sys::file::{in_memory, mount_tmpfs, unmount};
use crate::unit::dir::read_regular;
use crate::unit::service::{FileMount, OnChange, Service};

/// The largest secret or config file.
const FILE_MAX: usize = 1 << 20;
/// Where the run directory itself is on a disk, the files get this file system.
const TMPFS: &std::ffi::CStr = c"mode=0700,size=64m";
/// Beside a copy that was replaced, until the signal has been sent.
const MARK: &str = "signal";

/// A secret or config file whose source differs from the copy that the container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Path inside the container.
    pub target: String,
    /// What the service file asks for. With `Signal` the new content is already in place: send the signal, then call
    /// [`refreshed`].
    pub action: OnChange,
}

/// What [`refresh_files`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// In the order of the service file.
    pub changed: Vec<Changed>,
    /// Sources that cannot be read; their old copies stay.
    pub failed: Vec<Failure>,
}

/// Copies all files of a run; the paths of the copies in the order of the service's files.
pub(super) fn copy(
    config: &Value,
    service: &Service,
    run: &RunId,
    dirs: &Dirs,
) -> Result<Vec<PathBuf>, Failure> {
    if service.files.is_empty() {
        return Ok(Vec::new());
    }
    let dir = dirs.files(run);
    ready(&dir)?;
    let mut copies = Vec::new();
    for file in &service.files {
        let content = read(file)?;
        let owner = (host_id(config, "uidMappings", file.uid)?, host_id(config, "gidMappings", file.gid)?);
        let copy = dir.join(name(&file.target));
        write(&copy, &content, file.mode, owner).map_err(|e| Failure::write(&copy, &e))?;
        copies.push(copy);
    }
    Ok(copies)
}

/// Makes the directory of a run's files and sees to it that it is in memory: a secret never reaches a disk.
fn ready(dir: &Path) -> Result<(), Failure> {
    let all = dir.parent().unwrap_or(dir);
    super::make_dir(all)?;
    let memory = in_memory(all).map_err(|e| Failure::write(all, &e))?;
    if !memory {
        mount_tmpfs(all, TMPFS).map_err(|e| {
            Failure::new(
                "internal",
                format!("{}: not in memory, and a tmpfs cannot be mounted: {e}", all.display()),
            )
        })?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(Failure::write(dir, &e)),
        _ => Ok(()),
    }
}

/// Unmounts the file system in memory that was mounted when the run directory was on a disk. All files of all runs go
/// with it: for the end of a daemon that leaves no container behind. Nothing mounted is success.
///
/// # Errors
/// The file system cannot be unmounted.
pub fn release(dirs: &Dirs) -> io::Result<()> {
    let all = dirs.run.join("files");
    match unmount(&all) {
        Err(e) if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => Err(e),
        _ => Ok(()),
    }
}

/// The name of a copy: the same for the same target, whatever the order of the files.
fn name(target: &str) -> String {
    Sha256::digest(target).iter().take(12).map(|b| format!("{b:02x}")).collect()
}

fn read(file: &FileMount) -> Result<Vec<u8>, Failure> {
    let code = if file.secret { "secret-missing" } else { "config-missing" };
    read_regular(&file.source, FILE_MAX)
        .map_err(|e| Failure::new(code, format!("{} for {}: {e}", file.source.display(), file.target)))
}

/// The id on the host of an id inside, by the mappings of the configuration's user namespace, if it has one.
fn host_id(config: &Value, mappings: &str, id: u32) -> Result<u32, Failure> {
    let linux = config.get("linux");
    let namespaces = linux.and_then(|l| l.get("namespaces")).and_then(Value::as_array);
    if !namespaces.is_some_and(|n| n.iter().any(|n| n["type"] == "user")) {
        return Ok(id);
    }
    let all = linux.and_then(|l| l.get(mappings)).and_then(Value::as_array);
    let found = all.into_iter().flatten().find_map(|m| {
        let number = |key: &str| m.get(key).and_then(Value::as_u64);
        let offset = u64::from(id).checked_sub(number("containerID")?)?;
        if offset >= number("size")? {
            return None;
        }
        u32::try_from(number("hostID")?.checked_add(offset)?).ok()
    });
    found.ok_or_else(|| {
        Failure::new("bundle-invalid", format!("linux.{mappings} has no id on the host for {id}"))
    })
}

/// Nobody but root can read it until it has its owner, and it has its mode last.
fn write(path: &Path, content: &[u8], mode: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    fchown(&file, Some(uid), Some(gid))?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// Compares the sources of a run's files with their copies, and puts new content in place for those that ask for a signal.
/// Says nothing about files that ask for nothing. May be called at any time; a change is told again until a restart or
/// [`refreshed`] has dealt with it, also over the death of the daemon.
pub fn refresh_files(service: &Service, run: &RunId, dirs: &Dirs) -> Refreshed {
    let mut found = Refreshed::default();
    for file in service.files.iter().filter(|f| f.on_change != OnChange::Ignore) {
        let copy = dirs.files(run).join(name(&file.target));
        match refresh(file, &copy) {
            Ok(true) => {
                found.changed.push(Changed { target: file.target.clone(), action: file.on_change.clone() })
            }
            Ok(false) => {}
            Err(e) => found.failed.push(e),
        }
    }
    found
}

fn refresh(file: &FileMount, copy: &Path) -> Result<bool, Failure> {
    let mut old = Vec::new();
    match File::open(copy).and_then(|mut f| f.read_to_end(&mut old)) {
        // The run has no such file: it was made from another version of the service.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Failure::write(copy, &e)),
        Ok(_) => {}
    }
    let new = read(file)?;
    let mark = copy.with_extension(MARK);
    if !matches!(file.on_change, OnChange::Signal(_)) {
        return Ok(old != new);
    }
    if old == new {
        return Ok(mark.exists());
    }
    // The mark comes first: killed between the two writes, the next look still tells of the change.
    let in_place = || {
        File::create(&mark)?;
        let mut file = OpenOptions::new().write(true).open(copy)?;
        file.write_all(&new)?;
        file.set_len(new.len() as u64)
    };
    in_place().map_err(|e| Failure::write(copy, &e))?;
    Ok(true)
}

/// The signals of the last [`refresh_files`] have been sent.
///
/// # Errors
/// A mark cannot be removed.
pub fn refreshed(run: &RunId, dirs: &Dirs) -> io::Result<()> {
    let entries = match std::fs::read_dir(dirs.files(run)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == MARK) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
