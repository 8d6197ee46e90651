//! What the next daemon makes of what the one before left half done: a pause, a wish, a start, a clean-up, an end that no
//! disk has taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::sup;
use super::survival::{on_small_disk, remount};
use crate::case::Case;
use crate::daemon::{Daemon, alive};
use crate::oracle;
use crate::os;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = half_done();
    all.extend(wishes());
    all.extend(disks());
    all
}

fn half_done() -> Vec<Case> {
    vec![
        sup("again.pause-goes-on", "back-off over the death of the daemon").daemon(|d| {
            d.service("a", &["exit", "3"], "[restart]\ndelay = '30s'\nmax_delay = '30s'\n")?;
            d.until("a.1", "backoff")?;
            for _ in 0..2 {
                d.crash_and_start()?;
                std::thread::sleep(Duration::from_millis(300));
                let now = d.is("a.1", "backoff")?;
                ensure!(now["run"] == "a.1.1", "the pause was void: {now}");
            }
            Ok(())
        }),
        sup("again.crash-loop-stays", "crash loops over the death of the daemon").daemon(|d| {
            let keys = "[restart]\ndelay = '50ms'\nmax_delay = '30s'\ncrash_failures = 3\n";
            d.service("a", &["exit", "3"], keys)?;
            d.until("a.1", "crashloop")?;
            d.crash_and_start()?;
            d.until("a.1", "crashloop")?;
            d.explains("a", &["next try"])
        }),
        sup("again.start-under-way", "kill between start and its record").seconds(40).daemon(|d| {
            let gate = Gate::new(d, "start")?;
            d.service("a", &["trap", "TERM"], &gate.key())?;
            d.until("a.1", "starting")?;
            d.kill9()?;
            d.start()?;
            d.until("a.1", "starting")?;
            // Now both starts go on at once, and only one of them can succeed.
            gate.open()?;
            let now = d.until("a.1", "running")?;
            std::thread::sleep(Duration::from_millis(500));
            let later = d.is("a.1", "running")?;
            ensure!(now["run"] == "a.1.1" && later["run"] == "a.1.1", "started anew: {later}");
            ensure!(later["restarts"] == 0, "counted as a restart: {later}");
            Ok(())
        }),
        sup("again.clean-up-under-way", "kill between an end and its clean-up").seconds(40).daemon(|d| {
            let gate = Gate::new(d, "delete")?;
            let seen = d.t.dir.join("seen");
            let hook = |word: &str| {
                format!("[{{ command = ['/bin/sh', '-c', 'echo {word} $KNARR_RUN $KNARR_EXIT_CODE >> {}'] }}]", seen.display())
            };
            let keys = format!(
                "{}[restart]\npolicy = 'always'\ndelay = '10ms'\nmax_delay = '20ms'\n[hooks]\npre_start = {}\npost_stop = {}\n",
                gate.key(),
                hook("before"),
                hook("after"),
            );
            d.service("a", &["all", "trap", "USR1", "--", "exit", "7"], &keys)?;
            d.says("a.1", "ready")?;
            os::kill(d.pid_of("a.1")?, libc::SIGUSR1);
            d.until_it("a.1", "being cleaned up", |i| i["last_exit"] == 7)?;
            d.kill9()?;
            d.start()?;
            std::thread::sleep(Duration::from_millis(300));
            let words = || fs::read_to_string(&seen).unwrap_or_default();
            ensure!(words() == "before a.1.1\n", "begun beside what is left of the last run: {:?}", words());
            gate.open()?;
            d.until_it("a.1", "running anew", |i| i["state"] == "running" && i["run"] == "a.1.2")?;
            ensure!(words() == "before a.1.1\nafter a.1.1 7\nbefore a.1.2\n", "the hooks wrote {:?}", words());
            Ok(())
        }),
        sup("again.keeper-killed-while-creating", "monitor-lost while it is made")
            .needs([crate::host::Need::CgroupV2])
            .seconds(40)
            .daemon(|d| {
                let gate = Gate::new(d, "create")?;
                d.service("a", &["trap", "TERM"], &format!("{}{}", gate.key(), super::SOON))?;
                d.until("a.1", "creating")?;
                let own = || d.groups().into_iter().find(|g| g.ends_with("keepers/a.1.1"));
                let group = wait_for(10, || Ok(own())).context("the keeper has no cgroup")?;
                // The runtime is under way; its parent is the keeper.
                let keeper = wait_for(10, || {
                    let all = fs::read_to_string(group.join("cgroup.procs"))?;
                    let of = |p| procfs::process::Process::new(p).and_then(|p| p.stat()).ok();
                    let runtime =
                        all.lines().filter_map(|l| of(l.parse().ok()?)).find(|s| !s.comm.contains("keeper"));
                    Ok(runtime.map(|s| s.ppid))
                })
                .context("no runtime in the keeper's cgroup")?;
                os::kill(keeper, libc::SIGKILL);
                d.until_it("a.1", "made anew", |i| i["run"] == "a.1.2")?;
                gate.open()?;
                d.until("a.1", "running")?;
                // What made the first one ended with its keeper.
                let runs = oracle::names(&d.run.join("runtime"));
                ensure!(runs == ["a.1.2"], "containers: {runs:?}");
                d.explains("a", &["monitor-lost"])
            }),
    ]
}

