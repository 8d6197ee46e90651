//! Callers that go away in the middle: an engine's shim that is killed and takes the runtime with it (prctl(2),
//! PR_SET_PDEATHSIG), a foreground command that is killed, pipes that nobody reads any more. Kills at every system call are
//! in `boundary.*`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::host::Need;
use crate::os;
use crate::trial::{Running, Trial, wait_for};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let text = "cli: the caller dies in the middle";
    let needs = [Need::Busybox];
    vec![
        case("callers.shim-dies-in-create").checks(text).needs(needs).steps(|t| {
            t.works()?;
            let sign = waiting_hook(t, "createRuntime")?;
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let shim = shim(t, &["create", "--bundle", &bundle, &id])?;
            killed_at(t, shim, &sign)?;
            // What every engine does next.
            t.rt(&["delete", "--force", &id]).run()?.ok()?;
            t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            // And the same name is free.
            t.spec["hooks"] = json!({});
            t.resident()?;
            Ok(())
        }),
        case("callers.shim-dies-in-start").checks(text).needs(needs).steps(|t| {
            let sign = waiting_hook(t, "poststart")?;
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.create()?;
            let id = t.id.clone();
            let shim = shim(t, &["start", &id])?;
            killed_at(t, shim, &sign)?;
            t.rt(&["delete", "--force", &id]).run()?.ok()?;
            t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            Ok(())
        }),
        case("callers.shim-dies-in-exec").checks(text).needs(needs).steps(|t| {
            let init = t.resident()?;
            let id = t.id.clone();
            let shim = shim(t, &["exec", &id, PROBE, "trap", "USR1"])?;
            let seconds = t.seconds();
            let second = wait_for(seconds, || Ok(other(&t.ps()?, init)))?;
            os::kill(shim.pid() as i32, libc::SIGKILL);
            shim.wait()?.exits(137)?;
            // The program in the container is not the runtime's to end.
            ensure!(Path::new(&format!("/proc/{second}")).exists(), "it ended with its caller");
            t.is("running")?;
            t.exec_probe(&["echo", "still"])?.ok()?.prints("still\n")?;
            t.verb("kill", &["KILL"])?.ok()?;
            ensure!(t.ended(init)? == 137, "the container is not killed");
            wait_for(seconds, || Ok((!Path::new(&format!("/proc/{second}")).exists()).then_some(())))
        }),
        case("callers.foreground-run-killed").checks(text).probe(["trap", "TERM"]).steps(|t| {
            let run = t.run_background()?;
            let seconds = t.seconds();
            wait_for(seconds, || Ok(run.so_far().0.contains("ready").then_some(())))?;
            let pid = t.pid()?;
            os::kill(run.pid() as i32, libc::SIGKILL);
            // The program is not its caller's to end.
            t.is("running")?;
            ensure!(t.pid()? == pid, "another process");
            run.wait()?.exits(137)?;
            t.verb("kill", &["KILL"])?.ok()?;
            ensure!(t.ended(pid)? == 137, "it is not killed");
            t.is("stopped")?;
            t.verb("delete", &[])?.ok()?;
            Ok(())
        }),
        case("callers.nobody-reads").checks(text).probe(["sleep", "60000"]).steps(|t| {
            // Both ends of an engine's pipes are gone before the runtime says a word.
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            for words in [
                vec!["create", "--bundle", &bundle, &id],
                vec!["start", &id],
                vec!["exec", "--detach", &id, PROBE, "sleep", "60000"],
                vec!["kill", &id, "CONT"],
                vec!["pause", &id],
                vec!["resume", &id],
                vec!["delete", "--force", &id],
            ] {
                let fds = vec![(unread()?, 1), (unread()?, 2)];
                t.rt(&words).fds(fds).run()?.exits(0).with_context(|| format!("{words:?}"))?;
            }
            t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            // What has something to say tells by its exit code that it could not.
            t.resident()?;
            for words in [vec!["state", &id], vec!["list"]] {
                let out = t.rt(&words).fds(vec![(unread()?, 1)]).run()?;
                ensure!(out.code != Some(0), "{words:?} says nothing and is content");
            }
            t.is("running")
        }),
    ]
}

/// The writing end of a pipe without a reader.
fn unread() -> Result<std::os::fd::OwnedFd> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?.1)
}

/// Another process of the container than its first.
fn other(pids: &Value, init: i32) -> Option<i64> {
    pids.as_array().into_iter().flatten().filter_map(Value::as_i64).find(|p| *p != i64::from(init))
}

/// A hook that says that it runs, and then waits; the file is the sign.
fn waiting_hook(t: &mut Trial<'_>, kind: &str) -> Result<String> {
    let sign = t.host_dir("signs")?.join(kind).display().to_string();
    let busybox = t.yard.host.busybox.clone().context("no busybox")?.display().to_string();
    let line = format!("echo > {sign}; exec {busybox} sleep 60");
    t.spec["hooks"] = json!({ kind: [{"path": busybox, "args": ["sh", "-c", line]}] });
    Ok(sign)
}

/// A process that has the runtime as its child, and takes it with it when it dies, as containerd's shim does.
fn shim(t: &mut Trial<'_>, words: &[&str]) -> Result<Running> {
    let runtime = t.runtime.path.display().to_string();
    let mut args =
        vec!["call".to_string(), runtime, "--root".to_string(), t.state_root().display().to_string()];
    args.extend(words.iter().map(|w| (*w).to_string()));
    t.command(&std::env::current_exe()?, &args).spawn()
}

/// Kills the caller once the sign is there; the runtime goes with it, and the hook with the runtime.
fn killed_at(t: &mut Trial<'_>, shim: Running, sign: &str) -> Result<()> {
    let seconds = t.seconds();
    wait_for(seconds, || Ok(Path::new(sign).exists().then_some(())))?;
    let runtime = child_of(shim.pid())?;
    os::kill(shim.pid() as i32, libc::SIGKILL);
    shim.wait()?.exits(137)?;
    wait_for(seconds, || Ok((!Path::new(&format!("/proc/{runtime}")).exists()).then_some(())))
        .context("the runtime outlives its caller")
}

fn child_of(pid: u32) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    text.split_whitespace().next().map(String::from).context("the caller has no child")
}
