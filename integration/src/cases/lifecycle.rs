//! Life of a container as callers see it: create, start, run, state, kill, delete, list, ps, pause.
//! Exit codes and the texts that engines match.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::trial::{Trial, wait_for};

const LIFE: &str = "runtime.md#lifecycle";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = basic();
    all.extend(exit_codes());
    all.extend(kill());
    all.extend(delete());
    all.extend(texts());
    all.extend(listing());
    all.extend(freezing());
    all
}

fn basic() -> Vec<Case> {
    vec![
        case("life.create-does-not-run").checks(LIFE).probe(["echo", "ran"]).steps(|t| {
            t.create()?;
            t.is("created")?;
            ensure!(t.payload().is_empty(), "the program ran before start: {:?}", t.payload());
            let pid = t.pid()?;
            t.start()?;
            ensure!(t.ended(pid)? == 0, "the program failed");
            ensure!(t.payload() == "ran\n", "the program printed {:?}", t.payload());
            t.is("stopped")?;
            t.verb("delete", &[])?.ok()?;
            Ok(())
        }),
        case("life.state-fields")
            .checks("runtime.md#state")
            .spec(|s| s["annotations"] = json!({"a.b": "c d"}))
            .steps(|t| {
                t.create()?;
                let s = t.state()?;
                let pid = s["pid"].as_i64().context("pid")?;
                ensure!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "no process {pid}");
                ensure!(s["id"] == *t.id, "id is {}", s["id"]);
                ensure!(s["status"] == "created", "status is {}", s["status"]);
                ensure!(s["bundle"] == *t.bundle.display().to_string(), "bundle is {}", s["bundle"]);
                ensure!(s["annotations"]["a.b"] == "c d", "annotations are {}", s["annotations"]);
                let version = s["ociVersion"].as_str().unwrap_or("");
                ensure!(version.starts_with("1."), "ociVersion is {version:?}");
                let created = s["created"].as_str().unwrap_or("");
                ensure!(
                    created.len() >= 20 && created.contains('T') && created.ends_with('Z'),
                    "created: {created:?}"
                );
                Ok(())
            }),
        case("life.state-rootfs").checks("cli: state").steps(|t| {
            t.create()?;
            let root = t.rootfs().display().to_string();
            let s = t.state()?;
            ensure!(s["rootfs"] == *root, "rootfs is {}, want {root}", s["rootfs"]);
            ensure!(s["owner"] == "", "owner in state is {}", s["owner"]);
            Ok(())
        }),
        case("life.stopped-pid-zero").checks("cli: state").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            let s = t.state()?;
            ensure!(s["status"] == "stopped" && s["pid"] == 0, "stopped state: {s}");
            Ok(())
        }),
        case("life.running").checks(LIFE).steps(|t| {
            t.resident()?;
            t.is("running")
        }),
        case("life.run-leaves-nothing").checks("cli: run").probe(["echo", "x"]).steps(|t| {
            t.run()?.ok()?.prints("x\n")?;
            t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            Ok(())
        }),
        case("life.run-keep").checks("cli: run --keep").steps(|t| {
            t.flags.push("--keep".into());
            t.run()?.ok()?;
            t.is("stopped")?;
            t.verb("delete", &[])?.ok()?;
            Ok(())
        }),
        case("life.run-detach").checks("cli: run --detach").probe(["trap", "TERM"]).steps(|t| {
            t.run_detached()?;
            t.payload_says("ready")?;
            t.is("running")
        }),
        case("life.run-stdin").checks("cli: run").sh("read x; echo got $x").steps(|t| {
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            t.rt(&["run", "--bundle", &bundle, &id]).stdin("seven\n")?.run()?.ok()?.prints("got seven\n")?;
            Ok(())
        }),
        case("life.run-stderr-apart").checks("cli: run").sh("echo out; echo err >&2").steps(|t| {
            let out = t.run()?.ok()?.prints("out\n")?;
            ensure!(out.stderr == "err\n", "stderr is {:?}", out.stderr);
            Ok(())
        }),
        case("life.bundle-is-cwd").checks("cli: --bundle").probe(["echo", "here"]).steps(|t| {
            t.write_config()?;
            let (bundle, id) = (t.bundle.clone(), t.id.clone());
            t.rt(&["run", &id]).dir(&bundle).run()?.ok()?.prints("here\n")?;
            Ok(())
        }),
        case("life.config-frozen-at-create").checks("runtime.md#lifecycle step 2").probe(["hostname"]).steps(
            |t| {
                t.create()?;
                let pid = t.pid()?;
                t.spec["hostname"] = "changed-later".into();
                t.write_config()?;
                t.start()?;
                t.ended(pid)?;
                ensure!(t.payload() == "conformance\n", "it printed {:?}", t.payload());
                Ok(())
            },
        ),
        case("life.two-at-once").checks(LIFE).steps(|t| {
            let one = t.resident()?;
            let twin = t.twin("b", |s| s["process"]["args"] = json!([PROBE, "trap", "TERM"]))?;
            t.rt(&["run", "--detach", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?;
            let s = t.rt(&["state", &twin.id]).run()?.ok()?.json()?;
            ensure!(s["status"] == "running" && s["pid"] != one, "the second: {s}");
            t.remove()?;
            let s = t.rt(&["state", &twin.id]).run()?.ok()?.json()?;
            ensure!(s["status"] == "running", "the second after the first was removed: {s}");
            Ok(())
        }),
        case("life.restart-same-id").checks(LIFE).probe(["echo", "again"]).steps(|t| {
            for _ in 0..3 {
                t.run()?.ok()?.prints("again\n")?;
            }
            Ok(())
        }),
    ]
}

