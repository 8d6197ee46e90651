//! The contract with callers, row by row, where no other subject has the row: exit codes, shapes of what is printed, what
//! each verb does in each state, flags in every wrong form.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::Need;
use crate::os;
use crate::trial::{Trial, wait_for};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = exit_codes();
    all.extend(shapes());
    all.extend(kill());
    all.extend(delete());
    all.extend(states());
    all.extend(sockets());
    all.extend(flags());
    all
}

/// A container whose program has ended.
fn stopped(t: &mut Trial<'_>) -> Result<()> {
    t.create()?;
    let pid = t.pid()?;
    t.start()?;
    t.ended(pid)?;
    t.is("stopped")
}

fn exit_codes() -> Vec<Case> {
    let text = "cli: exit codes";
    vec![
        case("contract.exec-exit-codes").checks(text).steps(|t| {
            t.resident()?;
            for code in [0, 1, 42, 125, 255] {
                t.exec_probe(&["exit", &code.to_string()])?.exits(code)?;
            }
            t.exec_probe(&["crash", "segv", "0"])?.exits(139)?;
            Ok(())
        }),
        case("contract.exec-killed").checks(text).steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            let running = t.rt(&["exec", &id, PROBE, "trap", "USR1"]).spawn()?;
            let seconds = t.seconds();
            wait_for(seconds, || Ok(Some(()).filter(|()| running.so_far().0.contains("ready"))))?;
            let init = t.pid()?;
            let pids = t.ps()?;
            let other = pids.as_array().into_iter().flatten().filter_map(Value::as_i64);
            let pid = other.map(|p| p as i32).find(|p| *p != init).context("no second process")?;
            os::kill(pid, libc::SIGKILL);
            running.wait()?.exits(137)?;
            Ok(())
        }),
        case("contract.exec-fails-with-255").checks("cli: exec fails with 255").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            for args in [
                vec!["exec", &id, "/no/such/program"],
                vec!["exec", &id, "no-such-program"],
                vec!["exec", &id],
                vec!["exec", "--user", "root", &id, PROBE],
                vec!["exec", "--process", "/no/such/file", &id],
                vec!["exec", "--pid-file", "/no/such/dir/pid", &id, PROBE, "true"],
                vec!["exec", "no-such-container", PROBE],
            ] {
                t.rt(&args).run()?.exits(255)?.fails()?;
            }
            // A line from which no command can be read is not an exec that failed.
            for args in [
                vec!["exec", "--no-such-flag", &id, PROBE],
                vec!["exec", "--preserve-fds", "many", &id, PROBE],
                vec!["exec", "--tty=maybe", &id, PROBE],
                vec!["exec"],
            ] {
                t.rt(&args).run()?.exits(1)?.fails()?;
            }
            t.exec_probe(&["echo", "x"])?.ok()?.prints("x\n")?;
            Ok(())
        }),
        case("contract.unknown-flag-is-1").checks("catalogue B109; cli: an unknown flag").steps(|t| {
            t.works()?;
            for verb in [
                "create", "start", "run", "state", "kill", "delete", "list", "ps", "pause", "resume",
                "update", "events", "spec", "features",
            ] {
                let id = t.id.clone();
                let out = t.rt(&[verb, "--no-such-flag", &id]).run()?.exits(1)?.fails()?;
                out.says("flag provided but not defined: -no-such-flag")?;
            }
            Ok(())
        }),
        case("contract.unknown-is-1").checks("cli: an unknown id").steps(|t| {
            t.works()?;
            for verb in ["state", "start", "kill", "delete", "ps", "pause", "resume", "update", "events"] {
                t.verb(verb, &[])?.exits(1)?.fails()?.says("does not exist")?;
            }
            ensure!(!t.state_root().join(&t.id).exists(), "a directory was made");
            Ok(())
        }),
    ]
}

