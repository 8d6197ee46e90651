//! Makes the directories of a plan, switches controllers on above them, writes the limits and the device
//! program. Takes back what it made when a step fails. May use: `sys::fs`, `sys::bpf`, the cgroup module's types.
#![forbid(unsafe_code)]

use super::limits::{self, BASE, at};
use super::systemd::{Anchor, UnitPlan};
use super::tree::pids_below;
use super::{Cgroup, Dir, Group, Layout, Plan, Rule, Saved, Whose, Write, ebpf, lack, v1};
use crate::error::{Code, Context, Error, Result, quoted};
use crate::sys::{BorrowedFd, OwnedFd, bpf, errno, fs};
use std::path::{Path, PathBuf};

impl Cgroup {
    /// Makes the directories and writes all limits and the device program, before anybody is inside. On
    /// failure nothing made here is left. A directory that is there already is used if it is empty and not
    /// frozen, and `delete` will leave it. `may_lack` says whether a runtime without the right to make a
    /// directory goes on without it, see [`lack`].
    pub fn create(layout: &Layout, plan: &Plan, may_lack: &dyn Fn() -> bool) -> Result<Cgroup> {
        let mut making = Making { may_lack, ..Making::nothing() };
        match making.all(layout, plan) {
            Ok(()) => {
                let Saved { seen, unit, .. } = plan.saved();
                Ok(Cgroup { dirs: making.dirs, seen, unit, held: making.held })
            }
            Err(e) => {
                making.undo(plan);
                Err(e.step("set up cgroup"))
            }
        }
    }

    /// To be called when init is inside: what kept a unit of systemd alive until then goes, and with it the reason not
    /// to limit the number of processes yet.
    pub fn settle(&mut self) -> Result<()> {
        let Some(Held { anchor, later }) = self.held.take() else { return Ok(()) };
        anchor.lift()?;
        write_limits(&self.dirs, &later).step("set up cgroup")
    }
}

/// What waits for init to be in a group that systemd made.
#[derive(Debug)]
pub(super) struct Held {
    anchor: Anchor,
    /// Limits on the number of processes, which would count the anchor.
    later: Vec<Write>,
}

/// The file of both versions that limits the number of processes.
const PIDS: &str = "pids.max";

/// What was made so far.
pub(super) struct Making<'a> {
    /// Directories to remove on failure, in order of making.
    made: Vec<PathBuf>,
    dirs: Vec<Dir>,
    held: Option<Held>,
    may_lack: &'a dyn Fn() -> bool,
}

