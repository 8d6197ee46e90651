//! What befalls the runtime itself: a signal, a limit of its own, a damaged file, a container that dies behind its back.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Resource;
use serde_json::json;

use crate::case::{Case, case};
use crate::host::Need;
use crate::oracle;
use crate::os;
use crate::trial::{Trial, wait_for};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = disturbed();
    all.extend(killed());
    all.extend(damaged());
    all
}

/// What befalls the runtime itself while it works.
fn disturbed() -> Vec<Case> {
    let mut all: Vec<Case> = [6, 12, 20, 30, 40]
        .into_iter()
        .map(|n| {
            case(format!("life.caller-nofile-{n}"))
                .checks("fault K08: nothing is left, whatever happens")
                .steps(move |t| {
                    t.works()?;
                    t.write_config()?;
                    let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                    // How it ends is up to the limit; the oracle looks at what is left.
                    let run = t.rt(&["run", "--bundle", &bundle, &id]);
                    let out = run.adjust(|c| os::with_limit(c, Resource::Nofile, n)).run()?;
                    ensure!(out.code.is_some(), "it hangs");
                    Ok(())
                })
        })
        .collect();
    all.extend([
        case("life.create-interrupted")
            .checks("fault K27: a signal is an error like any other")
            .needs([Need::Busybox])
            .steps(|t| {
                let busybox = t.yard.busybox.clone().context("busybox")?;
                for kind in ["createRuntime", "createContainer"] {
                    let sign = t.dir.join(kind);
                    let script = format!("touch {}; sleep 60", sign.display());
                    t.spec["hooks"] = json!({kind: [{"path": busybox, "args": ["sh", "-c", script]}]});
                    t.write_config()?;
                    let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                    let running = t.rt(&["create", "--bundle", &bundle, &id]).spawn()?;
                    wait_for(t.seconds(), || Ok(sign.exists().then_some(())))?;
                    os::kill(running.pid() as i32, libc::SIGTERM);
                    running.wait()?.exits(1)?.says("interrupted")?;
                    t.verb("state", &[])?.exits(1)?.says("does not exist")?;
                }
                Ok(())
            }),
        case("life.run-reaps-orphans")
            .checks("cli: run --no-subreaper is the exception")
            .needs([Need::Busybox, Need::CgroupAny("pids")])
            .steps(|t| {
                let list = t.spec["linux"]["namespaces"].as_array_mut().context("namespaces")?;
                list.retain(|n| n["type"] != "pid");
                let script = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.1 &); done; echo made; exec sleep 300";
                t.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
                let running = t.run_background()?;
                wait_for(t.seconds(), || Ok(running.so_far().0.contains("made").then_some(())))?;
                let pids = t.cgroup("pids")?;
                // A zombie counts until it is waited for.
                let alone = wait_for(t.seconds(), || Ok((pids.read("pids.current")? == "1").then_some(())));
                os::kill(t.pid()?, libc::SIGKILL);
                running.wait()?.exits(137)?;
                alone.context("zombies stay in the container's cgroup")
            }),
    ]);
    all
}

fn killed() -> Vec<Case> {
    vec![
        case("odd.killed-behind-its-back").checks("catalogue B105").steps(|t| {
            // A container whose init was killed behind the runtime's back is stopped, not running.
            let pid = t.resident()?;
            os::kill(pid, libc::SIGKILL);
            t.ended(pid)?;
            t.is("stopped")?;
            t.verb("delete", &[])?.ok()?;
            Ok(())
        }),
        case("odd.create-killed-then-deleted")
            .checks("DESIGN: killed at any instruction, delete --force cleans")
            .steps(|t| {
                t.works()?;
                t.write_config()?;
                for wait in [1u64, 3, 6, 10, 15, 20, 30] {
                    let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                    let running = t.rt(&["create", "--bundle", &bundle, &id]).spawn()?;
                    std::thread::sleep(Duration::from_millis(wait));
                    os::kill(running.pid() as i32, libc::SIGKILL);
                    let _ = running.wait()?;
                    t.rt(&["delete", "--force", &id]).run()?.ok()?;
                    wait_for(3, || Ok(oracle::children().is_empty().then_some(()))).with_context(|| {
                        format!("processes are left after {wait} ms: {:?}", oracle::children())
                    })?;
                    let groups = oracle::cgroups(t.yard);
                    ensure!(groups.is_empty(), "cgroups are left after {wait} ms: {groups:?}");
                    ensure!(oracle::names(&t.state_root()).is_empty(), "state is left after {wait} ms");
                }
                Ok(())
            }),
    ]
}

/// The file in which a runtime keeps what it knows of a container.
pub(super) fn record(t: &Trial<'_>) -> Result<std::path::PathBuf> {
    let dir = t.state_root().join(&t.id);
    let names = ["state.json", "status"];
    names.iter().map(|n| dir.join(n)).find(|p| p.is_file()).context("no record that this suite knows")
}

fn damaged() -> Vec<Case> {
    let damage = |name: &str, spoil: fn(Vec<u8>) -> Vec<u8>| {
        case(name).checks("catalogue B103: a damaged record").steps(move |t| {
            t.resident()?;
            let file = record(t)?;
            fs::write(&file, spoil(fs::read(&file)?))?;
            let out = t.verb("state", &[])?.fails()?;
            if t.runtime.strict {
                out.says(&file.display().to_string())?.says("delete --force")?;
            }
            // The program goes too: the oracle looks.
            t.remove()?;
            ensure!(oracle::names(&t.state_root()).is_empty(), "the record is left");
            Ok(())
        })
    };
    vec![
        damage("fault.record-cut-short", |mut bytes| {
            bytes.truncate(bytes.len() / 2);
            bytes
        }),
        damage("fault.record-empty", |_| Vec::new()),
        // One digit: of a path, a process or a time.
        damage("fault.record-edited", |mut bytes| {
            let middle = bytes.len() / 2;
            let digit = bytes.iter_mut().skip(middle).find(|b| b.is_ascii_digit() && **b != b'9');
            if let Some(byte) = digit {
                *byte += 1;
            }
            bytes
        }),
    ]
}
