//! Held sockets: every instance gets them, and no connection is lost while instances, the daemon or the process that holds
//! them come and go.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::{Daemon, alive};
use crate::oracle;
use crate::os;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = passed();
    all.extend(daemon());
    all.extend(load());
    all
}

/// A port that nobody has just now.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

const PATIENCE: Duration = Duration::from_secs(20);

/// One request on a stream that is connected: the body of the answer.
fn ask(mut stream: impl Read + Write) -> Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer: {text:?}"))?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Ok(body.to_owned())
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn get(port: u16) -> Result<String> {
    ask(connect(port)?)
}

fn refused(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn until_refused(d: &Daemon<'_, '_>, port: u16) -> Result<()> {
    wait_for(d.t.seconds(), || Ok(refused(port).then_some(()))).context("the port is still open")
}

/// A service that serves on what it is given, and says so.
fn serves(d: &Daemon<'_, '_>, keys: &str) -> Result<()> {
    d.service("web", &["activated"], keys)?;
    d.ready("web.1")
}

/// The process that holds the sockets of this daemon; none is as good.
fn holder() -> Option<i32> {
    let is = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|word| word == b"--hold")
    };
    oracle::children().into_iter().map(|(pid, _)| pid).find(|pid| is(*pid))
}

/// Whether a process has this socket open, by what its descriptors are called.
fn has(pid: i32, socket: &Path) -> bool {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    all.filter_map(|e| fs::read_link(e.path()).ok()).any(|name| name == socket)
}