fn exit_codes() -> Vec<Case> {
    let mut all: Vec<Case> = [1, 42, 125, 127, 255]
        .into_iter()
        .map(|n: i32| {
            case(format!("exit.code-{n}"))
                .checks("cli: exit codes")
                .probe(["all", "echo", "x", "--", "exit", &n.to_string()])
                .stdout("x\n")
                .exit(n)
        })
        .collect();
    all.extend([
        case("exit.segv")
            .checks("cli: exit 128+signal")
            .probe(["crash", "segv", "0"])
            .exit(139)
            .line("something is about to go wrong"),
        // Process 1 of a pid namespace survives its own abort signal, so this one lives in the host's.
        case("exit.abort")
            .checks("cli: exit 128+signal")
            .probe(["crash", "abort", "0"])
            .spec(|s| base::no_namespace(s, "pid"))
            .exit(134)
            .line("something is about to go wrong"),
        case("exit.run-killed").checks("cli: exit 128+signal").probe(["trap", "TERM"]).steps(|t| {
            let run = t.run_background()?;
            wait_for(t.seconds(), || Ok(run.so_far().0.contains("ready").then_some(())))?;
            t.verb("kill", &["KILL"])?.ok()?;
            run.wait()?.exits(137)?;
            Ok(())
        }),
        case("exit.run-forwards-signals")
            .checks("cli: run forwards signals")
            .probe(["trap", "TERM", "USR1"])
            .steps(|t| {
                let run = t.run_background()?;
                wait_for(t.seconds(), || Ok(run.so_far().0.contains("ready").then_some(())))?;
                crate::os::kill(run.pid() as i32, libc::SIGUSR1);
                run.wait()?.exits(0)?.prints("ready\nSIGUSR1\n")?;
                Ok(())
            }),
        case("exit.detached-killed").checks("runtime.md#kill").steps(|t| {
            let pid = t.resident()?;
            t.verb("kill", &["KILL"])?.ok()?;
            let code = t.ended(pid)?;
            ensure!(code == 137, "init ended with {code}, want 137");
            Ok(())
        }),
    ]);
    all
}

