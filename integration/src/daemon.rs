//! One knarrd under test: its directories, its process, its sockets and its command line. Cases of the supervisor reach
//! the daemon only through this type; at the end of a case nothing of it may be left.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::base::PROBE;
use crate::case::Case;
use crate::oracle;
use crate::os;
use crate::trial::{Out, Running, Trial, wait_for};

/// What events there are.
const EVENTS: &str = include_str!("../../docs/events.md");

/// The programs of a supervisor under test.
#[derive(Clone)]
pub struct Programs {
    pub knarrd: PathBuf,
    pub knarrctl: PathBuf,
    pub keeper: PathBuf,
}

/// One daemon of one case, perhaps several processes one after another.
pub struct Daemon<'t, 'y> {
    pub t: &'t mut Trial<'y>,
    pub programs: Programs,
    /// What the operator writes.
    pub services: PathBuf,
    /// What survives a reboot.
    pub state: PathBuf,
    /// What does not.
    pub run: PathBuf,
    /// The daemon's part of every cgroup tree.
    pub parent: String,
    /// Options of the next start besides those of the harness.
    pub options: Vec<String>,
    /// Environment of the next start besides that of the harness.
    pub env: Vec<(&'static str, String)>,
    /// A program and its arguments that executes the daemon: `unshare --net`.
    pub before: Vec<String>,
    /// How much of the file system must be free for logs, in percent. None of it, unless a case is about that: the machine's
    /// disk is not the case's.
    pub log_min_free: u8,
    process: Option<Running>,
    starts: u32,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// Requires this status.
    pub fn is(self, status: u16) -> Result<Answer> {
        ensure!(self.status == status, "HTTP status {}, want {status}: {}", self.status, self.body);
        Ok(self)
    }

    /// Requires that it was done: 200 with a body, 204 without one.
    pub fn done(self) -> Result<Answer> {
        let want = if self.body.is_empty() { 204 } else { 200 };
        self.is(want)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {:?}", self.body))
    }
}

impl Case {
    /// A case of the supervisor: a daemon runs, the story is told, then everything is taken down in the way an operator
    /// would and must be gone.
    pub fn daemon(self, story: impl Fn(&mut Daemon<'_, '_>) -> Result<()> + 'static) -> Case {
        self.steps(move |t| {
            let mut d = Daemon::new(t)?;
            let told = d.start().and_then(|()| story(&mut d));
            let told = told.and_then(|()| d.finish().context("taking everything down"));
            if told.is_err() {
                d.testify();
            }
            told
        })
    }
}

impl<'t, 'y> Daemon<'t, 'y> {
    /// The directories of a daemon; nothing runs yet.
    pub fn new(t: &'t mut Trial<'y>) -> Result<Daemon<'t, 'y>> {
        let programs = t.yard.supervisor.clone().context("no supervisor to test")?;
        let parent = t.base["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string();
        let (services, state, run) = (t.host_dir("services")?, t.dir.join("state.d"), t.dir.join("run.d"));
        Ok(Daemon {
            t,
            programs,
            services,
            state,
            run,
            parent,
            options: Vec::new(),
            env: Vec::new(),
            before: Vec::new(),
            log_min_free: 0,
            process: None,
            starts: 0,
        })
    }

    // ---- the process ----

    /// The options that a daemon of this case has.
    fn arguments(&self) -> Vec<String> {
        let pairs = [
            ("--services", self.services.display().to_string()),
            ("--state", self.state.display().to_string()),
            ("--run", self.run.display().to_string()),
            ("--cgroup-parent", self.parent.clone()),
            ("--runtime", self.t.runtime.path.display().to_string()),
            ("--keeper", self.programs.keeper.display().to_string()),
            ("--log-min-free", self.log_min_free.to_string()),
        ];
        let mut all: Vec<String> = pairs.into_iter().flat_map(|(k, v)| [k.to_string(), v]).collect();
        all.extend(self.options.iter().cloned());
        all
    }

    /// Starts a process with the options of this daemon and does not wait for anything.
    pub fn spawn(&mut self) -> Result<Running> {
        self.starts += 1;
        let mut line = self.before.clone();
        line.push(self.programs.knarrd.display().to_string());
        line.extend(self.arguments());
        let program = PathBuf::from(line.remove(0));
        let mut command = self.t.command(&program, &line);
        for (key, value) in &self.env {
            command = command.env(key, value);
        }
        command.spawn()
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.answers()
    }

    /// Starts the daemon; it may not answer yet.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the daemon runs already");
        self.process = Some(self.spawn()?);
        Ok(())
    }