fn passed() -> Vec<Case> {
    vec![
        sup("listen.passed", "sockets of every kind reach every instance").daemon(|d| {
            let (tcp, udp) = (free_port()?, free_port()?);
            let path = d.t.dir.join("sock/web.sock");
            let keys = format!(
                "replicas = 2\nlisten = ['tcp:{tcp}', {{ address = 'unix:{}', name = 'admin', mode = '0600' }}, 'udp:127.0.0.1:{udp}']\n",
                path.display()
            );
            serves(d, &keys)?;
            d.ready("web.2")?;
            let said = d.ctl(&["logs", "web.1"])?.ok()?.stdout;
            ensure!(said.contains("3 sockets: web:admin:web"), "{said}");
            let mut who = std::collections::BTreeSet::new();
            wait_for(d.t.seconds(), || {
                who.insert(get(tcp)?);
                Ok((who.len() == 2).then_some(()))
            })
            .with_context(|| format!("only these answered: {who:?}"))?;
            let v6 = TcpStream::connect(("::1", tcp));
            if !v6.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::AddrNotAvailable) {
                ask(v6.context("tcp:PORT over IPv6")?)?;
            }
            ensure!(ask(UnixStream::connect(&path)?)?.contains("web-"), "no answer of an instance");
            let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
            ensure!(mode == 0o600, "mode {mode:o}");
            let client = UdpSocket::bind("127.0.0.1:0")?;
            client.set_read_timeout(Some(PATIENCE))?;
            client.send_to(b"x", ("127.0.0.1", udp))?;
            ensure!(client.recv(&mut [0; 8])? == 1, "no datagram came back");
            // The instances are in a network namespace without the host's interfaces.
            let ns = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net"));
            ensure!(ns(d.pid_of("web.1")?)? != ns(d.pid()?)?, "it has the host's network");
            Ok(())
        }),
        sup("listen.in-use", "a port that somebody else has").daemon(|d| {
            let other = TcpListener::bind("127.0.0.1:0")?;
            let port = other.local_addr()?.port();
            d.service("web", &["activated"], &format!("listen = ['tcp:127.0.0.1:{port}']\n{SOON}"))?;
            d.until_it("web.1", "tried again", |i| i["restarts"].as_u64() >= Some(2))?;
            d.explains("web.1", &["listen-in-use", &format!("tcp:127.0.0.1:{port}")])?;
            drop(other);
            d.ready("web.1")?;
            get(port)?;
            // Two services cannot have one.
            d.service("two", &["activated"], &format!("listen = ['tcp:127.0.0.1:{port}']\n{SOON}"))?;
            d.until_it("two.1", "tried again", |i| i["restarts"].as_u64() >= Some(1))?;
            d.explains("two.1", &["listen-in-use", "it is held for web"])
        }),
        sup("listen.unix-path", "stale sockets and other files at the path").daemon(|d| {
            let dir = d.t.host_dir("sock")?;
            let (path, file) = (dir.join("web.sock"), dir.join("file"));
            drop(UnixListener::bind(&path)?);
            ensure!(UnixStream::connect(&path).is_err() && path.exists(), "it is not stale");
            serves(d, &format!("listen = ['unix:{}']\n", path.display()))?;
            ask(UnixStream::connect(&path)?)?;
            fs::write(&file, "precious")?;
            d.service("two", &["activated"], &format!("listen = ['unix:{}']\n{SOON}", file.display()))?;
            d.until_it("two.1", "tried again", |i| i["restarts"].as_u64() >= Some(1))?;
            d.explains("two.1", &["listen-in-use"])?;
            ensure!(fs::read(&file)? == b"precious", "a file was removed");
            // What somebody took away is made anew with the next run.
            fs::remove_file(&path)?;
            d.post("/v1/services/web/restart?wait=true")?;
            ask(UnixStream::connect(&path)?)?;
            d.request("DELETE", "/v1/services/web?wait=true", None)?.done()?;
            wait_for(d.t.seconds(), || Ok((!path.exists()).then_some(()))).context("its socket is left")
        }),
        sup("listen.closed", "a stop, a change and a removal close it").daemon(|d| {
            let (one, two) = (free_port()?, free_port()?);
            let listen = |port: u16| format!("listen = ['tcp:127.0.0.1:{port}']\n");
            serves(d, &listen(one))?;
            get(one)?;
            d.post("/v1/services/web/stop?wait=true")?;
            until_refused(d, one)?;
            wait_for(d.t.seconds(), || Ok(holder().is_none().then_some(()))).context("a process holds nothing")?;
            d.post("/v1/services/web/start?wait=true")?;
            get(one)?;
            d.service("web", &["activated"], &listen(two))?;
            wait_for(d.t.seconds(), || Ok(get(two).is_ok().then_some(()))).context("the new port is not open")?;
            until_refused(d, one)?;
            d.request("DELETE", "/v1/services/web?wait=true", None)?.done()?;
            until_refused(d, two)?;
            wait_for(d.t.seconds(), || Ok(holder().is_none().then_some(()))).context("a process holds nothing")
        }),
        sup("listen.needs-pid-namespace", "an instance that would not be LISTEN_PID").daemon(|d| {
            let bundle = d.t.dir.join("mine");
            super::restart::copy_bundle(d, &bundle)?;
            let config = bundle.join("config.json");
            let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config)?)?;
            let namespaces = spec["linux"]["namespaces"].as_array_mut().context("no namespaces")?;
            namespaces.retain(|n| n["type"] != "pid");
            fs::write(&config, spec.to_string())?;
            let keys = format!("command = ['{PROBE}', 'activated']\n{SOON}");
            let text = |more: &str| format!("bundle = '{}'\n{more}{keys}", bundle.display());
            d.write("web", &text(&format!("listen = ['tcp:127.0.0.1:{}']\n", free_port()?)))?;
            d.apply()?;
            d.until_it("web.1", "refused", |i| i["restarts"].as_u64() >= Some(1))?;
            d.explains("web.1", &["bundle-invalid", "LISTEN_PID"])
        }),
    ]
}

