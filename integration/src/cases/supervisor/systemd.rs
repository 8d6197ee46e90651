//! knarrd as a service of a real systemd, from the unit file that is shipped, at the places that are shipped.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, alive};
use crate::host::Need;
use crate::os;
use crate::trial::{read_lossy, wait_for};

const UNIT: &str = "knarrd.service";
/// Changes of a case to the unit, until the next boot.
const DROP_IN: &str = "/run/systemd/system/knarrd.service.d";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        served("ready", "Type=notify", |d| {
            // `start` comes back when the daemon has said that it is ready, and not before.
            d.get("/v1/version")?;
            shows(d, "ActiveState", "active")?;
            shows(d, "Type", "notify")?;
            shows(d, "NRestarts", "0")?;
            let pid = shown(d, "MainPID")?;
            ensure!(read_lossy(Path::new(&format!("/proc/{pid}/comm"))).trim() == "knarrd", "process {pid}");
            let out = ctl(d, &["ps", "--json"])?;
            ensure!(out.trim() == "[]" || out.contains("[]"), "knarrctl without options: {out}");
            Ok(())
        }),
        served("stop-leaves-containers", "KillMode=process", |d| {
            d.resident("a", "")?;
            let pid = d.pid_of("a.1")?;
            systemctl(d, &["stop", UNIT])?;
            shows(d, "Result", "success")?;
            ensure!(alive(pid), "the container ended with the daemon");
            systemctl(d, &["start", UNIT])?;
            same(d, pid)
        }),
        served("restart-leaves-containers", "KillMode=process, upgrades", |d| {
            d.resident("a", "")?;
            d.service("b", &["lines", "100000", "0", "50"], "")?;
            d.until("b.1", "running")?;
            let (pid, other) = (d.pid_of("a.1")?, d.pid_of("b.1")?);
            for _ in 0..3 {
                systemctl(d, &["restart", UNIT])?;
                same(d, pid)?;
                ensure!(d.pid_of("b.1")? == other, "b is another process");
            }
            let lines = d.log("b.1")?;
            let numbers: Vec<&String> = lines.iter().collect();
            ensure!(numbers.len() > 3, "b has printed only {} lines", numbers.len());
            let unique: std::collections::BTreeSet<&String> = lines.iter().collect();
            ensure!(unique.len() == lines.len(), "lines came twice over restarts");
            Ok(())
        }),
        served("killed", "Restart=always", |d| {
            d.resident("a", "")?;
            let pid = d.pid_of("a.1")?;
            for n in 1..=3 {
                let main = main_pid(d)?;
                os::kill(main, libc::SIGKILL);
                restarted(d, main)?;
                shows(d, "NRestarts", &n.to_string())?;
                same(d, pid)?;
            }
            Ok(())
        }),
        served("watchdog-fed", "WatchdogSec=", |d| {
            drop_in(d, "[Service]\nWatchdogSec=6\n")?;
            systemctl(d, &["restart", UNIT])?;
            let main = main_pid(d)?;
            std::thread::sleep(Duration::from_secs(20));
            ensure!(main_pid(d)? == main, "an idle daemon was taken for dead");
            shows(d, "NRestarts", "0")
        }),
        served("watchdog-bites", "WatchdogSec=", |d| {
            drop_in(d, "[Service]\nWatchdogSec=6\n")?;
            systemctl(d, &["restart", UNIT])?;
            d.resident("a", "")?;
            let (pid, main) = (d.pid_of("a.1")?, main_pid(d)?);
            os::kill(main, libc::SIGSTOP);
            restarted(d, main)?;
            same(d, pid)
        }),
        served("delegated", "Delegate=, DelegateSubgroup=", |d| {
            shows(d, "Delegate", "yes")?;
            d.resident("a", "[limits]\nmemory = '64MiB'\n")?;
            let group = fs::read_to_string(format!("/proc/{}/cgroup", d.pid_of("a.1")?))?;
            let group = group.trim().strip_prefix("0::").context("no cgroup2")?.to_string();
            // Before version 254 there is no subgroup, and containers are beside systemd's groups.
            let own = shown(d, "ControlGroup")?;
            let top = if version(d)? >= 254 {
                own.trim_end_matches("/daemon").to_string()
            } else {
                "/knarrd".into()
            };
            ensure!(group.starts_with(&format!("{top}/payload/a.1.")), "a is in {group}, want it in {top}");
            let limit = d.t.yard.host.v2.clone().context("v2")?.join(&group[1..]).join("memory.max");
            let held = || read_lossy(&limit).trim() == "67108864";
            ensure!(held(), "{} is {:?}", limit.display(), read_lossy(&limit));
            systemctl(d, &["daemon-reload"])?;
            systemctl(d, &["restart", UNIT])?;
            ensure!(held(), "{} is {:?} after reload and restart", limit.display(), read_lossy(&limit));
            Ok(())
        }),
        served("journald", "logs.journald", |d| {
            d.service("a", &["lines", "3", "0", "5"], "[logs]\njournald = true\n[restart]\npolicy = 'no'\n")?;
            d.until("a.1", "exited")?;
            let args = ["--output=json", "--no-pager", "KNARR_SERVICE=a"].map(String::from);
            let mut text = String::new();
            wait_for(d.t.seconds(), || {
                text = d.t.command(Path::new("journalctl"), &args).run()?.ok()?.stdout;
                Ok((text.lines().count() >= 3).then_some(()))
            })
            .with_context(|| format!("journald has {text:?}"))?;
            let first: Value = serde_json::from_str(text.lines().next().context("no line")?)?;
            for (key, want) in [
                ("SYSLOG_IDENTIFIER", "a.1"),
                ("KNARR_INSTANCE", "a.1"),
                ("PRIORITY", "6"),
                ("KNARR_STREAM", "stdout"),
            ] {
                ensure!(first[key] == want, "{key} is {}, want {want}", first[key]);
            }
            let log = d.log("a.1")?;
            ensure!(
                log.iter().any(|l| first["MESSAGE"] == *l),
                "journald has {}, the log {log:?}",
                first["MESSAGE"]
            );
            Ok(())
        }),
        served("own-words", "the daemon's own log", |d| {
            let args = ["--output=cat", "--no-pager", "--unit", UNIT].map(String::from);
            let text = d.t.command(Path::new("journalctl"), &args).run()?.ok()?.stdout;
            ensure!(!text.trim().is_empty(), "knarrd said nothing to the journal");
            // journald has the time of each line; the daemon does not say it once more.
            ensure!(!text.contains('\u{1b}'), "colours in the journal: {text:?}");
            Ok(())
        }),
    ]
}

