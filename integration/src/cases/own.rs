//! What the runtime does for its own safety: what it looks up and loads, and when others can get at its processes.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::base::{self, PROBE};
use crate::boundary::{Seen, watched};
use crate::case::{Case, case};
use crate::host::{Need, find_program};
use crate::os;
use crate::run::unavailable;
use crate::trial::Trial;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        case("own.looks-nothing-up").checks("catalogue S04").needs([Need::X86_64]).steps(|t| {
            t.works()?;
            // Or the image's passwd would be read for it.
            if let Some(env) = t.spec["process"]["env"].as_array_mut() {
                env.push("HOME=/".into());
            }
            for seen in commands(t)? {
                ensure!(seen.paths.iter().flatten().count() > 5, "hardly a path was seen: {:?}", seen.calls);
                let found = looked_up(&seen);
                ensure!(found.is_empty() || !t.runtime.strict, "looked up: {found:?}");
            }
            // The control: a program of the host that asks for a name.
            let id = find_program("id").context("id")?;
            let id = t.command(&id, &["-un".to_string()]).adjust(os::traced).spawn()?;
            let (seen, out) = watched(t, id)?;
            out.ok().context("the control")?;
            ensure!(!looked_up(&seen).is_empty(), "the control: id looks nothing up: {:?}", seen.paths);
            Ok(())
        }),
        case("own.closed-before-it-joins").checks("catalogue S06").needs([Need::X86_64]).steps(|t| {
            t.works()?;
            // `run` joins something, too.
            base::namespace(&mut t.spec, "ipc", Some(&format!("/proc/{}/ns/ipc", std::process::id())));
            for mut seen in commands(t)? {
                let closed = closed_before_it_joins(&seen);
                ensure!(closed.is_ok() || !t.runtime.strict, "{closed:?}");
                // The control: the same calls without those that close.
                seen.calls.iter_mut().filter(|c| *c == "prctl").for_each(|c| "getpid".clone_into(c));
                ensure!(closed_before_it_joins(&seen).is_err(), "the control: nothing is joined");
            }
            Ok(())
        }),
        case("own.exec-cannot-be-traced").checks("catalogue S06").steps(|t| {
            let yama = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
            if !matches!(yama.trim(), "" | "0") {
                return Err(unavailable("yama"));
            }
            t.spec["process"]["args"] = json!([PROBE, "trace-newcomers"]);
            t.run_detached()?;
            t.payload_says("ready")?;
            for _ in 0..15 {
                t.exec_probe(&["sleep", "200"])?.ok()?;
            }
            // The control: the same newcomers once they are what they were called for.
            let said = t.payload_says("traced probe").context("the control")?;
            let strange: Vec<&str> =
                said.lines().filter(|l| l.starts_with("traced ") && *l != "traced probe").collect();
            ensure!(strange.is_empty(), "followed before they were confined: {strange:?}");
            Ok(())
        }),
    ]
}

/// What `run` and `exec` do.
fn commands(t: &mut Trial<'_>) -> Result<[Seen; 2]> {
    t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
    t.write_config()?;
    let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
    let run = t.rt(&["run", "--detach", "--bundle", &bundle, &id]).adjust(os::traced).spawn()?;
    let (run, out) = watched(t, run)?;
    out.ok()?;
    let exec = t.rt(&["exec", &id, PROBE, "true"]).adjust(os::traced).spawn()?;
    let (exec, out) = watched(t, exec)?;
    out.ok()?;
    t.remove()?;
    Ok([run, exec])
}

/// Libraries, the name service, a locale: what a host or an image could put in the way.
fn looked_up(seen: &Seen) -> Vec<&String> {
    let strange = |path: &&String| {
        let begins = ["/etc/", "/lib", "/usr/lib", "/usr/share"].iter().any(|b| path.starts_with(b));
        let words = [".so", "nsswitch", "locale", "gconv", "nscd"];
        begins || words.iter().any(|w| path.contains(w))
    };
    seen.paths.iter().flatten().filter(strange).collect()
}

/// Nobody joins a namespace while it is dumpable (prctl(2), `PR_SET_DUMPABLE`), and somebody does join.
fn closed_before_it_joins(seen: &Seen) -> Result<()> {
    let mut open = true;
    let mut joined = 0;
    for (call, [option, value]) in seen.calls.iter().zip(&seen.arguments) {
        if call == "prctl" && *option == nix::libc::PR_SET_DUMPABLE as u64 {
            open = *value != 0;
        }
        if call == "setns" {
            joined += 1;
            ensure!(!open, "joins a namespace while others may look at it");
        }
    }
    ensure!(joined > 0, "joins nothing: {:?}", seen.calls);
    Ok(())
}
