//! One case on one runtime: its directory, bundle, commands, and what was seen.
//! Cases talk to the runtime only through this type, so that every failure can show the whole story.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
pub use crate::command::{Cmd, Out, Running, read_lossy};
use crate::daemon::Programs;
use crate::host::Host;
use crate::os;

/// Seconds above which no patience is had: what has not come by then will not, and the rest of a lane waits behind it.
const LONGEST: u64 = 300;

/// Who calls the runtime in cases of ordinary users; gid too.
pub const USER: u32 = 65_534;

/// A runtime under test.
#[derive(Clone)]
pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
    /// Held to the texts of refusals too, not only to refusing.
    pub strict: bool,
    /// Cases it is known to answer differently, with the reason.
    pub known: Vec<(String, String)>,
}

/// The places shared by all trials of a run.
pub struct Yard {
    pub host: Host,
    /// Work directory of this run, removed at its end.
    pub dir: PathBuf,
    /// A copy of the probe on the file system of the work directory.
    pub probe: PathBuf,
    pub busybox: Option<PathBuf>,
    /// Name of the cgroup above all our containers.
    pub cgroup: String,
    /// Factor for every time limit (software emulation is slow).
    pub patience: u32,
    /// Show commands as they run.
    pub verbose: bool,
    /// The supervisor under test, when there is one.
    pub supervisor: Option<Programs>,
}

/// A container's cgroup directory in one hierarchy.
pub struct Cgroup {
    pub dir: PathBuf,
    pub v2: bool,
}

impl Cgroup {
    /// The trimmed content of one of its files.
    pub fn read(&self, file: &str) -> Result<String> {
        let path = self.dir.join(file);
        Ok(fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?.trim().to_string())
    }

    /// Requires that a file (v1 name, v2 name) has this value (v1, v2); an empty name is not looked at.
    pub fn holds(&self, v1: (&str, &str), v2: (&str, &str)) -> Result<()> {
        let (file, want) = if self.v2 { v2 } else { v1 };
        if file.is_empty() {
            return Ok(());
        }
        let got = self.read(file)?;
        ensure!(got == want, "{}: got {got:?}, want {want:?}", self.dir.join(file).display());
        Ok(())
    }
}

/// One case on one runtime.
pub struct Trial<'y> {
    pub yard: &'y Yard,
    pub runtime: &'y Runtime,
    /// Everything of this trial is below it.
    pub dir: PathBuf,
    pub bundle: PathBuf,
    pub id: String,
    /// config.json as it will be written.
    pub spec: Value,
    /// What `spec` was before the case edited it.
    pub base: Value,
    /// Written instead of `spec` when set.
    pub raw: Option<Vec<u8>>,
    /// Global flags after the harness's own.
    pub global: Vec<String>,
    /// Flags of create and run.
    pub flags: Vec<String>,
    /// process.json of the next `exec --process`.
    pub process: Value,
    /// Flags of exec.
    pub exec_flags: Vec<String>,
    pub history: Vec<Out>,
    /// Mounts that the case itself made on the host.
    pub mounted: Vec<PathBuf>,
    /// With this copy of the runtime an ordinary user, 65534, calls it.
    pub user: Option<PathBuf>,
    /// Output file of the last create or detached run: there the payload writes.
    payload: Option<PathBuf>,
    seconds: u64,
    count: u32,
}