    /// Waits until the daemon answers.
    pub fn answers(&mut self) -> Result<()> {
        let socket = self.socket();
        let pid = self.pid()?;
        wait_for(self.t.seconds(), || {
            ensure!(alive(pid), "the daemon ended: {}", self.words());
            Ok(http(&socket, "GET", "/v1/version", None).ok().filter(|a| a.status == 200).map(|_| ()))
        })
        .context("the daemon does not answer")
    }

    /// The daemon's process.
    pub fn pid(&self) -> Result<i32> {
        Ok(self.process.as_ref().context("no daemon runs")?.pid() as i32)
    }

    /// Whether the daemon's process is there.
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|p| alive(p.pid() as i32))
    }

    /// What the daemon wrote to its error stream.
    pub fn words(&self) -> String {
        self.process.as_ref().map(|p| p.so_far().1).unwrap_or_default()
    }

    /// The daemon is killed at once, as by the kernel.
    pub fn kill9(&mut self) -> Result<()> {
        let process = self.process.take().context("no daemon runs")?;
        os::kill(process.pid() as i32, libc::SIGKILL);
        let out = process.wait()?;
        ensure!(
            out.code == Some(137),
            "the daemon was to be killed and exited {:?}: {}",
            out.code,
            out.stderr
        );
        Ok(())
    }

    /// The daemon may have ended by itself; if not, it is killed. Gives its exit code and its last words.
    pub fn gone_or_killed(&mut self) -> Result<Out> {
        let process = self.process.take().context("no daemon runs")?;
        os::kill(process.pid() as i32, libc::SIGKILL);
        process.wait()
    }

    /// The daemon is asked to end; the services go on.
    pub fn end(&mut self) -> Result<Out> {
        let process = self.process.take().context("no daemon runs")?;
        os::kill(process.pid() as i32, libc::SIGTERM);
        process.wait()?.ok().context("knarrd, asked to end")
    }

    /// `kill -9` and a new start.
    pub fn crash_and_start(&mut self) -> Result<()> {
        self.kill9()?;
        self.start()
    }

    /// What a reboot leaves: no process of ours, nothing in the run directory.
    pub fn reboot(&mut self) -> Result<()> {
        if self.process.is_some() {
            self.kill9()?;
        }
        wait_for(self.t.seconds(), || {
            let left = oracle::children();
            left.iter().for_each(|(pid, _)| os::kill(*pid, libc::SIGKILL));
            // Children of a keeper that ended between two looks at our own come to us after the list was read.
            let more = self.groups().iter().filter(|dir| kill_inside(dir)).count();
            Ok((left.is_empty() && more == 0).then_some(()))
        })
        .context("killing everything")?;
        self.drop_cgroups()?;
        oracle::remove_tree(&self.run)
    }

    /// Removes the groups that only structure the daemon's part of the trees; one that is in use stays.
    fn drop_cgroups(&self) -> Result<()> {
        for dir in self.groups() {
            wait_for(10, || Ok((fs::remove_dir(&dir).is_ok() || !dir.exists()).then_some(())))
                .with_context(|| format!("{} is left and in use by {:?}", dir.display(), inside(&dir)))?;
        }
        Ok(())
    }

    /// Every cgroup directory of this daemon, deepest first.
    pub fn groups(&self) -> Vec<PathBuf> {
        let below = self.parent.trim_start_matches('/');
        let of_this =
            |dir: &PathBuf| self.t.yard.host.hierarchies().iter().any(|top| dir.starts_with(top.join(below)));
        oracle::cgroups(self.t.yard).into_iter().filter(of_this).collect()
    }

    /// Takes everything down as an operator would, and looks for what is left.
    pub fn finish(&mut self) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        // A file that was written just now is in force from here on.
        self.request("POST", "/v1/apply", Some("{}"))?.is(200)?;
        let known = self.get("/v1/instances")?;
        self.has_known_events()?;
        let mut names: Vec<String> = texts(&known, "service");
        names.dedup();
        for name in &names {
            self.request("DELETE", &format!("/v1/services/{name}?wait=true"), None)?.done()?;
        }
        self.end()?;
        let gone = wait_for(self.t.seconds(), || Ok(oracle::children().is_empty().then_some(())));
        ensure!(gone.is_ok(), "processes are left: {:?}", oracle::children());
        for place in ["keepers", "bundles", "files", "roots", "runtime"] {
            let left = oracle::names(&self.run.join(place));
            ensure!(left.is_empty(), "left in {place} of the run directory: {left:?}");
        }
        let left = oracle::names(&self.state.join("exits"));
        ensure!(left.is_empty(), "exit records are left: {left:?}");
        let runs: Vec<PathBuf> = self.groups().into_iter().filter(|g| is_run(g)).collect();
        ensure!(runs.is_empty(), "cgroups of runs are left: {runs:?}");
        self.drop_cgroups()
    }

    /// What was told is of kinds that docs/events.md explains.
    fn has_known_events(&self) -> Result<()> {
        for event in self.events()? {
            let (kind, severity) = (event["kind"].as_str(), event["severity"].as_str());
            let (kind, severity) = kind.zip(severity).with_context(|| format!("no event: {event}"))?;
            let row = format!("| `{kind}` | {severity} | ");
            ensure!(
                EVENTS.lines().any(|l| l.starts_with(&row)),
                "docs/events.md has no row {row} of {event}"
            );
        }
        Ok(())
    }

    /// Puts the last words of the daemon where a failed case shows them.
    pub fn testify(&mut self) {
        let words = self.words();
        let lines: Vec<&str> = words.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        self.t.history.push(Out { line: "the last of knarrd".into(), stderr: tail, ..Out::default() });
    }

    /// Mounts a file system of memory on a directory, until the end of the case.
    pub fn tmpfs(&mut self, dir: &Path, options: &str) -> Result<()> {
        fs::create_dir_all(dir)?;
        let none = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("none"), dir, Some("tmpfs"), none, Some(options))
            .with_context(|| format!("mount a tmpfs on {}", dir.display()))?;
        self.t.mounted.push(dir.to_path_buf());
        Ok(())
    }

    // ---- the API ----

    /// The read-write socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("knarrd.sock")
    }

    /// One request.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer> {
        http(&self.socket(), method, path, body).with_context(|| format!("{method} {path}"))
    }

    /// One question, which must be answered.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, None)?.is(200).with_context(|| path.to_string())?.json()
    }

    /// One command, which must be carried out.
    pub fn post(&self, path: &str) -> Result<Answer> {
        self.request("POST", path, None)?.done().with_context(|| path.to_string())
    }

    /// The command line.
    pub fn ctl(&mut self, args: &[&str]) -> Result<Out> {
        let all = self.ctl_line(args);
        let program = self.programs.knarrctl.clone();
        self.t.command(&program, &all).run()
    }

    /// The command line, not waited for.
    pub fn ctl_running(&mut self, args: &[&str]) -> Result<Running> {
        let all = self.ctl_line(args);
        let program = self.programs.knarrctl.clone();
        self.t.command(&program, &all).spawn()
    }

    /// Arguments of the command line with the socket of this daemon.
    pub fn ctl_line(&self, args: &[&str]) -> Vec<String> {
        let mut all = vec!["--socket".to_string(), self.socket().display().to_string()];
        all.extend(args.iter().map(|a| a.to_string()));
        all
    }

    // ---- services ----

    /// Writes a service file as an editor does that keeps files whole.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let aside = self.services.join(format!(".{name}.new"));
        fs::write(&aside, text)?;
        fs::rename(&aside, self.services.join(format!("{name}.toml"))).context("rename")
    }

    /// The text of a service that runs the probe program: `keys` are further top-level keys and tables.
    pub fn text(&self, command: &[&str], keys: &str) -> String {
        let mut all = vec![PROBE];
        all.extend(command);
        format!("root = {:?}\ncommand = {}\n{keys}\n", self.t.rootfs().display().to_string(), json!(all))
    }

    /// Writes a service and applies it.
    pub fn service(&self, name: &str, command: &[&str], keys: &str) -> Result<()> {
        self.write(name, &self.text(command, keys))?;
        self.apply()
    }

    /// A service that prints `ready` and waits for SIGTERM; comes back when it does.
    pub fn resident(&self, name: &str, keys: &str) -> Result<()> {
        self.service(name, &["trap", "TERM"], keys)?;
        self.ready(&format!("{name}.1"))
    }

    /// Applies what is in the services directory; no file may be refused.
    pub fn apply(&self) -> Result<()> {
        let plan = self.request("POST", "/v1/apply", Some("{}"))?.is(200)?.json()?;
        let problems = plan["problems"].as_array().map_or(0, Vec::len);
        ensure!(problems == 0, "refused: {}", plan["problems"]);
        Ok(())
    }

    /// Applies what is in the services directory, whatever comes of it.
    pub fn try_apply(&self) -> Result<Value> {
        self.request("POST", "/v1/apply", Some("{}"))?.json()
    }

    /// One instance as `ps` shows it, if it is known.
    pub fn find(&self, instance: &str) -> Result<Option<Value>> {
        let all = self.get("/v1/instances")?;
        Ok(all.as_array().into_iter().flatten().find(|i| i["instance"] == instance).cloned())
    }

    /// One instance as `ps` shows it.
    pub fn instance(&self, instance: &str) -> Result<Value> {
        self.find(instance)?.with_context(|| format!("ps knows no {instance}"))
    }

    /// Waits until an instance has this state (or one of several, `a|b`).
    pub fn until(&self, instance: &str, state: &str) -> Result<Value> {
        self.until_it(instance, state, |i| {
            i["state"].as_str().is_some_and(|now| state.split('|').any(|s| s == now))
        })
    }

    /// Waits until an instance is as wanted; `what` says how in words.
    pub fn until_it(&self, instance: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        wait_for(self.t.seconds(), || {
            last = self.find(instance)?.unwrap_or(Value::Null);
            Ok(fits(&last).then(|| last.clone()))
        })
        .with_context(|| format!("{instance} is not {what} but {last}"))
    }

    /// Requires a state now. A container answers and prints before its `start` has returned to the daemon, so one that is on
    /// its way to `running` is waited for.
    pub fn is(&self, instance: &str, state: &str) -> Result<Value> {
        let mut now = self.instance(instance)?;
        if state == "running" && now["state"] == "starting" {
            now = self.until_it(instance, "past its start", |i| i["state"] != "starting")?;
        }
        ensure!(now["state"] == state, "{instance} is {}, want {state}: {now}", now["state"]);
        Ok(now)
    }

    /// The first process of an instance on the host.
    pub fn pid_of(&self, instance: &str) -> Result<i32> {
        let now = self.instance(instance)?;
        Ok(now["pid"].as_i64().with_context(|| format!("{instance} has no pid: {now}"))? as i32)
    }

    /// The keeper of an instance: the parent of its first process.
    pub fn keeper_of(&self, instance: &str) -> Result<i32> {
        let pid = self.pid_of(instance)?;
        let parent = procfs::process::Process::new(pid)?.stat()?.ppid;
        ensure!(parent > 1 && parent != std::process::id() as i32, "{instance} has no keeper of its own");
        Ok(parent)
    }

    /// What an instance wrote so far: texts of its log files, oldest first, without the keeper's own words.
    pub fn log(&self, instance: &str) -> Result<Vec<String>> {
        Ok(self.log_lines(instance)?.into_iter().filter(|l| l.stream != "keeper").map(|l| l.text).collect())
    }

    /// The lines of an instance's log files, oldest first.
    pub fn log_lines(&self, instance: &str) -> Result<Vec<LogLine>> {
        let dir = self.state.join("logs").join(instance);
        let mut all = Vec::new();
        for name in oracle::names(&dir) {
            let bytes = fs::read(dir.join(&name))?;
            let text = String::from_utf8_lossy(&bytes);
            // What follows the last line end is still being written.
            for line in text.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')) {
                all.push(LogLine::parse(line).with_context(|| format!("{name}: {line:?}"))?);
            }
        }
        Ok(all)
    }

    /// Waits until an instance has written a line.
    pub fn says(&self, instance: &str, line: &str) -> Result<()> {
        wait_for(self.t.seconds(), || Ok(self.log(instance)?.iter().any(|l| l == line).then_some(())))
            .with_context(|| format!("{instance} did not print {line:?} but {:?}", self.log(instance)))
    }

    /// Waits until an instance has said that it is ready and the daemon knows that it runs: a program may be the first.
    pub fn ready(&self, instance: &str) -> Result<()> {
        self.says(instance, "ready")?;
        self.until(instance, "running").map(|_| ())
    }

    /// The sentence of `explain`.
    pub fn why(&self, target: &str) -> Result<Value> {
        self.get(&format!("/v1/explain/{target}"))
    }

    /// Waits until the explanation, as JSON text, has these words.
    pub fn explains(&self, target: &str, words: &[&str]) -> Result<()> {
        let mut last = String::new();
        wait_for(self.t.seconds(), || {
            last = self.why(target)?.to_string();
            Ok(words.iter().all(|w| last.contains(w)).then_some(()))
        })
        .with_context(|| format!("explain {target} does not say {words:?} but {last}"))
    }

    /// All events that are kept, oldest first.
    pub fn events(&self) -> Result<Vec<Value>> {
        let text = self.request("GET", "/v1/events?since=0", None)?.is(200)?.body;
        text.lines().map(|l| serde_json::from_str(l).with_context(|| format!("not JSON: {l:?}"))).collect()
    }
}

