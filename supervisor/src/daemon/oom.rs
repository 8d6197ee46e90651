//! Whom the kernel killed for memory: its log says, the counters of a cgroup do not. Reads only; nothing wakes up while the
//! kernel says nothing.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::io::unix::AsyncFd;
use tracing::info;

use super::owner::Owner;
use crate::keeper::record::{ExitRecord, Victim};
use crate::machine::State;
use crate::memory::cause::{self, Kill};
use crate::names::RunId;
use crate::sys::file::open_read;

/// The longest record of /dev/kmsg, `CONSOLE_EXT_LOG_MAX` of printk.
const RECORD_MAX: usize = 8192;
const LOG: &str = "/dev/kmsg";

/// Adds to a record what the kernel's log has about it, when there was a kill and the log may be read.
pub(super) fn add_victim(record: &mut ExitRecord) {
    if record.memory.oom_kills.is_some_and(|n| n > 0) {
        record.victim = last_victim(&record.run).map(Box::new);
    }
}

/// The last process of a run that the kernel killed.
fn last_victim(run: &RunId) -> Option<Victim> {
    let mut log = open_read(Path::new(LOG)).ok()?;
    kills(&mut log).into_iter().rfind(|k| k.run == *run).map(|k| k.victim)
}

/// What the log has from here on.
fn kills(log: &mut File) -> Vec<Kill> {
    let (mut buf, mut found) = (vec![0; RECORD_MAX], Vec::new());
    loop {
        match log.read(&mut buf) {
            Ok(0) => return found,
            Ok(n) => found.extend(cause::kill(&String::from_utf8_lossy(buf.get(..n).unwrap_or_default()))),
            // Records were overwritten meanwhile: the next read goes on with the oldest.
            Err(e) if e.kind() == ErrorKind::BrokenPipe || e.kind() == ErrorKind::Interrupted => {}
            // There is no more now.
            Err(_) => return found,
        }
    }
}

/// The kernel's log from now on.
pub(super) struct KernelLog(Option<(File, AsyncFd<OwnedFd>)>);

impl KernelLog {
    /// Without it (a namespace without /dev/kmsg, no CAP_SYSLOG) kills are seen at the end of a container only.
    pub(super) fn open() -> KernelLog {
        let told = |e: Error| info!("kills for memory are seen at the end of a container only: {LOG}: {e}");
        KernelLog(KernelLog::try_open().map_err(told).ok())
    }

    fn try_open() -> Result<(File, AsyncFd<OwnedFd>), Error> {
        let mut log = open_read(Path::new(LOG))?;
        log.seek(SeekFrom::End(0))?;
        // The same place in the log: a duplicate is the same open file (dup(2)).
        let watched = crate::sys::pty::watched(log.try_clone()?.into())?;
        Ok((log, watched))
    }

    /// Comes back when the kernel has killed for memory in a container.
    pub(super) async fn killed(&mut self) -> Vec<Kill> {
        let Some((log, watched)) = &mut self.0 else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = watched.readable().await else { return std::future::pending().await };
            let found = kills(log);
            ready.clear_ready();
            if !found.is_empty() {
                return found;
            }
        }
    }
}

impl Owner {
    /// The kernel killed processes: told while their containers run, which may go on without them.
    pub(super) fn killed(&mut self, kills: Vec<Kill>) {
        for Kill { cgroup, run, victim } in kills {
            let Some(slot) = self.slots.get_mut(&run.instance) else { continue };
            let State::Running { run: current, pid, .. } = &slot.machine.state else { continue };
            // Another daemon of this host may have a run of the same name.
            if *current != run || !cgroup.contains(&self.place.payload(&run)) {
                continue;
            }
            let limit = self.controllers.usage(*pid).limit;
            let first = victim.pid == *pid;
            let what = cause::words(victim.short, limit);
            let text = format!("the kernel killed {}: {what}", cause::process(&victim));
            let kind = if first { "oom-killed" } else { "oom-child-killed" };
            if !first {
                let before = slot.child_kills.take().filter(|(r, ..)| *r == run).map_or(0, |(_, n, _)| n);
                slot.child_kills = Some((run.clone(), before.saturating_add(1), text.clone()));
            }
            self.tell(Some(&run.instance.service), Some(run.instance.replica), kind, text);
        }
    }

    /// What `ps` and `explain` say of a container that runs and has lost processes.
    pub(super) fn lost_children(slot: &super::owner::Slot) -> Option<String> {
        let (run, times, last) = slot.child_kills.as_ref()?;
        let times = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
        (slot.machine.run() == Some(run))
            .then(|| format!("killed for memory inside it {times}, the last: {last}"))
    }
}