fn kill() -> Vec<Case> {
    let mut all: Vec<Case> = ["SIGUSR1", "USR1", "usr1", "sigusr1", "10"]
        .into_iter()
        .map(|word| {
            case(format!("kill.signal-{word}")).checks("cli: kill ID SIGNAL").steps(move |t| {
                t.spec["process"]["args"] = json!([PROBE, "trap", "USR1", "TERM"]);
                t.run_detached()?;
                t.payload_says("ready")?;
                t.verb("kill", &[word])?.ok()?;
                t.payload_says("SIGUSR1")?;
                Ok(())
            })
        })
        .collect();
    all.extend(["FOO", "65", "-9", "9x", "SIGSIGKILL"].into_iter().map(|word| {
        case(format!("kill.bad-signal-{word}")).checks("catalogue B108").steps(move |t| {
            t.resident()?;
            let id = t.id.clone();
            let out = t.rt(&["kill", &id, "--", word]).run()?;
            // Parsers differ in what they make of `--`; the plain form is the contract.
            let plain = t.verb("kill", &[word])?;
            for o in [out, plain] {
                o.fails()?;
            }
            t.is("running")
        })
    }));
    all.extend([
        case("kill.zero-asks").checks("cli: kill ID 0").steps(|t| {
            t.create()?;
            t.verb("kill", &["0"])?.ok()?;
            t.is("created")?;
            t.remove()?;
            let pid = t.resident()?;
            t.verb("kill", &["0"])?.ok()?;
            t.verb("pause", &[])?.ok()?;
            t.verb("kill", &["0"])?.ok()?;
            t.verb("resume", &[])?.ok()?;
            // Nothing has come of it.
            ensure!(t.payload() == "ready\n", "{:?}", t.payload());
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            t.verb("kill", &["0"])?.exits(1)?.fails()?.says("container not running")?;
            Ok(())
        }),
        case("kill.default-is-term").checks("cli: kill ID").steps(|t| {
            t.resident()?;
            t.verb("kill", &[])?.ok()?;
            t.payload_says("SIGTERM")?;
            Ok(())
        }),
        case("kill.created").checks("runtime.md#kill").probe(["echo", "ran"]).steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.verb("kill", &["KILL"])?.ok()?;
            ensure!(t.ended(pid)? == 137, "not killed");
            t.is("stopped")?;
            ensure!(t.payload().is_empty(), "the program ran: {:?}", t.payload());
            Ok(())
        }),
        case("kill.all-processes")
            .checks("cli: kill --all")
            .sh("sleep 1000 & sleep 1000 & echo ready; wait")
            .steps(|t| {
                t.spec_shares_pids();
                t.run_detached()?;
                t.payload_says("ready")?;
                let id = t.id.clone();
                let count =
                    |t: &mut Trial<'_>| -> Result<usize> { Ok(t.ps()?.as_array().map_or(0, Vec::len)) };
                ensure!(count(t)? == 3, "want three processes");
                t.rt(&["kill", "--all", &id, "KILL"]).run()?.ok()?;
                wait_for(t.seconds(), || Ok((t.status()? == "stopped").then_some(())))?;
                ensure!(crate::oracle::children().is_empty(), "left: {:?}", crate::oracle::children());
                Ok(())
            }),
        case("kill.shared-pid-namespace")
            .checks("cli: kill KILL without own pid namespace")
            .sh("sleep 1000 & sleep 1000 & echo ready; wait")
            .steps(|t| {
                t.spec_shares_pids();
                t.run_detached()?;
                t.payload_says("ready")?;
                t.remove()?;
                ensure!(crate::oracle::children().is_empty(), "left: {:?}", crate::oracle::children());
                Ok(())
            }),
        case("kill.ignores-term").checks("runtime.md#kill").probe(["ignore-term"]).steps(|t| {
            t.run_detached()?;
            t.payload_says("ready")?;
            let pid = t.pid()?;
            t.verb("kill", &["TERM"])?.ok()?;
            t.is("running")?;
            t.verb("kill", &["KILL"])?.ok()?;
            ensure!(t.ended(pid)? == 137, "not killed");
            Ok(())
        }),
    ]);
    all
}

impl Trial<'_> {
    /// Lets the container live in the host's pid namespace.
    fn spec_shares_pids(&mut self) {
        base::no_namespace(&mut self.spec, "pid");
    }
}

