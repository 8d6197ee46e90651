//! House-keeping over all log directories: how much there is, the cap for the whole host, removal. Never touches a file that
//! a keeper writes to.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::names::Instance;
use crate::sys;

/// The most that the logs of a host may take, whatever its file system could hold.
const CAP_MAX: u64 = 1 << 30;

/// What the log of an instance takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// What [`enforce_cap`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files that are gone.
    pub files: u64,
    /// Bytes that were in them.
    pub bytes: u64,
    /// Bytes that are left; more than the cap when all that is left is being written.
    pub left: u64,
}

/// 1 GiB or a tenth of the file system, whichever is less.
///
/// # Errors
/// Those of statvfs(3).
pub fn default_cap(root: &Path) -> io::Result<u64> {
    Ok((sys::logs::filesystem_size(root)? / 10).min(CAP_MAX))
}

/// What each instance's log takes, by the names of the directories in `root`.
///
/// # Errors
/// `root` cannot be read. A directory that goes away meanwhile is left out.
pub fn usage(root: &Path) -> io::Result<BTreeMap<String, Usage>> {
    let all = files(root)?;
    Ok(all
        .into_iter()
        .map(|(name, files)| {
            let bytes = files.iter().map(|(_, size)| size).sum();
            (name, Usage { files: files.len() as u64, bytes })
        })
        .collect())
}

/// Brings all logs together down to `total` bytes: the oldest file of the largest instance goes first, the file that is
/// being written never.
///
/// # Errors
/// `root` cannot be read, or a file cannot be removed; the others have been tried by then.
pub fn enforce_cap(root: &Path, total: u64) -> io::Result<Removed> {
    let mut all = files(root)?;
    let mut removed = Removed::default();
    let bytes = |files: &[(u64, u64)]| files.iter().map(|(_, size)| size).sum::<u64>();
    removed.left = all.values().map(|f| bytes(f)).sum();
    let mut failed = None;
    while removed.left > total {
        let largest = all.iter_mut().filter(|(_, f)| f.len() > 1).max_by_key(|(_, f)| bytes(f));
        let Some((name, files)) = largest else { break };
        let (number, size) = files.remove(0);
        match fs::remove_file(super::file(&root.join(name), number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => failed = Some(e),
            _ => {
                removed.files += 1;
                removed.bytes += size;
                removed.left -= size;
            }
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// The file that an instance's log is written to, or was last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Whose log.
    pub instance: Instance,
    /// The file's number.
    pub number: u64,
    /// Bytes in it.
    pub bytes: u64,
}

/// The files that are written, or were last, the largest first; empty ones are left out.
///
/// # Errors
/// As [`usage`].
pub fn heaviest(root: &Path) -> io::Result<Vec<Current>> {
    let last = |(name, files): (String, Vec<(u64, u64)>)| {
        let (number, bytes) = *files.last().filter(|(_, bytes)| *bytes > 0)?;
        Some(Current { instance: name.parse().ok()?, number, bytes })
    };
    let mut all: Vec<_> = files(root)?.into_iter().filter_map(last).collect();
    all.sort_by_key(|c| std::cmp::Reverse(c.bytes));
    Ok(all)
}

/// Removes a file that nobody writes. An empty one with the next number takes its place: numbers go on.
///
/// # Errors
/// The next one cannot be made, or this one not be removed.
pub fn replace(root: &Path, current: &Current) -> io::Result<()> {
    let dir = root.join(current.instance.to_string());
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(super::file(&dir, current.number.saturating_add(1)))?;
    fs::remove_file(super::file(&dir, current.number))
}

/// Removes a log directory with everything in it. That there is none is no error.
///
/// # Errors
/// Something cannot be removed.
pub fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Number and size of every log file, lowest number first, by the names of the directories.
fn files(root: &Path) -> io::Result<BTreeMap<String, Vec<(u64, u64)>>> {
    let mut all = BTreeMap::new();
    let dirs = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(all),
        dirs => dirs?,
    };
    for dir in dirs {
        let dir = dir?;
        let (Ok(name), true) = (dir.file_name().into_string(), dir.file_type().is_ok_and(|t| t.is_dir()))
        else {
            continue;
        };
        let mut files = Vec::new();
        for number in super::numbers(&dir.path()).unwrap_or_default() {
            match fs::symlink_metadata(super::file(&dir.path(), number)) {
                Ok(m) if m.is_file() => files.push((number, m.len())),
                _ => {}
            }
        }
        all.insert(name, files);
    }
    Ok(all)
}
