//! Containers with something at every place that runtimes were led astray at, and what is put in those places instead.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, makedev, mknodat};
use serde_json::json;

use super::exchange::Exchange;
use super::tracer::{Order, Seen, Tree};
use crate::base::{self, PROBE};
use crate::os;
use crate::trial::{Out, Running, Trial};

/// Which container, and which of its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// `run`: mounts of all kinds at places that are there or not, masks, a device, a working directory.
    Mounts,
    /// `create` with a terminal, where no mount covers the image's /dev.
    Image,
    /// `exec` into a running container.
    Exec,
    /// Not a runtime: [`super::naive`].
    Naive,
}

/// What is told of the program's surroundings.
const LOOK: [&str; 6] = [PROBE, "all", "mountinfo", "--", "ls", "."];

impl Scene {
    pub const ALL: [Scene; 3] = [Scene::Mounts, Scene::Image, Scene::Exec];

    pub fn name(self) -> &'static str {
        match self {
            Scene::Mounts => "mounts",
            Scene::Image => "image",
            Scene::Exec => "exec",
            Scene::Naive => "naive",
        }
    }

    /// The paths below the root that are exchanged.
    pub fn components(self) -> &'static [&'static str] {
        match self {
            Scene::Mounts => &[
                "proc",
                "sys",
                "dev",
                "dev/pts",
                "etc",
                "etc/passwd",
                "probe",
                "data",
                "data/a",
                "data/a/b",
                "data/a/b/c",
                "data/a/bind",
                "data/f",
                "data/f/g",
                "data/f/g/file",
                "data/up",
                "data/up/x",
                "data/mask",
                "data/mask/secret",
                "data/mask/dir",
                "data/ro",
                "data/dev",
                "data/dev/kn0",
                "data/cwd",
            ],
            Scene::Image => &[
                "dev",
                "dev/pts",
                "dev/null",
                "dev/console",
                "dev/ptmx",
                "dev/fd",
                "dev/shm",
                "dev/mqueue",
                "proc",
            ],
            Scene::Exec => &["proc", "etc", "etc/passwd", "probe", "data", "data/cwd"],
            Scene::Naive => &["data/a", "data/f"],
        }
    }

    /// The configuration.
    pub fn configure(self, t: &mut Trial<'_>) -> Result<()> {
        let src = t.host_dir("src")?;
        fs::create_dir_all(src.join("dir"))?;
        fs::write(src.join("file"), "given")?;
        let dir = src.join("dir").display().to_string();
        let file = src.join("file").display().to_string();
        let spec = &mut t.spec;
        spec["process"]["args"] = json!(LOOK);
        match self {
            Scene::Naive => {}
            Scene::Mounts => {
                spec["process"]["cwd"] = "/data/cwd/made".into();
                base::add_mount(spec, "/data/a/b/c", "tmpfs", "tmpfs", &["nosuid", "nodev"]);
                base::add_mount(spec, "/data/a/bind/d", "bind", &dir, &["bind", "ro"]);
                base::add_mount(spec, "/data/f/g/file", "bind", &file, &["bind", "ro"]);
                base::add_mount(spec, "/data/up", "tmpfs", "tmpfs", &["tmpcopyup", "nosuid"]);
                spec["linux"]["devices"] =
                    json!([{"path": "/data/dev/kn0", "type": "c", "major": 1, "minor": 3}]);
                for (list, paths) in [
                    ("maskedPaths", &["/data/mask/secret", "/data/mask/dir"][..]),
                    ("readonlyPaths", &["/data/ro"]),
                ] {
                    if let Some(all) = spec["linux"][list].as_array_mut() {
                        all.extend(paths.iter().map(|p| json!(p)));
                    }
                }
            }
            Scene::Image => {
                spec["process"]["terminal"] = true.into();
                if let Some(list) = spec["mounts"].as_array_mut() {
                    list.retain(|m| m["destination"] != "/dev");
                }
            }
            Scene::Exec => spec["process"]["args"] = json!([PROBE, "trap", "TERM"]),
        }
        t.write_config()
    }

    /// A root as it is before anything happened.
    pub fn furnish(self, t: &Trial<'_>) -> Result<()> {
        t.renew_root()?;
        for dir in ["data/a", "data/f", "data/up/deep", "data/mask/dir", "data/ro", "data/cwd"] {
            t.put_dir(dir)?;
        }
        for file in ["data/up/x", "data/up/deep/y", "data/mask/secret", "data/mask/dir/inner", "data/ro/x"] {
            t.put(file, "of the image", 0o644)?;
        }
        t.put("etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o644).map(drop)
    }

    /// One command of a fresh container, under the order; with what its program told.
    pub fn play(self, t: &mut Trial<'_>, order: &Order, exchange: Exchange) -> Result<(Seen, Out)> {
        let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
        match self {
            Scene::Mounts => follow(t, &["run", "--bundle", &bundle, &id], order, exchange),
            Scene::Image => on_terminal(t, order, exchange),
            Scene::Exec => {
                t.run_detached().context("preparing")?;
                let mut words = vec!["exec", "--cwd", "/data/cwd", &id];
                words.extend(LOOK);
                follow(t, &words, order, exchange)
            }
            Scene::Naive => {
                let me = std::env::current_exe().context("own path")?;
                let words = ["naive".to_string(), t.rootfs().display().to_string()];
                followed(t.command(&me, &words).adjust(os::traced).spawn()?, order, exchange)
            }
        }
    }
}