impl<'y> Trial<'y> {
    /// Makes the directory, the bundle and the root of one trial.
    pub fn new(yard: &'y Yard, runtime: &'y Runtime, number: u32, seconds: u64) -> Result<Trial<'y>> {
        let dir = yard.dir.join(number.to_string());
        let bundle = dir.join("b");
        fs::create_dir(&dir)?;
        fs::create_dir(&bundle)?;
        fs::create_dir(dir.join("out"))?;
        let base = base::config(&format!("/{}/{number}", yard.cgroup));
        let trial = Trial {
            yard,
            runtime,
            id: format!("{}-{number}", yard.cgroup),
            spec: base.clone(),
            base,
            raw: None,
            global: Vec::new(),
            flags: Vec::new(),
            process: Value::Null,
            exec_flags: Vec::new(),
            history: Vec::new(),
            mounted: Vec::new(),
            user: None,
            payload: None,
            seconds: (seconds * u64::from(yard.patience)).min(seconds.max(LONGEST)),
            count: 0,
            bundle,
            dir,
        };
        make_root(yard, &trial.rootfs())?;
        Ok(trial)
    }

    /// The container's root directory on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    /// A new root in the place of what became of the old one.
    pub fn renew_root(&self) -> Result<()> {
        let root = self.rootfs();
        fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
        make_root(self.yard, &root)
    }

    /// The runtime's `--root`.
    pub fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Writes a file below the container's root, with parents.
    pub fn put(&self, path: &str, text: &str, mode: u32) -> Result<PathBuf> {
        let full = self.rootfs().join(path.trim_start_matches('/'));
        put(&full, text, mode)?;
        Ok(full)
    }

    /// Makes a directory below the container's root.
    pub fn put_dir(&self, path: &str) -> Result<PathBuf> {
        let full = self.rootfs().join(path.trim_start_matches('/'));
        fs::create_dir_all(&full)?;
        Ok(full)
    }

    /// Replaces whatever is at a path of the container's root by a symbolic link.
    pub fn put_link(&self, path: &str, target: &str) -> Result<()> {
        let full = self.rootfs().join(path.trim_start_matches('/'));
        if full.is_dir() && !full.is_symlink() {
            fs::remove_dir_all(&full)?;
        } else if full.symlink_metadata().is_ok() {
            fs::remove_file(&full)?;
        }
        symlink(target, full)?;
        Ok(())
    }

    /// A directory of the host that belongs to this trial, outside the bundle.
    pub fn host_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// The same on a file system of its own that has devices, which that of the work directory may forbid.
    pub fn device_dir(&mut self, name: &str) -> Result<PathBuf> {
        let dir = self.host_dir(name)?;
        let none: Option<&str> = None;
        nix::mount::mount(Some("none"), &dir, Some("tmpfs"), nix::mount::MsFlags::empty(), none)
            .with_context(|| format!("mount a tmpfs on {}", dir.display()))?;
        self.mounted.push(dir.clone());
        Ok(dir)
    }

    /// Any command, with files for its streams.
    pub fn command(&mut self, program: &Path, args: &[String]) -> Cmd<'_> {
        self.count += 1;
        let files = self.dir.join("out").join(self.count.to_string());
        let mut command = Command::new(program);
        // Some programs leave files where they are started.
        command.args(args).env_clear().current_dir(&self.dir);
        for key in ["PATH", "HOME"] {
            if let Some(v) = std::env::var_os(key) {
                command.env(key, v);
            }
        }
        let line = std::iter::once(program.display().to_string())
            .chain(args.iter().map(|a| if a.contains([' ', '"']) { format!("{a:?}") } else { a.clone() }))
            .collect::<Vec<_>>()
            .join(" ");
        Cmd {
            command,
            line,
            files,
            seconds: self.seconds,
            history: &mut self.history,
            stdin: None,
            own_stdio: false,
            verbose: self.yard.verbose,
        }
    }

    /// The runtime with the harness's global flags: own state root, JSON log.
    pub fn rt<S: AsRef<str>>(&mut self, args: &[S]) -> Cmd<'_> {
        let log = self.dir.join("out").join(format!("{}.log", self.count + 1));
        let mut all = vec![
            "--root".into(),
            self.state_root().display().to_string(),
            "--log".into(),
            log.display().to_string(),
            "--log-format".into(),
            "json".into(),
        ];
        all.extend(self.global.iter().cloned());
        all.extend(args.iter().map(|a| a.as_ref().to_string()));
        match self.user.clone() {
            Some(path) => self.command(&path, &all).adjust(os::as_nobody),
            None => {
                let path = self.runtime.path.clone();
                self.command(&path, &all)
            }
        }
    }

    /// A copy of a program where an ordinary user may start it; the way to the original may be closed, as below a root's home.
    pub fn within_reach(&self, program: &Path) -> Result<PathBuf> {
        let copy = self.dir.join("program");
        fs::copy(program, &copy).with_context(|| format!("copy {}", program.display()))?;
        Ok(copy)
    }

    /// From now on an ordinary user calls the runtime, and owns the bundle and the state.
    pub fn become_user(&mut self) -> Result<()> {
        let copy = self.within_reach(&self.runtime.path)?;
        fs::create_dir_all(self.state_root())?;
        let mine = [self.dir.join("out"), self.state_root(), self.bundle.clone(), self.rootfs()];
        let below = ["proc", "dev", "sys", "tmp", "etc", "data"].map(|d| self.rootfs().join(d));
        for dir in mine.iter().chain(&below) {
            std::os::unix::fs::chown(dir, Some(USER), Some(USER))?;
        }
        self.user = Some(copy);
        Ok(())
    }

    /// The runtime as a service manager starts it: sockets announced for its own pid.
    pub fn activated<S: AsRef<str>>(&mut self, sockets: u32, args: &[S]) -> Cmd<'_> {
        let start = format!("LISTEN_FDS={sockets} LISTEN_FDNAMES=a:b LISTEN_PID=$$ exec \"$0\" \"$@\"");
        let mut all = vec!["-c".to_string(), start, self.runtime.path.display().to_string()];
        all.extend(["--root".to_string(), self.state_root().display().to_string()]);
        all.extend(args.iter().map(|a| a.as_ref().to_string()));
        self.command(Path::new("/bin/sh"), &all)
    }

    /// The runtime without any flag of the harness.
    pub fn bare<S: AsRef<str>>(&mut self, args: &[S]) -> Cmd<'_> {
        let path = self.runtime.path.clone();
        let all: Vec<String> = args.iter().map(|a| a.as_ref().to_string()).collect();
        self.command(&path, &all)
    }

    /// Writes config.json.
    pub fn write_config(&self) -> Result<()> {
        let text = match &self.raw {
            Some(raw) => raw.clone(),
            None => serde_json::to_vec_pretty(&self.spec)?,
        };
        fs::write(self.bundle.join("config.json"), text).context("config.json")
    }

    fn with_flags(&self, verb: &[&str]) -> Vec<String> {
        let mut args: Vec<String> = verb.iter().map(|a| a.to_string()).collect();
        args.extend(["--bundle".into(), self.bundle.display().to_string()]);
        args.extend(self.flags.iter().cloned());
        args.push(self.id.clone());
        args
    }

    /// `run` in the foreground.
    pub fn run(&mut self) -> Result<Out> {
        self.write_config()?;
        let args = self.with_flags(&["run"]);
        self.rt(&args).run()
    }

    /// The control of a case that wants failures: the plain base container runs and prints, with the same files.
    pub fn works(&mut self) -> Result<()> {
        let mut plain = self.base.clone();
        plain["process"]["args"] = json!([PROBE, "echo", "it works"]);
        let spec = std::mem::replace(&mut self.spec, plain);
        let flags = std::mem::take(&mut self.flags);
        let out = self.run().context("the control")?.ok().context("the control")?;
        self.spec = spec;
        self.flags = flags;
        out.prints("it works\n").context("the control")?;
        Ok(())
    }

    /// The control of a case in which something must not be possible: with an edit that takes the protection away
    /// the same program succeeds and prints a text. Gives all that it printed.
    pub fn unprotected(&mut self, edit: impl Fn(&mut Value), sees: &str) -> Result<String> {
        let protected = self.spec.clone();
        edit(&mut self.spec);
        let out = self.run();
        self.spec = protected;
        let out = out.and_then(Out::ok).context("the control without protection")?;
        ensure!(
            out.stdout.contains(sees),
            "the control without protection: got {:?}, want it to contain {sees:?}",
            out.stdout
        );
        Ok(out.stdout)
    }

    /// `run` in the foreground, not waited for.
    pub fn run_background(&mut self) -> Result<Running> {
        self.write_config()?;
        let args = self.with_flags(&["run"]);
        self.rt(&args).spawn()
    }

    /// `create`, whatever comes of it.
    pub fn try_create(&mut self) -> Result<Out> {
        self.write_config()?;
        let args = self.with_flags(&["create"]);
        let out = self.rt(&args).run()?;
        self.payload = Some(self.dir.join("out").join(format!("{}.out", self.count)));
        Ok(out)
    }

    /// `create`, which must succeed.
    pub fn create(&mut self) -> Result<Out> {
        self.try_create()?.ok()
    }

    /// The last command was a create or a detached run that a case put together itself.
    pub fn payload_of_last(&mut self) {
        self.payload = Some(self.dir.join("out").join(format!("{}.out", self.count)));
    }

    /// `run --detach`, which must succeed.
    pub fn run_detached(&mut self) -> Result<Out> {
        self.write_config()?;
        let args = self.with_flags(&["run", "--detach"]);
        let out = self.rt(&args).run()?.ok()?;
        self.payload = Some(self.dir.join("out").join(format!("{}.out", self.count)));
        Ok(out)
    }

    /// Any command on this container: `verb ID more...`.
    pub fn verb(&mut self, verb: &str, more: &[&str]) -> Result<Out> {
        let id = self.id.clone();
        let mut args = vec![verb, &id];
        args.extend(more);
        self.rt(&args).run()
    }

    /// `start`, which must succeed.
    pub fn start(&mut self) -> Result<Out> {
        self.verb("start", &[])?.ok()
    }

    /// `delete --force`, which must succeed.
    pub fn remove(&mut self) -> Result<Out> {
        let id = self.id.clone();
        self.rt(&["delete", "--force", &id]).run()?.ok()
    }

    /// `exec ID ARGS...` in the foreground, with `exec_flags`.
    pub fn exec(&mut self, args: &[&str]) -> Result<Out> {
        let id = self.id.clone();
        let flags = self.exec_flags.clone();
        let mut all = vec!["exec"];
        all.extend(flags.iter().map(String::as_str));
        all.push(&id);
        all.extend(args);
        self.rt(&all).run()
    }

    /// `exec` of the probe.
    pub fn exec_probe(&mut self, args: &[&str]) -> Result<Out> {
        let mut all = vec![PROBE];
        all.extend(args);
        self.exec(&all)
    }

    /// `exec --process FILE` with `self.process`.
    pub fn exec_process(&mut self) -> Result<Out> {
        let file = self.dir.join("process.json");
        fs::write(&file, self.process.to_string())?;
        let file = file.display().to_string();
        let id = self.id.clone();
        let flags = self.exec_flags.clone();
        let mut all = vec!["exec", "--process", &file];
        all.extend(flags.iter().map(String::as_str));
        all.push(&id);
        self.rt(&all).run()
    }

    /// The answer of `state`.
    pub fn state(&mut self) -> Result<Value> {
        self.verb("state", &[])?.ok()?.json()
    }

    /// The status word of `state`.
    pub fn status(&mut self) -> Result<String> {
        Ok(self.state()?["status"].as_str().unwrap_or("").to_string())
    }

    /// Requires a status now.
    pub fn is(&mut self, status: &str) -> Result<()> {
        let got = self.status()?;
        ensure!(got == status, "status is {got:?}, want {status:?}");
        Ok(())
    }

    /// The answer of `ps --format json`.
    pub fn ps(&mut self) -> Result<Value> {
        let id = self.id.clone();
        self.rt(&["ps", "--format", "json", &id]).run()?.ok()?.json()
    }

    /// Pid of init as `state` gives it.
    pub fn pid(&mut self) -> Result<i32> {
        let pid = self.state()?["pid"].as_i64().context("state has no pid")?;
        Ok(pid as i32)
    }

    /// Waits until init has ended and gives its status (128 + signal), as a monitor sees it.
    pub fn ended(&mut self, pid: i32) -> Result<i32> {
        let deadline = Instant::now() + Duration::from_secs(self.seconds);
        while Instant::now() < deadline && !os::asked_to_end() {
            if let Some(code) = os::orphan_status(pid) {
                return Ok(code);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("process {pid} did not end within {} s", self.seconds)
    }

    /// Removes the files of commands that are no longer of interest.
    pub fn forget_files(&mut self) -> Result<()> {
        let out = self.dir.join("out");
        fs::remove_dir_all(&out)?;
        fs::create_dir(&out).context("make a directory for streams")
    }

    /// What the payload of the last create or detached run has written.
    pub fn payload(&self) -> String {
        self.payload.as_deref().map(read_lossy).unwrap_or_default()
    }

    /// Waits until the payload has written this.
    pub fn payload_says(&self, text: &str) -> Result<String> {
        let seconds = self.seconds;
        wait_for(seconds, || Ok(Some(self.payload()).filter(|p| p.contains(text))))
            .with_context(|| format!("the program did not print {text:?}; it printed {:?}", self.payload()))
    }

    /// A running container whose program prints "ready" and waits for SIGTERM.
    pub fn resident(&mut self) -> Result<i32> {
        self.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
        self.run_detached()?;
        self.payload_says("ready")?;
        self.pid()
    }

    /// The container's cgroup as the host sees it, by the path in config.json.
    pub fn cgroup(&self, controller: &str) -> Result<Cgroup> {
        let (top, v2) = self.yard.host.controller(controller).context("no such controller")?;
        let path = self.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/');
        Ok(Cgroup { dir: top.join(path), v2 })
    }

    /// Takes the case's own mounts away again.
    pub fn unmount(&mut self) -> Result<()> {
        while let Some(path) = self.mounted.pop() {
            nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH)
                .with_context(|| format!("umount {}", path.display()))?;
        }
        Ok(())
    }

    /// Seconds a case of this trial may wait.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// A second bundle beside the first, with its own id and cgroup; `edit` changes its config.
    pub fn twin(&mut self, suffix: &str, edit: impl FnOnce(&mut Value)) -> Result<Twin> {
        let bundle = self.dir.join(format!("b{suffix}"));
        make_root(self.yard, &bundle.join("rootfs"))?;
        let mut spec = self.base.clone();
        let path = format!("{}{suffix}", self.base["linux"]["cgroupsPath"].as_str().unwrap_or(""));
        spec["linux"]["cgroupsPath"] = path.into();
        edit(&mut spec);
        fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&spec)?)?;
        Ok(Twin { id: format!("{}{suffix}", self.id), bundle: bundle.display().to_string() })
    }
}

/// A second container of a trial.
pub struct Twin {
    pub id: String,
    pub bundle: String,
}

/// Tries until there is an answer; the error names the limit.
pub fn wait_for<T>(seconds: u64, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        os::reap_orphans();
        if let Some(answer) = look()? {
            return Ok(answer);
        }
        if Instant::now() > deadline || os::asked_to_end() {
            bail!("waited {seconds} s in vain");
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Writes a file with its parents and mode.
pub fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text).with_context(|| format!("{}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn make_root(yard: &Yard, root: &Path) -> Result<()> {
    for dir in ["proc", "dev", "sys", "tmp", "etc", "bin", "data"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::hard_link(&yard.probe, root.join(PROBE.trim_start_matches('/'))).context("link the probe")?;
    if let Some(busybox) = &yard.busybox {
        fs::hard_link(busybox, root.join("bin/busybox"))?;
        symlink("busybox", root.join("bin/sh"))?;
    }
    fs::write(root.join("etc/marker"), "marker\n")?;
    Ok(())
}
