//! The ways in: `exec`, `attach`, events, and the API itself with requests that nobody should send.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sup;
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::{http, raw};
use crate::host::Need;
use crate::os;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = inside();
    all.extend(events());
    all.extend(api());
    all
}

fn inside() -> Vec<Case> {
    vec![
        sup("access.exec-codes", "exec").daemon(|d| {
            d.resident("a", "")?;
            d.ctl(&["exec", "a", "--", PROBE, "exit", "7"])?.exits(7)?;
            d.ctl(&["exec", "a", "--", PROBE, "echo", "two words"])?.ok()?.prints("two words\n")?;
            let out = d.ctl(&["exec", "a", "--", "/no/such/program"])?.fails()?;
            ensure!(out.stderr.contains("/no/such/program"), "{}", out.stderr);
            d.is("a.1", "running").map(|_| ())
        }),
        sup("access.exec-stdin", "exec").needs([Need::Busybox]).daemon(|d| {
            d.resident("a", "")?;
            let line = d.ctl_line(&["exec", "-i", "a", "--", "/bin/busybox", "cat"]);
            let program = d.programs.knarrctl.clone();
            let out = d.t.command(&program, &line).stdin("one\ntwo\n")?.run()?.ok()?;
            out.prints("one\ntwo\n").map(|_| ())
        }),
        sup("access.exec-streams", "exec").needs([Need::Busybox]).daemon(|d| {
            d.resident("a", "")?;
            let out = d.ctl(&["exec", "a", "--", "/bin/sh", "-c", "echo out; echo err >&2"])?.ok()?;
            ensure!(out.stdout == "out\n" && out.stderr == "err\n", "{:?} and {:?}", out.stdout, out.stderr);
            Ok(())
        }),
        sup("access.exec-tty", "exec with a terminal").needs([Need::Busybox]).daemon(|d| {
            d.resident("a", "")?;
            let (master, slave) = os::open_pty(40, 111)?;
            let line = d.ctl_line(&["exec", "-it", "a", "--", "/bin/sh", "-c", "stty size; exit 5"]);
            let program = d.programs.knarrctl.clone();
            let running = d.t.command(&program, &line).on_terminal(slave)?.spawn()?;
            let text = os::read_until(std::os::fd::AsFd::as_fd(&master), Duration::from_secs(10), "40 111")?;
            running.wait()?.exits(5).with_context(|| text).map(|_| ())
        }),
        sup("access.exec-not-running", "exec").daemon(|d| {
            d.resident("a", "")?;
            d.ctl(&["stop", "a"])?.ok()?;
            let out = d.ctl(&["exec", "a", "--", PROBE, "true"])?.fails()?;
            ensure!(out.stderr.contains("a"), "{}", out.stderr);
            Ok(())
        }),
        sup("access.attach", "attach").needs([Need::Busybox]).daemon(|d| {
            let root = d.t.rootfs().display().to_string();
            let script = "while read x; do echo got $x; done";
            let command = serde_json::json!(["/bin/sh", "-c", script]);
            d.write("a", &format!("root = {root:?}\ncommand = {command}\nstdin = true\n"))?;
            d.apply()?;
            d.until("a.1", "running")?;
            let pid = d.pid_of("a.1")?;
            let (write, read) = pipe()?;
            let line = d.ctl_line(&["attach", "a"]);
            let program = d.programs.knarrctl.clone();
            let client = d.t.command(&program, &line).stdin_from(read).spawn()?;
            let mut write = std::fs::File::from(write);
            write.write_all(b"hello\n")?;
            wait_for(d.t.seconds(), || Ok(client.so_far().0.contains("got hello").then_some(())))
                .with_context(|| format!("attached: {:?}", client.so_far()))?;
            d.says("a.1", "got hello")?;
            // The end of a client is not the end of the service.
            os::kill(client.pid() as i32, libc::SIGKILL);
            client.wait()?;
            drop(write);
            ensure!(d.pid_of("a.1")? == pid, "the service ended with its client");
            Ok(())
        }),
        sup("access.service-tty", "a service with a terminal").needs([Need::Busybox]).daemon(|d| {
            let root = d.t.rootfs().display().to_string();
            let command =
                serde_json::json!(["/bin/sh", "-c", "test -t 1 && echo a terminal; exec /probe trap TERM"]);
            d.write("a", &format!("root = {root:?}\ncommand = {command}\ntty = true\n"))?;
            d.apply()?;
            wait_for(d.t.seconds(), || {
                Ok(d.log("a.1")?.iter().any(|l| l.trim() == "a terminal").then_some(()))
            })
            .with_context(|| format!("it printed {:?}", d.log("a.1")))
        }),
        sup("access.kill-signal", "kill").daemon(|d| {
            d.service("a", &["all", "trap", "USR1", "--", "exit", "9"], "[restart]\npolicy = 'no'\n")?;
            d.ready("a.1")?;
            d.ctl(&["kill", "a", "--signal", "SIGUSR1"])?.ok()?;
            ensure!(d.until("a.1", "failed")?["last_exit"] == 9, "{:?}", d.instance("a.1"));
            d.ctl(&["kill", "a", "--signal", "NOSUCH"])?.fails().map(|_| ())
        }),
        sup("access.top", "top").daemon(|d| {
            d.resident("a", "")?;
            let out = d.ctl(&["top", "--once", "--json"])?.ok()?.stdout;
            ensure!(out.contains("a.1"), "top: {out}");
            Ok(())
        }),
        sup("access.completions", "shell completions").daemon(|d| {
            let out = d.ctl(&["completions", "bash"])?.ok()?.stdout;
            ensure!(out.contains("knarrctl") && out.contains("explain"), "{:.200}", out);
            Ok(())
        }),
    ]
}

