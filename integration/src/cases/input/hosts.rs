//! What a good config.json names and the bundle, the host or the command line does not have; and odd values that are accepted.

use std::fs;
use std::os::unix::net::UnixListener;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, mknodat};
use serde_json::{Value, json};

use crate::base::{self, PROBE, merge};
use crate::case::{Case, case};
use crate::trial::Trial;

pub fn cases() -> Vec<Case> {
    let mut all = programs();
    all.extend(hosts());
    all.extend(accepted());
    all.extend(exec());
    all
}

fn programs() -> Vec<Case> {
    let program =
        |id: &str, what: &str, prepare: fn(&Trial<'_>) -> Result<()>, path: &'static str, text: &str| {
            case(format!("input.{id}-{what}"))
                .checks(format!("catalogue {id}"))
                .fault(move |t| {
                    prepare(t)?;
                    t.spec["process"]["args"] = json!([path]);
                    Ok(())
                })
                .refused("/process/args/0", text)
        };
    vec![
        program("B032", "program-missing", |_| Ok(()), "/no/such/program", "no such file or directory"),
        program("B032", "program-not-in-path", |_| Ok(()), "nosuchprogram", "executable file not found in"),
        program(
            "B032",
            "program-not-executable",
            |t| t.put("plain", "text", 0o644).map(drop),
            "/plain",
            "ermission denied",
        ),
        program("B032", "program-is-directory", |t| t.put_dir("adir").map(drop), "/adir", "/adir"),
        program(
            "B032",
            "program-no-format",
            |t| t.put("plain", "neither ELF nor script\n", 0o755).map(drop),
            "/plain",
            "xec format error",
        ),
        program(
            "B032",
            "script-without-interpreter",
            |t| t.put("script", "#!/no/such/shell\n", 0o755).map(drop),
            "/script",
            "no such file or directory",
        ),
        case("input.B034-cwd-is-file")
            .checks("catalogue B034")
            .wrong(|s| s["process"]["cwd"] = "/etc/marker".into())
            .refused("/process/cwd", "/etc/marker"),
        case("input.B035-cwd-outside")
            .checks("catalogue B035")
            .wrong(|s| s["process"]["cwd"] = "/proc/self/fd/7".into())
            .refused("/process/cwd", "no such file"),
        case("input.B072-proc-on-link")
            .checks("catalogue B072")
            .fault(|t| {
                fs::remove_dir(t.rootfs().join("proc"))?;
                t.put_dir("elsewhere")?;
                t.put_link("proc", "/elsewhere")
            })
            .refused("/mounts/0", "must be mounted on ordinary directory"),
        case("input.B072-sys-on-link")
            .checks("catalogue B072")
            .fault(|t| {
                fs::remove_dir(t.rootfs().join("sys"))?;
                t.put_dir("elsewhere")?;
                t.put_link("sys", "elsewhere")
            })
            .refused("/mounts/5", "must be mounted on ordinary directory"),
    ]
}

fn hosts() -> Vec<Case> {
    vec![
        case("input.B048-create-terminal-without-socket").checks("catalogue B048").steps(|t| {
            t.try_create()?.ok()?;
            t.remove()?;
            t.spec["process"]["terminal"] = true.into();
            let out = t.try_create()?.exits(1)?.fails()?;
            ensure!(
                out.stderr.contains("console socket") || out.stderr.contains("console-socket"),
                "{}",
                out.stderr
            );
            Ok(())
        }),
        case("input.B048-socket-without-terminal").checks("catalogue B048").steps(|t| {
            let path = t.dir.join("c.sock");
            let _listener = UnixListener::bind(&path)?;
            t.flags = vec!["--console-socket".into(), path.display().to_string()];
            let out = t.try_create()?.exits(1)?.fails()?;
            ensure!(out.stderr.contains("terminal") || out.stderr.contains("console"), "{}", out.stderr);
            Ok(())
        }),
        case("input.B112-console-socket-missing").checks("catalogue B112").steps(|t| {
            t.spec["process"]["terminal"] = true.into();
            t.flags = vec!["--console-socket".into(), t.dir.join("nobody.sock").display().to_string()];
            let out = t.try_create()?.exits(1)?.fails()?;
            ensure!(
                out.stderr.contains("nobody.sock") || out.stderr.contains("no such file"),
                "{}",
                out.stderr
            );
            Ok(())
        }),
        case("input.B077-cgroup-dotdot")
            .checks("catalogue B077")
            .fault(|t| {
                t.spec["linux"]["cgroupsPath"] = format!("/{}/x/../y", t.yard.cgroup).into();
                Ok(())
            })
            .refused("/linux/cgroupsPath", ".."),
        case("input.B077-cgroup-name-256")
            .checks("catalogue B077")
            .fault(|t| {
                t.spec["linux"]["cgroupsPath"] = format!("/{}/{}", t.yard.cgroup, "a".repeat(256)).into();
                Ok(())
            })
            .refused("/linux/cgroupsPath", "too long"),
        case("input.B054-path-is-fifo")
            .checks("catalogue B054")
            .fault(|t| {
                let path = t.dir.join("fifo");
                mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0)?;
                base::namespace(&mut t.spec, "uts", Some(&path.display().to_string()));
                Ok(())
            })
            .refused("/linux/namespaces/4/path", "fifo"),
    ]
}

