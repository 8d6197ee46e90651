//! The oracle: what the host looks like before and after a trial. Mounts, processes, cgroups, state,
//! files outside the container and host-wide settings must be as before, whatever the runtime did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::MntFlags;

use crate::os;
use crate::trial::{Trial, Yard, wait_for};

/// Host-wide settings a container must not reach.
const SETTINGS: [&str; 6] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
];

/// The host before a trial.
pub struct Before {
    mounts: String,
    settings: Vec<String>,
    tripwire: BTreeMap<PathBuf, String>,
    shared: BTreeMap<PathBuf, String>,
    fds: usize,
    children: BTreeSet<i32>,
    cgroups: BTreeSet<PathBuf>,
    states: BTreeSet<String>,
}

impl Before {
    /// Lays the tripwire and notes everything.
    pub fn note(trial: &Trial<'_>) -> Result<Before> {
        let wire = trial.dir.join("tripwire");
        if !wire.exists() {
            fs::create_dir_all(wire.join("dir"))?;
            fs::write(wire.join("file"), "untouched")?;
            fs::write(wire.join("dir/inner"), "untouched")?;
        }
        Ok(Before {
            mounts: mounts()?,
            settings: settings(),
            tripwire: listing(&wire),
            shared: shared(trial.yard),
            fds: open_fds(),
            children: children().into_iter().map(|(pid, _)| pid).collect(),
            cgroups: cgroups(trial.yard).into_iter().collect(),
            states: names(&trial.state_root()).into_iter().collect(),
        })
    }

    /// Processes that were not there.
    pub fn new_children(&self) -> Vec<(i32, String)> {
        children().into_iter().filter(|(pid, _)| !self.children.contains(pid)).collect()
    }

    /// Cgroups that were not there, deepest first.
    pub fn new_cgroups(&self, yard: &Yard) -> Vec<PathBuf> {
        cgroups(yard).into_iter().filter(|dir| !self.cgroups.contains(dir)).collect()
    }

    /// Everything that differs now.
    pub fn complaints(&self, trial: &Trial<'_>) -> Vec<String> {
        let mut all = Vec::new();
        // A process that was killed needs a moment to be gone; nothing else may.
        let gone =
            wait_for(u64::from(trial.yard.patience), || Ok(self.new_children().is_empty().then_some(())));
        if gone.is_err() {
            for (pid, name) in self.new_children() {
                all.push(format!("process {pid} ({name}) is left"));
            }
        }
        let _ = wait_for(1, || Ok(self.new_cgroups(trial.yard).is_empty().then_some(())));
        all.extend(self.new_cgroups(trial.yard).iter().map(|c| format!("cgroup {} is left", c.display())));
        match mounts() {
            Ok(now) if now == self.mounts => {}
            Ok(now) => all.extend(
                now.lines().filter(|l| !self.mounts.contains(*l)).map(|l| format!("mount is left: {l}")),
            ),
            Err(e) => all.push(format!("{e:#}")),
        }
        for name in names(&trial.state_root()).into_iter().filter(|n| !self.states.contains(n)) {
            all.push(format!("state is left: {name}"));
        }
        if settings() != self.settings {
            all.push(format!("host settings changed: {:?}, were {:?}", settings(), self.settings));
        }
        if listing(&trial.dir.join("tripwire")) != self.tripwire {
            all.push("files of the host were touched (tripwire)".into());
        }
        if shared(trial.yard) != self.shared {
            all.push("a program that all cases share was changed".into());
        }
        if open_fds() > self.fds {
            all.push(format!("the harness has {} descriptors, had {}", open_fds(), self.fds));
        }
        all
    }
}

/// What a container leaves under its own name outside of its directories: session keyrings, sockets, temporary files. The
/// kernel collects keys in its own time: after a grace period for each process that had them, on a busy machine seconds.
pub fn traces(trial: &Trial<'_>) -> Vec<String> {
    let look = || {
        let mut all = Vec::new();
        for (file, kind) in [("/proc/keys", "keyring"), ("/proc/net/unix", "socket")] {
            let text = fs::read_to_string(file).unwrap_or_default();
            let named = |l: &&str| l.split([' ', '/', ':', '.']).any(|word| word == trial.id);
            all.extend(text.lines().filter(named).map(|l| format!("{kind} is left: {}", l.trim())));
        }
        for dir in ["/tmp", "/run", "/dev/shm"] {
            let ours = |n: &String| n.contains(&trial.id);
            all.extend(names(Path::new(dir)).into_iter().filter(ours).map(|n| format!("{dir}/{n} is left")));
        }
        all
    };
    let _ = wait_for(20, || Ok(look().is_empty().then_some(())));
    look()
}

/// Names in a directory; none when it is not there.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    all.sort();
    all
}