impl<'a> Making<'a> {
    /// Nothing yet, and nothing that may be missing.
    pub(super) fn nothing() -> Making<'a> {
        Making { made: Vec::new(), dirs: Vec::new(), held: None, may_lack: &|| false }
    }

    fn all(&mut self, layout: &Layout, plan: &Plan) -> Result<()> {
        if let Some(unit) = &plan.unit {
            let anchor = Anchor::start(unit).map_err(|e| e.field("/linux/cgroupsPath"))?;
            self.held = Some(Held { anchor, later: Vec::new() });
        }
        for group in &plan.groups {
            match self.group(layout, plan, group) {
                Err(e) if lack::is_denied(&e) && (self.may_lack)() => lack::without(plan, group, e)?,
                r => r.map_err(|e| e.field("/linux/cgroupsPath"))?,
            }
        }
        let devices = plan.writes.iter().take_while(|w| lack::is_of_devices(w)).count();
        let (devices, limits) = plan.writes.split_at(devices);
        self.devices(plan, devices)?;
        self.limits(limits)
    }

    fn group(&mut self, layout: &Layout, plan: &Plan, group: &Group) -> Result<()> {
        let asks = group.key.is_empty() && !(plan.needed.is_empty() && plan.wanted.is_empty());
        let switched = asks && self.enable(layout, plan, group)?;
        let fresh = self.directory(group)?;
        // systemd would have refused a unit that is somebody else's.
        let whose = if fresh || plan.unit.is_some() { Whose::Ours } else { Whose::Theirs };
        let dir = Dir::new(&group.key, &group.dir(), whose);
        if whose == Whose::Theirs {
            check_unused(&dir)?;
        }
        if switched {
            check_enterable(&dir)?;
        }
        self.dirs.push(dir);
        Ok(())
    }

    /// Device rules are the one thing that the owner of a group may not set.
    fn devices(&self, plan: &Plan, writes: &[Write]) -> Result<()> {
        let there = |w: &Write| self.dirs.iter().any(|d| d.key == w.key);
        let set = || {
            // Without the directory there are no limits either, see `lack`.
            if writes.first().is_some_and(there) {
                write_limits(&self.dirs, writes)?;
            }
            match (&plan.device_program, self.dirs.iter().find(|d| d.is_v2())) {
                (Some(rules), Some(dir)) => install_program(dir.fd()?, dir.whose == Whose::Ours, rules)
                    .map_err(|e| e.field(at("devices"))),
                _ => Ok(()),
            }
        };
        match set() {
            Err(e) if lack::is_denied(&e) && (self.may_lack)() => Ok(()),
            r => r,
        }
    }

    /// All limits now, but for those that wait for the anchor to go.
    fn limits(&mut self, writes: &[Write]) -> Result<()> {
        let Some(held) = &mut self.held else { return write_limits(&self.dirs, writes) };
        let (later, now): (Vec<_>, Vec<_>) =
            writes.iter().cloned().partition(|w| w.files.iter().any(|(f, _)| f == PIDS));
        let mut open = later.clone();
        open.iter_mut().flat_map(|w| &mut w.files).for_each(|(_, value)| *value = "max".to_string());
        held.later = later;
        write_limits(&self.dirs, &open)?;
        write_limits(&self.dirs, &now)
    }

    fn undo(&mut self, plan: &Plan) {
        self.dirs.clear();
        if self.held.take().is_some()
            && let Some(UnitPlan { unit, .. }) = &plan.unit
        {
            // The process inside has ended, so that systemd does the same in a moment; the first error is to be told.
            let _ = unit.stop();
        }
        for path in self.made.drain(..).rev() {
            // A parent that somebody else has begun to use stays; the error to report is the first one.
            let _ = fs::rmdirat(fs::CWD, &path);
        }
    }

    /// Makes the directory, with its parents if needed; `false` when it was there.
    fn directory(&mut self, group: &Group) -> Result<bool> {
        // Several rounds, because another container's removal may take a parent away in between.
        for _ in 0..16 {
            match self.mkdir(group, &group.dir()) {
                Err(e) if e.is(errno::ENOENT) => self.parents(group)?,
                r => return r,
            }
        }
        Err(Error::new(Code::Os, format!("the parents of {} keep disappearing", group.dir().display())))
    }

    fn parents(&mut self, group: &Group) -> Result<()> {
        let mut dir = group.mount.clone();
        let (above, _) = group.path.rsplit_once('/').unwrap_or_default();
        for name in above.split('/').filter(|n| !n.is_empty()) {
            dir.push(name);
            match self.mkdir(group, &dir) {
                Err(e) if e.is(errno::ENOENT) => return Ok(()),
                r => r.map(|_| ())?,
            }
        }
        Ok(())
    }

    fn mkdir(&mut self, group: &Group, dir: &Path) -> Result<bool> {
        match fs::mkdirat(fs::CWD, dir, 0o755) {
            Err(e) if e.is(errno::EEXIST) => Ok(false),
            Err(e) => Err(e),
            Ok(()) => {
                self.made.push(dir.to_path_buf());
                if v1::is_cpuset(&group.key) {
                    v1::fill_cpuset(dir, &group.mount).step("fill a new cpuset")?;
                }
                Ok(true)
            }
        }
    }

    /// Switches controllers on in every parent of a v2 directory; true when there was something to do. The last
    /// parent tells: what is on there is on above it.
    pub(super) fn enable(&mut self, layout: &Layout, plan: &Plan, group: &Group) -> Result<bool> {
        let (above, _) = group.path.rsplit_once('/').unwrap_or_default();
        let mut wanted: Vec<&str> = plan.needed.iter().chain(&plan.wanted).map(String::as_str).collect();
        match missing(&group.mount.join(above), &wanted) {
            Ok(m) if m.is_empty() => return Ok(false),
            Err(e) if e.is(errno::ENOENT) => self.parents(group)?,
            r => r.map(|_| ())?,
        }
        let mut dir = group.mount.clone();
        let names = std::iter::once("").chain(above.split('/').filter(|n| !n.is_empty()));
        for name in names {
            if !name.is_empty() {
                dir.push(name);
            }
            let absent = missing(&dir, &wanted)?;
            if absent.is_empty() || switch_on(&dir, &absent).is_ok() {
                continue;
            }
            // Without those that are only nice to have, and from here down too.
            wanted = plan.needed.iter().map(String::as_str).collect();
            let absent = missing(&dir, &wanted)?;
            if !absent.is_empty() {
                switch_on(&dir, &absent).map_err(|e| not_enabled(e, layout, plan, &dir, &absent))?;
            }
        }
        Ok(true)
    }
}

