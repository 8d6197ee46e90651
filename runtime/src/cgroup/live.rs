//! A group in use: who is inside, freeze and thaw, kill, remove, counters, where `exec` goes. Every wait has the
//! caller's deadline and says what it waited for. May use: `sys::fs`, the cgroup module's types.
#![forbid(unsafe_code)]

use super::tree::{
    describe, gone, late, pids_below, remove, remove_if_empty, set_frozen_v2, signal_inside, unless_gone,
    value_of, wait_event,
};
use super::{Cgroup, Dir, Sub, Whose, layout, v1};
use crate::error::{Code, Error, Result};
use crate::sys::{BorrowedFd, OwnedFd, errno, fs};
use std::time::{Duration, Instant};

/// How long a process that `create` had cloned may take to die after its creator was killed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a process that joins the container is to be born.
#[derive(Debug)]
pub struct ExecTarget {
    /// For `CLONE_INTO_CGROUP`.
    pub v2: Option<OwnedFd>,
    /// For the child to write `0` into.
    pub entrances: Vec<OwnedFd>,
}

impl Cgroup {
    /// True when any directory still exists.
    pub fn exists(&self) -> bool {
        self.dirs.iter().any(|d| fs::statat(fs::CWD, &d.path, fs::AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// True for a container that was made without any, see [`super::lack`].
    pub fn is_lacking(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Processes in this group and below, sorted. The v2 tree tells; without one the freezer or any other
    /// hierarchy. A group that is gone has none.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self.tracker() {
            Some(dir) => dir.open()?.map_or(Ok(Vec::new()), pids_below),
            None => Ok(Vec::new()),
        }
    }

    /// Whether the kernel says that nobody is inside or below. Asked of cgroup v2 alone; where v1 groups are involved
    /// the answer is no, and who wants to know looks for processes.
    pub fn vacant(&self) -> Result<bool> {
        if self.v1().next().is_some() {
            return Ok(false);
        }
        let Some(fd) = self.v2().map_or(Ok(None), Dir::open)? else { return Ok(true) };
        let events = unless_gone(fs::read_file_at(fd, "cgroup.events"))?;
        Ok(events.is_none_or(|text| value_of(&text, "populated") == Some(0)))
    }

    /// The directory that knows who is inside.
    fn tracker(&self) -> Option<&Dir> {
        self.v2().or_else(|| self.v1_freezer()).or_else(|| self.dirs.first())
    }

    /// Whether the group is frozen now, by us or by somebody else through the v1 freezer. A group that is gone
    /// is not.
    pub fn frozen(&self) -> Result<bool> {
        if let Some(fd) = self.v2().map_or(Ok(None), Dir::open)?
            && unless_gone(fs::read_file_at(fd, "cgroup.freeze"))?.is_some_and(|t| t.trim() == "1")
        {
            return Ok(true);
        }
        Ok(self.v1_frozen()?.is_some())
    }

    /// The directory of the v1 freezer, if it holds the group.
    fn v1_frozen(&self) -> Result<Option<BorrowedFd<'_>>> {
        match self.v1_freezer().map_or(Ok(None), Dir::open)? {
            Some(fd) => Ok(unless_gone(v1::frozen(fd))?.filter(|frozen| *frozen).map(|_| fd)),
            None => Ok(None),
        }
    }

    /// Freezes and waits until every process has stopped. When the time runs out the group is thawed again.
    pub fn freeze(&self, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        let done = match (self.v2(), self.v1_freezer()) {
            (Some(d), _) => set_frozen_v2(d.fd()?, true, until)?,
            (None, Some(d)) => v1::set_frozen(d.fd()?, true, until)?,
            (None, None) if self.dirs.is_empty() => {
                return Err(Error::new(Code::Unsupported, "cannot freeze: the container has no cgroup"));
            }
            (None, None) => {
                let text = "cannot freeze: neither a cgroup v2 tree nor the v1 freezer controller is mounted";
                return Err(Error::new(Code::Unsupported, text));
            }
        };
        if done {
            return Ok(());
        }
        let stuck = describe(&self.pids()?);
        self.thaw(Duration::from_secs(1))?;
        Err(late("the processes to freeze", deadline, &stuck))
    }

    /// Thaws, whichever freezer holds the group, and waits until it runs.
    pub fn thaw(&self, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        let mut done = true;
        if let Some(fd) = self.v2().map_or(Ok(None), Dir::open)? {
            done &= unless_gone(set_frozen_v2(fd, false, until))?.unwrap_or(true);
        }
        if let Some(fd) = self.v1_frozen()? {
            done &= unless_gone(v1::set_frozen(fd, false, until))?.unwrap_or(true);
        }
        match done {
            true => Ok(()),
            false => Err(late("the group to thaw", deadline, "a group above it may be frozen")),
        }
    }

    /// SIGKILL to everything inside, frozen or not, and waits until it is empty.
    pub fn kill_all(&self, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        if let Some(dir) = self.v2()
            && let Some(fd) = dir.open()?
        {
            match fs::write_file_at(fd, "cgroup.kill", b"1") {
                // Linux before 5.14.
                Err(e) if e.is(errno::ENOENT) => self.signal_all(dir, until, deadline)?,
                // systemd removes the group of a unit as soon as the last process in it has ended.
                Err(e) if e.is(errno::ENODEV) => {}
                r => r?,
            }
            // The v1 freezer, unlike that of v2, keeps a killed process from dying.
            if let Some(fd) = self.v1_frozen()? {
                unless_gone(fs::write_file_at(fd, v1::FREEZER_FILE, b"THAWED"))?;
            }
            if !wait_event(fd, "populated", 0, until)? {
                return Err(late("killed processes to end", deadline, &describe(&pids_below(fd)?)));
            }
        }
        match self.v1_freezer().or_else(|| self.v1().next()) {
            Some(dir) => self.signal_all(dir, until, deadline),
            None => Ok(()),
        }
    }

    /// Kills by signals until nobody is left: frozen meanwhile, so that forks cannot outrun it.
    fn signal_all(&self, dir: &Dir, until: Instant, deadline: Duration) -> Result<()> {
        let Some(fd) = dir.open()? else { return Ok(()) };
        let mut pause = Duration::from_micros(200);
        loop {
            let pids = pids_below(fd)?;
            if pids.is_empty() {
                return Ok(());
            }
            let held = Held::new(self, dir, until.min(Instant::now() + Duration::from_millis(500)))?;
            signal_inside(fd)?;
            drop(held);
            if Instant::now() >= until {
                return Err(late("killed processes to end", deadline, &describe(&pids_below(fd)?)));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Removes a group of the container's own in which nobody is, in one step; `false` when there is more to do. For cgroup v2
    /// alone: of several hierarchies one may be in use. What stands in the way is for [`Cgroup::destroy`] to say.
    pub fn remove_vacant(&self) -> bool {
        match self.dirs.as_slice() {
            [dir] if dir.is_v2() && dir.whose == Whose::Ours && self.unit.is_none() => {
                gone(&dir.path).unwrap_or(false)
            }
            _ => false,
        }
    }

    /// Removes the directories, children first; waits for dying processes up to the deadline. Directories
    /// that were not made by us stay, as do their parents: others may be about to use those. Of a record that
    /// does not know whose they are ([`super::Saved::created`]), the empty ones go. A unit of systemd is stopped first.
    pub fn destroy(&self, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        let farewell = until.min(Instant::now() + FAREWELL);
        let mut first_error = None;
        let known = self.dirs.iter().any(|d| d.whose == Whose::Ours);
        let stopped = self.unit.as_ref().map(|u| if known { u.stop() } else { u.stop_if_ours() });
        if let Some(Err(e)) = stopped {
            first_error = Some(e);
        }
        for dir in &self.dirs {
            let done = match dir.whose {
                Whose::Ours => remove(dir, until, deadline),
                Whose::Theirs => Ok(()),
                Whose::Unknown => remove_if_empty(dir, farewell),
            };
            if let Err(e) = done {
                first_error.get_or_insert(e);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Number of OOM kills the kernel has counted in this group, if it tells. On v1 groups below are not
    /// counted (`memory.events` since Linux 4.13).
    pub fn oom_kills(&self) -> Option<u64> {
        let (dir, file) = self.memory_file("memory.events", v1::OOM_FILE)?;
        value_of(&fs::read_file_at(dir, file).ok()?, "oom_kill")
    }

    /// The memory limit in bytes; `None` when there is none or it cannot be read.
    pub fn memory_limit(&self) -> Option<u64> {
        let (dir, file) = self.memory_file("memory.max", v1::LIMIT_FILE)?;
        // Without a limit v1 shows the greatest number of whole pages.
        fs::read_file_at(dir, file).ok()?.trim().parse().ok().filter(|n| *n < 1 << 62)
    }

    /// The greatest memory usage so far in bytes (`memory.peak` since Linux 5.19).
    pub fn memory_peak(&self) -> Option<u64> {
        let (dir, file) = self.memory_file("memory.peak", v1::PEAK_FILE)?;
        fs::read_file_at(dir, file).ok()?.trim().parse().ok()
    }

    fn memory_file<'a>(&self, v2: &'a str, v1: &'a str) -> Option<(BorrowedFd<'_>, &'a str)> {
        let of_v1 = self.dirs.iter().find(|d| d.key.split(',').any(|c| c == "memory"));
        match of_v1 {
            Some(d) => Some((d.fd().ok()?, v1)),
            None => Some((self.v2()?.fd().ok()?, v2)),
        }
    }

    /// Where a process that joins is to be born: on v2 in the group where init is now, because a group whose
    /// children have controllers takes no process; if init's group is gone, in the nearest living one above
    /// it, never outside of the container's; or where `subs` says. With `moved` it is born elsewhere and moves there.
    pub fn exec_target(&self, init_pid: i32, subs: &[Sub<'_>], moved: bool) -> Result<ExecTarget> {
        if !subs.is_empty() {
            return self.sub_target(subs, init_pid, moved);
        }
        let mut entrances = self.v1_tasks()?;
        let Some(dir) = self.v2() else { return Ok(ExecTarget { v2: None, entrances }) };
        let group = self.group_of(dir.fd()?, init_pid)?;
        if moved {
            entrances.push(fs::openat(&group, "cgroup.procs", fs::OFlags::WRONLY, 0)?);
            return Ok(ExecTarget { v2: None, entrances });
        }
        Ok(ExecTarget { v2: Some(group), entrances })
    }

    /// The v2 group that init is in, below `top`.
    pub(super) fn group_of(&self, top: BorrowedFd<'_>, init_pid: i32) -> Result<OwnedFd> {
        let file = fs::read_kernel_value(format!("/proc/{init_pid}/cgroup"), 1 << 20)?;
        let now = layout::own_groups(&file).find(|(key, _)| key.is_empty()).map(|(_, path)| path);
        let inside = now.and_then(|p| layout::below(p.trim_end_matches(" (deleted)"), &self.seen));
        let inside = inside.unwrap_or_default();
        let mut names: Vec<&str> = inside.split('/').filter(|n| !n.is_empty()).collect();
        loop {
            let below = names.join("/");
            let path = if below.is_empty() { "." } else { below.as_str() };
            let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY;
            let how = fs::ResolveFlags::BENEATH | fs::ResolveFlags::NO_SYMLINKS | fs::ResolveFlags::NO_XDEV;
            match fs::openat2(top, path, flags, 0, how) {
                Err(e) if e.is(errno::ENOENT) && names.pop().is_some() => continue,
                r => return r,
            }
        }
    }

    /// Makes the v2 group `name` below this one, for `owner` if there is one. Gives its `cgroup.procs`, for init to write
    /// `0` into, once the container has seen this group as the root of its cgroup namespace.
    pub fn make_below(&self, name: &str, owner: Option<u32>) -> Result<OwnedFd> {
        let dir = self.v2().ok_or_else(|| Error::new(Code::Unsupported, "the container has no cgroup2"))?;
        fs::mkdirat(dir.fd()?, name, 0o755)?;
        let below = Dir::new("", &dir.path.join(name), dir.whose);
        if let Some(uid) = owner {
            delegate(&below, uid)?;
        }
        fs::openat(below.fd()?, "cgroup.procs", fs::OFlags::WRONLY, 0)
    }

    /// Gives the v2 directory to the container's root user, so that it can make groups of its own: the
    /// directory and the files that the kernel lists for it (/sys/kernel/cgroup/delegate, Linux 4.15).
    pub fn delegate(&self, uid: u32) -> Result<()> {
        self.v2().map_or(Ok(()), |dir| delegate(dir, uid))
    }
}

fn delegate(dir: &Dir, uid: u32) -> Result<()> {
    let fd = dir.fd()?;
    fs::chown(fd, Some(uid), None)?;
    let list = fs::read_regular("/sys/kernel/cgroup/delegate", 1 << 16)?;
    for file in String::from_utf8_lossy(&list).split_whitespace() {
        match fs::chownat(fd, file, Some(uid), None) {
            // Files of controllers that are off.
            Err(e) if e.is(errno::ENOENT) => {}
            r => r?,
        }
    }
    Ok(())
}

/// Freezes a hierarchy and thaws it when dropped, whatever happens in between.
struct Held<'a>(Option<(&'a Dir, bool)>);

impl<'a> Held<'a> {
    /// Not getting everybody to stop in time is no error: the caller goes round again.
    fn new(group: &'a Cgroup, dir: &'a Dir, until: Instant) -> Result<Held<'a>> {
        let freezer = if dir.is_v2() { Some(dir) } else { group.v1_freezer() };
        let Some(freezer) = freezer else { return Ok(Held(None)) };
        let held = Held(Some((freezer, dir.is_v2())));
        match dir.is_v2() {
            true => set_frozen_v2(freezer.fd()?, true, until)?,
            false => v1::set_frozen(freezer.fd()?, true, until)?,
        };
        Ok(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some((dir, is_v2)) = self.0 else { return };
        let (file, value): (&str, &[u8]) =
            if is_v2 { ("cgroup.freeze", b"0") } else { (v1::FREEZER_FILE, b"THAWED") };
        let _ = dir.fd().and_then(|fd| fs::write_file_at(fd, file, value));
    }
}
