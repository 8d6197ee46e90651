//! Terminals: the console socket with the harness as receiver, and the foreground on a terminal of ours.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::os;
use crate::trial::Trial;

const CONSOLE: &str = "cli: --console-socket";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = by_socket();
    all.extend(foreground());
    all
}

fn within(t: &Trial<'_>) -> Duration {
    Duration::from_secs(t.seconds())
}

/// `create` with a console socket; gives the master that the runtime sent.
fn create(t: &mut Trial<'_>) -> Result<OwnedFd> {
    let path = t.dir.join("c.sock");
    let listener = UnixListener::bind(&path)?;
    t.spec["process"]["terminal"] = true.into();
    t.write_config()?;
    let (bundle, id, wait) = (t.bundle.display().to_string(), t.id.clone(), within(t));
    let running = t
        .rt(&["create", "--console-socket", &path.display().to_string(), "--bundle", &bundle, &id])
        .spawn()?;
    let master = receive(&listener, wait)?;
    running.wait()?.ok()?;
    std::fs::remove_file(&path)?;
    Ok(master)
}

fn receive(listener: &UnixListener, wait: Duration) -> Result<OwnedFd> {
    let stream = os::accept(listener, wait)?;
    let (_, mut fds) = os::receive_fds(&stream, wait)?;
    ensure!(fds.len() == 1, "{} descriptors came, want one", fds.len());
    fds.pop().context("no descriptor")
}

/// Starts and reads the terminal until the program ends.
fn start_and_read(t: &mut Trial<'_>, master: &OwnedFd) -> Result<String> {
    let pid = t.pid()?;
    t.start()?;
    let text = os::read_all(master.as_fd(), within(t))?;
    t.ended(pid)?;
    Ok(text.replace("\r\n", "\n"))
}