fn keys(v: &Value) -> BTreeSet<&str> {
    v.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// The keys of a state without annotations.
const STATE: [&str; 8] = ["bundle", "created", "id", "ociVersion", "owner", "pid", "rootfs", "status"];

/// `2026-11-21T09:05:50.217507212Z`, with as many digits of the second as it has.
fn is_time(text: &str) -> bool {
    let Some((seconds, fraction)) = text.strip_suffix('Z').map(|t| t.split_once('.').unwrap_or((t, "0")))
    else {
        return false;
    };
    let shape = seconds.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    shape == "0000-00-00T00:00:00" && fraction.len() <= 9 && fraction.bytes().all(|b| b.is_ascii_digit())
}

fn shapes() -> Vec<Case> {
    vec![
        case("contract.state-keys").checks("cli: state").steps(|t| {
            t.resident()?;
            let s = t.state()?;
            ensure!(keys(&s) == STATE.into(), "{s}");
            ensure!(is_time(s["created"].as_str().unwrap_or("")), "created is {}", s["created"]);
            ensure!(s["ociVersion"].is_string() && s["pid"].is_number() && s["owner"] == "", "{s}");
            t.remove()?;
            t.spec["annotations"] = json!({"k": "v"});
            t.resident()?;
            let s = t.state()?;
            ensure!(keys(&s) == STATE.into_iter().chain(["annotations"]).collect(), "{s}");
            Ok(())
        }),
        case("contract.state-words").checks("cli: state").steps(|t| {
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.create()?;
            t.is("created")?;
            t.start()?;
            t.is("running")?;
            t.verb("pause", &[])?.ok()?;
            t.is("paused")?;
            t.verb("resume", &[])?.ok()?;
            let pid = t.pid()?;
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            t.is("stopped")?;
            ensure!(t.state()?["pid"] == 0, "{}", t.state()?);
            Ok(())
        }),
        case("contract.list-keys").checks("cli: list -f json").steps(|t| {
            t.resident()?;
            let list = t.rt(&["list", "-f", "json"]).run()?.ok()?.json()?;
            let one = &list[0];
            ensure!(keys(one) == STATE.into(), "{one}");
            ensure!(one["owner"] == "root" && is_time(one["created"].as_str().unwrap_or("")), "{one}");
            let mut state = t.state()?;
            state["owner"] = "root".into();
            ensure!(*one == state, "list says {one}, state {state}");
            Ok(())
        }),
        case("contract.list-null").checks("cli: list -f json").steps(|t| {
            t.host_dir("state")?;
            let got = t.rt(&["list", "-f", "json"]).run()?.ok()?.stdout;
            ensure!(got.trim() == "null", "{got:?}");
            let got = t.rt(&["list"]).run()?.ok()?.stdout;
            ensure!(
                got.split_whitespace().eq(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]),
                "{got:?}"
            );
            Ok(())
        }),
        case("contract.list-stopped").checks("cli: list").steps(|t| {
            stopped(t)?;
            let out = t.rt(&["list"]).run()?.ok()?.stdout;
            let row: Vec<&str> = out.lines().nth(1).unwrap_or("").split_whitespace().collect();
            ensure!(row.get(..3) == Some(&[t.id.as_str(), "0", "stopped"]), "{out}");
            let list = t.rt(&["list", "-f", "json"]).run()?.ok()?.json()?;
            ensure!(list[0]["pid"] == 0 && list[0]["status"] == "stopped", "{list}");
            Ok(())
        }),
        case("contract.list-missing-root").checks("cli: list with a --root that does not exist").steps(|t| {
            t.works()?;
            let root = t.dir.join("no-such-root").display().to_string();
            t.bare(&["--root", &root, "list"]).run()?.exits(1)?.fails()?;
            ensure!(!t.dir.join("no-such-root").exists(), "it was made");
            Ok(())
        }),
        case("contract.list-skips-the-unreadable").checks("cli: list").steps(|t| {
            t.resident()?;
            let twin = t.twin("b", |s| s["process"]["args"] = json!([PROBE, "trap", "TERM"]))?;
            t.rt(&["run", "--detach", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?;
            let file = t.state_root().join(&twin.id).join("state.json");
            let good = fs::read(&file).context("no record that this suite knows")?;
            fs::write(&file, "{")?;
            let out = t.rt(&["list"]).run()?;
            fs::write(&file, good)?;
            let out = out.ok()?;
            ensure!(out.stdout.lines().any(|l| l.starts_with(&format!("{} ", t.id))), "{}", out.stdout);
            let said = out.stderr + &out.log;
            ensure!(said.contains(&twin.id), "nothing is said about the other: {said:?}");
            t.rt(&["delete", "--force", &twin.id]).run()?.ok()?;
            Ok(())
        }),
        case("contract.ps-arguments").checks("cli: ps ID ARGS").needs([Need::Program("ps")]).steps(|t| {
            let pid = t.resident()?;
            let out = t.verb("ps", &["-o", "pid,comm"])?.ok()?.stdout;
            let rows: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
            ensure!(rows.len() == 2 && rows[0] == ["PID", "COMMAND"], "{out:?}");
            ensure!(rows[1] == [pid.to_string().as_str(), "probe"], "{out:?}");
            // Rows cannot be told without the column of the pids.
            t.verb("ps", &["-o", "comm"])?.exits(1)?.fails()?;
            Ok(())
        }),
        case("contract.ps-of-all-states").checks("cli: ps -f json").probe(["trap", "TERM"]).steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            ensure!(t.ps()? == json!([pid]), "created: {}", t.ps()?);
            t.start()?;
            t.verb("pause", &[])?.ok()?;
            ensure!(t.ps()? == json!([pid]), "paused: {}", t.ps()?);
            Ok(())
        }),
        case("contract.log-record").checks("cli: --log-format json").steps(|t| {
            let out = t.verb("start", &[])?.exits(1)?;
            let line = out.log.lines().last().context("the log is empty")?;
            let r: Value = serde_json::from_str(line)?;
            ensure!(keys(&r).is_superset(&["level", "msg", "time"].into()), "{line}");
            let time = r["time"].as_str().unwrap_or("");
            ensure!(is_time(time) || time.len() == 25, "time is {time:?}");
            Ok(())
        }),
        case("contract.error-as-text").checks("cli: an error without --log").steps(|t| {
            t.works()?;
            let root = t.state_root().display().to_string();
            let out = t.bare(&["--root", &root, "state", "nobody"]).run()?.exits(1)?;
            ensure!(
                out.stderr.lines().count() == 1 && out.stdout.is_empty(),
                "{:?} {:?}",
                out.stderr,
                out.stdout
            );
            for part in ["time=\"", "level=error", "msg=\"", "does not exist"] {
                ensure!(out.stderr.contains(part), "no {part} in {:?}", out.stderr);
            }
            Ok(())
        }),
        case("contract.spec-mode").checks("cli: spec").steps(|t| {
            let dir = t.host_dir("new")?;
            t.rt(&["spec"]).dir(&dir).run()?.ok()?;
            let mode = fs::metadata(dir.join("config.json"))?.permissions().mode() & 0o7777;
            let mask = rustix::process::umask(rustix::fs::Mode::empty());
            rustix::process::umask(mask);
            ensure!(mode == 0o666 & !mask.bits(), "mode {mode:o}");
            Ok(())
        }),
    ]
}

