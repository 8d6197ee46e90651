//! The command line contract: flags in every form callers write them, logs, pid files, inherited descriptors.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::trial::Trial;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = about();
    all.extend(forms());
    all.extend(logs());
    all.extend(pid_files());
    all.extend(descriptors());
    all
}

fn about() -> Vec<Case> {
    vec![
        case("cli.version").checks("cli: --version in three lines").steps(|t| {
            for flag in ["--version", "-v"] {
                let out = t.bare(&[flag]).run()?.ok()?.stdout;
                let lines: Vec<&str> = out.lines().collect();
                ensure!(lines.first().is_some_and(|l| l.contains(" version ")), "{out}");
                ensure!(lines.iter().any(|l| l.starts_with("commit:")), "{out}");
                let spec = lines.iter().find_map(|l| l.strip_prefix("spec: ")).context("no spec line")?;
                ensure!(spec.starts_with("1."), "{out}");
            }
            Ok(())
        }),
        case("cli.help").checks("cli: --help").steps(|t| {
            for args in [vec!["--help"], vec!["create", "--help"], vec!["exec", "--help"], vec!["-h"]] {
                let out = t.bare(&args).run()?.ok()?;
                ensure!(out.stdout.len() > 100, "{args:?} prints {:?}", out.stdout);
            }
            Ok(())
        }),
        case("cli.features").checks("features.md").steps(|t| {
            let f = t.rt(&["features"]).run()?.ok()?.json()?;
            for key in ["ociVersionMin", "ociVersionMax"] {
                ensure!(f[key].as_str().is_some_and(|v| v.starts_with("1.")), "{key} is {}", f[key]);
            }
            let has = |pointer: &str, word: &str| -> Result<()> {
                let list =
                    f.pointer(pointer).and_then(Value::as_array).with_context(|| format!("no {pointer}"))?;
                ensure!(list.iter().any(|w| w == word), "{pointer} has no {word}");
                Ok(())
            };
            for hook in
                ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
            {
                has("/hooks", hook)?;
            }
            for option in ["ro", "rbind", "nosuid", "rro", "tmpcopyup"] {
                has("/mountOptions", option)?;
            }
            for kind in ["pid", "network", "mount", "ipc", "uts", "user", "cgroup"] {
                has("/linux/namespaces", kind)?;
            }
            has("/linux/capabilities", "CAP_SYS_ADMIN")?;
            has("/linux/seccomp/actions", "SCMP_ACT_ERRNO")?;
            has("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ")?;
            ensure!(f["linux"]["seccomp"]["enabled"] == true, "seccomp: {}", f["linux"]["seccomp"]);
            ensure!(
                f["linux"]["cgroup"]["v1"] == true && f["linux"]["cgroup"]["v2"] == true,
                "{}",
                f["linux"]["cgroup"]
            );
            Ok(())
        }),
        case("cli.features-tell-the-truth").checks("features.md").steps(|t| {
            // What is promised must work here: a call of each listed hook kind is tried elsewhere, this one
            // tries each listed recursive mount option.
            let f = t.rt(&["features"]).run()?.ok()?.json()?;
            let listed = f["mountOptions"].as_array().context("mountOptions")?.clone();
            let dir = t.host_dir("src")?.display().to_string();
            for option in [
                "rro",
                "rrw",
                "rnosuid",
                "rsuid",
                "rnodev",
                "rdev",
                "rnoexec",
                "rexec",
                "rnoatime",
                "ratime",
                "rrelatime",
                "rstrictatime",
            ] {
                if listed.iter().any(|o| o == option) {
                    crate::base::add_mount(
                        &mut t.spec,
                        &format!("/data/{option}"),
                        "bind",
                        &dir,
                        &["rbind", option],
                    );
                }
            }
            t.run()?.ok()?;
            Ok(())
        }),
        case("cli.spec").checks("cli: spec").steps(|t| {
            let dir = t.host_dir("new")?;
            t.rt(&["spec"]).dir(&dir).run()?.ok()?;
            let c: Value = serde_json::from_str(&fs::read_to_string(dir.join("config.json"))?)?;
            ensure!(c["process"]["args"] == json!(["sh"]) && c["root"]["path"] == "rootfs", "{c}");
            ensure!(c["process"]["terminal"] == true, "{}", c["process"]["terminal"]);
            let before = fs::read(dir.join("config.json"))?;
            t.rt(&["spec"]).dir(&dir).run()?.exits(1)?.fails()?;
            ensure!(fs::read(dir.join("config.json"))? == before, "an existing config.json was changed");
            Ok(())
        }),
        case("cli.spec-bundle").checks("cli: spec --bundle").steps(|t| {
            let dir = t.host_dir("new")?;
            t.rt(&["spec", "--bundle", &dir.display().to_string()]).run()?.ok()?;
            ensure!(dir.join("config.json").is_file(), "no config.json");
            Ok(())
        }),
        case("cli.spec-rootless").checks("cli: spec --rootless").steps(|t| {
            let dir = t.host_dir("new")?;
            t.rt(&["spec", "--rootless"]).dir(&dir).run()?.ok()?;
            let c: Value = serde_json::from_str(&fs::read_to_string(dir.join("config.json"))?)?;
            let kinds: Vec<&str> = c["linux"]["namespaces"]
                .as_array()
                .context("namespaces")?
                .iter()
                .filter_map(|n| n["type"].as_str())
                .collect();
            ensure!(kinds.contains(&"user") && !kinds.contains(&"network"), "{kinds:?}");
            ensure!(c["linux"]["uidMappings"][0]["size"] == 1, "{}", c["linux"]["uidMappings"]);
            Ok(())
        }),
        case("cli.spec-can-be-run").checks("cli: spec").steps(|t| {
            let bundle = t.bundle.display().to_string();
            t.rt(&["spec", "--bundle", &bundle]).run()?.ok()?;
            let mut c: Value = serde_json::from_str(&fs::read_to_string(t.bundle.join("config.json"))?)?;
            c["process"]["args"] = json!([PROBE, "echo", "runs"]);
            c["process"]["terminal"] = false.into();
            c["linux"]["cgroupsPath"] = t.spec["linux"]["cgroupsPath"].clone();
            t.spec = c;
            t.run()?.ok()?.prints("runs\n")?;
            Ok(())
        }),
    ]
}