fn by_socket() -> Vec<Case> {
    vec![
        case("tty.console-socket").checks(CONSOLE).probe(["tty"]).steps(|t| {
            t.spec["process"]["consoleSize"] = json!({"height": 40, "width": 132});
            let master = create(t)?;
            let text = start_and_read(t, &master)?;
            ensure!(text == "0 tty 40 132\n1 tty 40 132\n2 tty 40 132\n", "{text:?}");
            Ok(())
        }),
        case("tty.console-socket-long-path").checks(CONSOLE).probe(["tty"]).steps(|t| {
            // Longer than the address of a socket may be; the directory is what has to be opened.
            let short = t.dir.join("c.sock");
            let listener = UnixListener::bind(&short)?;
            let long = t.host_dir(&"d".repeat(120))?.join("c.sock");
            std::fs::rename(&short, &long)?;
            t.spec["process"]["terminal"] = true.into();
            t.write_config()?;
            let (bundle, id, wait) = (t.bundle.display().to_string(), t.id.clone(), within(t));
            let long = long.display().to_string();
            let running = t.rt(&["create", "--console-socket", &long, "--bundle", &bundle, &id]).spawn()?;
            let received = receive(&listener, wait);
            running.wait()?.ok()?;
            received.map(drop)
        }),
        case("tty.run-detach").checks(CONSOLE).probe(["all", "tty", "--", "trap", "TERM"]).steps(|t| {
            let path = t.dir.join("c.sock");
            let listener = UnixListener::bind(&path)?;
            t.spec["process"]["terminal"] = true.into();
            t.write_config()?;
            let (bundle, id, wait) = (t.bundle.display().to_string(), t.id.clone(), within(t));
            let running = t
                .rt(&[
                    "run",
                    "--detach",
                    "--console-socket",
                    &path.display().to_string(),
                    "--bundle",
                    &bundle,
                    &id,
                ])
                .spawn()?;
            let master = receive(&listener, wait)?;
            running.wait()?.ok()?;
            let text = os::read_until(master.as_fd(), wait, "ready")?;
            ensure!(text.contains("0 tty") && text.contains("2 tty"), "{text:?}");
            t.is("running")
        }),
        case("tty.resize-by-master").checks(CONSOLE).probe(["winsize"]).steps(|t| {
            let master = create(t)?;
            os::set_winsize(master.as_fd(), 33, 77)?;
            let text = start_and_read(t, &master)?;
            ensure!(text == "33 77\n", "{text:?}");
            Ok(())
        }),
        case("tty.input-and-echo").checks(CONSOLE).sh("read x; echo got $x").steps(|t| {
            let master = create(t)?;
            t.start()?;
            rustix::io::write(&master, b"seven\n")?;
            let text = os::read_until(master.as_fd(), within(t), "got seven")?;
            ensure!(text.contains("seven\r\n"), "no echo: {text:?}");
            Ok(())
        }),
        case("tty.interrupt-key").checks(CONSOLE).probe(["trap", "INT"]).steps(|t| {
            let master = create(t)?;
            t.start()?;
            os::read_until(master.as_fd(), within(t), "ready")?;
            rustix::io::write(&master, b"\x03")?;
            os::read_until(master.as_fd(), within(t), "SIGINT")
                .context("^C is not delivered: no controlling terminal")?;
            Ok(())
        }),
        case("tty.controlling").checks("runtime-linux.md terminal").sh("echo through > /dev/tty").steps(
            |t| {
                let master = create(t)?;
                let text = start_and_read(t, &master)?;
                ensure!(text == "through\n", "{text:?}");
                Ok(())
            },
        ),
        case("tty.dev-console")
            .checks("config.md#process terminal: /dev/console")
            .probe(["all", "stat", "/dev/console", "--", "open-dev", "/dev/console", "rw"])
            .steps(|t| {
                let master = create(t)?;
                let text = start_and_read(t, &master)?;
                ensure!(
                    text.starts_with("char ") && text.contains(" 136:0 ") && text.contains("ok 0"),
                    "{text:?}"
                );
                Ok(())
            }),
        case("tty.own-devpts")
            .checks("catalogue S26")
            .probe(["all", "readlink", "/proc/self/fd/0", "--", "ls", "/dev/pts"])
            .steps(|t| {
                let master = create(t)?;
                let text = start_and_read(t, &master)?;
                ensure!(text == "/dev/pts/0\n0\nptmx\n" || text == "/dev/console\n0\nptmx\n", "{text:?}");
                Ok(())
            }),
        case("tty.other-user-owns-it")
            .checks("cli: the terminal belongs to the user")
            .probe(["stat", "/dev/pts/0"])
            .spec(|s| s["process"]["user"] = json!({"uid": 1000, "gid": 1000}))
            .steps(|t| {
                let master = create(t)?;
                let text = start_and_read(t, &master)?;
                ensure!(text.starts_with("char 0620 1000 "), "{text:?}");
                Ok(())
            }),
        case("tty.no-descriptor-left").checks("catalogue S05").probe(["fds"]).steps(|t| {
            let master = create(t)?;
            let text = start_and_read(t, &master)?;
            let numbers: Vec<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
            ensure!(numbers == ["0", "1", "2"], "{text:?}");
            Ok(())
        }),
        case("tty.exec-console-socket").checks(CONSOLE).steps(|t| {
            t.resident()?;
            let path = t.dir.join("e.sock");
            let listener = UnixListener::bind(&path)?;
            let (id, wait) = (t.id.clone(), within(t));
            let running = t
                .rt(&[
                    "exec",
                    "--tty",
                    "--detach",
                    "--console-socket",
                    &path.display().to_string(),
                    &id,
                    PROBE,
                    "tty",
                ])
                .spawn()?;
            let master = receive(&listener, wait)?;
            running.wait()?.ok()?;
            let text = os::read_all(master.as_fd(), wait)?;
            ensure!(text.contains("0 tty") && text.contains("1 tty") && text.contains("2 tty"), "{text:?}");
            Ok(())
        }),
        case("tty.exec-process-terminal").checks(CONSOLE).steps(|t| {
            t.resident()?;
            let path = t.dir.join("e.sock");
            let listener = UnixListener::bind(&path)?;
            let file = t.dir.join("p.json");
            let mut process = crate::run::process_json(&t.spec, &[PROBE, "tty"]);
            process["terminal"] = true.into();
            process["consoleSize"] = json!({"height": 11, "width": 22});
            std::fs::write(&file, process.to_string())?;
            let (id, wait) = (t.id.clone(), within(t));
            let running = t
                .rt(&[
                    "exec",
                    "--process",
                    &file.display().to_string(),
                    "--detach",
                    "--console-socket",
                    &path.display().to_string(),
                    &id,
                ])
                .spawn()?;
            let master = receive(&listener, wait)?;
            running.wait()?.ok()?;
            let text = os::read_all(master.as_fd(), wait)?.replace("\r\n", "\n");
            ensure!(text == "0 tty 11 22\n1 tty 11 22\n2 tty 11 22\n", "{text:?}");
            Ok(())
        }),
    ]
}