/// A case with the daemon started by systemd. At its end services, daemon and changes of the unit are gone.
fn served(name: &str, what: &str, story: impl Fn(&mut Daemon<'_, '_>) -> Result<()> + 'static) -> Case {
    let needs = [Need::OwnMachine, Need::Systemd, Need::Program("knarrd"), Need::Program("knarr")];
    sup(&format!("systemd.{name}"), what).needs(needs).seconds(30).steps(move |t| {
        let mut d = Daemon::new(t)?;
        d.services = "/etc/knarr/services.d".into();
        d.state = "/var/lib/knarrd".into();
        d.run = "/run/knarrd".into();
        d.parent = "/knarrd".into();
        if d.t.runtime.name != "knarr" {
            let line = format!(
                "[Service]\nExecStart=\nExecStart=/usr/bin/knarrd --runtime {}\n",
                d.t.runtime.path.display()
            );
            drop_in(&mut d, &line)?;
        }
        let told = systemctl(&mut d, &["start", UNIT]).and_then(|_| story(&mut d));
        if told.is_err() {
            let args = ["--no-pager", "--lines=60", "--unit", UNIT].map(String::from);
            let _ = d.t.command(Path::new("journalctl"), &args).run();
        }
        let taken = take_down(&mut d).context("taking everything down");
        told.and(taken)
    })
}

/// Ends everything as an operator would.
fn take_down(d: &mut Daemon<'_, '_>) -> Result<()> {
    systemctl(d, &["start", UNIT])?;
    let known = d.get("/v1/instances")?;
    let mut names = crate::daemon::texts(&known, "service");
    names.dedup();
    for name in names {
        d.request("DELETE", &format!("/v1/services/{name}?wait=true"), None)?.done()?;
    }
    systemctl(d, &["stop", UNIT])?;
    let _ = systemctl(d, &["reset-failed", UNIT]);
    if fs::remove_dir_all(DROP_IN).is_ok() {
        systemctl(d, &["daemon-reload"])?;
    }
    Ok(())
}

fn drop_in(d: &mut Daemon<'_, '_>, text: &str) -> Result<()> {
    fs::create_dir_all(DROP_IN)?;
    let name = format!("{}.conf", fs::read_dir(DROP_IN)?.count());
    fs::write(Path::new(DROP_IN).join(name), text)?;
    systemctl(d, &["daemon-reload"]).map(|_| ())
}

fn systemctl(d: &mut Daemon<'_, '_>, args: &[&str]) -> Result<String> {
    let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
    Ok(d.t.command(Path::new("systemctl"), &args).run()?.ok()?.stdout)
}

/// The shipped command line, with its defaults.
fn ctl(d: &mut Daemon<'_, '_>, args: &[&str]) -> Result<String> {
    let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
    Ok(d.t.command(Path::new("knarrctl"), &args).run()?.ok()?.stdout)
}

fn shown(d: &mut Daemon<'_, '_>, property: &str) -> Result<String> {
    Ok(systemctl(d, &["show", "--value", "--property", property, UNIT])?.trim().to_string())
}

fn shows(d: &mut Daemon<'_, '_>, property: &str, want: &str) -> Result<()> {
    let got = shown(d, property)?;
    ensure!(got == want, "{property} is {got:?}, want {want:?}");
    Ok(())
}

fn main_pid(d: &mut Daemon<'_, '_>) -> Result<i32> {
    shown(d, "MainPID")?.parse().context("MainPID")
}

fn version(d: &mut Daemon<'_, '_>) -> Result<u32> {
    let text = systemctl(d, &["--version"])?;
    let number = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    number.with_context(|| format!("systemctl --version: {text}"))
}

/// Waits until systemd has started another process in the place of `old`, and that is ready.
fn restarted(d: &mut Daemon<'_, '_>, old: i32) -> Result<()> {
    let seconds = d.t.seconds();
    wait_for(seconds, || {
        let now = main_pid(d)?;
        Ok((now != 0 && now != old && shown(d, "ActiveState")? == "active").then_some(()))
    })
    .context("systemd does not start it again")
}

/// The service runs on in the same process, and the daemon knows it and can act on it.
fn same(d: &mut Daemon<'_, '_>, pid: i32) -> Result<()> {
    let now = d.until("a.1", "running")?;
    ensure!(now["pid"] == pid, "a.1 is process {}, was {pid}", now["pid"]);
    ensure!(now["restarts"] == 0, "a.1 was restarted: {now}");
    ensure!(alive(pid), "process {pid} is dead");
    Ok(())
}
