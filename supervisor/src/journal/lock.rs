//! One daemon a state directory: the lock that it holds for its life. Touches the lock file alone.
#![forbid(unsafe_code)]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::dirs::Dirs;
use crate::sys;

/// How long the lock of a daemon that is dead may still be held by what it was about to execute.
const HEIR: Duration = Duration::from_secs(5);

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
        let holder = holder(&mut file);
        // A daemon that was killed in the middle of a fork: its child has the lock until it executes its program.
        if holder.is_some_and(|pid| !lives(pid)) && begun.elapsed() < HEIR {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        let pid = holder.map_or_else(|| "unknown pid".into(), |pid| format!("pid {pid}"));
        let text = format!("another knarrd ({pid}) holds {}: one daemon a state directory", path.display());
        return Err(io::Error::new(e.kind(), text));
    }
    if writable {
        // For people and for the message above; the lock does not depend on it, so a full disk is no reason to stop.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
    }
    Ok(Lock { _file: file })
}

/// Who wrote itself into the lock file.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_of_a_killed_daemon_is_waited_for_and_another_daemon_is_not() {
        let state = std::env::temp_dir().join(format!("knarr-lock-{}", std::process::id()));
        let dirs = Dirs { state: state.clone(), ..Dirs::default() };
        let held = lock(&dirs).unwrap();
        let refused = lock(&dirs).unwrap_err();
        assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
        // Above the largest pid, PID_MAX_LIMIT of the kernel.
        std::fs::write(dirs.lock(), "4194305\n").unwrap();
        let heir = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(held);
        });
        let taken = lock(&dirs);
        let text = std::fs::read_to_string(dirs.lock()).unwrap();
        heir.join().unwrap();
        std::fs::remove_dir_all(&state).unwrap();
        taken.unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }
}
