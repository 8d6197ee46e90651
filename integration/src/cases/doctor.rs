//! `knarr doctor`: a fault in a view of its own is named, and the twin without it is not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Out;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        case("doctor.controller-missing")
            .checks("doctor: cgroup.controllers")
            .needs([Need::Root, Need::Program("unshare"), Need::CgroupAny("memory")])
            .steps(|t| {
                let (place, v2) = t.yard.host.controller("memory").context("memory")?;
                ensure!(lacks(t.rt(&["doctor", "--json"]).run()?)?.is_empty(), "memory is there and named");
                // In a mount namespace that ends with the command: the v1 hierarchy is not there, or the list of v2 is empty.
                let empty = t.host_dir("empty")?.join("list");
                fs::write(&empty, "")?;
                let hide = match v2 {
                    true => {
                        format!("mount --bind {} {}/cgroup.controllers", empty.display(), place.display())
                    }
                    false => format!("umount -l {}", place.display()),
                };
                let runtime = t.runtime.path.display().to_string();
                let script = format!("mount --make-rprivate / && {hide} && exec {runtime} doctor --json");
                let args = ["-m", "sh", "-c", &script].map(String::from);
                let lacks = lacks(t.command(Path::new("unshare"), &args).run()?.exits(1)?)?;
                ensure!(lacks.iter().any(|w| w.contains("controller memory:")), "{lacks:?}");
                Ok(())
            }),
        case("doctor.root-writable").checks("doctor: files.state").needs([Need::Root]).steps(|t| {
            let root = t.host_dir("doctor-root")?;
            let place = root.display().to_string();
            for (mode, named) in [(0o700, false), (0o777, true), (0o1777, false)] {
                fs::set_permissions(&root, Permissions::from_mode(mode))?;
                let out = t.bare(&["--root", &place, "doctor", "--json"]).run()?;
                let found = findings(&out)?.into_iter().find(|f| {
                    f["check"] == "files.state" && f["what"].as_str().is_some_and(|w| w.starts_with(&place))
                });
                ensure!(found.is_some() == named, "{mode:o}: {found:?}");
                if let Some(f) = found {
                    ensure!(f["fix"] == format!("chmod o-w {place}"), "{f}");
                    out.exits(1)?;
                }
            }
            Ok(())
        }),
    ]
}

fn findings(out: &Out) -> Result<Vec<Value>> {
    out.json()?["findings"].as_array().cloned().context("findings")
}

/// What is said about controllers that are missing; memory's alone is looked for.
fn lacks(out: Out) -> Result<Vec<String>> {
    let all = findings(&out)?;
    let wrong = all.iter().any(|f| f["severity"] != "note");
    out.exits(i32::from(wrong))?;
    let about = all.iter().filter(|f| f["check"] == "cgroup.controllers");
    let texts = about.filter_map(|f| f["what"].as_str().map(String::from));
    Ok(texts.filter(|w| w.contains("controller memory:")).collect())
}
