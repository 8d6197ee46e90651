//! What must not be lost: the daemon, a keeper, the host, the disk or the clock fails, and everything is as it should be.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::life::restarts;
use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::{Daemon, alive};
use crate::host::Need;
use crate::oracle;
use crate::os;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = adoption();
    all.extend(keepers());
    all.extend(reboots());
    all.extend(disks());
    all.extend(clocks());
    all
}

fn adoption() -> Vec<Case> {
    vec![
        sup("adopt.same-processes", "adoption").daemon(|d| {
            d.service("a", &["trap", "TERM"], "replicas = 3\n")?;
            for i in ["a.1", "a.2", "a.3"] {
                d.until(i, "running")?;
            }
            let pids = pids(d)?;
            for _ in 0..3 {
                d.crash_and_start()?;
                ensure!(self::pids(d)? == pids, "processes {:?}, were {pids:?}", self::pids(d)?);
                restarts(&d.instance("a.1")?, 0)?;
            }
            d.post("/v1/services/a/stop?wait=true")?;
            ensure!(pids.iter().all(|p| !alive(*p)), "an adopted service cannot be stopped");
            Ok(())
        }),
        sup("adopt.exit-while-dead", "adoption: exit codes").daemon(|d| {
            d.service("a", &["all", "trap", "USR1", "--", "exit", "42"], "[restart]\npolicy = 'no'\n")?;
            d.service("b", &["trap", "TERM", "USR1"], "[restart]\npolicy = 'no'\n")?;
            d.ready("a.1")?;
            d.ready("b.1")?;
            let (a, b) = (d.pid_of("a.1")?, d.pid_of("b.1")?);
            d.kill9()?;
            os::kill(a, libc::SIGUSR1);
            os::kill(b, libc::SIGKILL);
            wait_for(10, || Ok((!alive(a) && !alive(b)).then_some(()))).context("both end")?;
            d.start()?;
            ensure!(d.until("a.1", "failed")?["last_exit"] == 42, "a: {:?}", d.instance("a.1"));
            ensure!(d.until("b.1", "failed")?["last_exit"] == 137, "b: {:?}", d.instance("b.1"));
            // The report is there once, also for the next daemon.
            d.crash_and_start()?;
            let exits = d.get("/v1/services/a")?["exits"].clone();
            ensure!(exits.as_array().map(Vec::len) == Some(1) && exits[0]["code"] == 42, "exits: {exits}");
            Ok(())
        }),
        sup("adopt.restart-while-dead", "adoption: policies").daemon(|d| {
            d.resident("a", SOON)?;
            let pid = d.pid_of("a.1")?;
            d.kill9()?;
            os::kill(pid, libc::SIGKILL);
            wait_for(10, || Ok((!alive(pid)).then_some(()))).context("it ends")?;
            d.start()?;
            let now = d.until_it("a.1", "restarted", |i| i["state"] == "running" && i["restarts"] == 1)?;
            ensure!(now["last_exit"] == 137, "last exit: {now}");
            Ok(())
        }),
        sup("adopt.output-while-dead", "adoption: logs").daemon(|d| {
            d.service("a", &["lines", "300", "0", "5"], "[restart]\npolicy = 'no'\n")?;
            d.until("a.1", "running")?;
            for _ in 0..4 {
                d.kill9()?;
                std::thread::sleep(Duration::from_millis(150));
                d.start()?;
            }
            d.until("a.1", "exited")?;
            super::logs::numbered(&d.log("a.1")?, 300)
        }),
        sup("adopt.changed-while-dead", "adoption: service files").daemon(|d| {
            d.resident("a", "")?;
            d.resident("b", "")?;
            let pid = d.pid_of("a.1")?;
            d.kill9()?;
            fs::remove_file(d.services.join("b.toml"))?;
            d.write("c", &d.text(&["trap", "TERM"], ""))?;
            d.start()?;
            d.until("c.1", "running")?;
            wait_for(d.t.seconds(), || Ok(d.find("b.1")?.is_none().then_some(())))
                .context("b was removed")?;
            ensure!(d.pid_of("a.1")? == pid, "restarted");
            Ok(())
        }),
        sup("adopt.held-stays-down", "manual stop").daemon(|d| {
            d.resident("a", "")?;
            d.ctl(&["stop", "a"])?.ok()?;
            d.crash_and_start()?;
            d.is("a.1", "held")?;
            d.reboot()?;
            d.start()?;
            std::thread::sleep(Duration::from_millis(300));
            d.is("a.1", "held").map(|_| ())
        }),
        sup("adopt.upgrade", "upgrade of the binaries").daemon(|d| {
            d.resident("a", "")?;
            let pid = d.pid_of("a.1")?;
            // New files at new places, as packages bring them; the keepers that run are of the old ones.
            for (name, program) in
                [("knarrd", &mut d.programs.knarrd), ("knarr-keeper", &mut d.programs.keeper)]
            {
                let copy = d.t.dir.join(name);
                fs::copy(&*program, &copy)?;
                *program = copy;
            }
            d.crash_and_start()?;
            ensure!(d.pid_of("a.1")? == pid, "restarted");
            d.post("/v1/services/a/restart?wait=true")?;
            d.is("a.1", "running").map(|_| ())
        }),
        sup("adopt.second-daemon", "two daemons").daemon(|d| {
            d.resident("a", "")?;
            let pid = d.pid_of("a.1")?;
            let out = d.spawn()?.wait()?.fails()?;
            ensure!(
                out.stderr.contains(&d.pid()?.to_string()) || out.stderr.contains("lock"),
                "it said {:?}",
                out.stderr
            );
            ensure!(d.pid_of("a.1")? == pid, "the second daemon touched a service");
            let again = d.spawn()?.wait()?;
            ensure!(again.code == out.code, "exit codes {:?} and {:?}", out.code, again.code);
            Ok(())
        }),
        sup("adopt.stranger-untouched", "only what is ours").daemon(|d| {
            // A container of the same runtime in another root, in a group of its own.
            d.t.spec["linux"]["cgroupsPath"] = format!("{}/stranger", d.parent).into();
            let pid = d.t.resident()?;
            d.resident("a", "")?;
            d.crash_and_start()?;
            d.post("/v1/services/a/stop?wait=true")?;
            ensure!(alive(pid), "a container of somebody else was ended");
            d.t.remove().map(|_| ())
        }),
    ]
}