fn delete() -> Vec<Case> {
    vec![
        case("delete.stopped").checks("runtime.md#delete").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            t.verb("delete", &[])?.ok()?;
            t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            Ok(())
        }),
        case("delete.created").checks("cli: delete of a created container").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.verb("delete", &[])?.ok()?;
            ensure!(t.ended(pid)? == 137, "init was not killed");
            Ok(())
        }),
        case("delete.running-refused").checks("runtime.md#delete").steps(|t| {
            t.resident()?;
            t.verb("delete", &[])?.exits(1)?.fails()?;
            t.is("running")
        }),
        case("delete.force-running").checks("cli: delete --force").steps(|t| {
            let pid = t.resident()?;
            t.remove()?;
            ensure!(t.ended(pid)? == 137, "init was not killed");
            t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            Ok(())
        }),
        case("delete.force-paused").checks("cli: delete --force").steps(|t| {
            t.resident()?;
            t.verb("pause", &[])?.ok()?;
            t.remove()?;
            Ok(())
        }),
        case("delete.force-after-and-short").checks("cli: -f").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            t.rt(&["delete", "-f", &id]).run()?.ok()?;
            Ok(())
        }),
        case("delete.unknown").checks("cli: does not exist").steps(|t| {
            t.verb("delete", &[])?.exits(1)?.says("does not exist")?;
            Ok(())
        }),
        case("delete.force-unknown").checks("cli: delete --force of an unknown id").steps(|t| {
            t.works()?;
            let id = t.id.clone();
            t.rt(&["delete", "--force", &id]).run()?.ok()?;
            Ok(())
        }),
        case("delete.with-execs").checks("cli: delete --force").steps(|t| {
            t.resident()?;
            t.exec_flags.push("--detach".into());
            for _ in 0..3 {
                t.exec_probe(&["trap", "TERM"])?.ok()?;
            }
            t.remove()?;
            Ok(())
        }),
    ]
}

