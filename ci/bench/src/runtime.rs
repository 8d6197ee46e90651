//! One measured runtime: its commands, and containers of it that stay. Starts the runtime through `call`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::bundle::{Kind, Payload, Yard};
use crate::call::{self, Cost};
use crate::floor;

/// One measured runtime.
pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
    /// First line of `--version`.
    pub version: String,
    /// What it said last, and its bundles.
    pub dir: PathBuf,
    /// Its state.
    state: PathBuf,
    /// For the floor: the runtime whose plan tells it the paths.
    planner: Option<PathBuf>,
    count: usize,
}

/// A container that stays while commands are measured on it.
pub struct Held {
    pub id: String,
    pub pid: u32,
}

impl Runtime {
    /// Asks it for its version and gives it a directory.
    pub fn new(name: &str, path: PathBuf, planner: Option<PathBuf>, yard: &Yard) -> Result<Runtime> {
        let dir = yard.dir.join(name);
        let state = yard.state.join(name);
        fs::create_dir_all(&dir)?;
        fs::create_dir_all(&state)?;
        let version = if planner.is_some() {
            "the kernel work of `run` alone, see ci/bench/floor".to_owned()
        } else {
            let said =
                Command::new(&path).arg("--version").output().with_context(|| path.display().to_string())?;
            String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or("").to_owned()
        };
        Ok(Runtime { name: name.to_owned(), path, version, dir, state, planner, count: 0 })
    }

    /// Whether this is the floor, which can do nothing but `run` of the plain bundle.
    pub fn is_floor(&self) -> bool {
        self.planner.is_some()
    }

    /// Writes a bundle for it.
    pub fn bundle(&self, yard: &Yard, kind: Kind) -> Result<PathBuf> {
        let dir = yard.bundle(&self.name, kind)?;
        if let Some(planner) = &self.planner {
            floor::prepare(planner, &dir)?;
        }
        Ok(dir)
    }

    /// A command of this runtime with its own state directory.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        if !self.is_floor() {
            command.arg("--root").arg(&self.state);
        }
        command.args(words);
        command
    }

    /// Runs a command to its end.
    pub fn call(&self, words: &[&str]) -> Result<Cost> {
        call::call(&mut self.command(words), &self.dir.join("words")).with_context(|| words[0].to_owned())
    }

    /// The same on a terminal.
    pub fn call_on_terminal(&self, words: &[&str]) -> Result<Cost> {
        call::call_on_terminal(&mut self.command(words), &self.dir.join("words"))
            .with_context(|| format!("{} on a terminal", words[0]))
    }

    /// An id that was not used yet.
    pub fn fresh(&mut self) -> String {
        self.count += 1;
        format!("b{}", self.count)
    }

    /// Makes a container that waits to be started.
    pub fn create(&mut self, bundle: &Path) -> Result<(Held, Cost)> {
        let id = self.fresh();
        let pid_file = self.dir.join("pid");
        let cost = self.call(&["create", "--bundle", utf8(bundle)?, "--pid-file", utf8(&pid_file)?, &id])?;
        let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
        Ok((Held { id, pid }, cost))
    }

    /// Starts a container that stays.
    pub fn hold(&mut self, yard: &Yard, kind: Kind) -> Result<Held> {
        let bundle = self.bundle(yard, Kind { payload: Payload::Sleep, ..kind })?;
        let (held, _) = self.create(&bundle)?;
        self.call(&["start", &held.id])?;
        Ok(held)
    }

    /// Ends a container that stays.
    pub fn release(&self, held: &Held) -> Result<()> {
        self.call(&["kill", &held.id, "KILL"])?;
        call::collect(held.pid)?;
        self.call(&["delete", &held.id])?;
        Ok(())
    }

    /// Create, start, the end of the program, delete; the program's own time is not counted. Gives the sum and the parts.
    pub fn create_start_delete(&mut self, bundle: &Path) -> Result<Vec<Cost>> {
        let (held, made) = self.create(bundle)?;
        let started = self.call(&["start", &held.id])?;
        let (status, _) = call::collect(held.pid)?;
        ensure!(status == 0, "the container ended with raw status {status}");
        let deleted = self.call(&["delete", &held.id])?;
        Ok(vec![made + started + deleted, made, started, deleted])
    }

    /// A result counts only when nothing is left: no state, no cgroup. What is left is removed where that can be done.
    pub fn left_nothing(&self, yard: &Yard) -> Result<()> {
        // A hidden entry is a runtime's own cache, not a container.
        let entries = fs::read_dir(&self.state)?.flatten();
        let left: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        let left: Vec<&String> = left.iter().filter(|n| !n.starts_with('.')).collect();
        for id in &left {
            let _ = self.call(&["delete", "--force", id]);
        }
        call::reap();
        let groups = self.remaining_groups(yard)?;
        ensure!(left.is_empty(), "{} containers are left in its state directory", left.len());
        match groups.first() {
            Some(group) => bail!("the cgroup {} is left", group.display()),
            None => Ok(()),
        }
    }

    /// Groups of ours that were still there; now they are gone where that can be done.
    fn remaining_groups(&self, yard: &Yard) -> Result<Vec<PathBuf>> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let begin = format!("{}-{}-", yard.name, self.name);
        let mut groups = Vec::new();
        for line in mounts.lines().filter(|l| l.contains(" - cgroup")) {
            let place = Path::new(line.split(' ').nth(4).unwrap_or("/"));
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            groups.extend(
                entries.filter(|e| e.file_name().to_string_lossy().starts_with(&begin)).map(|e| e.path()),
            );
        }
        if !groups.is_empty() {
            // They have our name. What lives in one is killed through cgroup2, which knows of it in every layout but v1's own.
            groups.iter().for_each(|g| drop(fs::write(g.join("cgroup.kill"), "1")));
            std::thread::sleep(Duration::from_millis(100));
            call::reap();
            groups.iter().for_each(|g| drop(fs::remove_dir(g)));
        }
        Ok(groups)
    }
}

/// A path as an argument.
pub fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("not UTF-8: {}", path.display()))
}
