//! A bus that falls silent in the middle of a command: between runtime and bus stands a relay which passes on everything, until
//! one method is called; from then on nobody who comes this way gets an answer.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::systemd::{gone, has, scope, unit};
use crate::base::PROBE;
use crate::case::Case;
use crate::host::Need;
use crate::run::unavailable;
use crate::trial::{Out, Running, Trial, Twin};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut silent = falls_silent();
    // Among the boundaries of the systemd driver, which another runtime is not held to.
    silent.name = "boundary.systemd-bus-silent".into();
    vec![silent]
}

fn falls_silent() -> Case {
    let pids = Need::CgroupAny("pids");
    unit("bus-silent-later").needs([pids]).checks("fault K20").seconds(150).steps(|t| {
        // Others wait for ever; that is known, and not worth this lane's time.
        if !t.runtime.strict {
            return Err(unavailable("deadline"));
        }
        t.spec["linux"]["resources"] = json!({"pids": {"limit": 40}});
        t.resident()?;
        let (id, name) = (t.id.clone(), scope(t));
        let (made, ended) = (beside(t, "-made")?, beside(t, "-ended")?);
        t.rt(&["run", "--detach", "--bundle", &ended.bundle, &ended.id]).run()?.ok()?;
        // At the same time, as each of them waits for its deadline.
        let mut all = [
            Silenced::spawn(t, "StartTransientUnit", &["create", "--bundle", &made.bundle, &made.id])?,
            Silenced::spawn(t, "SetUnitProperties", &["update", "--pids-limit", "30", &id])?,
            Silenced::spawn(t, "StopUnit", &["delete", "--force", &ended.id])?,
        ]
        .map(Silenced::wait);
        for out in &mut all {
            let out = out.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"))?;
            out.clone()
                .fails()?
                .says("gave up after 30s waiting for an answer to")?
                .says("over the system bus")?;
        }
        // Nothing is left of what was not made, the one beside goes on, and what was not deleted can be.
        let state = t.rt(&["state", &made.id]).run()?;
        ensure!(state.code != Some(0), "a container is left: {}", state.stdout);
        t.is("running")?;
        t.exec(&[PROBE, "true"])?.ok()?;
        // The call has arrived, only its answer is missing: what came of it nobody knows, and the next update sets it right.
        t.rt(&["update", "--pids-limit", "50", &id]).run()?.ok()?;
        has(t, &name, "TasksMax", "50")?;
        t.rt(&["delete", "--force", &ended.id]).run()?.ok()?;
        t.remove()?;
        for unit in [&made.id, &ended.id, &id].map(|id| format!("case-{id}.scope")) {
            gone(t, &unit)?;
        }
        Ok(())
    })
}

/// Another container, in a scope of its own.
fn beside(t: &mut Trial<'_>, suffix: &str) -> Result<Twin> {
    let place = format!("system.slice:case:{}{suffix}", t.id);
    t.twin(suffix, |spec| {
        spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
        spec["linux"]["cgroupsPath"] = place.into();
    })
}

/// A command behind a relay.
struct Silenced {
    command: Running,
    relay: Relay,
}

impl Silenced {
    /// Starts it; its bus is silent from the call of this method on.
    fn spawn(t: &mut Trial<'_>, method: &'static str, args: &[&str]) -> Result<Silenced> {
        let relay = Relay::start(t.dir.join(method), Path::new(BUS), method)?;
        let address = format!("unix:path={}", relay.path.display());
        let command = t.rt(args).env("DBUS_SYSTEM_BUS_ADDRESS", &address).spawn()?;
        Ok(Silenced { command, relay })
    }

    fn wait(self) -> Result<Out> {
        let out = self.command.wait()?;
        let met = self.relay.end();
        ensure!(met, "`{}` has not called what the bus was to be silent at", out.line);
        Ok(out)
    }
}

/// What stands between: a listener with two threads for each connection.
struct Relay {
    path: PathBuf,
    silent: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    listening: JoinHandle<()>,
}

