//! One daemon a state directory: the lock that it holds for its life. Touches the lock file alone.
#![forbid(unsafe_code)]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use crate::dirs::Dirs;
use crate::sys;

/// How long a lock that is held is waited for. A child of a killed daemon has a copy of its descriptors until it comes to
/// execve(2), and with them the lock.
const PATIENCE: Duration = Duration::from_secs(2);

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
    match locked(&file) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            let mut holder = String::new();
            let _ = (&mut file).take(32).read_to_string(&mut holder);
            let holder = match holder.trim().parse::<u32>() {
                Ok(pid) => format!("pid {pid}"),
                Err(_) => "unknown pid".into(),
            };
            let text =
                format!("another knarrd ({holder}) holds {}: one daemon a state directory", path.display());
            return Err(io::Error::new(e.kind(), text));
        }
        Err(e) => return Err(say("cannot lock", e)),
    }
    if writable {
        // For people and for the message above; the lock does not depend on it, so a full disk is no reason to stop.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    }
    Ok(Lock { _file: file })
}

/// Tries until [`PATIENCE`] is over.
fn locked(file: &File) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match sys::journal::lock_exclusive(file) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_a_child_of_the_last_one_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let dirs = Dirs { services: at("services"), state: at("state"), run: at("run") };
        let first = lock(&dirs).unwrap();
        let refused = lock(&dirs).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
        // What fork(2) copies is the same lock under another number.
        let copy = first._file.try_clone().unwrap();
        drop(first);
        let child = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(copy);
        });
        lock(&dirs).unwrap();
        child.join().unwrap();
    }
}