/// Runs a bundle with hand-made arguments around it.
fn forms() -> Vec<Case> {
    let text = "cli: forms of flags";
    vec![
        case("cli.equals-form").checks(text).probe(["echo", "x"]).steps(|t| {
            t.write_config()?;
            let (root, bundle, id, log) = places(t);
            t.bare(&[
                format!("--root={root}"),
                format!("--log={log}"),
                "--log-format=json".into(),
                "run".into(),
                format!("--bundle={bundle}"),
                id,
            ])
            .run()?
            .ok()?
            .prints("x\n")?;
            Ok(())
        }),
        case("cli.single-dash-long").checks(text).probe(["echo", "x"]).steps(|t| {
            t.write_config()?;
            let (root, bundle, id, log) = places(t);
            t.bare(&[
                "-root",
                &root,
                "-log",
                &log,
                "-log-format",
                "json",
                "run",
                "-bundle",
                &bundle,
                "-no-new-keyring",
                &id,
            ])
            .run()?
            .ok()?
            .prints("x\n")?;
            Ok(())
        }),
        case("cli.single-dash-equals").checks(text).probe(["echo", "x"]).steps(|t| {
            t.write_config()?;
            let (root, bundle, id, _) = places(t);
            t.bare(&[format!("-root={root}"), "run".into(), format!("-b={bundle}"), id])
                .run()?
                .ok()?
                .prints("x\n")?;
            Ok(())
        }),
        case("cli.short-flags").checks(text).probe(["trap", "TERM"]).steps(|t| {
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            t.rt(&["run", "-d", "-b", &bundle, &id]).run()?.ok()?;
            t.is("running")
        }),
        case("cli.global-after-command").checks("cli: global flags before or after the command").steps(|t| {
            t.resident()?;
            let (root, _, id, _) = places(t);
            let s = t.bare(&["state", "--root", &root, &id]).run()?.ok()?.json()?;
            ensure!(s["status"] == "running", "{s}");
            Ok(())
        }),
        case("cli.flags-after-id").checks("cli: options before or after the id").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            t.rt(&["delete", &id, "--force"]).run()?.ok()?;
            t.verb("state", &[])?.exits(1)?;
            Ok(())
        }),
        case("cli.boolean-equals").checks(text).steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            t.rt(&["delete", "--force=true", &id]).run()?.ok()?;
            Ok(())
        }),
        case("cli.rootless-flag").checks("cli: --rootless").probe(["echo", "x"]).steps(|t| {
            t.global = vec!["--rootless".into(), "false".into()];
            t.run()?.ok()?.prints("x\n")?;
            Ok(())
        }),
        case("cli.debug-flag").checks("cli: --debug").probe(["echo", "x"]).steps(|t| {
            let records = |log: &str| log.lines().filter(|l| l.contains("\"level\":\"debug\"")).count();
            ensure!(records(&t.run()?.ok()?.log) == 0, "steps are logged unasked");
            t.global = vec!["--debug".into()];
            let out = t.run()?.ok()?.prints("x\n")?;
            ensure!(records(&out.log) > 0, "no steps are logged: {:?}", out.log);
            Ok(())
        }),
        case("cli.root-relative").checks("cli: --root is made absolute").probe(["trap", "TERM"]).steps(|t| {
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            let (dir, cwd) = (t.dir.clone(), t.bundle.clone());
            t.bare(&["--root", "state", "run", "--detach", "--bundle", &bundle, &id])
                .dir(&dir)
                .run()?
                .ok()?;
            let root = dir.join("state").display().to_string();
            let s = t.bare(&["--root", &root, "state", &id]).dir(&cwd).run()?.ok()?.json()?;
            ensure!(s["status"] == "running", "{s}");
            Ok(())
        }),
        case("cli.bundle-relative").checks("cli: --bundle").probe(["echo", "x"]).steps(|t| {
            t.write_config()?;
            let (root, _, id, _) = places(t);
            let dir = t.dir.clone();
            t.bare(&["--root", &root, "run", "--bundle", "b", &id]).dir(&dir).run()?.ok()?.prints("x\n")?;
            Ok(())
        }),
        case("cli.roots-are-apart").checks("cli: --root").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            let other = t.host_dir("other-root")?.display().to_string();
            t.bare(&["--root", &other, "state", &id]).run()?.exits(1)?.says("does not exist")?;
            t.bare(&["--root", &other, "list", "-q"]).run()?.ok()?.prints("")?;
            Ok(())
        }),
    ]
}