const BUS: &str = "/run/dbus/system_bus_socket";
/// How often threads look whether it is over.
const LOOK: Duration = Duration::from_millis(50);

impl Relay {
    fn start(path: PathBuf, bus: &Path, method: &'static str) -> Result<Relay> {
        let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
        listener.set_nonblocking(true)?;
        let (silent, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (s, o, bus) = (silent.clone(), over.clone(), bus.to_owned());
        let listening = std::thread::spawn(move || listen(&listener, &bus, method, &s, &o));
        Ok(Relay { path, silent, over, listening })
    }

    /// Whether the method was called.
    fn end(self) -> bool {
        self.over.store(true, Ordering::SeqCst);
        let ended = self.listening.join().is_ok();
        ended && self.silent.load(Ordering::SeqCst)
    }
}

fn listen(
    listener: &UnixListener,
    bus: &Path,
    method: &'static str,
    silent: &Arc<AtomicBool>,
    over: &Arc<AtomicBool>,
) {
    let mut threads = Vec::new();
    while !over.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((client, _)) => {
                let Ok(pair) = both_ways(client, bus) else { continue };
                let [(from, to), (back_from, back_to)] = pair;
                let (s, o) = (silent.clone(), over.clone());
                threads.push(std::thread::spawn(move || pass(from, to, Some(method), &s, &o)));
                let (s, o) = (silent.clone(), over.clone());
                threads.push(std::thread::spawn(move || pass(back_from, back_to, None, &s, &o)));
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
    threads.into_iter().for_each(|t| drop(t.join()));
}

/// From the client to the bus, and back.
fn both_ways(client: UnixStream, bus: &Path) -> Result<[(UnixStream, UnixStream); 2]> {
    let bus = UnixStream::connect(bus)?;
    for end in [&client, &bus] {
        end.set_nonblocking(false)?;
        end.set_read_timeout(Some(LOOK))?;
    }
    Ok([(client.try_clone()?, bus.try_clone()?), (bus, client)])
}

/// Passes bytes on. With a method: falls silent when it is called; the call itself arrives. Without: answers, while there are any.
fn pass(
    mut from: UnixStream,
    mut to: UnixStream,
    method: Option<&str>,
    silent: &AtomicBool,
    over: &AtomicBool,
) {
    let mut seen = Vec::new();
    let mut part = [0; 65536];
    while !over.load(Ordering::SeqCst) {
        let read = match from.read(&mut part) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(_) => break,
        };
        if let Some(method) = method {
            seen.extend_from_slice(&part[..read]);
            if seen.windows(method.len()).any(|w| w == method.as_bytes()) {
                silent.store(true, Ordering::SeqCst);
            }
        } else if silent.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(&part[..read]).is_err() {
            break;
        }
    }
    // The other direction ends, too, but only when nobody waits for an answer any more.
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_passes_on_until_the_method_is_called() {
        let dir = std::env::temp_dir().join(format!("knarr-relay-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let bus = UnixListener::bind(dir.join("bus")).unwrap();
        // Says everything again, and tells what it heard.
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = bus.accept().unwrap();
            let (mut all, mut part) = (Vec::new(), [0; 100]);
            while let Ok(read) = stream.read(&mut part)
                && read > 0
            {
                all.extend_from_slice(&part[..read]);
                let _ = stream.write_all(&part[..read]);
            }
            all
        });
        let relay = Relay::start(dir.join("relay"), &dir.join("bus"), "Method").unwrap();
        let mut client = UnixStream::connect(dir.join("relay")).unwrap();
        let mut answer = [0; 5];
        client.write_all(b"Hello").unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"Hello");
        // In two parts.
        client.write_all(b"Met").unwrap();
        client.read_exact(&mut answer[..3]).unwrap();
        client.write_all(b"hod").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(client.read(&mut answer).is_err(), "an answer came");
        drop(client);
        assert_eq!(echo.join().unwrap(), b"HelloMethod");
        assert!(relay.end());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
