//! The host: room on disk, the clock, and what the memory ladder looks at.
#![forbid(unsafe_code)]

use std::fs;

use super::Finding;
use super::daemon::Seen;
use crate::cli::text::size;
use crate::sys::logs::{Room, room};

/// The journal is rewritten beside itself when it is compacted.
const JOURNAL_LEAST: u64 = 16 << 20;
/// Exit records and logs are files.
const FILES_LEAST: u64 = 1000;
/// `knarrd --log-min-free`, and what of a large disk is never wanted free.
const MIN_FREE: u64 = 10;
const MIN_FREE_MOST: u64 = 1 << 30;

pub(super) fn look(seen: &Seen) -> Vec<Finding> {
    let mut out = Vec::new();
    // Before its first start there is no state; its file system is that of the next directory above.
    let state = seen.dirs.state.ancestors().find(|p| p.exists());
    if let Some(room) = state.and_then(|p| room(p).ok()) {
        let share = seen.number("log-min-free").unwrap_or(MIN_FREE);
        out.extend(disk(&room, share, &seen.dirs.state.display().to_string()));
    }
    if seen.pid.is_some() && crate::sys::file::in_memory(&seen.dirs.run).is_ok_and(|memory| !memory) {
        let what = format!("{} is on a disk: what should end with a boot stays", seen.dirs.run.display());
        out.push(Finding::warning("disk.run", what, "knarrd --run a directory below /run"));
    }
    if crate::sys::time::is_synchronised().is_ok_and(|yes| !yes) {
        let what = "nobody keeps the clock right: schedules and the times of logs are as wrong as it is";
        out.push(Finding::warning("clock", what, "install and start systemd-timesyncd or chrony"));
    }
    out.extend(pressure(fs::File::open("/proc/pressure/memory").is_ok()));
    out.push(swap(&fs::read_to_string("/proc/swaps").unwrap_or_default()));
    out
}

fn disk(room: &Room, share: u64, state: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    if room.free < JOURNAL_LEAST || (room.files > 0 && room.files_free < FILES_LEAST) {
        let what = format!(
            "the file system of {state} has {} and {} files free: the daemon can soon write down nothing more",
            size(room.free),
            room.files_free
        );
        out.push(Finding::error(
            "disk.journal",
            what,
            "free some, or move the state to a larger file system",
        ));
    }
    let wanted = (room.size / 100).saturating_mul(share).min(MIN_FREE_MOST);
    if room.free < wanted {
        let what = format!(
            "the file system of {state} has {} free, logs leave {}: lines are dropped",
            size(room.free),
            size(wanted)
        );
        out.push(Finding::error(
            "disk.logs",
            what,
            "free some, or lower knarrd --log-min-free or --log-total",
        ));
    }
    out
}

fn pressure(there: bool) -> Option<Finding> {
    (!there).then(|| {
        let what = "the kernel does not say how long memory is waited for (PSI): the memory ladder sees less than it could";
        Finding::warning("memory.pressure", what, "psi=1 on the kernel's command line, or a kernel with CONFIG_PSI")
    })
}

/// /proc/swaps: a head, then one line a place.
fn swap(text: &str) -> Finding {
    let places: Vec<&str> = text.lines().skip(1).filter_map(|l| l.split_whitespace().next()).collect();
    let what = match places.as_slice() {
        [] => "there is no swap: reclaim from services finds only caches".to_owned(),
        all if all.iter().all(|p| p.starts_with("/dev/zram")) => {
            format!("swap is in memory, compressed: {}", all.join(", "))
        }
        all => format!("swap is on {}", all.join(", ")),
    };
    Finding::note("memory.swap", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_runs_full_is_named() {
        let much = Room { free: 50 << 30, size: 100 << 30, files_free: 1 << 20, files: 1 << 21 };
        assert_eq!(disk(&much, 10, "/s"), Vec::new());
        // Ten percent of a large disk are more than is wanted.
        assert_eq!(disk(&Room { free: 2 << 30, ..much }, 10, "/s"), Vec::new());
        let checks = |room: &Room| disk(room, 10, "/s").into_iter().map(|f| f.check).collect::<Vec<_>>();
        assert_eq!(checks(&Room { free: 500 << 20, ..much }), ["disk.logs"]);
        assert_eq!(checks(&Room { free: 1 << 20, ..much }), ["disk.journal", "disk.logs"]);
        assert_eq!(checks(&Room { files_free: 3, ..much }), ["disk.journal"]);
        assert_eq!(
            checks(&Room { files_free: 0, files: 0, ..much }),
            Vec::<String>::new(),
            "btrfs has no number"
        );
    }

    #[test]
    fn swap_is_a_fact() {
        let head = "Filename Type Size Used Priority\n";
        assert!(swap(head).what.contains("no swap") && swap("").what.contains("no swap"));
        assert!(swap(&format!("{head}/dev/zram0 partition 1 0 100\n")).what.contains("compressed"));
        assert!(
            swap(&format!("{head}/dev/zram0 partition 1 0 100\n/dev/sda2 partition 1 0 1\n"))
                .what
                .contains("/dev/sda2")
        );
        assert!(pressure(true).is_none() && pressure(false).is_some());
    }
}