fn follow(t: &mut Trial<'_>, words: &[&str], order: &Order, exchange: Exchange) -> Result<(Seen, Out)> {
    let running = t.rt(words).adjust(os::traced).spawn()?;
    let done = followed(running, order, exchange)?;
    if let Some(last) = t.history.last_mut() {
        *last = done.1.clone();
    }
    Ok(done)
}

fn followed(running: Running, order: &Order, exchange: Exchange) -> Result<(Seen, Out)> {
    let mut tree = Tree::follow(running.pid())?.exchanging(exchange);
    let seen = tree.run(order)?;
    let out = running.wait()?;
    tree.leave()?;
    ensure!(!seen.hung, "`{}` hung for {} s after {:?}", out.line, order.seconds, seen.done);
    Ok((seen, out))
}

/// `create` is what is followed; then the program runs and its terminal is read.
fn on_terminal(t: &mut Trial<'_>, order: &Order, exchange: Exchange) -> Result<(Seen, Out)> {
    let path = t.dir.join("c.sock");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let (bundle, id, socket) = (t.bundle.display().to_string(), t.id.clone(), path.display().to_string());
    let words = ["create", "--console-socket", &socket, "--bundle", &bundle, &id];
    let (seen, mut out) = follow(t, &words, order, exchange)?;
    if out.code == Some(0) {
        let wait = Duration::from_secs(t.seconds());
        let (_, mut fds) = os::receive_fds(os::accept(&listener, wait)?, wait)?;
        let master: OwnedFd = fds.pop().context("no terminal came")?;
        let started = t.verb("start", &[])?;
        out.stdout =
            if started.code == Some(0) { os::read_all(master.as_fd(), wait)? } else { String::new() };
        out.code = started.code;
        out.stderr += &started.stderr;
    }
    Ok((seen, out))
}

/// What comes in a component's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// A link to the host's directory that nobody may touch.
    LinkToHost,
    /// A link to a file in it.
    LinkToFile,
    /// A relative one, from any depth.
    LinkUp,
    LinkToRoot,
    LinkThroughProc,
    LinkToSelf,
    Fifo,
    Device,
    /// A directory in which every name leads to the host.
    Directory,
}

impl Twin {
    pub const ALL: [Twin; 9] = [
        Twin::LinkToHost,
        Twin::LinkToFile,
        Twin::LinkUp,
        Twin::LinkToRoot,
        Twin::LinkThroughProc,
        Twin::LinkToSelf,
        Twin::Fifo,
        Twin::Device,
        Twin::Directory,
    ];

    /// Makes it, in the place of the last one.
    pub fn make(self, t: &Trial<'_>) -> Result<PathBuf> {
        let (dir, wire) = (t.dir.join("twins"), t.dir.join("tripwire"));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
        let at = dir.join("twin");
        let up = Path::new(&"../".repeat(24)).join(wire.strip_prefix("/")?).join("dir");
        match self {
            Twin::LinkToHost => symlink(wire.join("dir"), &at)?,
            Twin::LinkToFile => symlink(wire.join("file"), &at)?,
            Twin::LinkUp => symlink(up, &at)?,
            Twin::LinkToRoot => symlink("/", &at)?,
            Twin::LinkThroughProc => symlink("/proc/self/root", &at)?,
            Twin::LinkToSelf => symlink("/proc/self", &at)?,
            Twin::Fifo => mknodat(CWD, &at, FileType::Fifo, 0o666.into(), 0)?,
            Twin::Device => mknodat(CWD, &at, FileType::CharacterDevice, 0o666.into(), makedev(1, 5))?,
            Twin::Directory => {
                fs::create_dir(&at)?;
                let files = ["file", "x", "secret", "passwd", "null", "console", "ptmx", "kn0"];
                let dirs = [
                    "a", "b", "c", "d", "g", "f", "bind", "deep", "dir", "made", "cwd", "pts", "shm",
                    "mqueue",
                ];
                for name in files {
                    symlink(wire.join("file"), at.join(name))?;
                }
                for name in dirs {
                    symlink(wire.join("dir"), at.join(name))?;
                }
            }
        }
        Ok(at)
    }
}
