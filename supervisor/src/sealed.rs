//! The runtime in memory. knarr makes processes of a container from a sealed copy of itself only (CVE-2019-5736), and each
//! command would make one; it finds that it runs from one already, so a copy that the daemon keeps saves each `create` and
//! `exec` the copying and an execve(2). Other runtimes are executed from their files: what they make of a program without
//! a path is theirs to say.
#![forbid(unsafe_code)]

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Command;

use crate::runtime::bounded;
use crate::sys;

/// Copies that are kept, the youngest: a host has one runtime, perhaps two.
const KEPT: usize = 2;
/// A runtime is a few MiB; what is larger is not copied.
const LARGEST: u64 = 32 << 20;
/// How long a program may take to say its name.
const PATIENCE: Duration = Duration::from_secs(5);
/// What `--version` of the runtime begins with that is executed from a copy.
const NAME: &[u8] = b"knarr version ";

static COPIES: Mutex<Vec<Known>> = Mutex::new(Vec::new());

struct Known {
    of: PathBuf,
    file: Identity,
    /// `None` = it is to be executed from its file.
    program: Option<Arc<OwnedFd>>,
}

/// A file that was replaced or written to is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &Metadata) -> Identity {
        Identity {
            dev: file.dev(),
            ino: file.ino(),
            size: file.size(),
            written: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// The copy of a runtime as it is now, made when it is wanted first; `None` where the file itself is to be executed: another
/// runtime, a script, a host without such copies (`vm.memfd_noexec`).
pub async fn copy(of: &Path) -> Option<Arc<OwnedFd>> {
    let file = Identity::of(&std::fs::metadata(of).ok()?);
    if let Some(known) = known(of, file) {
        return known;
    }
    let program = match make(of, file) {
        Some(copy) if is_knarr(&copy).await => Some(Arc::new(copy)),
        _ => None,
    };
    let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    copies.retain(|c| c.of != of);
    if copies.len() >= KEPT {
        copies.remove(0);
    }
    copies.push(Known { of: of.to_owned(), file, program: program.clone() });
    program
}

fn known(of: &Path, file: Identity) -> Option<Option<Arc<OwnedFd>>> {
    let copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    copies.iter().find(|c| c.of == of && c.file == file).map(|c| c.program.clone())
}

/// Under a number that is not one of those that children get descriptors by.
fn make(of: &Path, want: Identity) -> Option<OwnedFd> {
    let mut file = File::open(of).ok()?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic).ok()?;
    if &magic != b"\x7fELF" || want.size > LARGEST || Identity::of(&file.metadata().ok()?) != want {
        return None;
    }
    let copy = sys::probe::sealed_copy(&File::open(path(&file)).ok()?, "knarr-kept").ok()?;
    let is_whole = File::from(copy.try_clone().ok()?).metadata().ok()?.len() == want.size;
    sys::probe::out_of_the_way(&copy).ok().filter(|_| is_whole)
}

async fn is_knarr(copy: &OwnedFd) -> bool {
    let mut command = Command::new(path(copy));
    let output = bounded(command.arg("--version"), PATIENCE).await;
    output.is_ok_and(|o| o.status.success() && o.stdout.starts_with(NAME))
}

/// What executes it, in this process and in a child that has not executed anything yet.
pub fn path(copy: &impl std::os::fd::AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", copy.as_fd().as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_says_that_it_is_knarr_is_executed_from_a_copy() {
        assert!(copy(Path::new("/bin/sh")).await.is_none() && copy(Path::new("/none")).await.is_none());
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("knarr");
        std::fs::write(&script, "#!/bin/sh\necho knarr version 9\n").unwrap();
        assert!(copy(&script).await.is_none());
        let identity = |p: &Path| Identity::of(&std::fs::metadata(p).unwrap());
        let sh = make(Path::new("/bin/sh"), identity(Path::new("/bin/sh"))).unwrap();
        let mut said = Command::new(path(&sh));
        let output = bounded(said.args(["-c", "echo knarr version 9"]), PATIENCE).await.unwrap();
        assert!(output.stdout.starts_with(NAME));
        let written = rustix::io::write(&sh, b"x");
        assert_eq!(written, Err(rustix::io::Errno::PERM), "it can be changed");
        assert!(make(Path::new("/bin/sh"), identity(&script)).is_none(), "the file was another one");
    }
}
