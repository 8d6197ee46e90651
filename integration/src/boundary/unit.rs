//! The scope of a container, where systemd makes the cgroups: beside the groups of the suite, which the oracle looks at.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::trial::{Trial, wait_for};

/// From now on systemd makes the cgroups of this trial's containers.
pub fn driver(t: &mut Trial<'_>) {
    t.global.push("--systemd-cgroup".into());
    t.spec["linux"]["cgroupsPath"] = place(&t.id).into();
}

/// Slice, prefix and name, as the driver wants them.
pub fn place(id: &str) -> String {
    format!("system.slice:case:{id}")
}

fn name(id: &str) -> String {
    format!("case-{id}.scope")
}

/// The group of a container's scope.
pub fn dir(t: &Trial<'_>, id: &str) -> PathBuf {
    t.yard.host.v2.clone().unwrap_or_default().join("system.slice").join(name(id))
}

fn systemctl(t: &mut Trial<'_>, args: &[&str]) -> Result<String> {
    let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
    Ok(t.command(Path::new("systemctl"), &args).run()?.stdout.trim().to_string())
}

/// What is left of the container's scope: its group at once, the unit when systemd has had time to forget it.
pub fn traces(t: &mut Trial<'_>) -> Vec<String> {
    let (group, unit, seconds) = (dir(t, &t.id), name(&t.id), t.seconds());
    let mut all = Vec::new();
    if group.exists() {
        all.push(format!("cgroup {} is left", group.display()));
    }
    let known =
        |t: &mut Trial<'_>| systemctl(t, &["show", "--value", "--property", "LoadState", "--", &unit]);
    let forgotten = wait_for(seconds, || Ok((known(t)? == "not-found").then_some(())));
    if forgotten.is_err() {
        all.push(format!("systemd still knows {unit}"));
    }
    all
}

/// After a violation: it goes by force.
pub fn scrub(t: &mut Trial<'_>) -> Result<()> {
    let unit = name(&t.id);
    systemctl(t, &["kill", "--signal=KILL", "--", &unit])?;
    systemctl(t, &["reset-failed", "--", &unit])?;
    Ok(())
}
