//! Directories of cgroups by handle: events, who is inside, walking, killing by signal, removing, and the words for
//! those who are left. May use: `sys::{fs, poll, process}`, `error`.
#![forbid(unsafe_code)]

use super::Dir;
use crate::error::{Code, Error, Result, quoted};
use crate::sys::process::{self, sig};
use crate::sys::{BorrowedFd, OwnedFd, errno, fs, poll};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// `false` when the time ran out. A group that is removed meanwhile is neither frozen nor running.
pub(super) fn set_frozen_v2(dir: BorrowedFd<'_>, on: bool, until: Instant) -> Result<bool> {
    fs::write_file_at(dir, "cgroup.freeze", if on { b"1" } else { b"0" })?;
    wait_event(dir, "frozen", on.into(), until)
}

/// Waits until `key` of `cgroup.events` is `want`; `false` when the time ran out. A group that is gone has
/// arrived. The kernel holds notices back for up to 10 ms after the last one, so short waits come first.
pub(super) fn wait_event(dir: BorrowedFd<'_>, key: &str, want: u64, until: Instant) -> Result<bool> {
    let mut slice = Duration::from_millis(1);
    loop {
        let Some((file, text)) = unless_gone(open_and_read(dir, "cgroup.events"))? else { return Ok(true) };
        if value_of(&text, key) == Some(want) {
            return Ok(true);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        poll::wait_priority(&file, Some(left.min(slice)))?;
        slice = (slice * 2).min(Duration::from_millis(250));
    }
}

/// `None` for a file of a group that was removed while we had it open.
pub(super) fn unless_gone<T>(r: Result<T>) -> Result<Option<T>> {
    match r {
        Err(e) if e.is(errno::ENOENT) || e.is(errno::ENODEV) => Ok(None),
        r => r.map(Some),
    }
}

fn open_and_read(dir: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, String)> {
    let file = fs::openat(dir, name, fs::OFlags::RDONLY, 0)?;
    let bytes = fs::read_all(&file, 1 << 26)?;
    Ok((file, String::from_utf8_lossy(&bytes).into_owned()))
}

/// The number behind `key` in a flat keyed file.
pub(super) fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Processes in `dir` and below, sorted.
pub(super) fn pids_below(dir: BorrowedFd<'_>) -> Result<Vec<i32>> {
    let mut pids = BTreeSet::new();
    let mut enter = |here: BorrowedFd<'_>| match open_and_read(here, "cgroup.procs") {
        // The group went away; or it is threaded, and its processes are listed further up.
        Err(e) if [errno::ENOENT, errno::ENODEV, errno::EOPNOTSUPP].iter().any(|n| e.is(*n)) => Ok(()),
        r => {
            pids.extend(r?.1.lines().filter_map(|l| l.trim().parse::<i32>().ok()));
            Ok(())
        }
    };
    walk(dir, &mut enter, &mut |_, _| Ok(()))?;
    Ok(pids.into_iter().collect())
}