fn kill() -> Vec<Case> {
    let all = "cli: kill --all";
    let three = "sleep 1000 & sleep 1000 & echo ready; wait";
    vec![
        case("contract.kill-all-of-the-stopped").checks(all).steps(|t| {
            stopped(t)?;
            let id = t.id.clone();
            for args in
                [vec!["kill", "--all", &id, "KILL"], vec!["kill", "-a", &id, "9"], vec!["kill", "-a", &id]]
            {
                t.rt(&args).run()?.ok()?;
            }
            t.verb("kill", &["KILL"])?.exits(1)?.fails()?.says("container not running")?;
            Ok(())
        }),
        case("contract.kill-all-of-nobody").checks(all).steps(|t| {
            t.works()?;
            t.rt(&["kill", "--all", "nobody", "KILL"]).run()?.exits(1)?.fails()?.says("does not exist")?;
            Ok(())
        }),
        case("contract.kill-leftovers").checks("cli: kill KILL without own pid namespace").sh(three).steps(
            |t| {
                // The first process is gone, others live on in the group: they can still be killed.
                base::no_namespace(&mut t.spec, "pid");
                t.run_detached()?;
                t.payload_says("ready")?;
                let pid = t.pid()?;
                os::kill(pid, libc::SIGKILL);
                t.ended(pid)?;
                t.is("stopped")?;
                let id = t.id.clone();
                t.rt(&["kill", "--all", &id, "KILL"]).run()?.ok()?;
                let seconds = t.seconds();
                wait_for(seconds, || Ok(Some(()).filter(|()| crate::oracle::children().is_empty())))
            },
        ),
        case("contract.kill-others-of-shared")
            .checks("cli: kill KILL without own pid namespace")
            .sh(three)
            .steps(|t| {
                base::no_namespace(&mut t.spec, "pid");
                t.run_detached()?;
                t.payload_says("ready")?;
                t.verb("kill", &["KILL"])?.ok()?;
                let seconds = t.seconds();
                wait_for(seconds, || Ok(Some(()).filter(|()| crate::oracle::children().is_empty())))
            }),
        case("contract.kill-cont-of-created").checks("runtime.md#kill").probe(["trap", "TERM"]).steps(|t| {
            // A signal that ends nothing reaches an init that has not begun, and changes nothing.
            t.create()?;
            t.verb("kill", &["CONT"])?.ok()?;
            t.is("created")
        }),
        case("contract.kill-frozen").checks("cli: kill KILL thaws").sh(three).steps(|t| {
            t.run_detached()?;
            t.payload_says("ready")?;
            let pid = t.pid()?;
            t.verb("pause", &[])?.ok()?;
            t.verb("kill", &["KILL"])?.ok()?;
            // Without a resume of ours.
            ensure!(t.ended(pid)? == 137, "not killed");
            t.is("stopped")
        }),
    ]
}

