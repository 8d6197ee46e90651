//! Who else could write what root reads, runs and trusts.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Finding;
use super::daemon::Seen;
use crate::dirs::is_service_file;

/// Writable for the group, for all; the bit that keeps others from renaming what is not theirs (inode(7)).
const GROUP: u32 = 0o020;
const OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

pub(super) fn look(seen: &Seen, unit: Option<&Path>) -> Vec<Finding> {
    let mut paths: Vec<(&str, PathBuf)> = vec![
        ("files.services", seen.dirs.services.clone()),
        ("files.state", seen.dirs.state.clone()),
        ("files.run", seen.dirs.run.clone()),
    ];
    let services = fs::read_dir(&seen.dirs.services).into_iter().flatten().flatten().map(|e| e.path());
    paths.extend(services.filter(|p| is_service_file(p)).map(|p| ("files.services", p)));
    paths.extend(seen.programs.iter().chain(&seen.runtime).map(|p| ("files.program", p.clone())));
    paths.extend(std::env::current_exe().ok().map(|p| ("files.program", p)));
    paths.extend(unit.map(|p| ("files.unit", p.to_owned())));
    let mut done = BTreeSet::new();
    let mut out: Vec<_> = paths.iter().flat_map(|(check, path)| chain(check, path, &mut done)).collect();
    out.extend(seen.sockets.iter().filter_map(|path| socket(path, &fs::metadata(path).ok()?)));
    out
}

/// A path and every directory above it: who may write one of them can exchange all below. What is not there is nobody's.
fn chain(check: &str, path: &Path, done: &mut BTreeSet<PathBuf>) -> Vec<Finding> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let new = path.ancestors().filter(|p| done.insert(p.to_path_buf()));
    new.filter_map(|p| Some((p, fs::metadata(p).ok()?)))
        .filter_map(|(p, m)| unsafe_for(check, p, &Mode::of(&m)))
        .collect()
}

struct Mode {
    mode: u32,
    uid: u32,
    gid: u32,
    dir: bool,
}

impl Mode {
    fn of(m: &Metadata) -> Mode {
        Mode { mode: m.mode() & 0o7777, uid: m.uid(), gid: m.gid(), dir: m.is_dir() }
    }
}

fn unsafe_for(check: &str, path: &Path, m: &Mode) -> Option<Finding> {
    let place = path.display();
    if m.uid != 0 && m.uid != crate::sys::peer::own_uid() {
        let what = format!("{place} belongs to user {}, who can change what root runs and trusts", m.uid);
        return Some(Finding::error(check, what, format!("chown root:root {place}")));
    }
    let kept = m.dir && m.mode & STICKY != 0;
    let (who, flag) = match m.mode {
        mode if mode & OTHERS != 0 && !kept => ("everybody", "o"),
        // The group root is no other than root on any usual system.
        mode if mode & GROUP != 0 && m.gid != 0 && !kept => ("its group", "g"),
        _ => return None,
    };
    let what =
        format!("{place} may be written by {who} (mode {:04o}), who so can run anything as root", m.mode);
    Some(Finding::error(check, what, format!("chmod {flag}-w {place}")))
}

/// The daemon looks at the caller, too; the mode is the first of two walls.
fn socket(path: &Path, m: &Metadata) -> Option<Finding> {
    let mode = m.mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let what = format!("{} has mode {mode:04o}: everybody may connect", path.display());
        Finding::error(
            "files.socket",
            what,
            format!("chmod o-rwx {}; members of a group: knarrd --group NAME", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_else_may_write_is_named() {
        let of = |mode, uid, gid, dir| {
            unsafe_for("x", Path::new("/p"), &Mode { mode, uid, gid, dir }).map(|f| f.fix)
        };
        assert_eq!(of(0o755, 0, 0, true), None);
        assert_eq!(of(0o1777, 0, 0, true), None, "as /tmp");
        assert_eq!(of(0o664, 0, 0, false), None, "the group root");
        assert_eq!(of(0o777, 0, 0, true).unwrap(), "chmod o-w /p");
        assert_eq!(of(0o646, 0, 0, false).unwrap(), "chmod o-w /p");
        assert_eq!(of(0o664, 0, 5, false).unwrap(), "chmod g-w /p");
        assert_eq!(of(0o600, 1000, 0, false).unwrap(), "chown root:root /p");
    }
}
