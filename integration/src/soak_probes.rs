//! Exec probes in bulk: what thousands of timeouts leave behind, counted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::base::PROBE;
use crate::daemon::Daemon;
use crate::trial::wait_for;

/// Everything that a probe could leave.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    /// Descriptors of the daemon, without those of who asks it just now.
    descriptors: usize,
    /// Its child processes, zombies included.
    children: usize,
    /// Processes of each container, zombies included.
    inside: Vec<usize>,
    groups: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

/// Times out so many exec probes whose program has forked twice, in so many containers, and says how long that took.
pub fn timeouts(d: &mut Daemon<'_, '_>, containers: usize, wanted: u64, seconds: u64) -> Result<Duration> {
    let count = d.t.rootfs().join("count");
    let keys = format!("replicas = {containers}\n");
    let probe = format!(
        "[probes.readiness]\nexec = ['{PROBE}', 'orphan', '/count']\nperiod = '100ms'\ntimeout = '300ms'\n"
    );
    d.service("web", &["trap", "TERM"], &keys)?;
    let names: Vec<String> = (1..=containers).map(|n| format!("web.{n}")).collect();
    for name in &names {
        d.ready(name)?;
    }
    let before = look(d, &names)?;
    ensure!(before.inside.iter().all(|n| *n == 1), "more than one process in a container: {before:?}");
    let begun = Instant::now();
    d.service("web", &["trap", "TERM"], &format!("{keys}{probe}"))?;
    wait_for(seconds, || {
        let done = fs::metadata(&count).map_or(0, |m| m.len());
        Ok((done >= wanted).then_some(()))
    })
    .with_context(|| format!("only {} probes", fs::metadata(&count).map_or(0, |m| m.len())))?;
    let took = begun.elapsed();
    let answers = d.get("/v1/services/web")?["probes"].to_string();
    ensure!(answers.contains("timed-out") && !answers.contains("\"pass\""), "no timeouts: {answers}");
    d.service("web", &["trap", "TERM"], &keys)?;
    let mut last = None;
    wait_for(d.t.seconds().max(30), || {
        last = Some(look(d, &names)?);
        Ok((last.as_ref() == Some(&before)).then_some(()))
    })
    .with_context(|| format!("left behind: {last:?}, before it was {before:?}"))?;
    fs::remove_file(&count)?;
    Ok(took)
}

fn look(d: &Daemon<'_, '_>, names: &[String]) -> Result<Left> {
    let pids: Vec<i32> = names.iter().map(|n| d.pid_of(n)).collect::<Result<_>>()?;
    let daemon = d.pid()?;
    let mut inside = vec![1; pids.len()];
    let mut children = 0;
    for process in procfs::process::all_processes()?.flatten() {
        let Ok(stat) = process.stat() else { continue };
        children += usize::from(stat.ppid == daemon);
        // In its pid namespace all are children of the first process or of each other.
        if let Some(at) = pids.iter().position(|pid| *pid != stat.pid && is_in(stat.pid, *pid)) {
            inside[at] += 1;
        }
    }
    Ok(Left {
        descriptors: fs::read_dir(format!("/proc/{daemon}/fd"))?.count(),
        children,
        inside,
        groups: d.groups().into_iter().collect(),
        files: tree(&d.run)?,
    })
}

/// Whether a process, zombie or not, is in the pid namespace of another.
fn is_in(pid: i32, first: i32) -> bool {
    let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let parent = || procfs::process::Process::new(pid).and_then(|p| p.stat()).is_ok_and(|s| s.ppid == first);
    of(pid).is_some_and(|ns| Some(ns) == of(first)) || parent()
}

/// Every path below a directory.
fn tree(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            all.extend(tree(&entry.path()).unwrap_or_default());
        }
        all.insert(entry.path());
    }
    Ok(all)
}

/// What exec probes cost: those that ran, in how many seconds, and processor seconds of everything that ran for them.
pub struct Cost {
    pub probes: u64,
    pub seconds: f64,
    pub busy: f64,
}

impl Cost {
    /// Processor time of one, in milliseconds.
    pub fn each(&self) -> f64 {
        self.busy * 1000.0 / self.probes.max(1) as f64
    }
}

/// Runs an exec probe each second in so many containers for so many seconds.
pub fn cost(d: &mut Daemon<'_, '_>, containers: usize, seconds: u64) -> Result<Cost> {
    let count = d.t.rootfs().join("count");
    let probe = format!(
        "[probes.liveness]\nexec = ['{PROBE}', 'append', '/count', 'x']\nperiod = '1s'\ntimeout = '30s'\n"
    );
    d.service("web", &["trap", "TERM"], &format!("replicas = {containers}\n{probe}"))?;
    for n in 1..=containers {
        d.ready(&format!("web.{n}"))?;
    }
    std::thread::sleep(Duration::from_secs(3));
    let daemon = d.pid()?;
    let mut all = vec![daemon];
    for n in 1..=containers {
        all.push(d.keeper_of(&format!("web.{n}"))?);
    }
    let look = || -> Result<(u64, f64)> {
        // What a daemon started and waited for is in its own account: runtimes, and all that they waited for.
        let busy = all.iter().map(|pid| busy(*pid)).sum::<Result<f64>>()?;
        Ok((fs::metadata(&count).map_or(0, |m| m.len()), busy))
    };
    let (begun, before) = (Instant::now(), look()?);
    std::thread::sleep(Duration::from_secs(seconds));
    let (after, seconds) = (look()?, begun.elapsed().as_secs_f64());
    d.service("web", &["trap", "TERM"], "replicas = 0\n")?;
    Ok(Cost { probes: after.0 - before.0, seconds, busy: after.1 - before.1 })
}

/// Processor seconds of a process and of all children that it has waited for.
pub fn busy(pid: i32) -> Result<f64> {
    let stat = procfs::process::Process::new(pid)?.stat()?;
    let children = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
    Ok((stat.utime + stat.stime + children) as f64 / procfs::ticks_per_second() as f64)
}
