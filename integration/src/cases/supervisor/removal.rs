//! What goes with a service and what stays: `rm` whose daemon dies, and numbers of runs, which are never given twice.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::Daemon;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("removal.goes-on", "knarrctl rm: a killed daemon").daemon(|d| {
            slow(d)?;
            d.request("DELETE", "/v1/services/a", None)?.done()?;
            d.crash_and_start()?;
            nothing_is_left(d)
        }),
        // As if it had died between its word and the removal of the file.
        sup("removal.goes-on-from-the-file", "knarrctl rm: a killed daemon").daemon(|d| {
            slow(d)?;
            let (file, aside) = (d.services.join("a.toml"), d.services.join("aside"));
            std::fs::hard_link(&file, &aside)?;
            d.request("DELETE", "/v1/services/a", None)?.done()?;
            d.kill9()?;
            std::fs::rename(&aside, &file)?;
            d.start()?;
            nothing_is_left(d)?;
            ensure!(!file.exists(), "its file is still there");
            Ok(())
        }),
        sup("removal.logs-alone", "knarrctl rm: a killed daemon").daemon(|d| {
            slow(d)?;
            d.request("DELETE", "/v1/services/a", None)?.done()?;
            d.kill9()?;
            // Whatever an earlier removal left in it goes, too.
            let more = d.state.join("logs/a.7");
            std::fs::create_dir(&more)?;
            std::fs::write(more.join("00000001.log"), "")?;
            d.start()?;
            nothing_is_left(d)
        }),
        // What somebody has written since is a new service, and keeps the logs of the old one.
        sup("removal.written-anew", "knarrctl rm: a killed daemon, then a new file").daemon(|d| {
            slow(d)?;
            d.request("DELETE", "/v1/services/a", None)?.done()?;
            d.kill9()?;
            d.write("a", &d.text(&["trap", "TERM"], SOON))?;
            d.start()?;
            d.until("a.1", "running")?;
            ensure!(d.log("a.1")?.iter().filter(|l| *l == "ready").count() >= 1, "the log is gone");
            d.crash_and_start()?;
            d.is("a.1", "running").map(|_| ())
        }),
        sup("removal.read-only-services", "knarrctl rm: a file that cannot be removed").daemon(|d| {
            d.resident("a", "")?;
            let services = d.services.clone();
            let flags = nix::mount::MsFlags::MS_BIND;
            nix::mount::mount(Some(&services), &services, None::<&str>, flags, None::<&str>)?;
            d.t.mounted.push(services.clone());
            let again = flags | nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
            nix::mount::mount(None::<&str>, &services, None::<&str>, again, None::<&str>)?;
            let refused = d.ctl(&["rm", "a"])?.exits(1);
            nix::mount::umount(&services)?;
            d.t.mounted.pop();
            let refused = refused?;
            ensure!(refused.stderr.contains("a.toml"), "{}", refused.stderr);
            d.is("a.1", "running")?;
            // Nor does the next daemon remove it.
            d.crash_and_start()?;
            d.is("a.1", "running").map(|_| ())
        }),
        sup("removal.numbers-of-replicas", "run ids: fewer replicas, then more").daemon(|d| {
            let text = d.text(&["trap", "TERM"], SOON);
            let write = |d: &Daemon<'_, '_>, replicas: u32| {
                d.write("a", &format!("replicas = {replicas}\n{text}"))?;
                d.apply()
            };
            write(d, 2)?;
            d.until("a.2", "running")?;
            d.post("/v1/services/a.2/restart?wait=true")?;
            write(d, 1)?;
            wait_for(d.t.seconds(), || Ok(d.find("a.2")?.is_none().then_some(()))).context("a.2 is gone")?;
            write(d, 2)?;
            let run = d.until("a.2", "running")?["run"].clone();
            ensure!(run == "a.2.3", "run {run} after a.2.1 and a.2.2");
            Ok(())
        }),
        sup("removal.numbers-of-services", "run ids: a service that goes and comes back").daemon(|d| {
            let text = d.text(&["trap", "TERM"], SOON);
            for round in 0..4 {
                d.write("a", &text)?;
                d.apply()?;
                d.until("a.1", "running")?;
                match round {
                    0 => {
                        std::fs::remove_file(d.services.join("a.toml"))?;
                        d.apply()?;
                        let gone = || Ok(d.find("a.1")?.is_none().then_some(()));
                        wait_for(d.t.seconds(), gone).context("a.1 is gone")?;
                    }
                    _ => d.ctl(&["rm", "a"])?.ok().map(drop)?,
                }
                if round == 1 {
                    d.crash_and_start()?;
                }
            }
            let made = d.events()?;
            let made: Vec<&str> =
                made.iter().filter(|e| e["kind"] == "creating").filter_map(|e| e["text"].as_str()).collect();
            let different: BTreeSet<&&str> = made.iter().collect();
            ensure!(made.len() == 4 && different.len() == 4, "{made:?}");
            Ok(())
        }),
    ]
}

/// A service that takes a moment to end, and has written something.
fn slow(d: &Daemon<'_, '_>) -> Result<()> {
    d.resident("a", &format!("{SOON}[hooks]\npre_stop = [{{ command = ['/bin/sleep', '1'] }}]\n"))
}

fn logs(d: &Daemon<'_, '_>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(d.state.join("logs")).into_iter().flatten().flatten();
    entries.map(|e| e.path()).collect()
}

fn nothing_is_left(d: &Daemon<'_, '_>) -> Result<()> {
    wait_for(d.t.seconds(), || {
        let known = d.get("/v1/instances")?;
        Ok((known == serde_json::json!([]) && logs(d).is_empty()).then_some(()))
    })
    .with_context(|| format!("left: {:?}, {:?}", logs(d), d.get("/v1/instances")))
}
