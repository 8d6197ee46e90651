//! One daemon a state directory: the lock that it holds for its life. Touches the lock file alone.
#![forbid(unsafe_code)]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use crate::dirs::Dirs;
use crate::sys;

/// How long a copy of the lock is waited for when the daemon that took it is gone: what it was just starting has one until it
/// is executed, see flock(2).
const COPY_PATIENCE: Duration = Duration::from_secs(2);

/// Held as long as this lives, and not longer than the process. Nothing has to be cleaned up: the file stays, the lock goes.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of the state directory, which is made when it is not there.
///
/// # Errors
/// `WouldBlock`: another daemon has it; the text says which pid. Otherwise what open(2) and flock(2) say.
pub fn lock(dirs: &Dirs) -> io::Result<Lock> {
    let path = dirs.lock();
    let say = |what: &str, e: io::Error| io::Error::new(e.kind(), format!("{what} {}: {e}", path.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dirs.state)
        .map_err(|e| say("cannot make the directory of", e))?;
    // A file system that is read-only can still be locked: a daemon on it goes on with what it knows.
    let mut writable = true;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .or_else(|e| match e.kind() {
            io::ErrorKind::ReadOnlyFilesystem => {
                writable = false;
                File::open(&path)
            }
            _ => Err(e),
        })
        .map_err(|e| say("cannot open the lock", e))?;
    let begun = Instant::now();
    while let Err(e) = sys::journal::lock_exclusive(&file) {
        if e.kind() != io::ErrorKind::WouldBlock {
            return Err(say("cannot lock", e));
        }
        let holder = holder(&file);
        if holder.is_none_or(|pid| !lives(pid)) && begun.elapsed() < COPY_PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let holder = holder.map_or("unknown pid".into(), |pid| format!("pid {pid}"));
        let text =
            format!("another knarrd ({holder}) holds {}: one daemon a state directory", path.display());
        return Err(io::Error::new(e.kind(), text));
    }
    if writable {
        // For people and for the message above; the lock does not depend on it, so a full disk is no reason to stop.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    }
    Ok(Lock { _file: file })
}

/// Whose lock it is, as the file says.
fn holder(file: &File) -> Option<u32> {
    let mut text = [0; 32];
    let n = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..n)?).ok()?.trim().parse().ok()
}

/// Whether a process runs: what has ended and was not waited for has no program any more, see proc_pid_exe(5).
fn lives(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(name: &str) -> Dirs {
        let top = std::env::temp_dir().join(format!("knarr-lock-{name}-{}", std::process::id()));
        Dirs { services: top.join("services"), state: top.clone(), run: top.join("run") }
    }

    #[test]
    fn one_daemon_at_a_time() {
        let dirs = dirs("one");
        let first = lock(&dirs).unwrap();
        let e = lock(&dirs).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
        assert!(e.to_string().contains(&format!("(pid {})", std::process::id())), "{e}");
        drop(first);
        lock(&dirs).unwrap();
        std::fs::remove_dir_all(&dirs.state).unwrap();
    }

    #[test]
    fn a_copy_of_a_daemon_that_is_gone_is_waited_for() {
        let dirs = dirs("copy");
        let copy = lock(&dirs).unwrap();
        let mut gone = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = gone.id();
        gone.wait().unwrap();
        std::fs::write(dirs.lock(), format!("{pid}\n")).unwrap();
        let begun = Instant::now();
        let child = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(copy);
        });
        lock(&dirs).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(100), "the lock was held by two");
        child.join().unwrap();
        std::fs::remove_dir_all(&dirs.state).unwrap();
    }
}
