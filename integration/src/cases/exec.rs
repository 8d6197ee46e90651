//! `exec`: a second process of a container, which must be as the first in everything but what was asked.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::Need;
use crate::run::process_json;
use crate::trial::{Trial, wait_for};

mod options;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = basic();
    all.extend(flags());
    all.extend(process_file());
    all.extend(parity());
    all.extend(options::cases());
    all
}

/// A case that starts a resident container and goes on from there.
fn inside(name: &str, checks: &str, story: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Case {
    case(name).checks(checks).steps(move |t| {
        t.resident()?;
        story(t)
    })
}

fn basic() -> Vec<Case> {
    let exit = "cli: exit codes of exec";
    vec![
        case("exec.without-mount-namespace")
            .checks("catalogue S07: exec stays in the root")
            .spec(without_mounts)
            .steps(|t| {
                t.put("only-here", "", 0o644)?;
                t.resident()?;
                let out = t.exec_probe(&["ls", "/"])?.ok()?.stdout;
                ensure!(out.lines().any(|l| l == "only-here"), "exec sees another root: {out}");
                Ok(())
            }),
        inside("exec.output", exit, |t| {
            t.exec_probe(&["echo", "hi there"])?.ok()?.prints("hi there\n").map(drop)
        }),
        inside("exec.code-0", exit, |t| t.exec_probe(&["exit", "0"])?.exits(0).map(drop)),
        inside("exec.code-7", exit, |t| t.exec_probe(&["exit", "7"])?.exits(7).map(drop)),
        inside("exec.code-255", exit, |t| t.exec_probe(&["exit", "255"])?.exits(255).map(drop)),
        inside("exec.signal", exit, |t| t.exec_probe(&["crash", "abort", "0"])?.exits(134).map(drop)),
        inside("exec.not-pid-1", exit, |t| {
            let out = t.exec_probe(&["pid"])?.ok()?.stdout;
            ensure!(out.trim() != "1", "{out}");
            Ok(())
        }),
        inside("exec.no-such-program", "cli: texts of a missing program", |t| {
            let out = t.exec(&["/no/such/program"])?.exits(255)?.fails()?;
            let text = out.stderr;
            ensure!(
                text.contains("no such file or directory") || text.contains("executable file not found"),
                "{text}"
            );
            ensure!(text.contains("/no/such/program"), "{text}");
            Ok(())
        }),
        inside("exec.not-in-path", "cli: executable file not found in $PATH", |t| {
            let out = t.exec(&["nosuchprogram"])?.exits(255)?.fails()?;
            ensure!(out.stderr.contains("executable file not found in"), "{}", out.stderr);
            Ok(())
        }),
        inside("exec.not-executable", "cli: permission denied", |t| {
            t.put("plain", "text", 0o644)?;
            let out = t.exec(&["/plain"])?.exits(255)?.fails()?;
            ensure!(out.stderr.to_lowercase().contains("permission denied"), "{}", out.stderr);
            Ok(())
        }),
        case("exec.run-no-such-program")
            .checks("cli: texts of a missing program")
            .spec(|s| s["process"]["args"] = json!(["/no/such/program"]))
            .steps(|t| {
                let out = t.run()?.exits(1)?.fails()?;
                ensure!(
                    out.stderr.contains("no such file or directory")
                        || out.stderr.contains("executable file not found"),
                    "{}",
                    out.stderr
                );
                Ok(())
            }),
        case("exec.in-created").checks("cli: exec before start").probe(["echo", "later"]).steps(|t| {
            t.create()?;
            t.exec_probe(&["echo", "first"])?.ok()?.prints("first\n")?;
            t.is("created")
        }),
        inside("exec.stdin", exit, |t| {
            let id = t.id.clone();
            t.rt(&["exec", &id, "/bin/sh", "-c", "read x; echo got $x"])
                .stdin("seven\n")?
                .run()?
                .ok()?
                .prints("got seven\n")?;
            Ok(())
        }),
        inside("exec.many", exit, |t| {
            for n in 0..20 {
                t.exec_probe(&["echo", &n.to_string()])?.ok()?.prints(&format!("{n}\n"))?;
            }
            let left = t.ps()?;
            ensure!(left.as_array().is_some_and(|a| a.len() == 1), "{left}");
            Ok(())
        }),
    ]
}

fn flags() -> Vec<Case> {
    let cli = "cli: flags of exec";
    vec![
        inside("exec.env", cli, |t| {
            t.exec_flags = ["-e", "A=1", "-e", "B=two words"].map(String::from).to_vec();
            let out = t.exec_probe(&["env"])?.ok()?.stdout;
            ensure!(
                out.lines().any(|l| l == "A=1")
                    && out.lines().any(|l| l == "B=two words")
                    && out.contains("PATH="),
                "{out}"
            );
            Ok(())
        }),
        inside("exec.cwd", cli, |t| {
            t.exec_flags = ["--cwd", "/data"].map(String::from).to_vec();
            t.exec_probe(&["cwd"])?.ok()?.prints("/data\n")?;
            Ok(())
        }),
        inside("exec.user", cli, |t| {
            t.exec_flags = ["--user", "1000:1001"].map(String::from).to_vec();
            t.exec_probe(&["id"])?.ok()?.prints("uid=1000 gid=1001 groups=\n")?;
            t.exec_flags = ["-u", "1000"].map(String::from).to_vec();
            let out = t.exec_probe(&["id"])?.ok()?.stdout;
            ensure!(out.starts_with("uid=1000 gid="), "{out}");
            Ok(())
        }),
        inside("exec.additional-gids", cli, |t| {
            t.exec_flags = ["--additional-gids", "10", "--additional-gids", "20"].map(String::from).to_vec();
            t.exec_probe(&["id"])?.ok()?.prints("uid=0 gid=0 groups=10,20\n")?;
            Ok(())
        }),
        inside("exec.detach-pid-file", cli, |t| {
            let file = t.dir.join("pid");
            t.exec_flags = vec!["--detach".into(), "--pid-file".into(), file.display().to_string()];
            t.exec_probe(&["sleep", "100000"])?.ok()?;
            let pid: i32 = std::fs::read_to_string(&file)?.parse().context("not a bare number")?;
            // A detached exec may return a moment before the program is there.
            wait_for(t.seconds(), || {
                let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
                Ok((comm.trim() == "probe").then_some(()))
            })?;
            crate::os::kill(pid, libc::SIGTERM);
            let code = t.ended(pid)?;
            ensure!(code == 128 + libc::SIGTERM, "the exec'd process ended with {code}");
            Ok(())
        }),
        case("exec.cpu-affinity")
            .checks("config.md#linux-process execCPUAffinity")
            .needs([Need::TwoCpus])
            .steps(|t| {
                t.spec["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"});
                t.resident()?;
                t.exec_probe(&["affinity"])?.ok()?.prints("1\n")?;
                Ok(())
            }),
        case("exec.no-new-privs").checks(cli).spec(|s| s["process"]["noNewPrivileges"] = false.into()).steps(
            |t| {
                t.resident()?;
                let out = t.exec_probe(&["status"])?.ok()?.stdout;
                ensure!(out.contains("NoNewPrivs:\t0"), "{out}");
                t.exec_flags = vec!["--no-new-privs".into()];
                let out = t.exec_probe(&["status"])?.ok()?.stdout;
                ensure!(out.contains("NoNewPrivs:\t1"), "{out}");
                Ok(())
            },
        ),
        inside("exec.equals-form", cli, |t| {
            t.exec_flags = ["--cwd=/data", "--user=5:6", "--env=X=y"].map(String::from).to_vec();
            t.exec_probe(&["all", "cwd", "--", "id"])?.ok()?.prints("/data\nuid=5 gid=6 groups=\n")?;
            Ok(())
        }),
        inside("exec.flags-of-the-program-are-its-own", cli, |t| {
            t.exec_probe(&["argv", "--user", "x", "-e", "--help"])?
                .ok()?
                .prints("0 /probe\n1 argv\n2 --user\n3 x\n4 -e\n5 --help\n")?;
            Ok(())
        }),
        inside("exec.ignore-paused", cli, |t| {
            t.verb("pause", &[])?.ok()?;
            let id = t.id.clone();
            let waiting = t.rt(&["exec", "--ignore-paused", &id, PROBE, "echo", "late"]).spawn()?;
            std::thread::sleep(std::time::Duration::from_millis(100));
            ensure!(waiting.so_far().0.is_empty(), "it ran in a paused container");
            t.verb("resume", &[])?.ok()?;
            waiting.wait()?.ok()?.prints("late\n")?;
            Ok(())
        }),
        inside("exec.user-forms", "catalogue S41", |t| {
            for bad in ["1:", ":1", "1:1:1", "1a", "0x0", "-0", "+1", " 1", "root"] {
                t.exec_flags = vec![format!("--user={bad}")];
                let out = t.exec_probe(&["id"])?;
                ensure!(
                    out.code == Some(255),
                    "--user={bad:?} gave exit {:?}: {}",
                    out.code,
                    out.stdout.trim()
                );
            }
            Ok(())
        }),
    ]
}

