//! Bad input that is no document: commands that do not fit the state of a container, an id that is taken, a state root that
//! cannot be one, an environment that lies, hooks that turn against the bundle. The numbers are those of the catalogue of
//! bad inputs, as in `input`.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::run::unavailable;
use crate::trial::{Out, Trial};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = vec![unknown_call(), bundle_gone(), listen_lies()];
    all.extend(states());
    all.extend(taken());
    all.extend(roots());
    all
}

fn unknown_call() -> Case {
    case("input.B089-seccomp-unknown-name").checks("catalogue B089: a name that nothing has is told").steps(
        |t| {
            let names = |names: &[&str]| {
                let rule = json!({"names": names, "action": "SCMP_ACT_ERRNO"});
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
            };
            t.spec["process"]["args"] = json!([PROBE, "syscall", "sched_yield"]);
            t.spec["linux"]["seccomp"] = names(&["sched_yield"]);
            let calm = t.run()?.ok()?.prints("errno 1 EPERM\n")?;
            t.spec["linux"]["seccomp"] = names(&["sched_yield", "open_sesame"]);
            let told = t.run()?.ok()?.prints("errno 1 EPERM\n")?;
            if t.runtime.strict {
                ensure!(!calm.log.contains("system call"), "the twin is warned of: {}", calm.log);
                ensure!(told.log.contains("/linux/seccomp/syscalls/0/names/1"), "no place: {}", told.log);
                ensure!(told.log.contains("open_sesame"), "no name: {}", told.log);
            }
            Ok(())
        },
    )
}

fn bundle_gone() -> Case {
    case("input.B099-hook-removes-the-bundle").checks("catalogue B099").steps(|t| {
        // The document was read, the root is open: what is left of the bundle is nobody's business from then on.
        t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
        let busybox = t.yard.busybox.clone().ok_or_else(|| unavailable("busybox"))?.display().to_string();
        let config = t.bundle.join("config.json").display().to_string();
        t.spec["hooks"]["createRuntime"] = json!([{"path": busybox, "args": ["rm", config]}]);
        t.create()?;
        ensure!(!t.bundle.join("config.json").exists(), "the hook did not run");
        t.start()?;
        t.is("running")?;
        t.exec_probe(&["true"])?.ok()?;
        let pid = t.pid()?;
        t.verb("kill", &["KILL"])?.ok()?;
        t.ended(pid)?;
        t.verb("delete", &[])?.ok()?;
        t.verb("state", &[])?.fails()?.says("does not exist")?;
        Ok(())
    })
}

