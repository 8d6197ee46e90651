//! Whom the kernel killed for memory: its log says, the counters of a cgroup do not. Reads only.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::keeper::record::{ExitRecord, Victim};
use crate::names::RunId;
use crate::sys::file::open_read;

/// The longest record of /dev/kmsg, `CONSOLE_EXT_LOG_MAX` of printk.
const RECORD_MAX: usize = 8192;

/// Adds to a record what the kernel's log has about it, when there was a kill and the log may be read.
pub(super) fn add_victim(record: &mut ExitRecord) {
    if record.memory.oom_kills.is_some_and(|n| n > 0) {
        record.victim = last_victim(&record.run).map(Box::new);
    }
}

/// The last process of a run that the kernel killed.
fn last_victim(run: &RunId) -> Option<Victim> {
    let mut log = open_read(Path::new("/dev/kmsg")).ok()?;
    let (mut buf, mut found) = (vec![0; RECORD_MAX], None);
    loop {
        match log.read(&mut buf) {
            Ok(0) => return found,
            Ok(n) => {
                let text = String::from_utf8_lossy(buf.get(..n).unwrap_or_default());
                found = victim(&text, run).or(found);
            }
            // Records were overwritten meanwhile: the next read goes on with the oldest.
            Err(e) if e.kind() == ErrorKind::BrokenPipe || e.kind() == ErrorKind::Interrupted => {}
            // There is no more now.
            Err(_) => return found,
        }
    }
}

/// The victim that a record names, when it is of this run: `dump_oom_victim` in mm/oom_kill.c, since Linux 5.0.
fn victim(record: &str, run: &RunId) -> Option<Victim> {
    let line = record.split_once(";oom-kill:")?.1.lines().next()?;
    let (_, rest) = line.split_once(",task_memcg=")?;
    // A process chooses its name, so it is what is between the first and the last of these.
    let (cgroup, rest) = rest.split_once(",task=")?;
    let (name, rest) = rest.rsplit_once(",pid=")?;
    let pid = rest.split(',').next()?.parse().ok()?;
    let (_, own) = cgroup.rsplit_once("/payload/")?;
    let below = own.strip_prefix(&run.to_string())?;
    (below.is_empty() || below.starts_with('/')).then(|| Victim { pid, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_belongs_to_its_run() {
        let record = "6,1234,27900387534,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,\
             mems_allowed=0,oom_memcg=/knarrd/payload/web.1.2,task_memcg=/knarrd/payload/web.1.2/sub,\
             task=ja,pid=7,va,pid=18003,uid=0\n SUBSYSTEM=memory\n";
        let of = |run: &str| victim(record, &run.parse().unwrap());
        assert_eq!(of("web.1.2"), Some(Victim { pid: 18003, name: "ja,pid=7,va".into() }));
        assert_eq!((of("web.1.20"), of("web.1.1")), (None, None));
        let plain = "6,1,2,-;Memory cgroup out of memory: Killed process 12 (java)\n";
        assert_eq!(victim(plain, &"web.1.2".parse().unwrap()), None);
    }
}