/// The processes of all instances, in the order of their names.
fn pids(d: &Daemon<'_, '_>) -> Result<Vec<i32>> {
    let all = d.get("/v1/instances")?;
    Ok(all.as_array().into_iter().flatten().map(|i| i["pid"].as_i64().unwrap_or(0) as i32).collect())
}

fn keepers() -> Vec<Case> {
    vec![
        sup("adopt.keeper-killed", "monitor-lost").daemon(|d| {
            d.resident("a", SOON)?;
            d.resident("b", SOON)?;
            let (pid, other, keeper) = (d.pid_of("a.1")?, d.pid_of("b.1")?, d.keeper_of("a.1")?);
            os::kill(keeper, libc::SIGKILL);
            let now =
                d.until_it("a.1", "running anew", |i| i["state"] == "running" && i["run"] == "a.1.2")?;
            ensure!(!alive(pid), "what nobody watches any more goes on beside its successor");
            ensure!(now["last_exit"].is_null() || now["last_exit"] != 0, "an exit code was invented: {now}");
            d.explains("a", &["monitor-lost"])?;
            ensure!(d.pid_of("b.1")? == other, "another service was touched");
            restarts(&d.instance("b.1")?, 0)
        }),
        sup("adopt.keeper-killed-while-dead", "monitor-lost").daemon(|d| {
            d.resident("a", SOON)?;
            let (pid, keeper) = (d.pid_of("a.1")?, d.keeper_of("a.1")?);
            d.kill9()?;
            os::kill(keeper, libc::SIGKILL);
            wait_for(10, || Ok((!alive(keeper)).then_some(()))).context("the keeper ends")?;
            d.start()?;
            d.until_it("a.1", "running anew", |i| i["state"] == "running" && i["run"] == "a.1.2")?;
            ensure!(!alive(pid), "what nobody watches any more goes on beside its successor");
            d.explains("a", &["monitor-lost"])
        }),
        sup("adopt.keeper-and-container-killed-while-dead", "monitor-lost").daemon(|d| {
            d.resident("a", SOON)?;
            let (pid, keeper) = (d.pid_of("a.1")?, d.keeper_of("a.1")?);
            d.kill9()?;
            os::kill(keeper, libc::SIGKILL);
            os::kill(pid, libc::SIGKILL);
            d.start()?;
            d.until_it("a.1", "running anew", |i| i["state"] == "running" && i["run"] == "a.1.2")?;
            d.explains("a", &["monitor-lost"])
        }),
        sup("adopt.keeper-protected", "the keeper and memory").needs([Need::CapSysResource]).daemon(|d| {
            d.resident("a", "")?;
            let score = |pid: i32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
            let (keeper, payload) = (score(d.keeper_of("a.1")?)?, score(d.pid_of("a.1")?)?);
            ensure!(
                keeper.trim() == "-999" && payload.trim() == "0",
                "keeper {keeper:?}, payload {payload:?}"
            );
            Ok(())
        }),
        sup("adopt.keeper-own-cgroup", "the keeper's cgroup").needs([Need::CgroupV2]).daemon(|d| {
            d.resident("a", "")?;
            let of = |pid: i32| -> Result<String> {
                let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
                Ok(text.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or("").to_string())
            };
            let (keeper, payload) = (of(d.keeper_of("a.1")?)?, of(d.pid_of("a.1")?)?);
            ensure!(keeper.ends_with("keepers/a.1.1"), "the keeper is in {keeper}");
            ensure!(payload.contains("payload/a.1.1"), "the payload is in {payload}");
            Ok(())
        }),
    ]
}