const SUBTREE: &str = "cgroup.subtree_control";

/// Which of `wanted` the children of `dir` do not have.
fn missing<'a>(dir: &Path, wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    let text = fs::read_file_at(fs::CWD, dir.join(SUBTREE))?;
    Ok(wanted.iter().copied().filter(|w| !text.split_whitespace().any(|on| on == *w)).collect())
}

fn switch_on(dir: &Path, controllers: &[&str]) -> Result<()> {
    let line: Vec<String> = controllers.iter().map(|c| format!("+{c}")).collect();
    fs::write_file_at(fs::CWD, dir.join(SUBTREE), line.join(" ").as_bytes())
}

/// Says which controller a limit lacks, and where on the way it gets lost.
fn not_enabled(e: Error, layout: &Layout, plan: &Plan, dir: &Path, absent: &[&str]) -> Error {
    let offered = fs::read_file_at(fs::CWD, dir.join("cgroup.controllers")).unwrap_or_default();
    let lost = absent.iter().find(|c| !offered.split_whitespace().any(|o| o == **c));
    let controller = lost.or(absent.first()).copied().unwrap_or_default();
    let field =
        plan.writes.iter().find(|w| belongs(w, controller)).map_or_else(|| at(""), |w| w.field.clone());
    let place = dir.display();
    let why = match (lost, e.errno()) {
        (Some(_), _) => format!("it is not delegated to {place}"),
        (None, Some(errno::EBUSY)) => {
            format!("{place} has processes of its own, so its children cannot have controllers")
        }
        (None, Some(errno::EOPNOTSUPP)) => format!("{place} is a threaded cgroup"),
        (None, Some(errno::EINVAL)) if controller == "cpu" => {
            format!("{place} refuses it, perhaps because of realtime processes")
        }
        _ => return e.field(field),
    };
    Error::spec(field, format!("controller \"{controller}\" is not available: {why}"))
        .code(Code::Unsupported)
        .hint(layout.to_string())
}

fn belongs(w: &Write, controller: &str) -> bool {
    w.key.is_empty() && w.files.iter().any(|(f, _)| f.split('.').next() == Some(controller))
}

/// A parent with processes of its own may have cpu and pids on, but then no process can enter its children.
fn check_enterable(dir: &Dir) -> Result<()> {
    match fs::read_file_at(dir.fd()?, "cgroup.type") {
        Ok(kind) if kind.trim() == "domain invalid" => {
            let text =
                format!("no process can enter {}: a cgroup above it has processes", dir.path.display());
            Err(Error::new(Code::Unsupported, text))
        }
        // No file in a v2 tree before Linux 4.14.
        Err(e) if !e.is(errno::ENOENT) => Err(e),
        _ => Ok(()),
    }
}