fn process_file() -> Vec<Case> {
    let text = "cli: exec --process";
    vec![
        inside("exec.process-file", text, |t| {
            t.process = json!({
                "args": [PROBE, "all", "id", "--", "cwd", "--", "caps", "--", "umask"], "cwd": "/data", "env": ["ONLY=this"],
                "user": {"uid": 7, "gid": 8, "additionalGids": [9], "umask": 63},
                "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": []}
            });
            let out = t.exec_process()?.ok()?.stdout;
            ensure!(out.starts_with("uid=7 gid=8 groups=9\n/data\n"), "{out}");
            ensure!(out.contains("CapBnd: 0000000000000020") && out.ends_with("0077\n"), "{out}");
            Ok(())
        }),
        inside("exec.process-env-only", text, |t| {
            t.process = json!({"args": [PROBE, "env"], "cwd": "/", "env": ["ONLY=this"], "user": {"uid": 0, "gid": 0}});
            let out = t.exec_process()?.ok()?.stdout;
            let got: Vec<&str> = out.lines().filter(|l| !l.starts_with("HOME=")).collect();
            ensure!(got == ["ONLY=this"], "{got:?}");
            Ok(())
        }),
        inside("exec.process-rlimits", text, |t| {
            t.process = process_json(&t.spec, &[PROBE, "limits"]);
            t.process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
            let out = t.exec_process()?.ok()?.stdout;
            ensure!(out.contains("RLIMIT_NOFILE 100 200\n") && out.contains("RLIMIT_CORE 0 0\n"), "{out}");
            Ok(())
        }),
        inside("exec.process-oom-score", text, |t| {
            t.process = process_json(&t.spec, &[PROBE, "oom"]);
            t.process["oomScoreAdj"] = json!(700);
            t.exec_process()?.ok()?.prints("700\n")?;
            Ok(())
        }),
        inside("exec.process-scheduler", text, |t| {
            t.process = process_json(&t.spec, &[PROBE, "all", "sched", "--", "ioprio"]);
            t.process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 3});
            t.process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 7});
            let out = t.exec_process()?.ok()?.stdout;
            ensure!(
                out.contains("policy=SCHED_BATCH nice=3 ") && out.contains("class=IOPRIO_CLASS_BE level=7"),
                "{out}"
            );
            Ok(())
        }),
        inside("exec.process-detach", text, |t| {
            let file = t.dir.join("pid");
            t.process = process_json(&t.spec, &[PROBE, "trap", "TERM"]);
            t.exec_flags = vec!["--detach".into(), "--pid-file".into(), file.display().to_string()];
            t.exec_process()?.ok()?;
            let pid: i32 = std::fs::read_to_string(&file)?.parse()?;
            let both = t.ps()?;
            ensure!(both.as_array().is_some_and(|a| a.contains(&json!(pid)) && a.len() == 2), "{both}");
            Ok(())
        }),
    ]
}