fn reboots() -> Vec<Case> {
    vec![
        sup("adopt.reboot-in-order", "reboot").daemon(|d| {
            super::order::chain(d)?;
            d.resident("by-hand", "")?;
            d.resident("for-ever", "[restart]\npolicy = 'always'\n")?;
            d.post("/v1/services/by-hand/stop?wait=true")?;
            d.post("/v1/services/for-ever/stop?wait=true")?;
            d.reboot()?;
            d.start()?;
            for i in ["db.1", "app.1", "web.1", "for-ever.1"] {
                d.until(i, "running")?;
            }
            let at = super::order::first(d, "started", &["db.1", "app.1", "web.1"])?;
            ensure!(at.is_sorted(), "started in the order {at:?}");
            d.is("by-hand.1", "held")?;
            ensure!(d.instance("db.1")?["run"] == "db.1.2", "run {}", d.instance("db.1")?);
            Ok(())
        }),
        sup("adopt.reboot-is-no-failure", "reboot").daemon(|d| {
            d.resident("a", "[restart]\npolicy = 'always'\ndelay = '60s'\n")?;
            for _ in 0..3 {
                d.reboot()?;
                d.start()?;
                d.until("a.1", "running")?;
            }
            Ok(())
        }),
        sup("adopt.hard-end-of-host", "reboot").seconds(40).daemon(hard_end),
        sup("adopt.completed-stays-when-cleaned-again", "adoption: policies").daemon(|d| {
            let keys = "[restart]\npolicy = 'on-failure'\n[hooks]\npost_stop = [{ command = ['/bin/sleep', '1'] }]\n";
            d.service("job", &["echo", "done"], keys)?;
            d.until_it("job.1", "ended", |i| i["last_exit"] == 0)?;
            d.crash_and_start()?;
            d.until("job.1", "exited")?;
            std::thread::sleep(Duration::from_millis(300));
            ensure!(d.log("job.1")? == ["done"], "a job that was done ran again: {:?}", d.log("job.1")?);
            ensure!(d.instance("job.1")?["run"] == "job.1.1", "a new run: {}", d.instance("job.1")?);
            Ok(())
        }),
        sup("adopt.reboot-completed-stays", "reboot").daemon(|d| {
            d.service("job", &["echo", "done"], "[restart]\npolicy = 'on-failure'\n")?;
            d.until("job.1", "exited")?;
            d.crash_and_start()?;
            std::thread::sleep(Duration::from_millis(300));
            let log = d.log("job.1")?;
            ensure!(log == ["done"], "the log of a job that was done is {log:?} after a restart of the daemon");
            d.is("job.1", "exited").map(|_| ())
        }),
    ]
}