/// Visits a directory and all below it: `enter` on the way down, `leave` with parent and name on the way up.
/// Holds one descriptor whatever the depth, which the container chooses.
fn walk(
    top: BorrowedFd<'_>,
    enter: &mut dyn FnMut(BorrowedFd<'_>) -> Result<()>,
    leave: &mut dyn FnMut(BorrowedFd<'_>, &OsStr) -> Result<()>,
) -> Result<()> {
    let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY | fs::OFlags::NOFOLLOW;
    let children = |dir: &OwnedFd| match fs::fstat(dir)?.nlink {
        2 => Ok(Vec::new()),
        _ => fs::list_dirs(dir),
    };
    enter(top)?;
    let mut here = match fs::openat(top, ".", flags, 0) {
        Err(e) if e.is(errno::ENOENT) => return Ok(()),
        r => r?,
    };
    let mut levels = vec![(None, children(&here)?)];
    while let Some((_, left)) = levels.last_mut() {
        if let Some(name) = left.pop() {
            match fs::openat(&here, &name, flags, 0) {
                Err(e) if e.is(errno::ENOENT) => {}
                r => {
                    here = r?;
                    enter(here.as_fd())?;
                    levels.push((Some(name), children(&here)?));
                }
            }
        } else if let Some((Some(name), _)) = levels.pop() {
            here = fs::openat(&here, "..", flags, 0)?;
            leave(here.as_fd(), &name)?;
        }
    }
    Ok(())
}

/// SIGKILL to every process inside. Each is listed, pinned by a pidfd and listed again: a number that is in
/// both lists still names a member, so a reused number outside is never hit.
pub(super) fn signal_inside(dir: BorrowedFd<'_>) -> Result<()> {
    let mut pinned = Vec::new();
    for pid in pids_below(dir)? {
        match process::pidfd_open(pid) {
            Err(e) if e.is(errno::ESRCH) => {}
            r => pinned.push((pid, r?)),
        }
    }
    let still = pids_below(dir)?;
    for (pid, fd) in pinned.iter().filter(|(pid, _)| still.binary_search(pid).is_ok()) {
        match process::pidfd_signal(fd, sig::SIGKILL) {
            Err(e) if e.is(errno::ESRCH) => {}
            r => r.map_err(|e| e.step(format!("kill process {pid}")))?,
        }
    }
    Ok(())
}

pub(super) fn remove(dir: &Dir, until: Instant, deadline: Duration) -> Result<()> {
    let mut pause = Duration::from_micros(200);
    loop {
        if gone(&dir.path)? {
            return Ok(());
        }
        // Somebody is inside, or there are groups below.
        let opened = fs::open(&dir.path, fs::OFlags::RDONLY | fs::OFlags::DIRECTORY, 0);
        let fd = match opened {
            Err(e) if e.is(errno::ENOENT) => return Ok(()),
            r => r?,
        };
        let mut leave = |parent: BorrowedFd<'_>, name: &OsStr| match fs::rmdirat(parent, name) {
            Err(e) if !is_busy(&e) && !e.is(errno::ENOENT) => Err(e),
            _ => Ok(()),
        };
        // The tree may change under the walk: then once more.
        unless_gone(walk(fd.as_fd(), &mut |_| Ok(()), &mut leave))?;
        if gone(&dir.path)? {
            return Ok(());
        }
        if Instant::now() >= until {
            let inside = describe(&pids_below(fd.as_fd())?);
            let what = format!("cgroup {} to become empty", dir.path.display());
            return Err(late(&what, deadline, &inside).path(dir.path.to_string_lossy()));
        }
        // v2 tells when the last process left; what else can keep it busy, such as a group just made below,
        // tells nothing.
        if !dir.is_v2() || wait_event(fd.as_fd(), "populated", 0, until.min(Instant::now() + pause))? {
            std::thread::sleep(pause);
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes a directory that may be a stranger's: only if nobody is inside and nothing below, and without
/// complaint if there is.
pub(super) fn remove_if_empty(dir: &Dir, until: Instant) -> Result<()> {
    while !gone(&dir.path)? {
        if Instant::now() >= until {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Removes an empty directory; `false` when it is in use.
pub(super) fn gone(path: &Path) -> Result<bool> {
    match fs::rmdirat(fs::CWD, path) {
        Ok(()) => Ok(true),
        Err(e) if e.is(errno::ENOENT) => Ok(true),
        Err(e) if is_busy(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_busy(e: &Error) -> bool {
    e.is(errno::EBUSY) || e.is(errno::ENOTEMPTY)
}

pub(super) fn late(what: &str, deadline: Duration, detail: &str) -> Error {
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    Error::new(Code::Timeout, format!("gave up after {deadline:?} waiting for {what}{detail}"))
}

/// The first few processes with name, state and the kernel function they sleep in.
pub(super) fn describe(pids: &[i32]) -> String {
    let read = |pid: i32, file: &str| {
        let bytes = fs::read_regular(format!("/proc/{pid}/{file}"), 1 << 16).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_string()
    };
    let one = |pid: &i32| {
        let stat = read(*pid, "stat");
        let name = stat.split_once('(').and_then(|(_, r)| r.rsplit_once(')'));
        let (name, rest) = name.unwrap_or(("?", ""));
        let state = rest.split_whitespace().next().unwrap_or("gone");
        format!("process {pid} {} state {state} in {}", quoted(name), quoted(&read(*pid, "wchan")))
    };
    let mut list: Vec<String> = pids.iter().take(8).map(one).collect();
    if pids.len() > list.len() {
        list.push(format!("and {} more", pids.len() - list.len()));
    }
    list.join(", ")
}
