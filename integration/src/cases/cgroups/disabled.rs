//! `--cgroup-manager disabled`: a container without a control group of its own, as Podman asks for with `--cgroups=disabled`.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::trial::Trial;

const CLI: &str = "cli: --cgroup-manager disabled";

fn disabled(t: &mut Trial<'_>) -> Result<()> {
    t.global.extend(["--cgroup-manager", "disabled"].map(String::from));
    Ok(())
}

/// No hierarchy has a directory for the container.
fn no_group(t: &Trial<'_>) -> Result<()> {
    let path = t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/').to_string();
    for top in t.yard.host.hierarchies() {
        ensure!(!top.join(&path).exists(), "{} is there", top.join(&path).display());
    }
    Ok(())
}

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case("nocgroup.stays-with-the-caller").checks(CLI).prepare(disabled).steps(|t| {
            t.spec["process"]["args"] = json!([PROBE, "cat", "/proc/self/cgroup"]);
            let ours = fs::read_to_string("/proc/self/cgroup")?;
            t.run()?.ok()?.prints(&ours)?;
            no_group(t)
        }),
        case("nocgroup.life").checks(CLI).prepare(disabled).steps(|t| {
            let pid = t.resident()?;
            no_group(t)?;
            t.is("running")?;
            let ours = fs::read_to_string("/proc/self/cgroup")?;
            t.exec_probe(&["cat", "/proc/self/cgroup"])?.ok()?.prints(&ours)?;
            t.verb("kill", &["TERM"])?.ok()?;
            t.ended(pid)?;
            t.is("stopped")?;
            t.verb("delete", &[])?.ok()?;
            Ok(())
        }),
        case("nocgroup.ps").checks(CLI).prepare(disabled).steps(|t| {
            let pid = t.resident()?;
            let pids = t.ps()?;
            ensure!(pids == json!([pid]), "{pids}");
            Ok(())
        }),
        case("nocgroup.not-paused").checks(CLI).prepare(disabled).steps(|t| {
            t.resident()?;
            t.verb("pause", &[])?.fails()?;
            t.is("running")?;
            Ok(())
        }),
        case("nocgroup.removed-by-force").checks(CLI).prepare(disabled).steps(|t| {
            let pid = t.resident()?;
            t.remove()?;
            ensure!(t.ended(pid)? == 128 + 9, "it was not killed");
            Ok(())
        }),
        case("nocgroup.limit-refused")
            .checks(CLI)
            .prepare(disabled)
            .wrong(|s| s["linux"]["resources"]["pids"] = json!({"limit": 7}))
            .refused("/linux/resources/pids", "without a cgroup"),
    ]
}