/// What ends while the host goes down, after the daemon: nobody's failure, unless its end says something else. The same ends
/// without a reboot are failures.
fn hard_end(d: &mut Daemon<'_, '_>) -> Result<()> {
    let slow = "[restart]\npolicy = 'always'\ndelay = '600s'\nmax_delay = '600s'\n";
    for name in ["killed", "told", "broken"] {
        let code = if name == "broken" { "3" } else { "143" };
        d.service(name, &["all", "trap", "TERM", "--", "exit", code], slow)?;
        d.ready(&format!("{name}.1"))?;
    }
    let end = |d: &mut Daemon<'_, '_>| -> Result<()> {
        let all = [("killed.1", libc::SIGKILL), ("told.1", libc::SIGTERM), ("broken.1", libc::SIGTERM)];
        let runs = all.map(|(name, signal)| Ok((d.instance(name)?["run"].clone(), d.pid_of(name)?, signal)));
        let runs = runs.into_iter().collect::<Result<Vec<_>>>()?;
        d.kill9()?;
        for (run, pid, signal) in runs {
            os::kill(pid, signal);
            let record = d.state.join("exits").join(run.as_str().context("no run")?);
            wait_for(d.t.seconds(), || Ok(record.exists().then_some(())))
                .with_context(|| format!("no {}", record.display()))?;
        }
        Ok(())
    };
    end(d)?;
    d.reboot()?;
    d.start()?;
    for (name, code) in [("killed", 137), ("told", 143)] {
        let now = d.until(&format!("{name}.1"), "running")?;
        ensure!(now["last_exit"] == code, "{now}");
        let exits = d.get(&format!("/v1/services/{name}"))?["exits"].to_string();
        ensure!(exits.contains("the host went down under it, exited"), "{exits}");
    }
    let broken = d.until("broken.1", "backoff")?;
    ensure!(broken["last_exit"] == 3, "{broken}");
    d.post("/v1/services/broken/restart?wait=true")?;
    d.until("broken.1", "running")?;
    end(d)?;
    d.start()?;
    for name in ["killed.1", "told.1", "broken.1"] {
        d.until(name, "backoff")?;
    }
    Ok(())
}

fn disks() -> Vec<Case> {
    vec![
        sup("adopt.full-disk", "a full disk").seconds(40).daemon(|d| {
            on_small_disk(d)?;
            d.resident("a", SOON)?;
            d.resident("b", SOON)?;
            let (a, b) = (d.pid_of("a.1")?, d.pid_of("b.1")?);
            fill(&d.state)?;
            // A death is still seen and acted on.
            os::kill(a, libc::SIGKILL);
            let now = d.until_it("a.1", "running anew", |i| i["state"] == "running" && i["pid"] != a)?;
            ensure!(now["last_exit"] == 137, "last exit: {now}");
            ensure!(d.pid_of("b.1")? == b, "another service was touched");
            d.crash_and_start()?;
            ensure!(d.pid_of("b.1")? == b, "restarted");
            fs::remove_file(d.state.join("filling"))?;
            d.post("/v1/services/a/stop?wait=true")?;
            d.is("a.1", "held").map(|_| ())
        }),
        sup("adopt.read-only-disk", "a read-only disk").seconds(40).daemon(|d| {
            // What is open for writing keeps a file system writable: what keepers write has one of its own here.
            on_small_disk(d)?;
            d.end()?;
            for kept in ["logs", "exits"] {
                let dir = d.state.join(kept);
                d.tmpfs(&dir, "size=8m")?;
            }
            d.start()?;
            d.resident("a", SOON)?;
            let pid = d.pid_of("a.1")?;
            d.kill9()?;
            remount(d, true)?;
            d.launch()?;
            std::thread::sleep(Duration::from_secs(1));
            ensure!(alive(pid), "a service was ended because the disk is read-only");
            d.gone_or_killed()?;
            remount(d, false)?;
            d.start()?;
            ensure!(d.pid_of("a.1")? == pid, "restarted");
            restarts(&d.instance("a.1")?, 0)
        }),
        sup("adopt.journal-truncated", "a truncated journal").seconds(60).daemon(|d| {
            d.resident("a", "")?;
            d.ctl(&["stop", "a"])?.ok()?;
            d.resident("b", "")?;
            let pid = d.pid_of("b.1")?;
            for cut in [1, 7, 64, 300, 1000, 4096] {
                d.kill9()?;
                cut_journal(d, cut)?;
                d.start().with_context(|| format!("{cut} bytes cut off"))?;
                d.until("b.1", "running")?;
                ensure!(cut > 300 || d.pid_of("b.1")? == pid, "{cut} bytes cut off: restarted");
            }
            let all: Vec<String> = oracle::names(&d.run.join("keepers"));
            ensure!(all.len() <= 2, "more runs than instances: {all:?}");
            Ok(())
        }),
        sup("adopt.journal-corrupted", "a corrupted journal").daemon(|d| {
            d.resident("a", "")?;
            d.kill9()?;
            let file = journal_file(d)?;
            let mut bytes = fs::read(&file)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            fs::write(&file, bytes)?;
            d.start()?;
            d.until("a.1", "running")?;
            Ok(())
        }),
        sup("adopt.state-lost", "the state directory is gone").daemon(|d| {
            d.resident("a", "")?;
            d.kill9()?;
            fs::remove_dir_all(&d.state)?;
            d.start()?;
            d.until("a.1", "running")?;
            let runs = oracle::names(&d.run.join("keepers"));
            wait_for(10, || Ok((oracle::names(&d.run.join("keepers")).len() == 1).then_some(())))
                .with_context(|| format!("runs {runs:?}, of which nobody knows"))
        }),
    ]
}