impl Drop for Daemon<'_, '_> {
    fn drop(&mut self) {
        // Its keepers and containers are found and ended by the oracle, whose children they are by then.
        if let Some(process) = self.process.take() {
            drop(process);
        }
    }
}

/// One line of a log file.
#[derive(Debug, Clone)]
pub struct LogLine {
    pub stamp: String,
    pub stream: String,
    /// Not a whole line.
    pub partial: bool,
    pub text: String,
}

impl LogLine {
    fn parse(line: &str) -> Option<LogLine> {
        let mut parts = line.splitn(4, ' ');
        let (stamp, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = stamp.ends_with('Z')
            && ["stdout", "stderr", "keeper"].contains(&stream)
            && ["F", "P"].contains(&tag);
        whole.then(|| LogLine {
            stamp: stamp.into(),
            stream: stream.into(),
            partial: tag == "P",
            text: parts.next().unwrap_or("").into(),
        })
    }
}

/// The texts of one key in a list of objects.
pub fn texts(list: &Value, key: &str) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v[key].as_str().map(String::from)).collect()
}

/// Whether a cgroup directory is of one run (`.../keepers/web.1.1` or `.../payload/web.1.1`, or deeper) and no structure.
fn is_run(dir: &Path) -> bool {
    dir.components().any(|c| c.as_os_str().to_string_lossy().split('.').count() == 3)
}