/// A directory that was there before must be empty and not frozen: limits would hit strangers, or the
/// container would never run. Texts as runc's, which callers know.
fn check_unused(dir: &Dir) -> Result<()> {
    let fd = dir.fd()?;
    let pids = pids_below(fd)?;
    let place = dir.path.display().to_string();
    if !pids.is_empty() {
        let text = format!("container's cgroup is not empty: {} process(es) found", pids.len());
        return Err(Error::new(Code::Exists, text).hint(place));
    }
    let frozen = match dir.is_v2() {
        true => fs::read_file_at(fd, "cgroup.freeze").is_ok_and(|t| t.trim() == "1"),
        false => v1::is_freezer(&dir.key) && v1::frozen(fd)?,
    };
    match frozen {
        true => Err(Error::new(Code::Exists, "container's cgroup unexpectedly frozen").hint(place)),
        false => Ok(()),
    }
}

/// Writes in order. CPU times limit each other, and memory and swap do: a value that is refused is tried once
/// more after the others, because in a directory with older limits the right order depends on those.
pub(super) fn write_limits(dirs: &[Dir], writes: &[Write]) -> Result<()> {
    let linked = |w: &Write| ["cpu/", "memory/"].iter().any(|s| w.field.starts_with(&format!("{BASE}/{s}")));
    let mut open = None;
    let mut later = Vec::new();
    for (i, w) in writes.iter().enumerate() {
        match write_one(dirs, w, &mut open) {
            Err(e)
                if (e.is(errno::EINVAL) || e.is(errno::EBUSY))
                    && linked(w)
                    && writes[i + 1..].iter().any(|x| x.key == w.key && linked(x)) =>
            {
                later.push(w);
            }
            r => r?,
        }
    }
    later.into_iter().try_for_each(|w| write_one(dirs, w, &mut open))
}

/// The file written last, still open: lists of devices go to one file line by line.
type Open<'a> = Option<(&'a str, &'a str, OwnedFd)>;

fn write_one<'a>(dirs: &[Dir], w: &'a Write, open: &mut Open<'a>) -> Result<()> {
    let dir = dirs.iter().find(|d| d.key == w.key).ok_or_else(|| {
        Error::new(Code::Internal, "a limit for a hierarchy that is not mounted").field(&w.field)
    })?;
    for (file, value) in &w.files {
        if !matches!(open, Some((k, f, _)) if *k == w.key && *f == file) {
            *open = match fs::openat(dir.fd()?, file, fs::OFlags::WRONLY | fs::OFlags::NOFOLLOW, 0) {
                Err(e) if e.is(errno::ENOENT) => continue,
                r => Some((&w.key, file, r.map_err(|e| e.field(&w.field))?)),
            };
        }
        if let Some((_, _, fd)) = open {
            check_above(dir, w, value)?;
            fs::write_once(fd, value.as_bytes()).map_err(|e| explain(e, dir, w, file))?;
            return check_effective(dir, w, file, value);
        }
    }
    match w.optional {
        true => Ok(()),
        false => {
            let names: Vec<&str> = w.files.iter().map(|(f, _)| f.as_str()).collect();
            let text = format!("this kernel does not offer {}", names.join(" or "));
            Err(Error::spec(&w.field, text).code(Code::Unsupported).path(dir.path.to_string_lossy()))
        }
    }
}

fn check_above(dir: &Dir, w: &Write, value: &str) -> Result<()> {
    let Some(file) = w.above else { return Ok(()) };
    let usage = fs::read_file_at(dir.fd()?, file)?;
    match (value.parse::<u64>(), usage.trim().parse::<u64>()) {
        (Ok(limit), Ok(usage)) if limit <= usage => {
            Err(Error::spec(&w.field, format!("rejecting memory limit {limit} <= usage {usage}")))
        }
        _ => Ok(()),
    }
}