fn listen_lies() -> Case {
    case("input.B114-listen-fds-that-lie").checks("catalogue B114: such variables are as good as none").steps(
        |t| {
            t.spec["process"]["args"] = json!([PROBE, "all", "fds", "--", "env"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            for (fds, pid) in
                [("abc", "1"), ("2", "1"), ("-1", "0"), ("99999999999", "1"), ("2", ""), ("2", "x")]
            {
                let out = t
                    .rt(&["run", "--bundle", &bundle, &id])
                    .env("LISTEN_FDS", fds)
                    .env("LISTEN_PID", pid)
                    .run()?
                    .ok()?;
                let (numbers, told) = (out.stdout.lines().take_while(|l| !l.contains('=')), "LISTEN_");
                ensure!(numbers.count() <= 3, "LISTEN_FDS={fds:?} LISTEN_PID={pid:?} gives {}", out.stdout);
                ensure!(!out.stdout.contains(told), "LISTEN_FDS={fds:?} LISTEN_PID={pid:?} is passed on");
            }
            Ok(())
        },
    )
}

/// A command, its further words, and what is said of the state.
type Wrong = (&'static str, &'static [&'static str], &'static str);

/// Each is refused, names the state or the rule, and changes nothing.
fn refused(t: &mut Trial<'_>, status: &str, all: &[Wrong]) -> Result<()> {
    t.is(status)?;
    for (verb, more, says) in all {
        let out: Out = match *verb {
            "exec" => t.exec_probe(more)?,
            verb => t.verb(verb, more)?,
        };
        let out = out.fails()?;
        if t.runtime.strict {
            ensure!(out.code == Some(if *verb == "exec" { 255 } else { 1 }), "{verb}: exit {:?}", out.code);
            ensure!(out.stderr.lines().count() == 1, "{verb}: {:?}", out.stderr);
            out.says(says)?;
        }
        t.is(status)?;
    }
    Ok(())
}

fn states() -> Vec<Case> {
    let text = "catalogue B107";
    vec![
        case("input.B107-created").checks(text).probe(["trap", "TERM"]).steps(|t| {
            t.create()?;
            refused(t, "created", &[("resume", &[], "not paused")])?;
            t.start()?;
            t.is("running")
        }),
        case("input.B107-running").checks(text).steps(|t| {
            let pid = t.resident()?;
            let all: [Wrong; 4] = [
                ("start", &[], "cannot start an already running container"),
                ("delete", &[], "is not stopped: running"),
                ("resume", &[], "not paused"),
                ("kill", &["SIGFOO"], "unknown signal"),
            ];
            refused(t, "running", &all)?;
            ensure!(t.pid()? == pid, "another process");
            t.exec_probe(&["true"])?.ok().map(drop)
        }),
        case("input.B107-paused").checks(text).steps(|t| {
            t.resident()?;
            t.verb("pause", &[])?.ok()?;
            let all: [Wrong; 4] = [
                ("pause", &[], "container not running (status paused)"),
                ("exec", &["true"], "cannot exec in a paused container"),
                ("start", &[], "cannot start"),
                ("delete", &[], "is not stopped: paused"),
            ];
            refused(t, "paused", &all)?;
            t.verb("resume", &[])?.ok()?;
            t.exec_probe(&["true"])?.ok().map(drop)
        }),
        case("input.B107-stopped").checks(text).steps(|t| {
            let pid = t.resident()?;
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            let all: [Wrong; 5] = [
                ("start", &[], "cannot start a container that has stopped"),
                ("kill", &["TERM"], "container not running"),
                ("exec", &["true"], "cannot exec in a stopped container"),
                ("pause", &[], "container not running (status stopped)"),
                ("resume", &[], "not paused"),
            ];
            refused(t, "stopped", &all)?;
            t.verb("delete", &[])?.ok().map(drop)
        }),
        case("input.B107-nobody").checks(text).steps(|t| {
            t.works()?;
            for words in
                [["start", ""], ["kill", "TERM"], ["delete", ""], ["pause", ""], ["resume", ""], ["ps", ""]]
            {
                let more: Vec<&str> = words[1..].iter().copied().filter(|w| !w.is_empty()).collect();
                t.verb(words[0], &more)?.exits(1)?.fails()?.says("does not exist")?;
            }
            t.exec_probe(&["true"])?.fails()?.says("does not exist").map(drop)
        }),
    ]
}

/// The second of two containers with one id.
fn again(t: &mut Trial<'_>, status: &str) -> Result<()> {
    t.is(status)?;
    let before = t.state()?;
    let twin = t.twin("again", |s| s["process"]["args"] = json!([PROBE, "true"]))?;
    let id = t.id.clone();
    for verb in ["create", "run"] {
        t.rt(&[verb, "--bundle", &twin.bundle, &id]).run()?.exits(1)?.fails()?.says("exist")?;
    }
    ensure!(t.state()? == before, "the first one changed: {}", t.state()?);
    // Its own name is free.
    t.rt(&["run", "--bundle", &twin.bundle, &twin.id]).run()?.ok().map(drop)
}

fn taken() -> Vec<Case> {
    let text = "catalogue B101";
    vec![
        case("input.B101-created").checks(text).probe(["trap", "TERM"]).steps(|t| {
            t.create()?;
            again(t, "created")
        }),
        case("input.B101-running").checks(text).steps(|t| {
            t.resident()?;
            again(t, "running")
        }),
        case("input.B101-stopped").checks(text).steps(|t| {
            let pid = t.resident()?;
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            again(t, "stopped")
        }),
    ]
}

fn roots() -> Vec<Case> {
    let text = "catalogue B110";
    vec![
        case("input.B110-root-refused").checks(text).steps(|t| {
            t.works()?;
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let long = format!("/{}", "x".repeat(4097));
            for (root, says) in [("", "--root"), (long.as_str(), "longer than")] {
                // Others take nothing for what they use when it is not said.
                if root.is_empty() && !t.runtime.strict {
                    continue;
                }
                let out =
                    t.bare(&["--root", root, "run", "--bundle", &bundle, &id]).run()?.exits(1)?.fails()?;
                if t.runtime.strict {
                    out.says(says)?;
                }
            }
            Ok(())
        }),
        case("input.B110-root-relative").checks(text).probe(["trap", "TERM"]).steps(|t| {
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let dir = t.dir.clone();
            t.bare(&["--root", "here/state", "create", "--bundle", &bundle, &id]).dir(&dir).run()?.ok()?;
            t.payload_of_last();
            // The same place by its whole name.
            let whole = dir.join("here/state").display().to_string();
            let state = t.bare(&["--root", &whole, "state", &id]).run()?.ok()?.json()?;
            ensure!(state["status"] == "created", "{state}");
            t.bare(&["--root", "state", "delete", "--force", &id])
                .dir(&dir.join("here"))
                .run()?
                .ok()
                .map(drop)
        }),
    ]
}
