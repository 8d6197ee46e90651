//! The bundle of one run: config.json and the files on tmpfs, made anew at each start. Reads what the service file names,
//! writes below the run directory only.
#![forbid(unsafe_code)]

mod apply;
mod env;
mod files;
mod image;
mod limits;
mod listen;
mod notify;
mod pressure;
pub mod resources;
mod root;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use self::files::{Changed, Refreshed, refresh_files, refreshed, release};
pub use self::pressure::{lacking_rungs, watch_file};
use super::dir::read_regular;
use crate::dirs::Dirs;
use crate::names::RunId;
use crate::unit::service::{Image, Seccomp, Service};

/// The largest config.json or seccomp profile that is read.
const CONFIG_MAX: usize = 8 << 20;

/// Why a run cannot be started: a reason code and one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// bundle-missing, bundle-invalid, image-missing, image-invalid, root-missing, mount-missing, env-file, secret-missing, config-missing,
    /// seccomp-file, needs-cgroup-v2, device-missing, disk-full, internal.
    pub code: &'static str,
    /// What was wanted, what was found.
    pub text: String,
}

impl Failure {
    fn new(code: &'static str, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }

    /// A write of our own that failed.
    fn write(path: &Path, e: &io::Error) -> Failure {
        let full = matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        Failure::new(if full { "disk-full" } else { "internal" }, format!("{}: {e}", path.display()))
    }
}

/// A bundle that lies ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What the runtime gets as `--bundle`.
    pub bundle: PathBuf,
    /// `process.terminal`: the keeper needs a console socket.
    pub terminal: bool,
    /// The limit of memory in bytes, from the service or its bundle.
    pub memory: Option<u64>,
}

/// What the host can do, as far as the configuration depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Host {
    /// The memory and processor controllers are cgroup v2's.
    unified: bool,
    /// Swap is counted, so that it can be limited.
    swap: bool,
    /// The most open files that can be given.
    nofile: u64,
}

impl Host {
    fn look() -> Host {
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let counted = "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes";
        let swap = Path::new(if unified { "/proc/swaps" } else { counted }).exists();
        Host { unified, swap, nofile: crate::sys::file::nofile_hard().unwrap_or(u64::MAX) }
    }
}

/// Writes `config.json` and the secret and config files of a run. Blocks on the disk, for a few small files.
///
/// # Errors
/// See [`Failure::code`]. What was written until then is for [`clean`].
pub fn prepare(service: &Service, run: &RunId, dirs: &Dirs, cgroups_path: &str) -> Result<Prepared, Failure> {
    let mut config = base(service, run, dirs)?;
    apply::apply(&mut config, service, run, cgroups_path, seccomp(service)?, Host::look())?;
    let copies = files::copy(&config, service, run, dirs)?;
    let told = [notify::mount(service, run, dirs)?, pressure::mount(service, run, dirs)?];
    apply::mounts(&mut config, service, &copies, told.into_iter().flatten().collect())?;
    let bundle = dirs.bundle(run);
    make_dir(&bundle)?;
    let text = serde_json::to_vec(&config).map_err(|e| Failure::new("internal", e.to_string()))?;
    write_aside(&bundle.join("config.json"), &text)?;
    let terminal = config.pointer("/process/terminal").and_then(Value::as_bool).unwrap_or(false);
    let memory = config.pointer("/linux/resources/memory/limit").and_then(Value::as_u64);
    Ok(Prepared { bundle, terminal, memory })
}

/// Whether what [`prepare`] made for a run leaves nothing outside of its own namespaces and cgroups once its first process
/// has ended: then the next run may be made before this one is taken away. What cannot be read may leave something.
pub fn is_apart(run: &RunId, dirs: &Dirs) -> bool {
    let config = std::fs::read(dirs.bundle(run).join("config.json")).ok();
    config.and_then(|text| serde_json::from_slice::<Value>(&text).ok()).is_some_and(|c| leaves_nothing(&c))
}

fn leaves_nothing(config: &Value) -> bool {
    let namespaces = config.pointer("/linux/namespaces").and_then(Value::as_array);
    let path = |n: &Value| n["path"].as_str().is_some_and(|p| !p.is_empty());
    // With a process namespace end all its processes (pid_namespaces(7)), with a mount namespace all its mounts.
    let own = |kind| namespaces.into_iter().flatten().any(|n| n["type"] == kind && !path(n));
    let has = |key| config.pointer(key).is_some_and(|v| !v.is_null());
    let spreads = |word: Option<&str>| word.is_some_and(|w| w.ends_with("shared"));
    let options = |m: &Value| m["options"].as_array().is_some_and(|o| o.iter().any(|o| spreads(o.as_str())));
    let mounts = config.pointer("/mounts").and_then(Value::as_array);
    // Shares of the host that two cgroups side by side cannot both have.
    let unified = config.pointer("/linux/resources/unified").and_then(Value::as_object);
    let exclusive = |k: &String| k.starts_with("cpuset.cpus.");
    own("pid")
        && own("mount")
        && !spreads(config.pointer("/linux/rootfsPropagation").and_then(Value::as_str))
        && !mounts.into_iter().flatten().any(options)
        && !unified.into_iter().flat_map(|u| u.keys()).any(exclusive)
        && !LASTING.into_iter().any(has)
}