/// A v2 cpuset takes any list, and uses all of the parent's CPUs when nothing of it can be had.
fn check_effective(dir: &Dir, w: &Write, file: &str, value: &str) -> Result<()> {
    if !dir.is_v2() || !matches!(file, "cpuset.cpus" | "cpuset.mems") {
        return Ok(());
    }
    let got = fs::read_file_at(dir.fd()?, format!("{file}.effective"))?;
    match limits::is_part_of(&got, value) || value.trim().is_empty() {
        true => Ok(()),
        false => Err(Error::spec(
            &w.field,
            format!("none of {} is available, the parent cgroup has {}", quoted(value), got.trim()),
        )
        .code(Code::Unsupported)),
    }
}

/// Why a weight is refused.
pub(super) const IDLE: &str = "a group that is idle (cpu.idle) has no weight of its own";

/// Adds the field, and for errors that have one usual cause, that cause.
fn explain(e: Error, dir: &Dir, w: &Write, file: &str) -> Error {
    let of =
        |d: &Path, name: &str| fs::read_file_at(fs::CWD, d.join(name)).unwrap_or_default().trim().to_string();
    let parent = dir.path.parent().unwrap_or(&dir.path);
    let cause = match e.errno() {
        Some(errno::EBUSY) if file == v1::LIMIT_FILE => {
            let value = w.files.iter().find(|(f, _)| f == file).map_or("", |(_, v)| v);
            let (usage, peak) = (of(&dir.path, v1::USAGE_FILE), of(&dir.path, v1::PEAK_FILE));
            let text =
                format!("unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})");
            return e.step(text).field(&w.field);
        }
        Some(errno::EBUSY) if file.starts_with("memory.") => {
            let name = if dir.is_v2() { "memory.current" } else { v1::USAGE_FILE };
            format!("{} bytes are in use", of(&dir.path, name))
        }
        Some(errno::ENODEV) => "no such block device".to_string(),
        Some(errno::EINVAL) if file == "cpu.weight" => IDLE.to_string(),
        // On v1; as words, because callers take "permission denied" for a program that cannot be run.
        Some(errno::EACCES) if file.starts_with("cpuset.") => {
            let text = format!("not all of it is available, the parent cgroup has {}", of(parent, file));
            return Error::spec(&w.field, text).code(Code::Unsupported);
        }
        Some(errno::EINVAL | errno::ERANGE) if file.starts_with("cpuset.") => {
            let file = if dir.is_v2() { format!("{file}.effective") } else { file.to_string() };
            format!("the parent cgroup has {}", of(parent, &file))
        }
        Some(n) => match v1::cause(n, file, |name| of(parent, name)) {
            Some(text) => text,
            None => return e.field(&w.field),
        },
        None => return e.field(&w.field),
    };
    e.field(&w.field).hint(cause)
}

/// Loads and attaches the device program, alone: programs of an earlier use of the directory go, and a query
/// proves that ours is in force.
fn install_program(dir: BorrowedFd<'_>, fresh: bool, rules: &[Rule]) -> Result<()> {
    let program = bpf::load_device_program(&ebpf::program(rules)?).map_err(refused)?;
    let old = if fresh { Vec::new() } else { bpf::query_device_programs(dir)? };
    bpf::attach_device_program(dir, &program).map_err(refused)?;
    for id in old {
        bpf::detach_device_program(dir, bpf::device_program_by_id(id)?)?;
    }
    match bpf::query_device_programs(dir)?.len() {
        1 => Ok(()),
        n => Err(Error::new(Code::Os, format!("{n} device programs are attached, want exactly ours"))),
    }
}

fn refused(e: Error) -> Error {
    match e.errno() {
        Some(errno::EPERM) => e.code(Code::Unsupported).hint(
            "device rules on cgroup v2 need CAP_BPF in the host's user namespace; a nested runtime lacks it",
        ),
        _ => e,
    }
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