/// Inputs that look odd and are fine.
fn accepted() -> Vec<Case> {
    vec![
        case("input.B025-root-with-dotdot")
            .checks("catalogue B025")
            .probe(["cat", "/etc/marker"])
            .spec(|s| s["root"]["path"] = "rootfs/../rootfs/./".into())
            .stdout("marker\n"),
        case("input.B025-root-with-newline")
            .checks("catalogue B025")
            .probe(["cat", "/etc/marker"])
            .prepare(|t| {
                fs::rename(t.rootfs(), t.bundle.join("a\nb"))?;
                t.spec["root"]["path"] = "a\nb".into();
                Ok(())
            })
            .stdout("marker\n"),
        case("input.B025-root-too-long")
            .checks("catalogue B025")
            .wrong(|s| s["root"]["path"] = "x/".repeat(2049).into())
            .refused("/root/path", "too long"),
        case("input.B031-many-args")
            .checks("catalogue B031")
            .spec(|s| {
                let mut args = vec![PROBE, "echo"];
                args.extend(std::iter::repeat_n("x", 50_000));
                s["process"]["args"] = json!(args);
            })
            .stdout(format!("{}\n", vec!["x"; 50_000].join(" "))),
        case("input.B037-env-twice-last-wins")
            .checks("catalogue B037")
            .probe(["env"])
            .spec(|s| s["process"]["env"] = json!(["A=1", "B=2", "A=3"]))
            .output(|o| {
                let last = o.lines().rfind(|l| l.starts_with("A=")).context("no A")?;
                ensure!(last == "A=3", "{o}");
                Ok(())
            }),
        case("input.B065-destination-with-newline")
            .checks("catalogue B065")
            .probe(["ls", "/data/a\nb"])
            .prepare(|t| {
                let dir = t.host_dir("src")?;
                fs::write(dir.join("file"), "x")?;
                base::add_mount(&mut t.spec, "/data/a\nb", "bind", &dir.display().to_string(), &["bind"]);
                Ok(())
            })
            .stdout("file\n"),
        case("input.B069-contradicting-options")
            .checks("catalogue B069: the last one counts")
            .probe(["mknod", "/data/x", "p"])
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &["ro", "rw"]);
                Ok(())
            })
            .stdout("ok 0\n"),
        case("input.B073-many-mounts")
            .checks("catalogue B073")
            .seconds(60)
            .probe(["echo", "done"])
            .prepare(|t| {
                for n in 0..2000 {
                    base::add_mount(&mut t.spec, &format!("/tmp/{n}"), "bind", "/etc", &["bind", "ro"]);
                }
                Ok(())
            })
            .stdout("done\n"),
        case("input.B073-stacked-mounts")
            .checks("catalogue B073")
            .seconds(60)
            .probe(["ls", "/data"])
            .prepare(|t| {
                for _ in 0..100 {
                    base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &[]);
                }
                let dir = t.host_dir("src")?;
                fs::write(dir.join("top"), "x")?;
                base::add_mount(&mut t.spec, "/data", "bind", &dir.display().to_string(), &["bind"]);
                Ok(())
            })
            .stdout("top\n"),
        case("input.B073-cyclic-sources")
            .checks("catalogue B073")
            .seconds(60)
            .probe(["echo", "done"])
            .prepare(|t| {
                // Each bind takes in the root with what was mounted so far.
                let root = t.rootfs().display().to_string();
                for n in 0..8 {
                    base::add_mount(&mut t.spec, &format!("/data/{n}"), "bind", &root, &["rbind"]);
                }
                Ok(())
            })
            .stdout("done\n"),
        case("input.unknown-keys-are-ignored")
            .checks("config.md#extensibility")
            .probe(["echo", "fine"])
            .spec(|s| {
                s["x-unknown"] = json!({"a": [1, 2, {"b": null}]});
                s["process"]["x-unknown"] = 5.into();
                s["linux"]["x-unknown"] = "x".into();
            })
            .stdout("fine\n"),
        case("input.null-fields-are-absent")
            .checks("config.md")
            .probe(["echo", "fine"])
            .spec(|s| {
                s["hooks"] = Value::Null;
                s["annotations"] = Value::Null;
                s["linux"]["seccomp"] = Value::Null;
                s["linux"]["devices"] = Value::Null;
                s["process"]["rlimits"] = Value::Null;
            })
            .stdout("fine\n"),
    ]
}