/// Keys of the probe's posture that must differ or may differ between init and an exec.
const OWN: [&str; 4] = ["argv", "pids", "fds", "mounts"];

/// Without a mount namespace nothing but its root keeps a process in.
fn without_mounts(s: &mut Value) {
    s["mounts"] = json!([]);
    s["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}]);
    for key in ["maskedPaths", "readonlyPaths"] {
        s["linux"][key] = json!([]);
    }
}

fn parity() -> Vec<Case> {
    let text = "DESIGN: exec has parity with init";
    let compare = |name: &str, edit: fn(&mut Value)| {
        case(format!("parity.{name}")).checks(text).spec(edit).steps(|t| {
            let posture = |text: &str| -> Result<Value> {
                serde_json::from_str(text).with_context(|| format!("posture is {text:?}"))
            };
            t.spec["process"]["args"] = json!([PROBE, "all", "posture", "--", "trap", "TERM"]);
            t.run_detached()?;
            let text = t.payload_says("ready")?;
            let init = posture(text.rsplit_once("ready").map_or("", |x| x.0))?;
            let plain = posture(&t.exec_probe(&["posture"])?.ok()?.stdout)?;
            t.process = process_json(&t.spec, &[PROBE, "posture"]);
            let file = posture(&t.exec_process()?.ok()?.stdout)?;
            same("exec ARGS", &init, &plain)?;
            same("exec --process", &init, &file)
        })
    };
    vec![
        compare("base", |_| {}),
        compare("other-user", |s| {
            s["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 63});
            s["process"]["cwd"] = "/data".into();
        }),
        compare("capabilities", |s| {
            s["process"]["user"] = json!({"uid": 1000, "gid": 1001});
            let one = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
            s["process"]["capabilities"] = json!({"bounding": one, "effective": one, "permitted": one, "inheritable": one, "ambient": one});
        }),
        compare("seccomp", |s| {
            s["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]});
            s["process"]["noNewPrivileges"] = false.into();
        }),
        compare("oom-score", |s| s["process"]["oomScoreAdj"] = 321.into()),
        compare("cpus", |s| s["linux"]["resources"]["cpu"] = json!({"cpus": "0"}))
            .needs([Need::CgroupAny("cpuset")]),
        compare("namespaces", |s| {
            base::namespace(s, "cgroup", None);
            s["hostname"] = "parity".into();
        }),
    ]
}

/// Compares two postures key by key.
fn same(how: &str, init: &Value, other: &Value) -> Result<()> {
    let Some(map) = init.as_object() else { bail!("posture is no object") };
    let differ: Vec<String> = map
        .iter()
        .filter(|(k, v)| !OWN.contains(&k.as_str()) && other[k.as_str()] != **v)
        .map(|(k, v)| format!("{k}: init {v}, exec {}", other[k.as_str()]))
        .collect();
    ensure!(differ.is_empty(), "{how} differs from init: {}", differ.join("; "));
    let (a, b) =
        (init["mounts"].as_array().map_or(0, Vec::len), other["mounts"].as_array().map_or(0, Vec::len));
    ensure!(a == b, "{how} sees {b} mounts, init {a}");
    Ok(())
}