fn delete() -> Vec<Case> {
    vec![
        case("contract.delete-names-the-state").checks("cli: delete of a running container").steps(|t| {
            t.resident()?;
            t.verb("delete", &[])?.exits(1)?.fails()?.says("running")?;
            t.verb("pause", &[])?.ok()?;
            t.verb("delete", &[])?.exits(1)?.fails()?.says("paused")?;
            t.verb("resume", &[])?.ok()?;
            t.is("running")
        }),
        case("contract.delete-leftover-directory")
            .checks("cli: delete of a directory without a record")
            .steps(|t| {
                t.works()?;
                for (force, code) in [(false, 1), (true, 0)] {
                    let dir = t.host_dir(&format!("state/{}", t.id))?;
                    let id = t.id.clone();
                    let args = if force { vec!["delete", "--force", &id] } else { vec!["delete", &id] };
                    let out = t.rt(&args).run()?.exits(code)?;
                    ensure!(force || out.stderr.contains("does not exist"), "{}", out.stderr);
                    ensure!(!dir.exists(), "it stays");
                }
                Ok(())
            }),
        case("contract.delete-leftover-processes")
            .checks("cli: delete ends what is left in the cgroup")
            .sh("sleep 1000 & sleep 1000 & echo ready; wait")
            .steps(|t| {
                base::no_namespace(&mut t.spec, "pid");
                t.run_detached()?;
                t.payload_says("ready")?;
                let pid = t.pid()?;
                os::kill(pid, libc::SIGKILL);
                t.ended(pid)?;
                t.verb("delete", &[])?.ok()?;
                let seconds = t.seconds();
                wait_for(seconds, || Ok(Some(()).filter(|()| crate::oracle::children().is_empty())))
            }),
        case("contract.delete-force-of-all-states").checks("cli: delete --force").steps(|t| {
            for state in ["created", "running", "paused", "stopped"] {
                t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
                t.create()?;
                let pid = t.pid()?;
                if state != "created" {
                    t.start()?;
                }
                match state {
                    "paused" => drop(t.verb("pause", &[])?.ok()?),
                    "stopped" => {
                        t.verb("kill", &["KILL"])?.ok()?;
                        t.ended(pid)?;
                    }
                    _ => {}
                }
                t.is(state)?;
                t.remove()?;
                t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            }
            // Twice is fine.
            t.remove()?;
            Ok(())
        }),
        case("contract.delete-without-a-bundle").checks("cli: delete needs no bundle").steps(|t| {
            t.resident()?;
            let aside = t.dir.join("aside");
            fs::rename(&t.bundle, &aside)?;
            let out = t.remove();
            fs::rename(&aside, &t.bundle)?;
            out.map(|_| ())
        }),
    ]
}

/// What a verb answers in a state in which it cannot be done.
fn states() -> Vec<Case> {
    vec![
        case("contract.pause-twice").checks("cli: pause").steps(|t| {
            t.resident()?;
            t.verb("pause", &[])?.ok()?;
            t.verb("pause", &[])?.exits(1)?.fails()?;
            t.is("paused")?;
            t.verb("resume", &[])?.ok()?;
            t.verb("resume", &[])?.exits(1)?.fails()?;
            t.is("running")
        }),
        case("contract.start-paused").checks("cli: start").probe(["trap", "TERM"]).steps(|t| {
            t.create()?;
            t.verb("pause", &[])?.ok()?;
            t.verb("start", &[])?.exits(1)?.fails()?;
            t.verb("resume", &[])?.ok()?;
            t.start()?;
            t.payload_says("ready")?;
            t.is("running")
        }),
        case("contract.cgroup-frozen-refused")
            .checks("cli: container's cgroup unexpectedly frozen")
            .needs([Need::Busybox])
            .steps(|t| {
                t.works()?;
                // The tree that a runtime looks at differs on a host with both.
                let path =
                    t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/').to_string();
                let tops = [
                    (t.yard.host.v1.get("freezer").cloned(), "freezer.state", "FROZEN", "THAWED"),
                    (t.yard.host.v2.clone(), "cgroup.freeze", "1", "0"),
                ];
                let groups: Vec<_> = tops
                    .into_iter()
                    .filter_map(|(top, file, on, off)| Some((top?.join(&path), file, on, off)))
                    .collect();
                for (dir, file, on, _) in &groups {
                    fs::create_dir_all(dir)?;
                    fs::write(dir.join(file), on)?;
                }
                let out = t.try_create();
                for (dir, file, _, off) in &groups {
                    fs::write(dir.join(file), off)?;
                    fs::remove_dir(dir)?;
                }
                out?.exits(1)?.fails()?.says("container's cgroup unexpectedly frozen")?;
                Ok(())
            }),
    ]
}

