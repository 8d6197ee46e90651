//! The cgroup of one hook: nothing that it starts gets out of it, whatever session or parent it takes, so nothing of it is left
//! when it is over. Makes and removes directories below `hooks` only.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tracing::warn;

use crate::names::RunId;
use crate::sys::{keeper::signal, process};

/// How often what is left is killed before the group is given up, and the first pause, which is doubled each time.
const KILLS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(1);

/// All hooks' groups of one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct HookGroups {
    /// Where they are made: the first that can be used.
    roots: Rc<[PathBuf]>,
    /// Those whose hook this daemon waits for.
    busy: Rc<RefCell<BTreeSet<PathBuf>>>,
}

/// The group of one hook. Dropped before its end, as when the daemon ends, it takes everything in it along.
#[derive(Debug)]
pub(super) struct HookGroup {
    dir: PathBuf,
    busy: Rc<RefCell<BTreeSet<PathBuf>>>,
}

impl HookGroups {
    /// `roots`: directories in one hierarchy each, the best first.
    pub(super) fn new(roots: Vec<PathBuf>) -> HookGroups {
        HookGroups { roots: roots.into(), busy: Rc::default() }
    }

    /// Makes the group of one hook and opens the file by which a process enters it. `None` = this host gives none: then the
    /// hook has its process group alone.
    pub(super) fn make(&self, run: &RunId, kind: &str) -> Option<(HookGroup, File)> {
        let mut why = None;
        for root in &*self.roots {
            let dir = root.join(format!("{run}:{kind}"));
            let made = fs::create_dir_all(&dir)
                .and_then(|()| File::options().write(true).open(dir.join("cgroup.procs")));
            match made {
                Ok(procs) => {
                    self.busy.borrow_mut().insert(dir.clone());
                    return Some((HookGroup { dir, busy: self.busy.clone() }, procs));
                }
                Err(e) => why = Some(format!("{}: {e}", dir.display())),
            }
        }
        if let Some(why) = why {
            warn!("{run}: its {kind} hook gets no cgroup: {why}");
        }
        None
    }

    /// Ends hooks of a run which nobody waits for: those of a daemon that was killed.
    pub(super) async fn end_of(&self, run: &RunId) {
        for root in &*self.roots {
            for kind in ["pre_start", "post_start", "pre_stop", "post_stop"] {
                let dir = root.join(format!("{run}:{kind}"));
                if dir.exists() && !self.busy.borrow().contains(&dir) {
                    end(&dir).await;
                }
            }
        }
    }
}

impl HookGroup {
    /// Kills everything that is in it, once.
    pub(super) fn kill(&self) {
        if let Err(e) = kill(&self.dir) {
            warn!("{}: {e}", self.dir.display());
        }
    }

    /// Kills everything that is in it and removes it.
    pub(super) async fn end(self) {
        end(&self.dir).await;
    }
}

impl Drop for HookGroup {
    fn drop(&mut self) {
        self.busy.borrow_mut().remove(&self.dir);
        if self.dir.exists() {
            self.kill();
            remove(&self.dir).ok();
        }
    }
}

/// The kernel takes a moment to end what was killed, and where it has no cgroup.kill new ones may come meanwhile.
async fn end(dir: &Path) {
    let mut pause = PAUSE;
    for _ in 0..KILLS {
        let killed = kill(dir);
        match remove(dir).err().filter(|e| e.kind() != ErrorKind::NotFound) {
            None => return,
            Some(e) if e.kind() != ErrorKind::ResourceBusy => {
                return warn!("{} stays: {e}", dir.display());
            }
            Some(_) => {}
        }
        if let Err(e) = killed {
            warn!("{}: {e}", dir.display());
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    warn!("{} stays: what is in it does not end", dir.display());
}

/// Removes a group and those that the hook made in it.
fn remove(dir: &Path) -> io::Result<()> {
    let below = fs::read_dir(dir)?.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    below.for_each(|e| drop(remove(&e.path())));
    fs::remove_dir(dir)
}

/// All at once by cgroup.kill (Linux 5.14, cgroup2 only), else one after the other.
fn kill(dir: &Path) -> io::Result<()> {
    match File::options().write(true).open(dir.join("cgroup.kill")) {
        Ok(mut file) => io::Write::write_all(&mut file, b"1"),
        Err(e) if e.kind() == ErrorKind::NotFound => kill_each(dir),
        Err(e) => Err(e),
    }
}

fn kill_each(dir: &Path) -> io::Result<()> {
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    for group in below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        kill_each(&group.path())?;
    }
    let inside = || match fs::read_to_string(dir.join("cgroup.procs")) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        text => Ok::<_, io::Error>(text?.lines().flat_map(str::parse).collect::<Vec<u32>>()),
    };
    for pid in inside()? {
        // The number may be somebody else's by now: what is held is looked at again before it is killed.
        let Ok(handle) = process::handle(pid) else { continue };
        if inside()?.contains(&pid) {
            signal(&handle, 9).ok();
        }
    }
    Ok(())
}
