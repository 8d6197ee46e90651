//! Keepers that are held up, cut off or killed at a bad moment: what runs goes on, and an end that was told is not lost.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};

use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, alive};
use crate::os;
use crate::trial::wait_for;

/// A service that is never started again and ends with 7 at SIGUSR1.
const ONCE: &str = "[restart]\npolicy = 'no'\n";
const SEVEN: [&str; 6] = ["all", "trap", "USR1", "--", "exit", "7"];

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("keeper.held-up", "adoption: a keeper that does not answer").seconds(60).daemon(|d| {
            let (pid, keeper) = resident(d)?;
            d.resident("b", ONCE)?;
            os::kill(keeper, libc::SIGSTOP);
            d.crash_and_start()?;
            // Longer than any answer is waited for.
            std::thread::sleep(Duration::from_secs(14));
            let held_up = unharmed(d, pid);
            let other = d.is("b.1", "running");
            os::kill(keeper, libc::SIGCONT);
            held_up.and(other.map(|_| ()))?;
            seven(d, pid)
        }),
        // As one does that could not say all it had to a daemon that was held up.
        sup("keeper.cut-off", "a keeper that closes its connection").daemon(|d| {
            let (pid, _) = resident(d)?;
            for _ in 0..3 {
                let line = control(d, "a.1.1")?;
                let mut word = [0; 64];
                let hello = rustix::net::recv(&line, &mut word, RecvFlags::empty())?.0;
                ensure!(hello > 0 && word[0] == 64, "no hello: {:?}", &word[..hello]);
                // The daemon takes its place again.
                let back = os::readable(std::os::fd::AsFd::as_fd(&line), Duration::from_secs(10))?;
                ensure!(back, "the daemon does not come back to the keeper");
            }
            unharmed(d, pid)?;
            seven(d, pid)
        }),
        sup("keeper.killed-after-its-word", "an end that is told, and on no disk").daemon(|d| {
            let (before, after) = (d.t.dir.join("before"), d.t.dir.join("after"));
            let script = format!(
                "#!/bin/sh\nwait_for() {{ while [ -e \"$1\" ]; do sleep 0.05; done; }}\ncase \" $* \" in\n*\" start \"*) wait_for {}; {} \"$@\" || exit; wait_for {} ;;\n*) exec {} \"$@\" ;;\nesac\n",
                before.display(),
                d.t.runtime.path.display(),
                after.display(),
                d.t.runtime.path.display(),
            );
            let program = d.t.dir.join("gated-runtime");
            fs::write(&program, script)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            for gate in [&before, &after] {
                fs::write(gate, "")?;
            }
            d.service("a", &["exit", "7"], &format!("runtime = '{}'\n{ONCE}", program.display()))?;
            d.until("a.1", "starting")?;
            let (pid, keeper) = (d.pid_of("a.1")?, d.keeper_of("a.1")?);
            // The record cannot get its name.
            let name = d.state.join("exits/a.1.1");
            fs::create_dir(&name)?;
            fs::remove_file(&before)?;
            wait_for(d.t.seconds(), || Ok((!alive(pid)).then_some(()))).context("the service does not end")?;
            std::thread::sleep(Duration::from_millis(500));
            d.is("a.1", "starting")?;
            os::kill(keeper, libc::SIGKILL);
            wait_for(10, || Ok((!alive(keeper)).then_some(()))).context("the keeper does not end")?;
            std::thread::sleep(Duration::from_millis(300));
            fs::remove_dir(&name)?;
            fs::remove_file(&after)?;
            let now = d.until("a.1", "failed")?;
            ensure!(now["last_exit"] == 7, "the exit code is lost: {now}");
            Ok(())
        }),
    ]
}

/// The service, its process and its keeper.
fn resident(d: &Daemon<'_, '_>) -> Result<(i32, i32)> {
    d.service("a", &SEVEN, ONCE)?;
    d.ready("a.1")?;
    Ok((d.pid_of("a.1")?, d.keeper_of("a.1")?))
}

fn unharmed(d: &Daemon<'_, '_>, pid: i32) -> Result<()> {
    let now = d.is("a.1", "running")?;
    ensure!(now["pid"] == pid && now["run"] == "a.1.1" && alive(pid), "not the same process: {now}");
    Ok(())
}

/// Its end is seen, with its code.
fn seven(d: &Daemon<'_, '_>, pid: i32) -> Result<()> {
    os::kill(pid, libc::SIGUSR1);
    let now = d.until("a.1", "failed")?;
    ensure!(now["last_exit"] == 7, "the exit code is lost: {now}");
    Ok(())
}

/// Becomes the controller of a keeper in the daemon's place.
fn control(d: &Daemon<'_, '_>, run: &str) -> Result<OwnedFd> {
    let line = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
    rustix::net::connect(&line, &SocketAddrUnix::new(d.run.join("keepers").join(run).join("sock"))?)?;
    rustix::net::send(&line, &[1], SendFlags::empty())?;
    Ok(line)
}