fn sockets() -> Vec<Case> {
    let text = "cli: --pidfd-socket";
    /// The pid behind a received pidfd.
    fn pid_of(fd: &impl AsFd) -> Result<i32> {
        use std::os::fd::AsRawFd;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
        let line = info.lines().find_map(|l| l.strip_prefix("Pid:")).context("not a pidfd")?;
        Ok(line.trim().parse()?)
    }
    fn received(listener: &UnixListener, seconds: u64) -> Result<i32> {
        let within = Duration::from_secs(seconds);
        let stream = os::accept(listener, within)?;
        let (_, fds) = os::receive_fds(&stream, within)?;
        let [fd] = &fds[..] else { anyhow::bail!("{} descriptors", fds.len()) };
        pid_of(fd)
    }
    vec![
        case("contract.pidfd-of-init").checks(text).probe(["trap", "TERM"]).steps(|t| {
            let path = t.dir.join("pidfd.sock");
            let listener = UnixListener::bind(&path)?;
            t.flags = vec!["--pidfd-socket".into(), path.display().to_string()];
            t.create()?;
            let got = received(&listener, t.seconds())?;
            ensure!(got == t.pid()?, "the descriptor is of {got}, init is {}", t.pid()?);
            t.start()?;
            Ok(())
        }),
        case("contract.pidfd-of-run").checks(text).probe(["trap", "TERM"]).steps(|t| {
            let path = t.dir.join("pidfd.sock");
            let listener = UnixListener::bind(&path)?;
            t.flags = vec!["--pidfd-socket".into(), path.display().to_string()];
            t.run_detached()?;
            let got = received(&listener, t.seconds())?;
            ensure!(got == t.pid()?, "the descriptor is of {got}, init is {}", t.pid()?);
            Ok(())
        }),
        case("contract.pidfd-of-exec").checks(text).steps(|t| {
            t.resident()?;
            let path = t.dir.join("pidfd.sock");
            let listener = UnixListener::bind(&path)?;
            let file = t.dir.join("pid");
            t.exec_flags = vec![
                "--detach".into(),
                "--pidfd-socket".into(),
                path.display().to_string(),
                "--pid-file".into(),
                file.display().to_string(),
            ];
            t.exec_probe(&["trap", "TERM"])?.ok()?;
            let got = received(&listener, t.seconds())?;
            ensure!(got.to_string() == fs::read_to_string(&file)?, "the descriptor is of {got}");
            Ok(())
        }),
        case("contract.pidfd-socket-missing").checks(text).steps(|t| {
            t.works()?;
            t.flags = vec!["--pidfd-socket".into(), "/no/such/socket".into()];
            t.try_create()?.exits(1)?.fails()?;
            t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            Ok(())
        }),
        case("contract.exec-pid-file").checks("cli: exec --pid-file").steps(|t| {
            t.resident()?;
            let dir = t.host_dir("pids")?;
            let id = t.id.clone();
            // Relative to the caller, by rename, decimal, no newline.
            t.rt(&["exec", "--detach", "--pid-file", "pid", &id, PROBE, "trap", "TERM"])
                .dir(&dir)
                .run()?
                .ok()?;
            // A line end would be no number.
            let pid: i64 = fs::read_to_string(dir.join("pid"))?.parse()?;
            let pids = t.ps()?;
            ensure!(pids.as_array().is_some_and(|l| l.contains(&json!(pid))), "{pid}, {pids}");
            ensure!(crate::oracle::names(&dir) == ["pid"], "{:?}", crate::oracle::names(&dir));
            Ok(())
        }),
    ]
}

