//! The figures: what is called, in which order, and what makes a runtime's result invalid.
//! Calls runtimes through `call`; the order is A B C, B C A, C A B, so that drift meets all alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::bundle::{Payload, Yard};
use crate::call::{self, Cost};
use crate::trace;

/// A pause that lets the machine go idle: what a call waits for then is not hidden by the call before it.
const PAUSE: Duration = Duration::from_millis(200);
const WARM_UP: usize = 3;
const TRACES: usize = 5;

/// One measured runtime.
pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
    /// First line of `--version`.
    pub version: String,
    dir: PathBuf,
    count: usize,
}

/// How often.
pub struct Rounds {
    pub burst: usize,
    pub idle: usize,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Run,
    CreateStartDelete,
    Exec,
    State,
}

impl Figure {
    pub const ALL: [Figure; 4] = [Figure::Run, Figure::CreateStartDelete, Figure::Exec, Figure::State];

    pub fn title(self) -> &'static str {
        match self {
            Figure::Run => "run true",
            Figure::CreateStartDelete => "create + start + delete",
            Figure::Exec => "exec true",
            Figure::State => "state",
        }
    }
}

/// The numbers of one runtime in one series, or why there are none.
pub type Series = Result<Vec<Cost>, String>;

/// One figure under one condition, a series for each runtime in their order.
pub struct Measured {
    pub figure: Figure,
    pub filter: bool,
    pub idle: bool,
    pub series: Vec<Series>,
}

/// Everything of one lane.
pub struct All {
    pub timed: Vec<Measured>,
    /// Peak memory of `create` in KiB for each runtime, without and with a filter.
    pub peaks: Vec<[Series; 2]>,
    /// System calls of `run true`, without a filter.
    pub traces: Vec<Result<trace::Traced, String>>,
}

impl Runtime {
    /// Asks it for its version and gives it a directory.
    pub fn new(name: &str, path: PathBuf, yard: &Yard) -> Result<Runtime> {
        let dir = yard.dir.join(name);
        fs::create_dir_all(dir.join("state"))?;
        let said =
            Command::new(&path).arg("--version").output().with_context(|| path.display().to_string())?;
        let version = String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or("").to_owned();
        Ok(Runtime { name: name.to_owned(), path, version, dir, count: 0 })
    }

    /// A command of this runtime with its own state directory.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(self.dir.join("state")).args(words);
        command
    }

    fn call(&self, words: &[&str]) -> Result<Cost> {
        call::call(&mut self.command(words), &self.dir.join("words")).with_context(|| words[0].to_owned())
    }

    fn fresh(&mut self) -> String {
        self.count += 1;
        format!("b{}", self.count)
    }

    /// Starts a container that stays.
    fn hold(&mut self, yard: &Yard, filter: bool) -> Result<Held> {
        let bundle = yard.bundle(&self.name, Payload::Sleep, filter)?;
        let id = self.fresh();
        let pid_file = self.dir.join("pid");
        self.call(&["create", "--bundle", utf8(&bundle)?, "--pid-file", utf8(&pid_file)?, &id])?;
        let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
        self.call(&["start", &id])?;
        Ok(Held { id, pid })
    }

    /// Ends a container that stays.
    fn release(&self, held: &Held) -> Result<()> {
        self.call(&["kill", &held.id, "KILL"])?;
        call::collect(held.pid)?;
        self.call(&["delete", &held.id])?;
        Ok(())
    }

    /// Create, start, the end of the program, delete; the program's own time is not counted.
    fn create_start_delete(&mut self, bundle: &Path) -> Result<Cost> {
        let id = self.fresh();
        let pid_file = self.dir.join("pid");
        let made = self.call(&["create", "--bundle", utf8(bundle)?, "--pid-file", utf8(&pid_file)?, &id])?;
        let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
        let started = self.call(&["start", &id])?;
        let (status, _) = call::collect(pid)?;
        ensure!(status == 0, "the container ended with raw status {status}");
        let deleted = self.call(&["delete", &id])?;
        Ok(made + started + deleted)
    }

    /// The peak of `create`, seen by a parent that is smaller than any runtime.
    fn peak(&mut self, bundle: &Path) -> Result<Cost> {
        let id = self.fresh();
        let words = self.dir.join("words");
        let said = Command::new(std::env::current_exe()?)
            .arg("peak")
            .arg(&self.path)
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(["create", "--bundle", utf8(bundle)?, &id])
            .stderr(fs::File::create(&words)?)
            .output()?;
        let said_wrong = fs::read_to_string(&words)?;
        let removed = self.call(&["delete", "--force", &id]);
        call::reap();
        let text = String::from_utf8_lossy(&said.stdout);
        ensure!(said.status.success(), "create: {}", said_wrong.trim());
        removed?;
        Ok(Cost { peak: text.trim().parse().context("peak")?, ..Cost::default() })
    }

    /// A result counts only when nothing is left: no state, no cgroup.
    fn left_nothing(&self, yard: &Yard) -> Result<()> {
        // A hidden entry is a runtime's own cache, not a container.
        let entries = fs::read_dir(self.dir.join("state"))?.flatten();
        let left = entries.filter(|e| !e.file_name().as_encoded_bytes().starts_with(b".")).count();
        ensure!(left == 0, "{left} containers are left in its state directory");
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        for line in mounts.lines().filter(|l| l.contains(" - cgroup")) {
            let place = line.split(' ').nth(4).unwrap_or("");
            for payload in [Payload::True, Payload::Sleep] {
                let cgroup = Path::new(place).join(format!("{}-{}-{payload:?}", yard.name, self.name));
                if cgroup.exists() {
                    let _ = fs::remove_dir(&cgroup);
                    bail!("the cgroup {} is left", cgroup.display());
                }
            }
        }
        Ok(())
    }
}