fn pipe() -> Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((write, read))
}

fn events() -> Vec<Case> {
    vec![
        sup("access.events-since", "events --since").daemon(|d| {
            d.resident("a", "")?;
            let all = numbers(&d.ctl(&["events", "--since", "0", "--json"])?.ok()?.stdout)?;
            ensure!(all.len() > 1 && all.windows(2).all(|w| w[1] == w[0] + 1), "numbers: {all:?}");
            let middle = all[all.len() / 2].to_string();
            let later = numbers(&d.ctl(&["events", "--since", &middle, "--json"])?.ok()?.stdout)?;
            ensure!(later == all[all.len() / 2 + 1..], "since {middle}: {later:?} of {all:?}");
            Ok(())
        }),
        sup("access.events-go-on", "events over a restart of the daemon").daemon(|d| {
            d.resident("a", "")?;
            let before = d.events()?;
            d.crash_and_start()?;
            d.post("/v1/services/a/stop?wait=true")?;
            let after = d.events()?;
            let number = |e: &Value| e["seq"].as_u64().unwrap_or(0);
            let all: Vec<u64> = after.iter().map(number).collect();
            ensure!(all.is_sorted_by(|a, b| a < b), "numbers: {all:?}");
            let last = before.last().map(number).context("no event")?;
            ensure!(after.last().map(number) > Some(last), "the numbers begin again: {last}, then {all:?}");
            Ok(())
        }),
        sup("access.events-follow", "events --follow").daemon(|d| {
            let follower = d.ctl_running(&["events", "-f", "--json"])?;
            d.resident("a", "")?;
            wait_for(d.t.seconds(), || Ok(follower.so_far().0.contains("\"started\"").then_some(())))
                .with_context(|| format!("followed {:?}", follower.so_far()))?;
            os::kill(follower.pid() as i32, libc::SIGTERM);
            follower.wait()?;
            Ok(())
        }),
    ]
}

/// The numbers of events, one JSON object a line.
fn numbers(text: &str) -> Result<Vec<u64>> {
    let number = |l: &str| serde_json::from_str::<Value>(l)?["seq"].as_u64().context("no number");
    text.lines().map(number).collect()
}

