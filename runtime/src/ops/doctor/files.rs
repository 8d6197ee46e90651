//! Who else could write what root runs and trusts: this program, and the directory of container state.

use super::Finding;
use crate::sys::fs::{self, AtFlags, CWD, Stat};
use crate::sys::process;
use std::path::Path;

/// Writable for the group, for all; the bit that keeps others from renaming what is not theirs.
const GROUP: u32 = 0o020;
const OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

pub(super) fn findings(state: &Path) -> Vec<Finding> {
    let mut out = Vec::new();
    match fs::readlinkat(CWD, "/proc/self/exe") {
        Ok(program) => out.extend(chain("files.program", Path::new(&program))),
        Err(e) => out.push(Finding::warning("files.program", e.to_string(), "mount /proc")),
    }
    out.extend(chain("files.state", state));
    out
}

/// A path and every directory above it: who may write one of them can exchange all below.
fn chain(check: &'static str, path: &Path) -> Vec<Finding> {
    let us = process::euid();
    let looked = path.ancestors().filter_map(|p| Some((p, fs::statat(CWD, p, AtFlags::empty()).ok()?)));
    looked.filter_map(|(p, st)| unsafe_for(check, p, &st, us)).collect()
}

/// What is wrong with one of them; `us` is the caller's user, who is trusted beside root.
fn unsafe_for(check: &'static str, path: &Path, st: &Stat, us: u32) -> Option<Finding> {
    let place = path.display();
    if st.uid != 0 && st.uid != us {
        let what = format!("{place} belongs to user {}, who can change what root runs and trusts", st.uid);
        return Some(Finding::error(check, what, format!("chown root:root {place}")));
    }
    let kept = st.is_dir() && st.mode & STICKY != 0;
    let (who, flag) = match st.mode {
        mode if mode & OTHERS != 0 && !kept => ("everybody", "o"),
        // The group root is no other than root on any usual system.
        mode if mode & GROUP != 0 && st.gid != 0 && us == 0 && !kept => ("the group", "g"),
        _ => return None,
    };
    let what = format!("{place} may be written by {who} (mode {:04o})", st.mode & 0o7777);
    Some(Finding::error(check, what, format!("chmod {flag}-w {place}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mode: u32, uid: u32, gid: u32) -> Option<String> {
        let st = Stat { dev: 0, ino: 0, mode, uid, gid, nlink: 1, size: 0, rdev: (0, 0) };
        unsafe_for("x", Path::new("/p"), &st, 0).map(|f| f.fix)
    }

    #[test]
    fn whoever_else_may_write_is_named() {
        const DIR: u32 = 0o040_000;
        assert_eq!(of(0o100_755, 0, 0), None);
        assert_eq!(of(0o100_757, 0, 0).unwrap(), "chmod o-w /p");
        assert_eq!(of(0o100_775, 0, 7).unwrap(), "chmod g-w /p");
        assert_eq!(of(0o100_775, 0, 0), None);
        assert_eq!(of(0o100_755, 1000, 0).unwrap(), "chown root:root /p");
        assert_eq!(of(DIR | 0o1777, 0, 0), None, "as /tmp");
        assert_eq!(of(DIR | 0o777, 0, 0).unwrap(), "chmod o-w /p");
    }
}
