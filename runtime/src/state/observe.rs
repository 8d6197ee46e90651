//! Status as the kernel tells it now: process number with start time and boot, the gate's socket, the freezer.
//! Reads /proc and the container's directory; changes nothing.

use super::record::{Phase, Proc, Record};
use crate::cgroup::Cgroup;
use crate::error::{Code, Error, Result};
use crate::gate;
use crate::sys::{BorrowedFd, OwnedFd, errno, fs, process};
use serde::Serialize;
use std::fmt;
use std::sync::OnceLock;

/// Status words of the OCI runtime specification, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// The kernel's name for this boot, read once.
pub fn boot_id() -> Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(id) = BOOT.get() {
        return Ok(id);
    }
    let bytes = fs::read_kernel_value("/proc/sys/kernel/random/boot_id", 128)?;
    Ok(BOOT.get_or_init(|| String::from_utf8_lossy(&bytes).trim().to_string()))
}

/// Start time of a process in ticks since boot; `None` when there is none, or when it is dead and only waits
/// to be reaped.
pub fn start_time(pid: i32) -> Result<Option<u64>> {
    let stat = match fs::read_kernel_value(format!("/proc/{pid}/stat"), 1 << 16) {
        Ok(bytes) => bytes,
        // ESRCH: it went away between open and read.
        Err(e) if e.is(errno::ENOENT) || e.is(errno::ESRCH) => return Ok(None),
        Err(e) => return Err(e),
    };
    match parse_stat(&String::from_utf8_lossy(&stat)) {
        Some((state, _)) if "ZXx".contains(state) => Ok(None),
        Some((_, start)) => Ok(Some(start)),
        None => Err(Error::new(Code::Internal, format!("/proc/{pid}/stat has an unknown form"))),
    }
}

/// State letter (field 3) and start time (field 22) of proc_pid_stat(5). The name in field 2 may hold anything,
/// so fields are counted from its last parenthesis.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

impl Proc {
    /// The process `pid` as it is now.
    ///
    /// # Errors
    /// There is no living process of that number.
    pub fn of(pid: i32) -> Result<Proc> {
        match start_time(pid)? {
            Some(start_time) => Ok(Proc { pid, start_time }),
            None => Err(Error::new(Code::Init, format!("process {pid} is gone"))),
        }
    }

    /// This process.
    pub fn current() -> Result<Proc> {
        Proc::of(process::getpid())
    }

    /// Whether it still runs. `boot` is the boot it was seen in. Numbers that a container's process cannot have
    /// (0, 1, negative) are never alive, so that nothing is ever done to them.
    pub fn alive(&self, boot: &str) -> Result<bool> {
        if self.pid <= 1 || boot_id()? != boot {
            return Ok(false);
        }
        Ok(start_time(self.pid)? == Some(self.start_time))
    }

    /// A handle on the process if it still runs: the handle is made first and the start time compared after, so
    /// that a reused number is never signalled. This process itself is never handed out.
    pub fn open(&self, boot: &str) -> Result<Option<OwnedFd>> {
        if self.pid <= 1 || self.pid == process::getpid() || boot_id()? != boot {
            return Ok(None);
        }
        let fd = match process::pidfd_open(self.pid) {
            Ok(fd) => fd,
            // EINVAL: the number is now a thread's, not a process's.
            Err(e) if e.is(errno::ESRCH) || e.is(errno::EINVAL) => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok((start_time(self.pid)? == Some(self.start_time)).then_some(fd))
    }
}

/// The status of the container whose directory is `dir`.
pub fn observe(dir: BorrowedFd<'_>, record: &Record) -> Result<Status> {
    if record.phase == Phase::Creating {
        // With the creator gone nobody will finish: what may be left of it is for `delete`.
        let busy = record.creator.alive(&record.boot_id)?;
        return Ok(if busy { Status::Creating } else { Status::Stopped });
    }
    let alive = match record.init {
        Some(init) => init.alive(&record.boot_id)?,
        None => false,
    };
    if !alive {
        return Ok(Status::Stopped);
    }
    if Cgroup::open(&record.cgroup)?.frozen()? {
        return Ok(Status::Paused);
    }
    let waiting = gate::waiting(dir);
    Ok(if waiting { Status::Created } else { Status::Running })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21";
        for name in ["x", "a b", "x) Z 1 2", "(((", ")"] {
            assert_eq!(parse_stat(&format!("12 ({name}) {tail}")), Some(('S', 777)), "{name}");
        }
        for bad in ["", "12 (x", "12 (x)", "12 (x) S 1 2"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_process_is_alive_in_this_boot_only() {
        let me = Proc::current().unwrap();
        let boot = boot_id().unwrap();
        assert!(me.alive(boot).unwrap());
        assert!(!me.alive("another").unwrap());
        assert!(!Proc { start_time: me.start_time + 1, ..me }.alive(boot).unwrap());
        assert!(me.open(boot).unwrap().is_none(), "never a handle on ourselves");
    }

    /// B105.
    #[test]
    fn numbers_that_are_never_ours() {
        let boot = boot_id().unwrap();
        for pid in [0, -1, 1, i32::MIN] {
            let start_time = start_time(pid.max(0)).ok().flatten().unwrap_or(0);
            let p = Proc { pid, start_time };
            assert!(!p.alive(boot).unwrap());
            assert!(p.open(boot).unwrap().is_none());
        }
    }

    #[test]
    fn zombies_and_reaped_children_are_dead() {
        let boot = boot_id().unwrap();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let p = Proc::of(child.id() as i32).unwrap();
        let fd = p.open(boot).unwrap().expect("alive");
        process::pidfd_signal(&fd, 9).unwrap();
        let gone = std::time::Duration::from_secs(10);
        assert!(crate::sys::poll::wait_readable(&fd, Some(gone)).unwrap());
        assert!(!p.alive(boot).unwrap(), "a zombie");
        child.wait().unwrap();
        assert!(!p.alive(boot).unwrap(), "reaped");
        assert!(p.open(boot).unwrap().is_none());
    }
}
