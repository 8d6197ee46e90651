//! Options of `exec` that say where and as what the process runs: sub-cgroups, capabilities, labels, groups.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::inside;
use crate::base;
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    let mut all = groups();
    all.extend(busy());
    all.extend(rights());
    all.extend(refused());
    all
}

fn path_of(t: &Trial<'_>) -> String {
    t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string()
}

/// The container's directory in every hierarchy that has one.
fn dirs(t: &Trial<'_>) -> Vec<PathBuf> {
    let path = path_of(t);
    let all = t.yard.host.hierarchies().into_iter().map(|top| top.join(path.trim_start_matches('/')));
    all.filter(|dir| dir.is_dir()).collect()
}

/// A resident container with groups of this name below its own; cpusets take no process before they have CPUs.
fn with_group(t: &mut Trial<'_>, name: &str) -> Result<()> {
    t.resident()?;
    for dir in dirs(t) {
        let new = dir.join(name);
        fs::create_dir(&new).with_context(|| format!("{}", new.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(dir.join(file)) {
                let _ = fs::write(new.join(file), value);
            }
        }
    }
    Ok(())
}

/// `exec --cgroup VALUE...`: the lines of /proc/self/cgroup that are about the container.
fn joined(t: &mut Trial<'_>, values: &[&str]) -> Result<Vec<(String, String)>> {
    t.exec_flags = values.iter().map(|v| format!("--cgroup={v}")).collect();
    let out = t.exec_probe(&["cat", "/proc/self/cgroup"])?.ok()?.stdout;
    let path = path_of(t);
    let lines: Vec<_> = out
        .lines()
        .filter_map(|l| l.split_once(':')?.1.split_once(':'))
        .filter_map(|(names, place)| Some((names.to_string(), place.strip_prefix(&path)?.to_string())))
        .collect();
    ensure!(!lines.is_empty(), "no group of the container: {out}");
    Ok(lines)
}

fn groups() -> Vec<Case> {
    let text = "cli: exec --cgroup";
    vec![
        case("exec.cgroup-sub").checks(text).steps(|t| {
            with_group(t, "sub")?;
            for value in ["sub", "/sub", "sub/"] {
                for (names, place) in joined(t, &[value])? {
                    ensure!(place == "/sub", "{value}: in {names} it is in {place:?}");
                }
            }
            let pids = t.ps()?;
            ensure!(pids.as_array().is_some_and(|p| p.len() == 1), "{pids}");
            Ok(())
        }),
        case("exec.cgroup-top").checks(text).steps(|t| {
            with_group(t, "sub")?;
            for (names, place) in joined(t, &["/"])? {
                ensure!(place.is_empty(), "in {names} it is in {place:?}");
            }
            Ok(())
        }),
        case("exec.cgroup-of-one-controller")
            .checks(text)
            .needs([Need::V1("memory"), Need::V1("pids")])
            .steps(|t| {
                with_group(t, "sub")?;
                for (names, place) in joined(t, &["memory:sub", "pids:/"])? {
                    let want = if names == "memory" { "/sub" } else { "" };
                    ensure!(place == want, "in {names} it is in {place:?}");
                }
                Ok(())
            }),
        inside("exec.cgroup-missing", text, |t| {
            t.exec_flags = vec!["--cgroup=nosuch".into()];
            let out = t.exec_probe(&["true"])?.exits(255)?.says(" adding pid ")?;
            out.says("/nosuch/cgroup.procs: no such file")?;
            Ok(())
        }),
        inside("exec.cgroup-unknown-controller", text, |t| {
            t.exec_flags = vec!["--cgroup=nosuch:sub".into()];
            t.exec_probe(&["true"])?.exits(255)?.says("unknown controller nosuch")?;
            Ok(())
        }),
        inside("exec.cgroup-outside", "catalogue S34", |t| {
            let sibling = format!("{}-suffix", path_of(t));
            let sibling = sibling.rsplit('/').next().unwrap_or("").to_string();
            for bad in ["..".to_string(), "sub/../..".into(), format!("../{sibling}"), "/..".into()] {
                t.exec_flags = vec![format!("--cgroup={bad}")];
                t.exec_probe(&["true"])?.exits(255)?.fails()?;
            }
            Ok(())
        }),
    ]
}

/// A group whose children have controllers takes no process (cgroups(7)): without the option the process goes where init
/// is, with it the caller is told.
fn busy() -> Vec<Case> {
    vec![
        case("exec.cgroup-busy")
            .checks("cli: exec --cgroup")
            .needs([Need::CgroupV2Controller("hugetlb")])
            .steps(|t| {
                let pid = t.resident()?;
                let dir = t.cgroup("hugetlb")?.dir;
                fs::create_dir(dir.join("init"))?;
                fs::write(dir.join("init/cgroup.procs"), pid.to_string())?;
                // The controller reaches the container's group only through those above it.
                let mut above: Vec<_> = dir.ancestors().collect();
                above.retain(|a| a.join("cgroup.subtree_control").exists());
                for place in above.into_iter().rev() {
                    fs::write(place.join("cgroup.subtree_control"), "+hugetlb")
                        .with_context(|| format!("{}", place.display()))?;
                }
                t.exec_probe(&["true"])?.ok()?;
                t.exec_flags = vec!["--cgroup=/".into()];
                t.exec_probe(&["true"])?.exits(255)?.says("cgroup.procs: device or resource busy")?;
                Ok(())
            }),
    ]
}

fn rights() -> Vec<Case> {
    let cli = "cli: flags of exec";
    vec![
        case("exec.cap").checks(cli).steps(|t| {
            base::capabilities(&mut t.spec, &["CAP_KILL"]);
            t.resident()?;
            let set = |out: &str, name: &str| -> Result<String> {
                let line = out.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
                Ok(line.with_context(|| format!("no {name} in {out}"))?.to_string())
            };
            let plain = t.exec_probe(&["caps"])?.ok()?.stdout;
            ensure!(set(&plain, "CapBnd")? == "0000000000000020", "{plain}");
            t.exec_flags = ["--cap", "CAP_CHOWN", "--cap", "CAP_SETUID"].map(String::from).to_vec();
            let more = t.exec_probe(&["caps"])?.ok()?.stdout;
            for name in ["CapBnd", "CapEff", "CapPrm"] {
                ensure!(set(&more, name)? == "00000000000000a1", "{name}: {more}");
            }
            // The inheritable set would let a file bring it back (CVE-2022-29162).
            ensure!(set(&more, "CapInh")? == "0000000000000000", "{more}");
            Ok(())
        }),
        case("exec.additional-gids-are-added").checks(cli).steps(|t| {
            t.spec["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [5]});
            t.resident()?;
            t.exec_flags = ["-g", "7", "-g", "6"].map(String::from).to_vec();
            t.exec_probe(&["id"])?.ok()?.prints("uid=0 gid=0 groups=5,6,7\n")?;
            Ok(())
        }),
        inside("exec.paused", "cli: exec into a paused container", |t| {
            t.verb("pause", &[])?.ok()?;
            let out = t.exec_probe(&["true"])?.exits(255)?;
            out.says("cannot exec in a paused container (use --ignore-paused to override)")?;
            t.verb("resume", &[])?.ok()?;
            Ok(())
        }),
    ]
}

/// Labels of a security module that this machine does not have.
fn refused() -> Vec<Case> {
    let label = |name: &str, flag: &'static str, text: &'static str| {
        case(name).checks("catalogue B050").needs([Need::NoLsm]).steps(move |t| {
            t.resident()?;
            t.exec_probe(&["true"])?.ok().context("the control")?;
            t.exec_flags = vec![flag.into()];
            t.exec_probe(&["true"])?.exits(255)?.fails()?.says(text)?;
            Ok(())
        })
    };
    vec![
        label("exec.apparmor-absent", "--apparmor=some-profile", "apparmor"),
        label("exec.selinux-absent", "--process-label=a:b:c:s0", "selinux"),
    ]
}