fn api() -> Vec<Case> {
    vec![
        sup("api.sockets", "API: sockets").daemon(|d| {
            for (name, mode) in [("knarrd.sock", 0o660), ("knarrd-ro.sock", 0o660)] {
                let m = std::fs::metadata(d.run.join(name)).context(name)?;
                ensure!(m.file_type().is_socket(), "{name} is no socket");
                ensure!(
                    m.mode() & 0o007 == 0 || name.contains("-ro"),
                    "{name}: mode {:o}, want {mode:o}",
                    m.mode()
                );
            }
            Ok(())
        }),
        sup("api.read-only", "API: the read-only socket").daemon(|d| {
            d.resident("a", "")?;
            let socket = d.run.join("knarrd-ro.sock");
            http(&socket, "GET", "/v1/instances", None)?.is(200)?;
            http(&socket, "POST", "/v1/plan", Some("{}"))?.is(200)?;
            for (method, path) in [
                ("POST", "/v1/services/a/stop"),
                ("POST", "/v1/services/a/kill?signal=9"),
                ("POST", "/v1/apply"),
                ("DELETE", "/v1/services/a"),
                ("POST", "/v1/exec/a"),
                ("POST", "/v1/attach/a"),
            ] {
                http(&socket, method, path, Some("{}"))?
                    .is(403)
                    .with_context(|| format!("{method} {path}"))?;
            }
            d.is("a.1", "running").map(|_| ())
        }),
        sup("api.read-only-hides-values", "API: values of the environment").daemon(|d| {
            d.service("a", &["trap", "TERM"], "[env]\nTOKEN = 'word-one'\n")?;
            d.write("a", &d.text(&["trap", "TERM"], "[env]\nTOKEN = 'word-two'\nMORE = 'word-three'\n"))?;
            let read_only = d.run.join("knarrd-ro.sock");
            let plan = http(&read_only, "POST", "/v1/plan", Some("{}"))?.is(200)?;
            ensure!(!plan.body.contains("word-"), "shown to who may only look: {}", plan.body);
            ensure!(plan.body.contains("env.TOKEN") && plan.body.contains("env.MORE"), "{}", plan.body);
            let line = ["--socket".into(), read_only.display().to_string(), "plan".into()];
            let shown = d.t.command(&d.programs.knarrctl.clone(), &line).run()?.ok()?.stdout;
            ensure!(shown.contains("~ env.TOKEN: changed, value not shown"), "{shown}");
            ensure!(d.ctl(&["plan"])?.ok()?.stdout.contains("word-two"), "not shown to root");
            d.write("a", &d.text(&["trap", "TERM"], "[env]\nTOKEN = \"word-four\\u0000\"\n"))?;
            d.try_apply()?;
            for path in ["/v1/services/a", "/v1/instances", "/v1/explain/a", "/v1/events?since=0"] {
                let text = http(&read_only, "GET", path, None)?.is(200)?.body;
                ensure!(!text.contains("word-"), "{path} shows a value: {text}");
            }
            // Nor does a file that the daemon writes.
            d.ctl(&["rm", "a"])?.ok()?;
            let text =
                serde_json::json!({ "files": [{ "name": "a", "text": d.text(&["trap", "TERM"], "") }] });
            d.request("POST", "/v1/apply", Some(&text.to_string()))?.is(200)?;
            let mode = std::fs::metadata(d.services.join("a.toml"))?.mode();
            ensure!(mode & 0o077 == 0, "a.toml has mode {mode:o}");
            Ok(())
        }),
        sup("api.strangers", "API: who may connect").daemon(|d| {
            // The sockets' own modes would keep a stranger out already; what counts is who asks.
            let socket = d.socket();
            for path in [&d.t.yard.dir, &d.t.dir, &d.run] {
                std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            }
            std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
            let line = d.ctl_line(&["ps"]);
            let program = d.t.within_reach(&d.programs.knarrctl)?;
            let out = d.t.command(&program, &line).adjust(os::as_nobody).run()?.fails()?;
            d.ctl(&["ps"])?.ok()?;
            ensure!(!out.stdout.contains("STATE"), "a stranger was answered: {}", out.stdout);
            Ok(())
        }),
        sup("api.openapi", "API: OpenAPI document").daemon(|d| {
            let doc = d.get("/v1/openapi.json")?;
            let paths = doc["paths"].as_object().context("no paths")?;
            for path in
                ["/v1/instances", "/v1/apply", "/v1/explain/{target}", "/v1/logs/{target}", "/v1/events"]
            {
                ensure!(paths.contains_key(path), "the document has no {path}: {:?}", paths.keys());
            }
            Ok(())
        }),
        sup("api.bad-requests", "API: malformed requests").daemon(|d| {
            d.resident("a", "")?;
            let pid = d.pid_of("a.1")?;
            for (method, path, body, status) in BAD {
                let answer = d.request(method, path, body)?;
                let what = format!("{method} {path} {body:?}");
                ensure!(
                    answer.status == status,
                    "{what}: status {}, want {status}: {}",
                    answer.status,
                    answer.body
                );
                let error = answer.json().with_context(|| what.clone())?;
                ensure!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{what}: {error}");
                ensure!(error["code"].is_string(), "{what}: {error}");
            }
            ensure!(d.pid_of("a.1")? == pid, "a bad request changed something");
            Ok(())
        }),
        sup("api.no-http", "API: no HTTP at all").daemon(|d| {
            let socket = d.socket();
            for bytes in [
                &b"\0\0\0\0\r\n\r\n"[..],
                b"GET\r\n\r\n",
                b"GET /v1/instances HTTP/9.9\r\n\r\n",
                &[b'x'; 200_000],
            ] {
                if let Ok(answer) = raw(&socket, bytes) {
                    ensure!(
                        answer.status >= 400,
                        "{:?} was answered {}",
                        &bytes[..8.min(bytes.len())],
                        answer.status
                    );
                }
            }
            d.get("/v1/instances").map(|_| ())
        }),
        sup("api.too-large", "API: oversized bodies").daemon(|d| {
            let body = format!("{{\"files\":[{{\"name\":\"a\",\"text\":\"{}\"}}]}}", "#".repeat(40 << 20));
            let answer = d.request("POST", "/v1/plan", Some(&body));
            if let Ok(answer) = answer {
                ensure!(answer.status == 413, "status {}", answer.status);
            }
            let memory = procfs::process::Process::new(d.pid()?)?.statm()?.resident * 4096;
            ensure!(memory < 100 << 20, "the daemon took {memory} bytes");
            d.get("/v1/instances").map(|_| ())
        }),
        sup("api.idle-connections", "API: clients that say nothing").daemon(|d| {
            let socket = d.socket();
            let mut idle = Vec::new();
            for _ in 0..200 {
                let Ok(mut c) = UnixStream::connect(&socket) else { break };
                let _ = c.set_write_timeout(Some(Duration::from_millis(100)));
                let _ = c.write_all(b"GET /v1/inst");
                idle.push(c);
            }
            // Those that are there already keep nobody out for good.
            wait_for(d.t.seconds() * 3, || {
                Ok(http(&socket, "GET", "/v1/version", None).ok().filter(|a| a.status == 200))
            })
            .context("no answer beside 200 idle connections")?;
            drop(idle);
            Ok(())
        }),
        sup("api.half-body", "API: a body that never comes").daemon(|d| {
            let mut c = UnixStream::connect(d.socket())?;
            c.write_all(b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")?;
            d.get("/v1/instances")?;
            c.shutdown(std::net::Shutdown::Write)?;
            c.set_read_timeout(Some(Duration::from_secs(20)))?;
            let mut text = String::new();
            let _ = c.read_to_string(&mut text);
            ensure!(!text.starts_with("HTTP/1.1 200"), "half a body was accepted: {text}");
            Ok(())
        }),
        sup("api.keeps-no-descriptors", "API: descriptors").daemon(|d| {
            d.resident("a", "")?;
            let count = |pid: i32| Ok::<_, anyhow::Error>(procfs::process::Process::new(pid)?.fd_count()?);
            let pid = d.pid()?;
            d.get("/v1/instances")?;
            let before = count(pid)?;
            for _ in 0..50 {
                d.get("/v1/instances")?;
                d.request("GET", "/v1/services/none", None)?.is(404)?;
            }
            d.ctl(&["exec", "a", "--", PROBE, "true"])?.ok()?;
            wait_for(5, || Ok((count(pid)? <= before + 1).then_some(())))
                .with_context(|| format!("{} descriptors, had {before}", count(pid).unwrap_or(0)))
        }),
        sup("api.client-errors", "knarrctl without a daemon").daemon(|d| {
            let line =
                vec!["--socket".to_string(), d.t.dir.join("none.sock").display().to_string(), "ps".into()];
            let program = d.programs.knarrctl.clone();
            let out = d.t.command(&program, &line).run()?.fails()?;
            ensure!(out.stderr.contains("none.sock"), "{}", out.stderr);
            ensure!(out.stderr.lines().count() <= 3, "{}", out.stderr);
            Ok(())
        }),
    ]
}

type Bad = (&'static str, &'static str, Option<&'static str>, u16);

/// Requests that are wrong, with the status they deserve.
const BAD: [Bad; 33] = [
    ("GET", "/", None, 404),
    ("GET", "/v1/nothing", None, 404),
    ("GET", "/v2/instances", None, 404),
    ("POST", "/v1/instances", Some("{}"), 405),
    ("DELETE", "/v1/apply", None, 405),
    ("GET", "/v1/services/none", None, 404),
    ("GET", "/v1/explain/none", None, 404),
    ("GET", "/v1/explain/a.7", None, 404),
    ("GET", "/v1/explain/a.x", None, 400),
    ("GET", "/v1/services/NOT-A-NAME", None, 400),
    ("GET", "/v1/services/..%2f..%2fetc", None, 400),
    ("GET", "/v1/logs/none", None, 404),
    ("GET", "/v1/logs/a?tail=many", None, 400),
    ("GET", "/v1/events?since=-1", None, 400),
    ("POST", "/v1/services/none/stop", None, 404),
    ("POST", "/v1/services/a/explode", None, 404),
    ("POST", "/v1/services/a/kill?signal=0", None, 400),
    ("POST", "/v1/services/a/kill?signal=99", None, 400),
    ("POST", "/v1/services/a/kill?signal=TERM&more=1", None, 400),
    ("POST", "/v1/services/a/stop", Some("{}"), 400),
    ("DELETE", "/v1/services/none", None, 404),
    ("DELETE", "/v1/services/a.1", None, 400),
    ("GET", "/v1/services/%ff", None, 400),
    ("GET", "/v1/explain/%00", None, 400),
    ("GET", "/v1/services/a/wait?for=luck", None, 400),
    ("GET", "/v1/logs/a?tail=1&tail=2", None, 400),
    ("GET", "/v1/events?since=99999999999999999999", None, 400),
    ("POST", "/v1/orders", Some("[]"), 400),
    ("POST", "/v1/orders", Some("{\"verb\":\"explode\",\"targets\":[\"a\"]}"), 400),
    ("POST", "/v1/plan", Some("[{}]"), 400),
    ("POST", "/v1/plan", Some("{"), 400),
    ("POST", "/v1/plan", Some("{\"files\":7}"), 400),
    ("POST", "/v1/apply", Some("{\"files\":[{\"name\":\"../x\",\"text\":\"\"}]}"), 400),
];