/// A container that stays while commands are measured on it.
struct Held {
    id: String,
    pid: u32,
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("not UTF-8: {}", path.display()))
}

/// Measures everything on every runtime.
pub fn all(runtimes: &mut [Runtime], yard: &Yard, rounds: &Rounds) -> Result<All> {
    // Orphans come to us: the program of a created container is nobody's child when `create` has ended.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("subreaper")?;
    // On a shared machine; without the right to do so it is only noisier.
    let _ = rustix::process::nice(-20);
    let filters: &[bool] = if yard.has_filter() { &[false, true] } else { &[false] };
    let mut timed = Vec::new();
    for figure in Figure::ALL {
        for &filter in filters {
            // What is asked of a record does not meet the filter.
            if figure == Figure::State && filter {
                continue;
            }
            for idle in [false, true] {
                let series = figure_series(figure, runtimes, yard, filter, idle, rounds)?;
                eprintln!("measured: {}, filter {filter}, idle {idle}", figure.title());
                timed.push(Measured { figure, filter, idle, series });
            }
        }
    }
    let mut peaks = Vec::new();
    let mut traces = Vec::new();
    for r in runtimes.iter_mut() {
        peaks.push([peak_series(r, yard, false), peak_series(r, yard, yard.has_filter())]);
        traces.push(traced(r, yard).map_err(|e| format!("{e:#}")));
    }
    Ok(All { timed, peaks, traces })
}

fn figure_series(
    figure: Figure,
    runtimes: &mut [Runtime],
    yard: &Yard,
    filter: bool,
    idle: bool,
    rounds: &Rounds,
) -> Result<Vec<Series>> {
    let mut held: Vec<Option<Held>> = runtimes.iter().map(|_| None).collect();
    let mut series: Vec<Series> = runtimes.iter().map(|_| Ok(Vec::new())).collect();
    let mut bundles = Vec::new();
    for (i, r) in runtimes.iter_mut().enumerate() {
        bundles.push(yard.bundle(&r.name, Payload::True, filter)?);
        if matches!(figure, Figure::Exec | Figure::State) {
            match r.hold(yard, filter) {
                Ok(h) => held[i] = Some(h),
                Err(e) => series[i] = Err(format!("{e:#}")),
            }
        }
    }
    let count = if idle { rounds.idle } else { rounds.burst };
    for round in 0..WARM_UP + count {
        for turn in 0..runtimes.len() {
            let i = (round + turn) % runtimes.len();
            let Ok(costs) = &mut series[i] else { continue };
            if idle {
                std::thread::sleep(PAUSE);
            }
            match sample(figure, &mut runtimes[i], &bundles[i], held[i].as_ref()) {
                Ok(cost) if round >= WARM_UP => costs.push(cost),
                Ok(_) => {}
                Err(e) => series[i] = Err(format!("{e:#}")),
            }
            // A held container's program is ours too, so it is never waited for by chance: only the ended are.
            if held.iter().all(Option::is_none) {
                call::reap();
            }
        }
    }
    for (i, r) in runtimes.iter().enumerate() {
        let released = held[i].as_ref().map_or(Ok(()), |h| r.release(h));
        if let Err(e) = released.and_then(|()| r.left_nothing(yard))
            && series[i].is_ok()
        {
            series[i] = Err(format!("{e:#}"));
        }
    }
    Ok(series)
}

fn sample(figure: Figure, r: &mut Runtime, bundle: &Path, held: Option<&Held>) -> Result<Cost> {
    match (figure, held) {
        (Figure::Run, _) => {
            let id = r.fresh();
            r.call(&["run", "--bundle", utf8(bundle)?, &id])
        }
        (Figure::CreateStartDelete, _) => r.create_start_delete(bundle),
        (Figure::Exec, Some(h)) => r.call(&["exec", &h.id, "/probe", "true"]),
        (Figure::State, Some(h)) => r.call(&["state", &h.id]),
        (Figure::Exec | Figure::State, None) => bail!("no container"),
    }
}

fn peak_series(r: &mut Runtime, yard: &Yard, filter: bool) -> Series {
    let mut measure = || {
        let bundle = yard.bundle(&r.name, Payload::True, filter)?;
        (0..7).map(|_| r.peak(&bundle)).collect::<Result<Vec<_>>>()
    };
    measure().map_err(|e: anyhow::Error| format!("{e:#}"))
}

fn traced(r: &mut Runtime, yard: &Yard) -> Result<trace::Traced> {
    let bundle = yard.bundle(&r.name, Payload::True, false)?;
    let mut all = Vec::new();
    for _ in 0..TRACES {
        let id = r.fresh();
        std::thread::sleep(PAUSE);
        all.push(trace::trace(&r.command(&["run", "--bundle", utf8(&bundle)?, &id]), &r.dir)?);
    }
    trace::quietest(all).context("no trace")
}
