//! sd_notify(3): a service manager starts the runtime with NOTIFY_SOCKET, and hears READY=1 of the payload and which
//! process is the main one.

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::os;
use crate::trial::{Trial, wait_for};

const CHECKS: &str = "cli: NOTIFY_SOCKET";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let ready = ["all", "notify", "READY=1", "STATUS=up", "--", "trap", "TERM"];
    let talks = |name: &str| case(format!("notify.{name}")).checks(CHECKS).probe(ready);
    vec![
        talks("run-detached").steps(|t| {
            let manager = Manager::new(t)?;
            let args = line(t, &["run", "--detach"])?;
            let running = manager.started(t, &args)?;
            let said = manager.hear(t.seconds(), "MAINPID=")?;
            let _ = manager.barrier()?;
            running.wait()?.ok()?;
            let pid = t.pid()?;
            ensure!(said == ["READY=1".to_string(), format!("MAINPID={pid}")], "{said:?}");
            Ok(())
        }),
        talks("start").steps(|t| {
            let manager = Manager::new(t)?;
            let args = line(t, &["create"])?;
            manager.started(t, &args)?.wait()?.ok()?;
            t.is("created")?;
            let pid = t.pid()?;
            let id = t.id.clone();
            let running = manager.started(t, &["start".into(), id])?;
            let said = manager.hear(t.seconds(), "MAINPID=")?;
            let _ = manager.barrier()?;
            running.wait()?.ok()?;
            ensure!(said == ["READY=1".to_string(), format!("MAINPID={pid}")], "{said:?}");
            t.is("running")
        }),
        talks("run").steps(|t| {
            let manager = Manager::new(t)?;
            let args = line(t, &["run"])?;
            let running = manager.started(t, &args)?;
            let said = manager.hear(t.seconds(), "MAINPID=")?;
            let _ = manager.barrier()?;
            ensure!(said == ["READY=1".to_string(), format!("MAINPID={}", running.pid())], "{said:?}");
            // It is ready before it listens to signals, and the first process of a namespace gets none that it does not ask for.
            wait_for(t.seconds(), || Ok((t.verb("kill", &["TERM"])?.code != Some(0)).then_some(())))?;
            running.wait()?.ok()?;
            Ok(())
        }),
        case("notify.ready-comes-later").checks(CHECKS).steps(|t| {
            // In a message with others before it.
            t.spec["process"]["args"] =
                json!([PROBE, "all", "notify", "STATUS=up", "READY=1", "--", "trap", "TERM"]);
            let manager = Manager::new(t)?;
            let running = manager.created_and_started(t)?;
            manager.hear(t.seconds(), "MAINPID=")?;
            let _ = manager.barrier()?;
            running.wait()?.ok()?;
            Ok(())
        }),
        // The manager has read it all before the runtime ends, or it could not tell whose words they were.
        talks("barrier").steps(|t| {
            let manager = Manager::new(t)?;
            let running = manager.created_and_started(t)?;
            manager.hear(t.seconds(), "MAINPID=")?;
            ensure!(manager.barrier()?, "no barrier came");
            running.wait()?.ok()?;
            Ok(())
        }),
        // A program that ends without a word: start does not wait for ever.
        case("notify.never-ready").checks(CHECKS).probe(["exit", "3"]).steps(|t| {
            let manager = Manager::new(t)?;
            manager.created_and_started(t)?.wait()?.ok()?;
            ensure!(manager.heard()?.is_none(), "somebody said something");
            Ok(())
        }),
        case("notify.never-ready-run").checks(CHECKS).probe(["exit", "3"]).steps(|t| {
            let manager = Manager::new(t)?;
            let args = line(t, &["run"])?;
            manager.started(t, &args)?.wait()?.exits(3)?;
            Ok(())
        }),
        // What a payload says of processes is not true outside.
        case("notify.only-ready").checks(CHECKS).probe(["notify", "MAINPID=1", "STATUS=x"]).steps(|t| {
            let manager = Manager::new(t)?;
            manager.created_and_started(t)?.wait()?.ok()?;
            ensure!(manager.heard()?.is_none(), "the payload's own words came out");
            Ok(())
        }),
        case("notify.not-asked").checks(CHECKS).probe(["env"]).output(|o| {
            ensure!(o.contains("PATH=") && !o.contains("NOTIFY_SOCKET"), "{o}");
            Ok(())
        }),
        case("notify.environment").checks(CHECKS).probe(["env"]).steps(|t| {
            let manager = Manager::new(t)?;
            manager.created_and_started(t)?.wait()?.ok()?;
            let out = t.payload();
            ensure!(out.lines().any(|l| l == "NOTIFY_SOCKET=/run/notify/notify.sock"), "{out}");
            Ok(())
        }),
        case("notify.directory-is-read-only").checks(CHECKS).probe(["mountinfo"]).steps(|t| {
            let manager = Manager::new(t)?;
            manager.created_and_started(t)?.wait()?.ok()?;
            let out = t.payload();
            let line = out.lines().find(|l| l.contains(" /run/notify ")).context("no such mount")?;
            for flag in ["ro", "nosuid", "nodev", "noexec"] {
                ensure!(line.split([' ', ',']).any(|w| w == flag), "{flag} is not there: {line}");
            }
            Ok(())
        }),
        case("notify.nobody-listens").checks(CHECKS).probe(["echo", "x"]).steps(|t| {
            t.works()?;
            let args = line(t, &["run"])?;
            t.rt(&args).env("NOTIFY_SOCKET", "/nonexistent/manager").run()?.fails()?;
            Ok(())
        }),
    ]
}

