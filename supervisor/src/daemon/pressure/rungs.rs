//! The rungs as files of a container's cgroup, with a mark of what has to be undone: it is written first and removed last, so
//! that a daemon that comes after one that was killed finds what that had begun.
#![forbid(unsafe_code)]

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Boot;
use crate::sys::{pressure, process};

/// Most processes whose memory is given back by hand.
const PROCESSES: usize = 1024;
const FREEZE: &str = "cgroup.freeze";
const HIGH: &str = "memory.high";

/// What is done to a run and has to be undone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Frozen since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) frozen: Option<Boot>,
    /// Throttled since then, and what `memory.high` was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) throttled: Option<(Boot, String)>,
}

/// The places of one run.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// Where its mark is: on tmpfs, with the rest of what the run has.
    pub(super) mark: PathBuf,
    /// Its group in the v2 tree, on hybrid hosts as well.
    pub(super) tree: Option<PathBuf>,
    /// The same where it has the controllers.
    pub(super) unified: Option<PathBuf>,
}

fn failed(what: &str) -> impl FnOnce(Error) -> String + '_ {
    move |e| format!("{what}: {e}")
}

impl Places {
    /// What is done to it; nothing where there is no mark, or none that can be read.
    pub(super) fn marked(&self) -> Mark {
        let text = std::fs::read(&self.mark).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn note(&self, mark: &Mark) -> Result<(), String> {
        if *mark == Mark::default() {
            return match std::fs::remove_file(&self.mark) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(format!("{}: {e}", self.mark.display())),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec(mark).map_err(|e| e.to_string())?;
        let aside = self.mark.with_extension("new");
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::rename(&aside, &self.mark))
            .map_err(failed("its mark"))
    }

    fn tree(&self) -> Result<&Path, String> {
        self.tree
            .as_deref()
            .ok_or_else(|| "cgroup.freeze needs a cgroup v2 tree, and this host has none".into())
    }

    fn unified(&self, file: &str) -> Result<PathBuf, String> {
        let dir = self.unified.as_deref().ok_or_else(|| {
            format!("{file} needs the controllers of cgroup v2, and those of this host are v1's")
        })?;
        Ok(dir.join(file))
    }

    /// Stops all of its processes where they are (`cgroup.freeze`, Linux 5.2).
    pub(super) fn freeze(&self, now: Boot) -> Result<(), String> {
        let tree = self.tree()?;
        let mark = Mark { frozen: Some(now), ..self.marked() };
        if std::fs::read_to_string(tree.join(FREEZE)).map_err(failed(FREEZE))?.trim() == "1" {
            return Err("it is paused already, by somebody else".into());
        }
        self.note(&mark)?;
        std::fs::write(tree.join(FREEZE), "1").map_err(failed(FREEZE))
    }

    /// Lets them go on, if it was the ladder that stopped them.
    pub(super) fn thaw(&self) -> Result<(), String> {
        let mark = self.marked();
        if mark.frozen.is_none() {
            return Ok(());
        }
        match std::fs::write(self.tree()?.join(FREEZE), "0") {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(format!("{FREEZE}: {e}")),
            _ => {}
        }
        self.note(&Mark { frozen: None, ..mark })
    }

    /// Slows it down above so many bytes.
    pub(super) fn throttle(&self, now: Boot, bytes: u64) -> Result<(), String> {
        let file = self.unified(HIGH)?;
        let before = std::fs::read_to_string(&file).map_err(failed(HIGH))?.trim().to_owned();
        let mark = self.marked();
        let lower = before.parse::<u64>().is_ok_and(|old| old <= bytes);
        if lower {
            return Err(format!("it has a lower {HIGH} of its own"));
        }
        self.note(&Mark { throttled: Some((now, before)), ..mark })?;
        std::fs::write(&file, bytes.to_string()).map_err(failed(HIGH))
    }

    /// Puts back what it was before.
    pub(super) fn unthrottle(&self) -> Result<(), String> {
        let mark = self.marked();
        let Some((_, before)) = &mark.throttled else { return Ok(()) };
        match std::fs::write(self.unified(HIGH)?, before) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(format!("{HIGH}: {e}")),
            _ => {}
        }
        self.note(&Mark { throttled: None, ..mark })
    }

    /// The file whose write takes memory back (`memory.reclaim`, Linux 5.19).
    pub(super) fn reclaim(&self) -> Result<PathBuf, String> {
        self.unified("memory.reclaim")
    }

    /// Kills all of it at once and gives its memory back, without waiting for each process to get to that.
    pub(super) fn kill(&self) {
        let Ok(tree) = self.tree() else { return };
        let pids = std::fs::read_to_string(tree.join("cgroup.procs")).unwrap_or_default();
        let handles: Vec<_> =
            pids.lines().take(PROCESSES).filter_map(|pid| process::handle(pid.parse().ok()?).ok()).collect();
        // Linux 5.14; whoever has an older one is killed by the runtime, as ever.
        if std::fs::write(tree.join("cgroup.kill"), "1").is_ok() {
            for handle in handles {
                pressure::release(&handle).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::test_dir::TestDir;
    use std::time::Duration;

    #[test]
    fn what_was_done_is_found_again_and_undone() {
        let dir = TestDir::in_memory("rungs");
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        std::fs::write(dir.join(FREEZE), "0").unwrap();
        std::fs::write(dir.join(HIGH), "max\n").unwrap();
        let group = Some(dir.join(""));
        let places = Places { mark: dir.join("mark"), tree: group.clone(), unified: group };
        let now = Boot(Duration::from_secs(7));
        places.freeze(now).unwrap();
        places.throttle(now, 4096).unwrap();
        assert_eq!((read(FREEZE).as_str(), read(HIGH).as_str()), ("1", "4096"));
        assert_eq!(places.marked(), Mark { frozen: Some(now), throttled: Some((now, "max".into())) });
        assert!(places.freeze(now).unwrap_err().contains("somebody else"));
        places.thaw().unwrap();
        places.unthrottle().unwrap();
        assert_eq!((read(FREEZE).as_str(), read(HIGH).as_str()), ("0", "max"));
        assert!(!dir.join("mark").exists());
        // Whom somebody else has paused stays paused.
        std::fs::write(dir.join(FREEZE), "1").unwrap();
        places.thaw().unwrap();
        assert_eq!(read(FREEZE), "1");
        let v1 = Places { unified: None, ..places };
        assert!(v1.throttle(now, 4096).unwrap_err().contains("cgroup v2"));
    }
}