/// Every path below a directory with type, mode, owner, size and a sum of the content of small files.
pub fn listing(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(path) = todo.pop() {
        let Ok(m) = path.symlink_metadata() else { continue };
        let mut text = format!("{:o} {} {} {}", m.mode(), m.uid(), m.gid(), m.rdev());
        if m.is_file() {
            text += &format!(" {} {}.{}", m.len(), m.mtime(), m.mtime_nsec());
            if m.len() < 65536 {
                let sum = fs::read(&path)
                    .unwrap_or_default()
                    .iter()
                    .fold(0u64, |a, b| a.wrapping_mul(1_099_511_628_211).wrapping_add(u64::from(*b) + 1));
                text += &format!(" {sum:x}");
            }
        } else if m.is_symlink() {
            text += &format!(" -> {:?}", fs::read_link(&path).ok());
        } else if m.is_dir() {
            todo.extend(fs::read_dir(&path).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())));
        }
        all.insert(path, text);
    }
    all
}

/// The programs that every root has as a hard link.
fn shared(yard: &Yard) -> BTreeMap<PathBuf, String> {
    let mut all = listing(&yard.probe);
    if let Some(busybox) = &yard.busybox {
        all.extend(listing(busybox));
    }
    all
}

/// Leftovers of a trial are removed, by exact name, whatever state it ended in.
pub fn clean(trial: &mut Trial<'_>) -> Result<()> {
    let unmounted = trial.unmount();
    for _ in 0..100 {
        let left = children();
        if left.is_empty() {
            break;
        }
        left.iter().for_each(|(pid, _)| os::kill(*pid, libc::SIGKILL));
        release_all(trial.yard);
        std::thread::sleep(std::time::Duration::from_millis(5));
        os::reap_orphans();
    }
    release_all(trial.yard);
    for dir in cgroups(trial.yard) {
        let _ = wait_for(1, || Ok(fs::remove_dir(&dir).is_ok().then_some(())));
    }
    remove_tree(&trial.dir)?;
    unmounted
}

/// Empties every cgroup of ours.
fn release_all(yard: &Yard) {
    for top in yard.host.hierarchies() {
        for dir in below(&top.join(&yard.cgroup)) {
            release(&dir, &top);
        }
    }
}

/// Thaws one of our cgroups, sends strangers back to the top and kills what is ours. A runtime that was made to
/// move somebody else's process in must not make us kill it.
pub fn release(dir: &Path, top: &Path) {
    let _ = fs::write(dir.join("cgroup.freeze"), "0");
    let _ = fs::write(dir.join("freezer.state"), "THAWED");
    for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        let Ok(pid) = pid.parse::<i32>() else { continue };
        if descends(pid) {
            os::kill(pid, libc::SIGKILL);
        } else {
            let _ = fs::write(top.join("cgroup.procs"), pid.to_string());
        }
    }
}

/// Whether a process is a child of ours, or a child of such; orphans are, because we are their subreaper.
fn descends(pid: i32) -> bool {
    let me = std::process::id() as i32;
    let mut at = pid;
    while at > 1 && at != me {
        match procfs::process::Process::new(at).and_then(|p| p.stat()) {
            Ok(stat) => at = stat.ppid,
            Err(_) => return false,
        }
    }
    at == me && pid != me
}

/// Removes a directory of ours after unmounting everything below it.
pub fn remove_tree(dir: &Path) -> Result<()> {
    let prefix = format!("{}/", dir.display());
    let mut points: Vec<String> = mounts()?
        .lines()
        .filter_map(|l| l.split(' ').nth(4).map(String::from))
        .filter(|p| p.starts_with(&prefix))
        .collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.len()));
    for p in &points {
        nix::mount::umount2(p.as_str(), MntFlags::MNT_DETACH).with_context(|| format!("umount {p}"))?;
    }
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}

/// The mount table of this process, without the ids that change when something comes and goes.
fn mounts() -> Result<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("mountinfo")?;
    Ok(text)
}

fn settings() -> Vec<String> {
    SETTINGS.iter().map(|p| fs::read_to_string(p).unwrap_or_default()).collect()
}

fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0)
}

/// Our children that are not commands of ours: orphans of a runtime. Dead ones are reaped first.
pub fn children() -> Vec<(i32, String)> {
    os::reap_orphans();
    own_children()
        .into_iter()
        .filter(|pid| !os::is_tracked(*pid))
        .filter_map(|pid| procfs::process::Process::new(pid).ok()?.stat().ok())
        .filter(|s| s.state != 'Z')
        .map(|s| (s.pid, s.comm))
        .collect()
}

/// Pids of our children: from the kernel's own list where it keeps one, else by looking at everybody.
fn own_children() -> Vec<i32> {
    let me = std::process::id() as i32;
    let listed =
        procfs::process::Process::myself().and_then(|p| p.task_main_thread()).and_then(|t| t.children());
    if let Ok(listed) = listed {
        return listed.into_iter().map(|pid| pid as i32).collect();
    }
    let Ok(all) = procfs::process::all_processes() else { return Vec::new() };
    all.filter_map(|p| p.ok()?.stat().ok()).filter(|s| s.ppid == me).map(|s| s.pid).collect()
}

/// Cgroups below our parent, deepest first, in every hierarchy.
pub fn cgroups(yard: &Yard) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        yard.host.hierarchies().iter().flat_map(|top| below(&top.join(&yard.cgroup))).collect();
    found.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    found
}

/// Directories below one directory.
pub fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for e in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            found.push(e.path());
            todo.push(e.path());
        }
    }
    found
}