/// State root, bundle, id and a log file as text.
fn places(t: &Trial<'_>) -> (String, String, String, String) {
    (
        t.state_root().display().to_string(),
        t.bundle.display().to_string(),
        t.id.clone(),
        t.dir.join("own.log").display().to_string(),
    )
}

fn logs() -> Vec<Case> {
    let text = "cli: --log --log-format json";
    vec![
        case("log.json-record").checks(text).steps(|t| {
            let out = t.verb("state", &[])?.exits(1)?;
            let line = out.log.lines().last().context("the log is empty")?;
            let r: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            ensure!(r["level"] == "error" && r["msg"].is_string(), "{line}");
            let time = r["time"].as_str().unwrap_or("");
            ensure!(time.len() >= 20 && time.as_bytes()[10] == b'T', "time is {time:?}");
            Ok(())
        }),
        case("log.same-message-on-stderr").checks(text).steps(|t| {
            let out = t.verb("state", &[])?.exits(1)?;
            let errors = out.log_errors();
            let message = errors.last().context("no error record")?;
            ensure!(out.stderr.contains(message.as_str()), "log {message:?}, stderr {:?}", out.stderr);
            Ok(())
        }),
        case("log.appended").checks(text).steps(|t| {
            let (root, _, id, log) = places(t);
            for _ in 0..3 {
                t.bare(&["--root", &root, "--log", &log, "--log-format", "json", "state", &id])
                    .run()?
                    .exits(1)?;
            }
            let lines = fs::read_to_string(&log)?;
            ensure!(lines.lines().filter(|l| l.contains("\"error\"")).count() == 3, "{lines}");
            Ok(())
        }),
        case("log.text-format").checks(text).steps(|t| {
            let (root, _, id, log) = places(t);
            t.bare(&["--root", &root, "--log", &log, "state", &id]).run()?.exits(1)?;
            let lines = fs::read_to_string(&log)?;
            ensure!(lines.contains("level=error") && lines.contains("does not exist"), "{lines}");
            Ok(())
        }),
        case("log.format-unknown").checks("cli: an unknown log format is an error").steps(|t| {
            t.works()?;
            let (root, _, _, log) = places(t);
            t.bare(&["--root", &root, "--log", &log, "--log-format", "xml", "list"]).run()?.fails()?;
            Ok(())
        }),
        case("log.not-writable").checks("catalogue B115").steps(|t| {
            t.works()?;
            let (root, _, _, _) = places(t);
            t.bare(&["--root", &root, "--log", "/no/such/dir/log", "list"]).run()?.fails()?;
            Ok(())
        }),
        case("log.quiet-on-success").checks(text).probe(["echo", "x"]).steps(|t| {
            let out = t.run()?.ok()?.prints("x\n")?;
            ensure!(
                out.log_errors().is_empty() && out.stderr.is_empty(),
                "log {:?}, stderr {:?}",
                out.log,
                out.stderr
            );
            Ok(())
        }),
        case("log.start-failure")
            .checks(text)
            .spec(|s| s["process"]["args"] = json!(["/no/such/program"]))
            .steps(|t| {
                let out = t.try_create()?.exits(1)?;
                let errors = out.log_errors();
                ensure!(errors.last().is_some_and(|m| m.contains("/no/such/program")), "{errors:?}");
                Ok(())
            }),
    ]
}