/// What only the clean-up ends: hooks are told then, devices go back to the host, a class of the cache is removed, and so is
/// a share of real time.
const LASTING: [&str; 4] =
    ["/hooks", "/linux/netDevices", "/linux/intelRdt", "/linux/resources/cpu/realtimeRuntime"];

/// Removes what [`prepare`] wrote; nothing there is success.
///
/// # Errors
/// A directory cannot be removed.
pub fn clean(run: &RunId, dirs: &Dirs) -> io::Result<()> {
    for dir in [dirs.bundle(run), dirs.files(run), pressure::directory(dirs, run)] {
        match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// The configuration before the service's own words: the bundle's with absolute paths, or the default one.
fn base(service: &Service, run: &RunId, dirs: &Dirs) -> Result<Value, Failure> {
    match &service.image {
        Image::Bundle(dir) => from_bundle(dir),
        Image::Root { path, read_only } => {
            is_dir(path, "root-missing")?;
            root::config(path, *read_only, run)
                .map_err(|e| Failure::new("internal", format!("config.json: {e}")))
        }
        Image::Stored { id, read_only, .. } => image::config(id.as_deref(), *read_only, run, dirs),
    }
}

fn from_bundle(dir: &Path) -> Result<Value, Failure> {
    is_dir(dir, "bundle-missing")?;
    let file = dir.join("config.json");
    let bad = |e: String| Failure::new("bundle-invalid", format!("{}: {e}", file.display()));
    if !file.exists() {
        return Err(Failure::new("bundle-missing", format!("{}: no such file", file.display())));
    }
    let text = read_regular(&file, CONFIG_MAX).map_err(bad)?;
    let mut config: Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    if !config.is_object() {
        return Err(bad("not a JSON object".into()));
    }
    let path = config
        .pointer("/root/path")
        .and_then(Value::as_str)
        .ok_or_else(|| bad("root.path is missing".into()))?;
    let path = dir.join(path);
    is_dir(&path, "root-missing")?;
    config["root"]["path"] = text_of(&path)?;
    for mount in config.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        absolute_source(mount, dir)?;
    }
    Ok(config)
}

/// A bind mount's source is relative to the bundle (runtime-spec, config.md, Mounts), and the copy lies elsewhere.
fn absolute_source(mount: &mut Value, dir: &Path) -> Result<(), Failure> {
    let options = mount.get("options").and_then(Value::as_array).into_iter().flatten();
    let bind = mount.get("type").and_then(Value::as_str) == Some("bind")
        || options.filter_map(Value::as_str).any(|o| o == "bind" || o == "rbind");
    if let (true, Some(source)) = (bind, mount.get("source").and_then(Value::as_str)) {
        mount["source"] = text_of(&dir.join(source))?;
    }
    Ok(())
}

fn text_of(path: &Path) -> Result<Value, Failure> {
    let text =
        path.to_str().ok_or_else(|| Failure::new("bundle-invalid", format!("{path:?} is not UTF-8")))?;
    Ok(Value::from(text))
}

fn is_dir(path: &Path, code: &'static str) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Ok(m) if m.is_dir() => Ok(()),
        Ok(_) => Err(Failure::new(code, format!("{}: not a directory", path.display()))),
        Err(e) => Err(Failure::new(code, format!("{}: {e}", path.display()))),
    }
}

/// The profile that the service file names, if it names one.
fn seccomp(service: &Service) -> Result<Option<Value>, Failure> {
    let Seccomp::File(path) = &service.security.seccomp else { return Ok(None) };
    let bad = |e: String| Failure::new("seccomp-file", format!("{}: {e}", path.display()));
    let text = read_regular(path, CONFIG_MAX).map_err(bad)?;
    let profile: Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    let rules = profile.get("syscalls").and_then(Value::as_array);
    let conditional = |rule: &Value| rule.get("includes").is_some() || rule.get("excludes").is_some();
    if profile.get("archMap").is_some() || rules.into_iter().flatten().any(conditional) {
        return Err(bad(
            "an engine's profile with archMap or includes; want the value of linux.seccomp".into()
        ));
    }
    if !profile.get("defaultAction").is_some_and(Value::is_string) {
        return Err(bad("no defaultAction; want the value of linux.seccomp".into()));
    }
    Ok(Some(profile))
}

fn make_dir(path: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Failure::write(path, &e))
}

/// A reader sees the old content or the new one. Not synced: the run directory does not survive a reboot anyway.
fn write_aside(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let aside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside);
    let written = file.and_then(|mut f| f.write_all(text)).and_then(|()| std::fs::rename(&aside, path));
    written.map_err(|e| Failure::write(path, &e))
}