fn wishes() -> Vec<Case> {
    vec![
        sup("again.start-is-remembered", "start of what had failed").daemon(|d| {
            d.service("db", &["trap", "TERM"], "")?;
            d.until("db.1", "running")?;
            d.service(
                "job",
                &["exit", "4"],
                "depends_on = [{ service = 'db', condition = 'started' }]\n[restart]\npolicy = 'no'\n",
            )?;
            d.until("job.1", "failed")?;
            d.post("/v1/services/db/stop?wait=true")?;
            d.post("/v1/services/job/start")?;
            d.until("job.1", "waiting")?;
            d.crash_and_start()?;
            d.until("job.1", "waiting")?;
            d.post("/v1/services/db/start")?;
            d.until_it("job.1", "failed anew", |i| i["state"] == "failed" && i["run"] == "job.1.2")
                .map(|_| ())
        }),
        sup("again.stops-in-order", "stop order over the death of the daemon").seconds(40).daemon(|d| {
            dependent(d)?;
            let db = d.pid_of("db.1")?;
            d.post("/v1/services/app/stop")?;
            d.post("/v1/services/db/stop")?;
            std::thread::sleep(Duration::from_millis(200));
            d.crash_and_start()?;
            d.until("app.1", "stopping")?;
            ensure!(alive(db), "what app depends on was stopped before app");
            for i in ["app.1", "db.1"] {
                d.until(i, "held")?;
            }
            let at = super::order::first(d, "stopped", &["app.1", "db.1"])?;
            ensure!(at.is_sorted(), "app depends on db, ended in the order {at:?}");
            Ok(())
        }),
        sup("order.waits-for-a-pending-stop", "stop and rm with wait").seconds(40).daemon(|d| {
            dependent(d)?;
            d.post("/v1/services/app/stop")?;
            d.request("DELETE", "/v1/services/db?wait=true", None)?.done()?;
            d.is("app.1", "held")?;
            ensure!(d.find("db.1")?.is_none(), "removed, and there");
            Ok(())
        }),
        sup("order.no-cycle-on-disk", "apply writes what can be in force").daemon(|d| {
            let on = |name: &str| format!("depends_on = [{{ service = '{name}', condition = 'started' }}]\n");
            d.resident("a", "")?;
            d.service("b", &["trap", "TERM"], &on("a"))?;
            let before = fs::read_to_string(d.services.join("a.toml"))?;
            let body = json!({"files": [{"name": "a", "text": d.text(&["trap", "TERM"], &on("b"))}]});
            let plan = d.request("POST", "/v1/apply", Some(&body.to_string()))?.is(200)?.json()?;
            ensure!(plan["problems"].to_string().contains("depends_on"), "not refused: {plan}");
            ensure!(fs::read_to_string(d.services.join("a.toml"))? == before, "the refused file was written");
            Ok(())
        }),
    ]
}