fn texts() -> Vec<Case> {
    let mut all: Vec<Case> = ["state", "start", "kill", "ps", "pause", "resume"]
        .into_iter()
        .map(|verb| {
            case(format!("unknown.{verb}")).checks("cli: does not exist").steps(move |t| {
                let out = t.verb(verb, &[])?.exits(1)?.fails()?.says("does not exist")?;
                let records = out.log_errors();
                ensure!(
                    records.last().is_some_and(|m| m.contains("does not exist")),
                    "the log says {records:?}"
                );
                Ok(())
            })
        })
        .collect();
    all.extend([
        case("unknown.exec").checks("cli: exit 255").steps(|t| {
            t.exec(&["true"])?.exits(255)?.fails()?.says("does not exist")?;
            Ok(())
        }),
        case("wrong.kill-stopped").checks("cli: container not running").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            t.verb("kill", &["TERM"])?.exits(1)?.says("container not running")?;
            Ok(())
        }),
        case("wrong.start-twice").checks("runtime.md#start").steps(|t| {
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.create()?;
            t.start()?;
            t.verb("start", &[])?.exits(1)?.fails()?;
            t.is("running")
        }),
        case("wrong.start-stopped").checks("runtime.md#start").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            t.verb("start", &[])?.exits(1)?.fails()?;
            Ok(())
        }),
        case("wrong.id-taken").checks("runtime.md#create").steps(|t| {
            let pid = t.resident()?;
            t.try_create()?.exits(1)?.fails()?;
            t.is("running")?;
            ensure!(t.pid()? == pid, "another process");
            Ok(())
        }),
        case("wrong.exec-stopped").checks("cli: exit 255").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            t.exec_probe(&["true"])?.exits(255)?.fails()?;
            Ok(())
        }),
        case("wrong.exec-paused").checks("cli: cannot exec in a paused container").steps(|t| {
            t.resident()?;
            t.verb("pause", &[])?.ok()?;
            t.exec_probe(&["true"])?.exits(255)?.says("cannot exec in a paused container")?;
            t.verb("resume", &[])?.ok()?;
            t.exec_probe(&["true"])?.ok()?;
            Ok(())
        }),
        case("wrong.resume-running").checks("cli: resume").steps(|t| {
            t.resident()?;
            t.verb("resume", &[])?.exits(1)?.fails()?;
            t.is("running")
        }),
        case("wrong.pause-stopped").checks("cli: pause").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            t.verb("pause", &[])?.exits(1)?.fails()?;
            Ok(())
        }),
        case("wrong.command").checks("cli: unknown command").steps(|t| {
            t.works()?;
            for args in [vec!["frobnicate"], vec!["frobnicate", "--help"], vec!["help", "frobnicate"]] {
                t.rt(&args).run()?.exits(3)?.fails()?.says("No help topic for 'frobnicate'")?;
            }
            Ok(())
        }),
        case("wrong.flag").checks("cli: unknown flag").steps(|t| {
            t.works()?;
            t.rt(&["list", "--frobnicate"]).run()?.fails()?;
            Ok(())
        }),
        case("wrong.missing-id").checks("cli: arguments").steps(|t| {
            t.works()?;
            for verb in ["create", "start", "run", "state", "kill", "delete", "exec", "ps", "pause", "resume"]
            {
                t.rt(&[verb]).run()?.fails()?;
            }
            Ok(())
        }),
    ]);
    all.extend(
        [
            ("dotdot", ".."),
            ("slash", "a/b"),
            ("space", "a b"),
            ("empty", ""),
            ("escape", "a\u{1b}[2J"),
            ("umlaut", "\u{e4}"),
            ("dot", "."),
        ]
        .into_iter()
        .map(|(name, id)| {
            case(format!("id.{name}")).checks("catalogue B100").steps(move |t| {
                t.works()?;
                t.write_config()?;
                let bundle = t.bundle.display().to_string();
                let out = t.rt(&["run", "--bundle", &bundle, id]).run()?.fails()?;
                ensure!(!out.stderr.contains('\u{1b}'), "an escape sequence is printed: {:?}", out.stderr);
                Ok(())
            })
        }),
    );
    all.push(case("id.allowed-characters").checks("catalogue B100").probe(["echo", "x"]).steps(|t| {
        t.write_config()?;
        let (bundle, id) = (t.bundle.display().to_string(), format!("{}_A+.-z9", t.id));
        t.rt(&["run", "--bundle", &bundle, &id]).run()?.ok()?.prints("x\n")?;
        Ok(())
    }));
    all
}