fn daemon() -> Vec<Case> {
    vec![
        sup("listen.kill9", "the daemon dies: its sockets do not").seconds(40).daemon(|d| {
            let port = free_port()?;
            serves(d, &format!("listen = ['tcp:127.0.0.1:{port}']\n{SOON}"))?;
            let mode = fs::metadata(d.run.join("held/sock"))?;
            ensure!(mode.file_type().is_socket() && mode.permissions().mode() & 0o777 == 0o600, "{mode:?}");
            d.kill9()?;
            get(port).context("while no daemon runs")?;
            d.start()?;
            get(port).context("with the next daemon")?;
            ensure!(d.is("web.1", "running")?["restarts"] == 0, "it was restarted");
            d.end()?;
            get(port).context("after the daemon was asked to end")?;
            d.start()
        }),
        sup("listen.queue-survives", "nobody but the holder has it: who waits is served").seconds(60).daemon(
            |d| {
                let port = free_port()?;
                serves(d, &format!("listen = ['tcp:127.0.0.1:{port}']\n{SOON}"))?;
                let web = d.pid_of("web.1")?;
                // It takes nothing from the queue any more.
                os::kill(web, libc::SIGSTOP);
                let waiting = connect(port)?;
                d.kill9()?;
                os::kill(web, libc::SIGKILL);
                wait_for(d.t.seconds(), || Ok((!alive(web)).then_some(())))?;
                let later = connect(port).context("while neither daemon nor instance is there")?;
                d.start()?;
                ask(waiting).context("the connection of before")?;
                ask(later).context("the connection of between")?;
                // It answers before `start` has returned to the daemon.
                d.until_it("web.1", "running", |i| {
                    i["state"] == "running" && i["restarts"].as_u64() >= Some(1)
                })
                .map(drop)
            },
        ),
        sup("listen.holder-killed", "the process that holds them dies").seconds(60).daemon(|d| {
            let port = free_port()?;
            serves(d, &format!("listen = ['tcp:127.0.0.1:{port}']\n{SOON}"))?;
            let first = holder().context("nobody holds it")?;
            os::kill(first, libc::SIGKILL);
            let web = d.pid_of("web.1")?;
            let socket = fs::read_link(format!("/proc/{web}/fd/3"))?;
            let next = || Ok(holder().filter(|pid| *pid != first && has(*pid, &socket)));
            wait_for(d.t.seconds(), next).context("nobody holds it any more")?;
            get(port)?;
            d.kill9()?;
            os::kill(web, libc::SIGKILL);
            wait_for(d.t.seconds(), || Ok((!alive(web)).then_some(())))?;
            let waiting = connect(port)?;
            d.start()?;
            ask(waiting).map(|_| ())
        }),
    ]
}

pub(super) type Client = std::thread::JoinHandle<Result<()>>;

/// They ask without a pause until they are told to stop, or a request fails.
pub(super) fn clients(
    port: u16,
    count: usize,
    answered: &Arc<AtomicUsize>,
) -> (Arc<AtomicBool>, Vec<Client>) {
    let stop = Arc::new(AtomicBool::new(false));
    let client = |stop: Arc<AtomicBool>, answered: Arc<AtomicUsize>| {
        move || {
            while !stop.load(Ordering::Relaxed) {
                get(port).with_context(|| format!("after {} requests", answered.load(Ordering::Relaxed)))?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    };
    let all = (0..count).map(|_| std::thread::spawn(client(stop.clone(), answered.clone()))).collect();
    (stop, all)
}

/// Restarts replicas of one held socket in turn, and kills the daemon between, until so many requests were answered; none may
/// fail. What was done, in words.
pub fn under_load(d: &mut Daemon<'_, '_>, replicas: usize, requests: usize) -> Result<String> {
    let port = free_port()?;
    serves(d, &format!("replicas = {replicas}\nlisten = ['tcp:127.0.0.1:{port}']\n{SOON}"))?;
    for n in 2..=replicas {
        d.ready(&format!("web.{n}"))?;
    }
    let answered = Arc::new(AtomicUsize::new(0));
    let (stop, all) = clients(port, 4, &answered);
    let mut restarts = 0;
    let mut told = Ok(());
    while told.is_ok() && (answered.load(Ordering::Relaxed) < requests || restarts < 2 * replicas) {
        told = d
            .post(&format!("/v1/services/web.{}/restart?wait=true", restarts % replicas + 1))
            .map(drop)
            .and_then(|()| if restarts % 4 == 1 { d.crash_and_start() } else { Ok(()) });
        restarts += 1;
        if all.iter().any(std::thread::JoinHandle::is_finished) {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in all {
        client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    told?;
    let answered = answered.load(Ordering::Relaxed);
    Ok(format!("{answered} requests, {restarts} restarts of {replicas} replicas, none failed"))
}

fn load() -> Vec<Case> {
    let what = "two replicas restarted in turn, the daemon killed: no request fails";
    vec![sup("listen.restart-under-load", what).seconds(100).daemon(|d| under_load(d, 2, 200).map(|_| ()))]
}