fn flags() -> Vec<Case> {
    let twice = "cli: a flag given twice";
    let wrong = "cli: a wrong value";
    vec![
        case("contract.twice-the-last-counts").checks(twice).probe(["trap", "TERM"]).steps(|t| {
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            t.rt(&["run", "--detach", "--bundle", "/no/such/bundle", "--bundle", &bundle, &id])
                .run()?
                .ok()?;
            let out = t.rt(&["list", "--format", "table", "--format=json"]).run()?.ok()?.json()?;
            ensure!(out[0]["id"] == t.id.as_str(), "{out}");
            t.rt(&["delete", "--force=false", "--force", &id]).run()?.ok()?;
            Ok(())
        }),
        case("contract.twice-adds-up").checks(twice).steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            let out =
                t.rt(&["exec", "-e", "A=1", "-e", "B=2", "-e", "A=3", &id, PROBE, "env"]).run()?.ok()?;
            let lines: Vec<&str> = out.stdout.lines().collect();
            ensure!(lines.contains(&"B=2") && lines.contains(&"A=3"), "{lines:?}");
            Ok(())
        }),
        case("contract.wrong-values").checks(wrong).steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            for args in [
                vec!["list", "-f", "xml"],
                vec!["ps", "-f", "xml", &id],
                vec!["list", "--quiet=maybe"],
                vec!["delete", "--force=perhaps", &id],
                vec!["kill", &id, "NOSUCH"],
                vec!["update", "--pids-limit", "many", &id],
                vec!["events", "--interval", "soon", &id],
                vec!["run", "--preserve-fds", "-1", "another"],
                vec!["create", "--bundle", "/no/such/bundle", "another"],
                vec!["create", "--bundle"],
                vec!["--rootless", "maybe", "create", "another"],
                vec!["--log-format", "xml", "state", &id],
            ] {
                t.rt(&args).run()?.exits(1)?.fails()?;
            }
            t.is("running")?;
            ensure!(!t.state_root().join("another").exists(), "something was made");
            Ok(())
        }),
        case("contract.too-many-arguments").checks("cli: arguments").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            for args in [
                vec!["state", &id, "more"],
                vec!["start", &id, "more"],
                vec!["delete", &id, "more"],
                vec!["delete", "--force", &id, "more"],
                vec!["pause", &id, "more"],
                vec!["kill", &id, "9", "more"],
                vec!["list", "more"],
                vec!["features", "more"],
                vec!["update", "--pids-limit", "5", &id, "more"],
                vec!["events", "--stats", &id, "more"],
            ] {
                t.rt(&args).run()?.exits(1)?.fails()?;
            }
            t.is("running")
        }),
        case("contract.bad-ids").checks("catalogue B100").steps(|t| {
            t.works()?;
            // What would be hit by an id that is a path.
            let precious = t.host_dir("precious")?;
            fs::write(precious.join("state.json"), "{}")?;
            for id in ["..", ".", "../precious", "a/b", "a b", "", "a\u{1b}[2J"] {
                for verb in ["state", "start", "kill", "delete", "ps", "pause", "resume", "update", "events"]
                {
                    let out = t.rt(&[verb, id]).run()?.exits(1)?.fails()?;
                    ensure!(
                        !out.stderr.contains('\u{1b}'),
                        "an escape sequence is printed: {:?}",
                        out.stderr
                    );
                }
                // Nothing is forced to go either.
                t.rt(&["delete", "--force", id]).run()?;
                ensure!(precious.join("state.json").is_file(), "delete --force {id:?} left the state root");
            }
            ensure!(t.state_root().is_dir(), "the state root is gone");
            Ok(())
        }),
        case("contract.no-subreaper")
            .checks("cli: run --no-subreaper, --keep, --no-pivot")
            .probe(["echo", "x"])
            .steps(|t| {
                t.flags = vec!["--no-subreaper".into(), "--keep".into()];
                t.run()?.ok()?.prints("x\n")?;
                t.is("stopped")?;
                t.remove()?;
                t.flags = vec!["--no-pivot".into(), "--no-new-keyring".into()];
                t.run()?.ok()?.prints("x\n")?;
                t.verb("state", &[])?.exits(1)?.says("does not exist")?;
                Ok(())
            }),
        case("contract.words-in-any-order").checks("cli: flags and words").probe(["trap", "TERM"]).steps(
            |t| {
                t.write_config()?;
                let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                t.rt(&["run", &id, "--detach", "--bundle", &bundle]).run()?.ok()?;
                t.is("running")
            },
        ),
    ]
}