fn pid_files() -> Vec<Case> {
    let text = "cli: --pid-file";
    vec![
        case("pidfile.content").checks(text).steps(|t| {
            let file = t.dir.join("pid");
            t.flags = vec!["--pid-file".into(), file.display().to_string()];
            t.create()?;
            let text = fs::read_to_string(&file)?;
            ensure!(text == t.pid()?.to_string(), "the file says {text:?}");
            Ok(())
        }),
        case("pidfile.relative-to-caller").checks(text).probe(["trap", "TERM"]).steps(|t| {
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            let dir = t.host_dir("caller")?;
            t.rt(&["run", "--detach", "--pid-file", "pid", "--bundle", &bundle, &id])
                .dir(&dir)
                .run()?
                .ok()?;
            ensure!(dir.join("pid").is_file(), "no file beside the caller");
            Ok(())
        }),
        case("pidfile.replaced-by-rename").checks("catalogue B111").steps(|t| {
            let target = t.host_dir("away")?.join("precious");
            fs::write(&target, "precious")?;
            let file = t.dir.join("pid");
            std::os::unix::fs::symlink(&target, &file)?;
            t.flags = vec!["--pid-file".into(), file.display().to_string()];
            t.create()?;
            ensure!(fs::read_to_string(&target)? == "precious", "the link was followed");
            ensure!(!file.is_symlink(), "still a link");
            Ok(())
        }),
        case("pidfile.no-litter").checks(text).steps(|t| {
            let dir = t.host_dir("pids")?;
            t.flags = vec!["--pid-file".into(), dir.join("pid").display().to_string()];
            t.create()?;
            ensure!(crate::oracle::names(&dir) == ["pid"], "{:?}", crate::oracle::names(&dir));
            Ok(())
        }),
        case("pidfile.missing-directory")
            .checks("catalogue B111")
            .fault(|t| {
                t.flags = vec!["--pid-file".into(), "/no/such/dir/pid".into()];
                Ok(())
            })
            .refused("", "/no/such/dir"),
        case("pidfile.is-directory")
            .checks("catalogue B111")
            .fault(|t| {
                let dir = t.host_dir("adir")?;
                t.flags = vec!["--pid-file".into(), dir.display().to_string()];
                Ok(())
            })
            .refused("", "adir"),
    ]
}

/// An open directory, as a caller might leak it.
fn open(path: &str) -> Result<OwnedFd> {
    Ok(fs::File::open(Path::new(path))?.into())
}

/// Descriptor numbers in the probe's list.
fn numbers(output: &str) -> Vec<u32> {
    output.lines().filter_map(|l| l.split(' ').next()?.parse().ok()).collect()
}

/// While init waits, no descriptor may lead to a directory of the host.
fn directories_closed(t: &Trial<'_>, init: i32) -> Result<()> {
    for entry in fs::read_dir(format!("/proc/{init}/fd"))?.flatten() {
        let to = fs::read_link(entry.path()).unwrap_or_default();
        let number: u32 = entry.file_name().to_string_lossy().parse()?;
        let closed = number < 3 || !to.is_dir() || to.starts_with(t.state_root());
        ensure!(closed, "descriptor {number} leads to {}", to.display());
    }
    Ok(())
}