/// The document of `exec --process`, with the same rules.
fn exec() -> Vec<Case> {
    let bad = |what: &str, patch: Value, pointer: &str, text: &str| {
        case(format!("input.B117-exec-{what}"))
            .checks("catalogue B117")
            .of_exec()
            .fault(move |t| {
                merge(&mut t.process, &patch);
                Ok(())
            })
            .refused(pointer, text)
    };
    let mut all = vec![
        bad("args-missing", json!({"args": null}), "/args", "at least one"),
        bad("args-empty-name", json!({"args": [""]}), "/args/0", "empty"),
        bad("args-null", json!({"args": [null]}), "/args/0", "string"),
        bad("cwd-relative", json!({"cwd": "tmp"}), "/cwd", "absolute"),
        bad("cwd-is-file", json!({"cwd": "/etc/marker"}), "/cwd", "/etc/marker"),
        bad("cwd-outside", json!({"cwd": "/proc/self/fd/7"}), "/cwd", "chdir"),
        bad("env-without-equals", json!({"env": ["FOO"]}), "/env/0", "FOO"),
        bad("uid-too-high", json!({"user": {"uid": 4_294_967_295u64}}), "/user/uid", "4294967295"),
        bad("uid-string", json!({"user": {"uid": "0"}}), "/user/uid", "string"),
        bad(
            "capability-unknown",
            json!({"capabilities": {"bounding": ["CAP_FLY"]}}),
            "/capabilities/bounding/0",
            "CAP_FLY",
        ),
        bad(
            "rlimit-unknown",
            json!({"rlimits": [{"type": "RLIMIT_FUN", "hard": 1, "soft": 1}]}),
            "/rlimits/0/type",
            "RLIMIT_FUN",
        ),
        bad("oom-too-high", json!({"oomScoreAdj": 5000}), "/oomScoreAdj", "5000"),
        bad("bool-as-string", json!({"noNewPrivileges": "true"}), "/noNewPrivileges", "string"),
        bad("umask-high", json!({"user": {"umask": 512}}), "/user/umask", "01000"),
        bad("program-missing", json!({"args": ["/no/such/program"]}), "/args/0", "no such file or directory"),
        bad(
            "scheduler-unknown",
            json!({"scheduler": {"policy": "SCHED_FAST"}}),
            "/scheduler/policy",
            "SCHED_FAST",
        ),
    ];
    // 255 is an `exec` that failed; a number that cannot be read is a line that is none, as in runc.
    for (what, flag, text, exit) in [
        ("flag-cwd-relative", "--cwd=tmp", "absolute", 255),
        ("flag-env", "--env=FOO", "FOO", 255),
        ("flag-cap", "--cap=CAP_FLY", "CAP_FLY", 255),
        ("flag-cgroup", "--cgroup=../x", "bad sub cgroup path", 255),
        ("flag-process-missing", "--process=/no/such/file", "/no/such/file", 255),
        ("flag-preserve-fds", "--preserve-fds=abc", "abc", 1),
    ] {
        all.push(case(format!("input.B117-exec-{what}")).checks("catalogue B117").steps(move |t| {
            t.resident()?;
            t.exec_probe(&["true"])?.ok()?;
            t.exec_flags = vec![flag.into()];
            let out = t.exec_probe(&["true"])?.fails()?;
            if t.runtime.strict {
                ensure!(out.code == Some(exit), "exit {:?}", out.code);
                ensure!(out.stderr.contains(text), "want {text:?}: {}", out.stderr);
            }
            t.is("running")
        }));
    }
    all
}