/// From here on the state directory is a file system of a few megabytes.
pub fn on_small_disk(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.end()?;
    fs::remove_dir_all(&d.state)?;
    let state = d.state.clone();
    d.tmpfs(&state, "size=8m")?;
    d.start()
}

/// Takes all the space that is left, down to the last byte.
pub fn fill(dir: &std::path::Path) -> Result<()> {
    let mut file = fs::File::create(dir.join("filling"))?;
    for size in [1 << 16, 1 << 12, 1 << 8, 1] {
        while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
    }
    Ok(())
}

/// The last piece of the journal: the largest file of its directory, where records are appended.
fn journal_file(d: &Daemon<'_, '_>) -> Result<std::path::PathBuf> {
    let dir = d.state.join("journal");
    let size = |n: &String| fs::metadata(dir.join(n)).map_or(0, |m| m.len());
    let name = oracle::names(&dir).into_iter().filter(|n| !n.contains("reserve")).max_by_key(size);
    Ok(dir.join(name.context("no journal")?))
}

fn cut_journal(d: &Daemon<'_, '_>, bytes: u64) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(journal_file(d)?)?;
    let length = file.metadata()?.len();
    file.set_len(length.saturating_sub(bytes)).context("truncate")
}

/// Makes the state directory's file system read-only, or writable again.
pub fn remount(d: &Daemon<'_, '_>, read_only: bool) -> Result<()> {
    use nix::mount::{MsFlags, mount};
    let none: Option<&str> = None;
    let more = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | more;
    wait_for(10, || match mount(none, &d.state, none, flags, none) {
        Ok(()) => Ok(Some(())),
        // Files of a process that was killed are closed by the kernel a moment after its end.
        Err(nix::errno::Errno::EBUSY) => Ok(None),
        Err(e) => bail!("remount: {e}"),
    })
    .context("remount: it is busy")
}

fn clocks() -> Vec<Case> {
    vec![sup("adopt.clock-jumps", "the clock is set").needs([Need::OwnMachine]).seconds(40).daemon(|d| {
        d.service("a", &["exit", "3"], "[restart]\npolicy = 'always'\ndelay = '2s'\nmax_delay = '4s'\n")?;
        d.resident("b", SOON)?;
        let pid = d.pid_of("b.1")?;
        for days in [-1, 1, 3650, -3650] {
            let run = d.until("a.1", "backoff|crashloop")?["run"].clone();
            os::shift_clock(days * 86_400)?;
            d.until_it("a.1", "tried again", |i| i["run"] != run)
                .with_context(|| format!("the clock was set by {days} days"))?;
        }
        ensure!(d.pid_of("b.1")? == pid, "restarted");
        d.crash_and_start()?;
        ensure!(d.pid_of("b.1")? == pid, "restarted");
        Ok(())
    })]
}
