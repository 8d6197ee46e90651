//! What memory costs: how soon a kill by the kernel is an event, and what a daemon uses that waits for triggers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::base::PROBE;
use crate::daemon::Daemon;
use crate::os;
use crate::soak::{Idle, idle_for, keepers, of_day, since_midnight};

/// The kernel writes no more than ten such lines in five seconds (`oom_rs` in mm/oom_kill.c).
const PAUSE: Duration = Duration::from_millis(600);

/// What begins a line of our own in the kernel's log: its number follows.
const MARK: &str = "conformance: the time of kill ";

/// What of the kernel's log matters, by the kernel's clock: its kills by process, and marks by number.
#[derive(Default)]
struct Seen {
    kills: BTreeMap<u32, Duration>,
    marks: BTreeMap<usize, Duration>,
}

/// The kernel's log, read as it is written.
struct Log {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Result<Seen>>,
}

impl Log {
    fn read() -> Result<Log> {
        let open = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
        let mut file = open.context("/dev/kmsg")?;
        file.seek(SeekFrom::End(0)).context("/dev/kmsg")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let reader = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                if os::readable(file.as_fd(), Duration::from_millis(100))? {
                    take(&mut file, &mut seen)?;
                }
            }
            Ok(seen)
        });
        Ok(Log { stop, reader })
    }

    fn end(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().map_err(|_| anyhow!("the reader of /dev/kmsg"))?
    }
}

fn take(file: &mut File, seen: &mut Seen) -> Result<()> {
    let mut space = [0; 8192];
    loop {
        let n = match file.read(&mut space) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            // Records were overwritten meanwhile.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => continue,
            Err(e) => return Err(e).context("/dev/kmsg"),
        };
        let record = String::from_utf8_lossy(&space[..n]);
        if let Some((pid, at)) = kill(&record) {
            seen.kills.insert(pid, at);
        } else if let Some((number, at)) = mark(&record) {
            seen.marks.insert(number, at);
        }
    }
}

/// The text of a record, and its time since the boot (Documentation/ABI/testing/dev-kmsg).
fn text(record: &str) -> Option<(&str, Duration)> {
    let (head, text) = record.split_once(';')?;
    Some((text, Duration::from_micros(head.split(',').nth(2)?.parse().ok()?)))
}

/// The process of a line about a kill.
fn kill(record: &str) -> Option<(u32, Duration)> {
    let (text, at) = text(record)?;
    let pid = text.strip_prefix("oom-kill:")?.rsplit_once(",pid=")?.1.split(',').next()?.parse().ok()?;
    Some((pid, at))
}

fn mark(record: &str) -> Option<(usize, Duration)> {
    let (text, at) = text(record)?;
    Some((text.lines().next()?.strip_prefix(MARK)?.parse().ok()?, at))
}

/// From kills by the kernel to the daemon's events about them, sorted: those of processes of a container that goes on. A line of
/// our own in the kernel's log before each sets its clock against ours.
pub fn kill_times(d: &mut Daemon<'_, '_>, count: usize) -> Result<Vec<Duration>> {
    d.resident("a", "[limits]\nmemory = '32MiB'\nswap = 0\noom_group = false\n")?;
    let log = Log::read()?;
    let mut ours = Vec::new();
    for n in 0..count {
        ours.push(since_midnight());
        std::fs::write("/dev/kmsg", format!("{MARK}{n}\n")).context("a line for /dev/kmsg")?;
        let out = d.ctl(&["exec", "a.1", PROBE, "mem", "200"])?;
        ensure!(out.code == Some(137), "the command was to be killed: {out:?}");
        std::thread::sleep(PAUSE);
    }
    let seen = log.end()?;
    let mut all = Vec::new();
    for event in d.events()?.iter().filter(|e| e["kind"] == "oom-child-killed") {
        let text = event["text"].as_str().unwrap_or("");
        let pid = text.strip_prefix("the kernel killed process ").and_then(|t| t.split(' ').next());
        let pid: u32 = pid.and_then(|p| p.parse().ok()).with_context(|| text.to_owned())?;
        let killed = seen.kills.get(&pid).with_context(|| format!("no kill of {pid} was read"))?;
        let mark =
            seen.marks.iter().rfind(|(_, at)| *at <= killed).context("no line of ours before a kill")?;
        let killed = ours[*mark.0] + killed.saturating_sub(*mark.1);
        all.push(of_day(event["at"].as_str().unwrap_or(""))?.saturating_sub(killed));
    }
    // Others on the machine have a part in what the kernel writes.
    ensure!(all.len() * 4 >= count * 3, "{} events about {count} kills", all.len());
    all.sort();
    Ok(all)
}

/// What a daemon uses with so many services that are warned, each with all that can wake it, while there is enough memory.
pub fn calm(d: &mut Daemon<'_, '_>, services: usize) -> Result<Idle> {
    d.end()?;
    // The pass over all files every minute is no part of idleness here; the page says so.
    d.options = ["--full-pass", "3600"].map(String::from).to_vec();
    d.start()?;
    let keys = "[limits]\nmemory = '64MiB'\nmemory_request = '8MiB'\n[pressure]\nwatch = true\nrungs = ['warn', 'evict']\n";
    d.service("w", &["trap", "TERM"], &format!("replicas = {services}\n{keys}"))?;
    for n in 1..=services {
        d.ready(&format!("w.{n}"))?;
    }
    // The first look at what they have taken is a second after their start.
    std::thread::sleep(Duration::from_secs(5));
    let pids = keepers(d, services)?;
    idle_for(d, &pids, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_about_a_kill_has_its_time() {
        let line =
            "6,1234,27900387534,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=a,pid=7,b,pid=18003,uid=0\n";
        assert_eq!(kill(line), Some((18003, Duration::from_micros(27_900_387_534))));
        let own = format!("12,5,7000001,-;{MARK}3\n SUBSYSTEM=x\n");
        assert_eq!((mark(&own), kill(&own)), (Some((3, Duration::from_micros(7_000_001))), None));
        assert_eq!(mark(line), None);
        assert_eq!(kill("6,1,2,-;Memory cgroup out of memory: Killed process 12 (java)\n"), None);
    }
}