/// Whether a process is there and no zombie.
pub fn alive(pid: i32) -> bool {
    procfs::process::Process::new(pid).and_then(|p| p.stat()).is_ok_and(|s| s.state != 'Z')
}

/// One HTTP request on a connection of its own; the answer is read to its end.
pub fn http(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Result<Answer> {
    let body = body.unwrap_or("");
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    raw(
        socket,
        format!(
            "{method} {path} HTTP/1.1\r\nHost: knarrd\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )
}

/// The longest that a case waits for one answer; `?wait=true` may take a grace time.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Sends bytes and reads an answer to the end of the connection.
pub fn raw(socket: &Path, request: &[u8]) -> Result<Answer> {
    let mut stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    // A server may refuse in the middle of a body and close; its answer counts.
    let sent = stream.write_all(request);
    let mut bytes = Vec::new();
    let read = read_to_end(&mut stream, &mut bytes);
    if bytes.is_empty() {
        sent.context("send")?;
        read.context("read")?;
    }
    parse_answer(&bytes)
}

/// Orphans that come to this process meanwhile are collected, as the first process of a host does: one of a container's pid
/// namespace that nobody collects keeps the container's own first process from ending (pid_namespaces(7)).
fn read_to_end(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let until = Instant::now() + ANSWER_MAX;
    let mut piece = [0; 16 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < until => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        crate::os::reap_orphans_of_main();
    }
}

/// Status and body of an answer that is there as a whole.
pub fn parse_answer(bytes: &[u8]) -> Result<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").context("no whole HTTP head")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.with_context(|| format!("no HTTP status: {head:?}"))?;
    let rest = &bytes[end + 4..];
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// The bytes of a chunked body (RFC 9112, 7.1).
fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else { bail!("no size of a chunk") };
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|s| usize::from_str_radix(s.trim(), 16).ok());
        let size = size.context("a bad size of a chunk")?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(all);
        }
        ensure!(rest.len() >= size + 2, "a chunk of {size} bytes is cut short");
        all.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// Kills what is in a group; whether there was anything.
fn kill_inside(dir: &Path) -> bool {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let pids = text.lines().filter_map(|pid| pid.parse().ok());
    pids.inspect(|pid| os::kill(*pid, libc::SIGKILL)).count() > 0
}

/// Who is in a group, for a message: number, name and state, parent.
fn inside(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let stat = |pid: &str| procfs::process::Process::new(pid.parse().ok()?).ok()?.stat().ok();
    let say = |pid: &str| match stat(pid) {
        Some(s) => format!("{pid} ({}) {} below {}", s.comm, s.state, s.ppid),
        None => format!("{pid}, which is gone"),
    };
    text.lines().map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_apart() {
        let a = parse_answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!((a.status, a.body.as_str()), (404, "{}"));
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse_answer(text).unwrap().body, "abcde");
        assert!(parse_answer(b"HTTP/1.1 200 OK\r\n").is_err());
        assert!(parse_answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc").is_err());
    }

    #[test]
    fn log_lines_come_apart() {
        let l = LogLine::parse("2026-11-21T12:00:00.123456789Z stdout F two words").unwrap();
        assert_eq!((l.stream.as_str(), l.partial, l.text.as_str()), ("stdout", false, "two words"));
        assert!(LogLine::parse("2026-11-21T12:00:00Z stdout P ").unwrap().partial);
        assert!(LogLine::parse("stdout F x").is_none());
        assert!(LogLine::parse("2026Z nowhere F x").is_none());
    }

    #[test]
    fn groups_of_runs_are_told_from_structure() {
        assert!(is_run(Path::new("/sys/fs/cgroup/kn/payload/web.1.17")));
        assert!(is_run(Path::new("/sys/fs/cgroup/kn/payload/web.1.17/inner")));
        assert!(!is_run(Path::new("/sys/fs/cgroup/kn/payload")));
    }
}
