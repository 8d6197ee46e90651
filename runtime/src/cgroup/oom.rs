//! Notice of a group that runs out of memory: the counter of v2, which announces itself to poll, and the event
//! descriptor of v1. May use: `sys::{fs, poll}`, the cgroup module's types.
#![forbid(unsafe_code)]

use super::tree::value_of;
use super::{Cgroup, v1};
use crate::error::{Context, Result};
use crate::sys::poll::Interest;
use crate::sys::{BorrowedFd, OwnedFd, errno, fs, poll};
use std::os::fd::{AsFd, AsRawFd};

/// The counter of v2 (Linux 4.13).
const EVENTS: &str = "memory.events";

/// Waits for the kernel to kill for a group's memory limit.
#[derive(Debug)]
pub struct OomWatch<'a> {
    dir: BorrowedFd<'a>,
    how: How,
}

#[derive(Debug)]
enum How {
    /// `memory.events`, open since it was last read, and the number of kills it had.
    Counter { file: OwnedFd, kills: u64 },
    /// An eventfd that the kernel raises, also when the group is removed.
    Event(OwnedFd),
}

impl Cgroup {
    /// Begins to watch. `None` without a memory controller for this group.
    pub fn oom_watch(&self) -> Result<Option<OomWatch<'_>>> {
        if let Some(dir) = self.v1().find(|d| d.key.split(',').any(|c| c == "memory")) {
            let fd = dir.fd()?;
            return Ok(Some(OomWatch {
                dir: fd,
                how: How::Event(v1_event(fd).step("watch for lack of memory")?),
            }));
        }
        let Some(dir) = self.v2() else { return Ok(None) };
        let fd = dir.fd()?;
        match counter(fd) {
            Err(e) if e.is(errno::ENOENT) => Ok(None),
            r => r.map(|how| Some(OomWatch { dir: fd, how })),
        }
    }
}

/// cgroup-v1/memory.rst, "OOM Control".
fn v1_event(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let event = poll::eventfd()?;
    let file = fs::openat(dir, v1::OOM_FILE, fs::OFlags::RDONLY, 0)?;
    let line = format!("{} {}", event.as_raw_fd(), file.as_raw_fd());
    fs::write_file_at(dir, v1::EVENT_CONTROL, line.as_bytes())?;
    Ok(event)
}

fn counter(dir: BorrowedFd<'_>) -> Result<How> {
    let file = fs::openat(dir, EVENTS, fs::OFlags::RDONLY, 0)?;
    let text = fs::read_all(&file, 1 << 16)?;
    let kills = value_of(&String::from_utf8_lossy(&text), "oom_kill").unwrap_or(0);
    Ok(How::Counter { file, kills })
}

impl OomWatch<'_> {
    /// What to poll for.
    pub fn source(&self) -> (BorrowedFd<'_>, Interest) {
        match &self.how {
            How::Counter { file, .. } => (file.as_fd(), Interest::Priority),
            How::Event(fd) => (fd.as_fd(), Interest::Read),
        }
    }

    /// Whether something was killed since the last question. A group that is gone has no more to say.
    pub fn fired(&mut self) -> Result<bool> {
        match &mut self.how {
            How::Event(fd) => {
                let mut count = [0; 8];
                match fs::read_some(&*fd, &mut count) {
                    Err(e) if e.is(errno::EAGAIN) => return Ok(false),
                    r => r.map(|_| ())?,
                }
                // The removal of the group raises it too.
                Ok(fs::read_file_at(self.dir, v1::OOM_FILE).is_ok())
            }
            How::Counter { kills, .. } => {
                let before = *kills;
                self.how = match counter(self.dir) {
                    Err(e) if e.is(errno::ENOENT) || e.is(errno::ENODEV) => return Ok(false),
                    r => r?,
                };
                Ok(matches!(self.how, How::Counter { kills, .. } if kills > before))
            }
        }
    }
}
