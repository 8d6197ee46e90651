//! A container that lives while another one is disturbed: its process, its groups and its record must stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::unit;
use crate::oracle;
use crate::trial::{Trial, Twin};

/// The other container, as it was.
pub struct Beside {
    twin: Twin,
    pid: i32,
    begun: u64,
    record: BTreeMap<PathBuf, String>,
    groups: BTreeMap<PathBuf, String>,
}

impl Beside {
    /// Starts it, with the driver of cgroups that the other one has.
    pub fn start(t: &mut Trial<'_>, systemd: bool) -> Result<Beside> {
        let place = unit::place(&format!("{}-beside", t.id));
        let twin = t.twin("-beside", |spec| {
            spec["process"]["args"] = serde_json::json!([crate::base::PROBE, "trap", "TERM"]);
            if systemd {
                spec["linux"]["cgroupsPath"] = place.into();
            }
        })?;
        t.rt(&["run", "--detach", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?;
        let state = t.rt(&["state", &twin.id]).run()?.ok()?.json()?;
        let pid = state["pid"].as_i64().context("state has no pid")? as i32;
        let begun = begun(pid).context("the container beside has ended")?;
        let (record, groups) = (oracle::listing(&t.state_root().join(&twin.id)), groups(t, &twin.id));
        Ok(Beside { twin, pid, begun, record, groups })
    }

    /// What is no longer as it was.
    pub fn complaints(&self, t: &Trial<'_>) -> Vec<String> {
        let mut all = Vec::new();
        if begun(self.pid) != Some(self.begun) {
            all.push("the process of the container beside has ended".to_string());
        }
        if oracle::listing(&t.state_root().join(&self.twin.id)) != self.record {
            all.push("the record of the container beside has changed".to_string());
        }
        let now = groups(t, &self.twin.id);
        let other = |(dir, content): &(&PathBuf, &String)| now.get(*dir) != Some(*content);
        all.extend(self.groups.iter().filter(other).map(|(d, _)| format!("{} has changed", d.display())));
        all
    }

    /// Takes it away; the runtime must still know it as it is.
    pub fn end(self, t: &mut Trial<'_>) -> Result<()> {
        let state = t.rt(&["state", &self.twin.id]).run()?.ok()?.json()?;
        anyhow::ensure!(state["status"] == "running", "the container beside is {}", state["status"]);
        t.rt(&["delete", "--force", &self.twin.id]).run()?.ok().map(drop)
    }
}

/// When a process began; nothing when it has ended.
fn begun(pid: i32) -> Option<u64> {
    let stat = procfs::process::Process::new(pid).and_then(|p| p.stat()).ok()?;
    (stat.state != 'Z').then_some(stat.starttime)
}

/// The groups of the suite, and the container's scope, that hold something, with what they hold and whether they are frozen.
fn groups(t: &Trial<'_>, id: &str) -> BTreeMap<PathBuf, String> {
    let read = |dir: &PathBuf, file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let hold = |dir: PathBuf| {
        let text =
            ["cgroup.procs", "cgroup.freeze", "freezer.state", "pids.max"].map(|f| read(&dir, f)).concat();
        (dir, text)
    };
    let all = oracle::cgroups(t.yard).into_iter().chain([unit::dir(t, id)]);
    all.filter(|dir| !read(dir, "cgroup.procs").is_empty()).map(hold).collect()
}