fn disks() -> Vec<Case> {
    vec![sup("again.end-on-a-read-only-disk", "an end that no disk has taken").seconds(60).daemon(|d| {
        // What is open for writing keeps a file system writable: what keepers write has one of its own here.
        on_small_disk(d)?;
        d.end()?;
        for kept in ["logs", "exits"] {
            let dir = d.state.join(kept);
            d.tmpfs(&dir, "size=8m")?;
        }
        d.start()?;
        d.service("a", &["all", "trap", "USR1", "--", "exit", "42"], super::SOON)?;
        d.says("a.1", "ready")?;
        d.kill9()?;
        remount(d, true)?;
        d.start()?;
        os::kill(d.pid_of("a.1")?, libc::SIGUSR1);
        // It is seen, and started again.
        let anew = |i: &serde_json::Value| i["state"] == "running" && i["run"] == "a.1.2";
        let now = d.until_it("a.1", "running anew", anew)?;
        ensure!(now["last_exit"] == 42, "last exit: {now}");
        let pid = d.pid_of("a.1")?;
        // The next daemon knows nothing of all that from the journal.
        d.crash_and_start()?;
        let now = d.until_it("a.1", "adopted", anew)?;
        ensure!(d.pid_of("a.1")? == pid && now["last_exit"] == 42, "after the death of the daemon: {now}");
        remount(d, false)?;
        let kept = || oracle::names(&d.run.join("keepers"));
        wait_for(20, || Ok((kept() == ["a.1.2"]).then_some(())))
            .with_context(|| format!("keepers: {:?}", kept()))?;
        let exits = d.get("/v1/services/a")?["exits"].clone();
        ensure!(exits.as_array().map(Vec::len) == Some(1) && exits[0]["code"] == 42, "exits: {exits}");
        d.crash_and_start()?;
        ensure!(d.pid_of("a.1")? == pid, "restarted");
        Ok(())
    })]
}

/// app depends on db, and takes a second to stop.
fn dependent(d: &Daemon<'_, '_>) -> Result<()> {
    d.resident("db", "")?;
    let keys = "depends_on = [{ service = 'db', condition = 'started' }]\n[stop]\ngrace = '2s'\n";
    d.service("app", &["ignore-term"], keys)?;
    // What the daemon does not know to run is not stopped but killed.
    d.ready("app.1")
}

/// A runtime whose one command waits as long as the gate is closed.
pub struct Gate {
    closed: PathBuf,
    program: PathBuf,
}

impl Gate {
    /// A closed one.
    pub fn new(d: &Daemon<'_, '_>, verb: &str) -> Result<Gate> {
        let gate = Gate { closed: d.t.dir.join("closed"), program: d.t.dir.join("gated-runtime") };
        fs::write(&gate.closed, "")?;
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *\" {verb} \"*) while [ -e {} ]; do sleep 0.05; done ;; esac\nexec {} \"$@\"\n",
            gate.closed.display(),
            d.t.runtime.path.display()
        );
        fs::write(&gate.program, script)?;
        fs::set_permissions(&gate.program, fs::Permissions::from_mode(0o755))?;
        Ok(gate)
    }

    /// The key of a service file.
    pub fn key(&self) -> String {
        format!("runtime = '{}'\n", self.program.display())
    }

    /// Calls go on.
    pub fn open(&self) -> Result<()> {
        fs::remove_file(&self.closed).context("the gate")
    }

    /// Calls wait again.
    pub fn close(&self) -> Result<()> {
        fs::write(&self.closed, "").context("the gate")
    }
}