fn listing() -> Vec<Case> {
    vec![
        case("list.json").checks("cli: list -f json").steps(|t| {
            let pid = t.resident()?;
            let all = t.rt(&["list", "--format", "json"]).run()?.ok()?.json()?;
            let [one] = all.as_array().map(Vec::as_slice).unwrap_or_default() else {
                anyhow::bail!("want one container, got {all}")
            };
            ensure!(one["id"] == *t.id && one["pid"] == pid && one["status"] == "running", "{one}");
            ensure!(one["bundle"] == *t.bundle.display().to_string(), "{one}");
            ensure!(one["owner"] == "root", "owner is {}", one["owner"]);
            Ok(())
        }),
        case("list.table").checks("cli: list").steps(|t| {
            let pid = t.resident()?.to_string();
            let out = t.rt(&["list"]).run()?.ok()?.stdout;
            let rows: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
            ensure!(rows.len() == 2, "{out}");
            ensure!(rows[0] == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], "{out}");
            ensure!(rows[1][..3] == [t.id.as_str(), &pid, "running"], "{out}");
            Ok(())
        }),
        case("list.quiet").checks("cli: list -q").steps(|t| {
            t.create()?;
            let want = format!("{}\n", t.id);
            t.rt(&["list", "-q"]).run()?.ok()?.prints(&want)?;
            Ok(())
        }),
        case("list.empty").checks("cli: list").steps(|t| {
            t.host_dir("state")?;
            t.rt(&["list", "-q"]).run()?.ok()?.prints("")?;
            let got = t.rt(&["list", "-f", "json"]).run()?.ok()?.json()?;
            ensure!(got.is_null() || got == json!([]), "{got}");
            Ok(())
        }),
        case("list.alien-entries").checks("catalogue B106").steps(|t| {
            t.create()?;
            std::fs::create_dir(t.state_root().join("alien"))?;
            let out = t.rt(&["list", "-q"]).run()?.ok()?.stdout;
            std::fs::remove_dir(t.state_root().join("alien"))?;
            ensure!(out.lines().any(|l| l == t.id), "{out:?}");
            Ok(())
        }),
        case("ps.json").checks("cli: ps -f json").steps(|t| {
            let pid = t.resident()?;
            let got = t.ps()?;
            ensure!(got == json!([pid]), "{got}, want [{pid}]");
            let id = t.id.clone();
            let got = t.rt(&["ps", "-f", "json", &id]).run()?.ok()?.json()?;
            ensure!(got == json!([pid]), "{got}, want [{pid}]");
            Ok(())
        }),
        case("ps.sees-exec").checks("cli: ps").steps(|t| {
            t.resident()?;
            t.exec_flags.push("--detach".into());
            t.exec_probe(&["trap", "TERM"])?.ok()?;
            let got = t.ps()?;
            ensure!(got.as_array().is_some_and(|a| a.len() == 2), "{got}");
            Ok(())
        }),
        case("ps.table").checks("cli: ps").needs([crate::host::Need::Program("ps")]).steps(|t| {
            let pid = t.resident()?;
            let out = t.verb("ps", &[])?.ok()?.stdout;
            ensure!(out.lines().count() == 2, "{out:?}");
            ensure!(out.lines().next().is_some_and(|l| l.contains("PID")), "{out:?}");
            ensure!(out.contains(&pid.to_string()), "{out:?}");
            Ok(())
        }),
        case("ps.stopped").checks("cli: ps of a stopped container").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            let got = t.ps()?;
            ensure!(got.is_null() || got == json!([]), "{got}");
            Ok(())
        }),
    ]
}

fn freezing() -> Vec<Case> {
    vec![
        case("pause.status").checks("cli: pause, resume").steps(|t| {
            t.resident()?;
            t.verb("pause", &[])?.ok()?;
            t.is("paused")?;
            t.verb("resume", &[])?.ok()?;
            t.is("running")
        }),
        case("pause.stops-the-program")
            .checks("cli: pause")
            .sh("i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")
            .steps(|t| {
                t.run_detached()?;
                t.payload_says("3\n")?;
                t.verb("pause", &[])?.ok()?;
                let before = t.payload();
                std::thread::sleep(std::time::Duration::from_millis(100));
                ensure!(t.payload() == before, "it goes on while paused");
                t.verb("resume", &[])?.ok()?;
                wait_for(t.seconds(), || Ok((t.payload() != before).then_some(())))?;
                Ok(())
            }),
        case("pause.frozen-on-host").checks("cli: pause").needs([crate::host::Need::Root]).steps(|t| {
            t.resident()?;
            t.verb("pause", &[])?.ok()?;
            // On a host with both, either tree may do the freezing.
            let path =
                t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/').to_string();
            let read = |top: Option<&std::path::PathBuf>, file: &str| {
                top.and_then(|top| std::fs::read_to_string(top.join(&path).join(file)).ok())
                    .unwrap_or_default()
            };
            let v1 = read(t.yard.host.v1.get("freezer"), "freezer.state");
            let v2 = read(t.yard.host.v2.as_ref(), "cgroup.events");
            ensure!(
                v1.trim() == "FROZEN" || v2.contains("frozen 1"),
                "freezer.state {v1:?}, cgroup.events {v2:?}"
            );
            Ok(())
        }),
        case("pause.kill-paused").checks("cli: kill of a paused container").steps(|t| {
            let pid = t.resident()?;
            t.verb("pause", &[])?.ok()?;
            t.verb("kill", &["KILL"])?.ok()?;
            let _ = t.verb("resume", &[])?;
            ensure!(t.ended(pid)? == 137, "not killed");
            Ok(())
        }),
    ]
}