fn foreground() -> Vec<Case> {
    let text = "cli: run with a terminal in the foreground";
    let run = |t: &mut Trial<'_>, rows: u16, columns: u16| -> Result<(OwnedFd, crate::trial::Running)> {
        let (master, slave) = os::open_pty(rows, columns)?;
        t.spec["process"]["terminal"] = true.into();
        t.write_config()?;
        let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
        let running = t.rt(&["run", "--bundle", &bundle, &id]).on_terminal(slave)?.spawn()?;
        Ok((master, running))
    };
    vec![
        case("tty.foreground").checks(text).probe(["all", "sleep", "300", "--", "tty"]).steps(move |t| {
            let (master, running) = run(t, 30, 90)?;
            let text = os::read_all(master.as_fd(), within(t))?.replace('\r', "");
            running.wait()?.ok()?;
            ensure!(text == "0 tty 30 90\n1 tty 30 90\n2 tty 30 90\n", "{text:?}");
            Ok(())
        }),
        case("tty.foreground-size-at-once").checks(text).sh("stty size").steps(move |t| {
            // A size that comes after the start is sometimes too late.
            for _ in 0..5 {
                let (master, running) = run(t, 41, 133)?;
                let text = os::read_all(master.as_fd(), within(t))?;
                running.wait()?.ok()?;
                ensure!(text == "41 133\r\n", "{text:?}");
            }
            Ok(())
        }),
        case("tty.foreground-exit-code").checks(text).probe(["exit", "9"]).steps(move |t| {
            let (_master, running) = run(t, 30, 90)?;
            running.wait()?.exits(9)?;
            Ok(())
        }),
        case("tty.foreground-resize")
            .checks(text)
            // The first size may come as a signal too, so each one is shown.
            .sh("trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done")
            .steps(move |t| {
                let (master, running) = run(t, 30, 90)?;
                os::read_until(master.as_fd(), within(t), "ready")?;
                os::set_winsize(master.as_fd(), 44, 111)?;
                os::read_until(master.as_fd(), within(t), "44 111")?;
                t.verb("kill", &["KILL"])?.ok()?;
                running.wait()?.exits(137)?;
                Ok(())
            }),
        case("tty.foreground-input").checks(text).sh("read x; echo got $x").steps(move |t| {
            let (master, running) = run(t, 30, 90)?;
            rustix::io::write(&master, b"seven\n")?;
            os::read_until(master.as_fd(), within(t), "got seven")?;
            running.wait()?.ok()?;
            Ok(())
        }),
        case("tty.foreground-opened-again")
            .checks("cli: a terminal that nobody had open for a while")
            .sh("exec <&- >&- 2>&-; sleep 0.3; echo back > /dev/tty; read x < /dev/tty; echo got $x > /dev/tty")
            .steps(move |t| {
                let (master, running) = run(t, 30, 90)?;
                os::read_until(master.as_fd(), within(t), "back")?;
                rustix::io::write(&master, b"seven\n")?;
                os::read_until(master.as_fd(), within(t), "got seven")?;
                running.wait()?.ok()?;
                Ok(())
            }),
        case("tty.foreground-restored")
            .checks("cli: the caller's terminal is as before")
            .probe(["tty"])
            .steps(move |t| {
                let (master, slave) = os::open_pty(30, 90)?;
                let before = format!("{:?}", rustix::termios::tcgetattr(&slave)?);
                t.spec["process"]["terminal"] = true.into();
                t.write_config()?;
                let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                let running =
                    t.rt(&["run", "--bundle", &bundle, &id]).on_terminal(slave.try_clone()?)?.spawn()?;
                os::read_until(master.as_fd(), within(t), "2 tty")?;
                running.wait()?.ok()?;
                ensure!(
                    format!("{:?}", rustix::termios::tcgetattr(&slave)?) == before,
                    "the terminal was left changed"
                );
                Ok(())
            }),
        case("tty.exec-foreground").checks("cli: exec -t").steps(|t| {
            t.resident()?;
            let (master, slave) = os::open_pty(25, 66)?;
            let (id, wait) = (t.id.clone(), within(t));
            let running = t
                .rt(&["exec", "-t", &id, PROBE, "all", "sleep", "300", "--", "tty"])
                .on_terminal(slave)?
                .spawn()?;
            let text = os::read_all(master.as_fd(), wait)?.replace('\r', "");
            running.wait()?.ok()?;
            ensure!(text == "0 tty 25 66\n1 tty 25 66\n2 tty 25 66\n", "{text:?}");
            Ok(())
        }),
        case("tty.none")
            .checks("config.md#process terminal")
            .probe(["tty"])
            .stdout("0 not-a-tty\n1 not-a-tty\n2 not-a-tty\n"),
        case("tty.no-controlling-terminal")
            .checks("catalogue S31")
            .probe(["open-dev", "/dev/tty", "rw"])
            .steps(|t| {
                // The caller has a terminal, the container was not given one.
                let (_master, slave) = os::open_pty(25, 66)?;
                t.write_config()?;
                let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                let out = t.dir.join("tty.out");
                let file = std::fs::File::create(&out)?;
                let running = t
                    .rt(&["run", "--bundle", &bundle, &id])
                    .on_terminal(slave)?
                    .adjust(|c| {
                        c.stdout(file);
                    })
                    .spawn()?;
                running.wait()?.ok()?;
                let text = std::fs::read_to_string(&out)?;
                ensure!(text == "errno 6 ENXIO\n", "the caller's terminal can be opened: {text:?}");
                // The control: one that is the container's can be.
                let master = create(t)?;
                let text = start_and_read(t, &master)?;
                ensure!(text == "ok 0\n", "the control: {text:?}");
                Ok(())
            }),
    ]
}