/// The command of this trial's container.
fn line(t: &mut Trial<'_>, verb: &[&str]) -> Result<Vec<String>> {
    t.write_config()?;
    let mut all: Vec<String> = verb.iter().map(|a| a.to_string()).collect();
    all.extend(["--bundle".into(), t.bundle.display().to_string(), t.id.clone()]);
    Ok(all)
}

/// Who waits to hear.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(t: &Trial<'_>) -> Result<Manager> {
        let path = t.dir.join("manager");
        Ok(Manager { socket: UnixDatagram::bind(&path).context("bind")?, path })
    }

    fn started(&self, t: &mut Trial<'_>, args: &[String]) -> Result<crate::trial::Running> {
        t.rt(args).env("NOTIFY_SOCKET", &self.path.display().to_string()).spawn()
    }

    fn created_and_started(&self, t: &mut Trial<'_>) -> Result<crate::trial::Running> {
        let args = line(t, &["create"])?;
        self.started(t, &args)?.wait()?.ok()?;
        t.payload_of_last();
        let id = t.id.clone();
        self.started(t, &["start".into(), id])
    }

    /// Lines until one that begins so.
    fn hear(&self, seconds: u64, last: &str) -> Result<Vec<String>> {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut lines: Vec<String> = Vec::new();
        while !lines.iter().any(|l| l.starts_with(last)) {
            ensure!(Instant::now() < end && !os::asked_to_end(), "heard only {lines:?}");
            os::reap_orphans();
            lines.extend(self.heard()?.iter().flat_map(|m| m.lines().map(String::from).collect::<Vec<_>>()));
        }
        Ok(lines)
    }

    /// Takes the barrier, which closes its descriptor as service managers do; `false` when none came.
    fn barrier(&self) -> Result<bool> {
        Ok(self.heard()?.is_some_and(|text| text.trim() == "BARRIER=1"))
    }

    /// The next message, if one comes at once; descriptors that come along are closed.
    fn heard(&self) -> Result<Option<String>> {
        if !os::readable(self.socket.as_fd(), Duration::from_millis(200))? {
            return Ok(None);
        }
        let (bytes, _) = os::receive_fds(&self.socket, Duration::from_secs(1))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}
