//! `knarrctl doctor`: each fault is made, must be named with its fix, and is gone again when it is mended.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("doctor.clean", "doctor").daemon(|d| {
            d.resident("a", "")?;
            let all = findings(d)?;
            for check in [
                "files.services",
                "files.state",
                "files.run",
                "files.socket",
                "daemon.reachable",
                "daemon.version",
            ] {
                ensure!(about(&all, check).is_empty(), "{check}: {all:?}");
            }
            // With knarr its own words are there, with another runtime that they are not.
            let (here, gone) = if d.t.runtime.name == "knarr" {
                ("cgroup.layout", "runtime.other")
            } else {
                ("runtime.other", "cgroup.layout")
            };
            ensure!(
                !about(&all, here).is_empty() && about(&all, gone).is_empty(),
                "{here}, not {gone}: {all:?}"
            );
            Ok(())
        }),
        sup("doctor.services-writable", "doctor").daemon(|d| {
            let services = d.services.clone();
            made(d, "files.services", &services, 0o777)?;
            d.resident("a", "")?;
            let file = services.join("a.toml");
            made(d, "files.services", &file, 0o666)
        }),
        sup("doctor.socket-open", "doctor").daemon(|d| {
            let socket = d.socket();
            made(d, "files.socket", &socket, 0o666)
        }),
        sup("doctor.state-writable", "doctor").daemon(|d| {
            let state = d.state.clone();
            made(d, "files.state", &state, 0o777)
        }),
        sup("doctor.no-daemon", "doctor").daemon(|d| {
            ensure!(about(&findings(d)?, "daemon.reachable").is_empty(), "it answers");
            d.end()?;
            let all = findings(d)?;
            let found = about(&all, "daemon.reachable");
            let socket = d.socket().display().to_string();
            ensure!(found.iter().any(|f| f["what"].as_str().is_some_and(|w| w.contains(&socket))), "{all:?}");
            d.start()
        }),
    ]
}

/// A place gets a mode that it must not have, is named, gets its own back, and is not named.
fn made(d: &mut Daemon<'_, '_>, check: &str, place: &Path, wrong: u32) -> Result<()> {
    let right = fs::metadata(place)?.permissions();
    let named = |all: &[Value]| -> Option<Value> {
        let place = place.to_string_lossy();
        about(all, check).into_iter().find(|f| f["what"].as_str().is_some_and(|w| w.contains(&*place)))
    };
    let before = findings(d)?;
    ensure!(named(&before).is_none(), "before the fault: {before:?}");
    fs::set_permissions(place, Permissions::from_mode(wrong))?;
    let told = findings(d);
    fs::set_permissions(place, right)?;
    let told = told?;
    let found =
        named(&told).with_context(|| format!("{} with {wrong:o} is not named: {told:?}", place.display()))?;
    ensure!(found["severity"] == "error", "{found}");
    let (what, fix) = (found["what"].as_str().unwrap_or_default(), found["fix"].as_str().unwrap_or_default());
    ensure!(what.contains(&format!("{wrong:04o}")) && fix.contains("chmod o-"), "{found}");
    let after = findings(d)?;
    ensure!(named(&after).is_none(), "it was mended: {after:?}");
    Ok(())
}

/// What doctor finds; its exit code must fit.
fn findings(d: &mut Daemon<'_, '_>) -> Result<Vec<Value>> {
    let out = d.ctl(&["doctor", "--json"])?;
    let all = out.json()?["findings"].as_array().cloned().context("findings")?;
    let wrong = all.iter().any(|f| f["severity"] != "note");
    let out = out.exits(i32::from(wrong))?;
    for f in &all {
        let fix = f["fix"].as_str().unwrap_or_default();
        ensure!(
            (f["severity"] == "note") == fix.is_empty(),
            "a fix for what is wrong, and only for that: {f}"
        );
    }
    // The same as text.
    let text = d.ctl(&["doctor"])?.exits(i32::from(wrong))?.stdout;
    ensure!(wrong != text.ends_with("ok\n"), "{text}{}", out.stderr);
    Ok(all)
}

fn about(all: &[Value], check: &str) -> Vec<Value> {
    all.iter().filter(|f| f["check"] == check).cloned().collect()
}