fn descriptors() -> Vec<Case> {
    let text = "cli: --preserve-fds";
    vec![
        case("fds.only-stdio").checks("catalogue S05").probe(["fds"]).output(|o| {
            ensure!(numbers(o) == [0, 1, 2], "{o}");
            Ok(())
        }),
        case("fds.caller-leaks-fifty").checks("catalogue S05").probe(["fds"]).steps(|t| {
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            let mut fds = Vec::new();
            for n in 0..50 {
                fds.push((open(["/", "/proc", "/sys/fs/cgroup", "/etc/passwd"][n % 4])?, 3 + n as i32));
            }
            let out = t.rt(&["run", "--bundle", &bundle, &id]).fds(fds).run()?.ok()?;
            ensure!(numbers(&out.stdout) == [0, 1, 2], "{}", out.stdout);
            Ok(())
        }),
        case("fds.exec-caller-leaks-fifty").checks("catalogue S05").steps(|t| {
            t.resident()?;
            let mut fds = Vec::new();
            for n in 0..50 {
                fds.push((open(["/", "/proc", "/sys/fs/cgroup", "/etc/passwd"][n % 4])?, 3 + n as i32));
            }
            let id = t.id.clone();
            let out = t.rt(&["exec", &id, PROBE, "fds"]).fds(fds).run()?.ok()?;
            ensure!(numbers(&out.stdout) == [0, 1, 2], "{}", out.stdout);
            Ok(())
        }),
        case("fds.preserved").checks(text).probe(["fds"]).steps(|t| {
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            let fds = vec![
                (open("/etc/passwd")?, 3),
                (open("/etc/hostname").or_else(|_| open("/etc/passwd"))?, 4),
                (open("/")?, 5),
            ];
            let out = t.rt(&["run", "--preserve-fds", "2", "--bundle", &bundle, &id]).fds(fds).run()?.ok()?;
            ensure!(numbers(&out.stdout) == [0, 1, 2, 3, 4], "{}", out.stdout);
            Ok(())
        }),
        case("fds.preserved-exec").checks(text).steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            let fds = vec![(open("/etc/passwd")?, 3), (open("/")?, 4)];
            let out = t.rt(&["exec", "--preserve-fds", "1", &id, PROBE, "fds"]).fds(fds).run()?.ok()?;
            ensure!(numbers(&out.stdout) == [0, 1, 2, 3], "{}", out.stdout);
            Ok(())
        }),
        case("fds.listen-fds").checks("cli: LISTEN_FDS").probe(["all", "fds", "--", "env"]).steps(|t| {
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            let fds = vec![(open("/etc/passwd")?, 3), (open("/etc/passwd")?, 4)];
            let out = t.activated(2, &["run", "--bundle", &bundle, &id]).fds(fds).run()?.ok()?.stdout;
            ensure!(numbers(&out) == [0, 1, 2, 3, 4], "{out}");
            ensure!(
                out.lines().any(|l| l == "LISTEN_FDS=2") && out.lines().any(|l| l == "LISTEN_PID=1"),
                "{out}"
            );
            Ok(())
        }),
        case("fds.listen-and-preserved").checks("cli: LISTEN_FDS and --preserve-fds").probe(["fds"]).steps(
            |t| {
                t.write_config()?;
                let (_, bundle, id, _) = places(t);
                let fds =
                    vec![(open("/etc/passwd")?, 3), (open("/etc/passwd")?, 4), (open("/etc/passwd")?, 5)];
                let out = t
                    .activated(1, &["run", "--preserve-fds=1", "--bundle", &bundle, &id])
                    .fds(fds)
                    .run()?
                    .ok()?
                    .stdout;
                ensure!(numbers(&out) == [0, 1, 2, 3, 4], "{out}");
                Ok(())
            },
        ),
        case("fds.preserve-a-gap").checks("catalogue B113").steps(|t| {
            t.works()?;
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            t.rt(&["run", "--preserve-fds", "3", "--bundle", &bundle, &id])
                .fds(vec![(open("/etc/passwd")?, 3)])
                .run()?
                .fails()?;
            Ok(())
        }),
        case("fds.preserve-not-the-callers").checks("catalogue B113, S05").steps(|t| {
            t.works()?;
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            // For each number there is a file of the runtime's own that would have it by the time it is looked at.
            for count in 1..6 {
                let fds =
                    (0..count).map(|n| Ok((open("/etc/passwd")?, 3 + n))).collect::<Result<Vec<_>>>()?;
                let promised = (count + 1).to_string();
                t.rt(&["run", "--preserve-fds", &promised, "--bundle", &bundle, &id])
                    .fds(fds)
                    .run()?
                    .fails()?;
            }
            Ok(())
        }),
        case("fds.preserve-nonsense").checks("catalogue B113").steps(|t| {
            t.works()?;
            t.write_config()?;
            let (_, bundle, id, _) = places(t);
            for word in ["abc", "-1", "1000000000"] {
                t.rt(&["run", &format!("--preserve-fds={word}"), "--bundle", &bundle, &id]).run()?.fails()?;
            }
            Ok(())
        }),
        case("fds.created-init-holds-little")
            .checks("catalogue S05: init waits without the host's files")
            .steps(|t| {
                t.create()?;
                let pid = t.pid()?;
                directories_closed(t, pid)?;
                // The control: one that is handed over is seen.
                t.remove()?;
                let (_, bundle, id, _) = places(t);
                t.rt(&["create", "--preserve-fds", "1", "--bundle", &bundle, &id])
                    .fds(vec![(open("/")?, 3)])
                    .run()?
                    .ok()?;
                let pid = t.pid()?;
                ensure!(directories_closed(t, pid).is_err(), "the control: descriptor 3 is not seen");
                Ok(())
            }),
    ]
}
