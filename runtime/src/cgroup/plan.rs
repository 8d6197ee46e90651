//! `linux.cgroupsPath` and `linux.resources` turned into directories and writes for a layout: pure data that
//! `knarr check --plan` prints and `create` walks once. May use: `spec`, `error`, the tables.
#![forbid(unsafe_code)]

use super::Saved;
use super::device::{self, Rule};
use super::layout::{Kind, Layout, Tree};
use super::limits::{self, BASE, at, pointer_step};
use super::systemd::UnitPlan;
use super::{v1, v2};
use crate::error::{Code, Error, Result, quoted};
use crate::spec::{BlockIo, Cpu, Memory, Network, Resources};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Controllers that are switched on for a container even without a limit, so that its usage can be told. Not
/// being able to is no error.
const ACCOUNTING: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// One directory to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The hierarchy, see [`Tree::key`].
    pub key: String,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The directory below the mount; names joined by "/", never empty, never "..".
    pub path: String,
    /// The directory as /proc/PID/cgroup names it for a reader in our cgroup namespace.
    pub seen: String,
}

impl Group {
    /// The absolute path.
    pub fn dir(&self) -> PathBuf {
        self.mount.join(&self.path)
    }
}

/// One value to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Write {
    /// The hierarchy, see [`Group::key`].
    pub key: String,
    /// File and value; of several, the first file that exists is written.
    pub files: Vec<(String, String)>,
    /// No such file is fine too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Refuse a value that is not above the number in this file (`memory.checkBeforeUpdate`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<&'static str>,
    /// The field of config.json that asks for it.
    pub field: String,
}

/// Directories and writes of one container: pure data, printable as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The layout this was made for.
    pub layout: Kind,
    /// One directory per hierarchy, the v2 tree first.
    pub groups: Vec<Group>,
    /// The config says where: then it is an error when that cannot be made.
    pub named: bool,
    /// In this order.
    pub writes: Vec<Write>,
    /// v2 controllers that limits need.
    pub needed: Vec<String>,
    /// v2 controllers that would be good to have.
    pub wanted: Vec<String>,
    /// Rules for the device program of the v2 directory; absent where a v1 device list is in `writes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_program: Option<Vec<Rule>>,
    /// The unit of systemd that makes the directories where systemd has hierarchies mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitPlan>,
    /// Things asked for that have no effect, one sentence each.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Where the directories will be; recorded before they are made, and replaced by [`super::Cgroup::saved`]
    /// when they are.
    pub fn saved(&self) -> Saved {
        let v2 = self.groups.iter().find(|g| g.key.is_empty());
        Saved {
            paths: self.groups.iter().map(|g| (g.key.clone(), g.dir())).collect(),
            created: false,
            kept: BTreeSet::new(),
            seen: v2.map(|g| g.seen.clone()).unwrap_or_default(),
            unit: self.unit.as_ref().map(|u| u.unit.clone()),
        }
    }
}

/// Turns `linux.cgroupsPath` and `linux.resources` into a plan for `layout`. Pure.
///
/// An absolute path is taken below the root of each hierarchy; a relative one below our own cgroup on v1, and
/// beside our own cgroup on v2 (a v2 cgroup with processes cannot have limited children); no path means the
/// relative path `id`. All as runc with its cgroupfs driver.
///
/// # Errors
/// A bad path or value, or a limit whose controller is not to be had here: each with its field.
pub fn plan(layout: &Layout, cgroups_path: &str, id: &str, resources: &Resources) -> Result<Plan> {
    let (absolute, names) = match cgroups_path {
        "" => (false, names(id)?),
        path => (path.starts_with('/'), names(path)?),
    };
    let plan = Plan {
        layout: layout.kind,
        groups: layout.v2.iter().chain(&layout.v1).map(|t| group(t, absolute, &names)).collect(),
        named: !cgroups_path.is_empty(),
        writes: Vec::new(),
        needed: Vec::new(),
        wanted: Vec::new(),
        device_program: None,
        unit: None,
        warnings: Vec::new(),
    };
    let mut builder = Builder { layout, plan };
    builder.resources(resources)?;
    Ok(builder.finish())
}

/// The writes for limits of a group that exists, device rules apart. Pure.
///
/// # Errors
/// As [`plan`]; and a limit for a hierarchy in which the container has no directory that can be seen from here.
pub fn limits_plan(layout: &Layout, saved: &Saved, resources: &Resources) -> Result<Plan> {
    let existing = |t: &Tree| {
        let path = saved.paths.get(&t.key)?.strip_prefix(&t.mount).ok()?.to_str()?.to_string();
        Some(Group { key: t.key.clone(), mount: t.mount.clone(), path, seen: saved.seen.clone() })
    };
    let plan = Plan {
        layout: layout.kind,
        groups: layout.v2.iter().chain(&layout.v1).filter_map(existing).collect(),
        named: true,
        unit: None,
        writes: Vec::new(),
        needed: Vec::new(),
        wanted: Vec::new(),
        device_program: None,
        warnings: Vec::new(),
    };
    let mut builder = Builder { layout, plan };
    builder.limits(resources)?;
    let plan = builder.plan;
    match plan.writes.iter().find(|w| !plan.groups.iter().any(|g| g.key == w.key)) {
        Some(w) => {
            let text = "the container has no cgroup in the hierarchy of this limit";
            Err(Error::spec(&w.field, text).code(Code::Unsupported).hint(layout.to_string()))
        }
        None => Ok(plan),
    }
}

/// The names of a path, checked.
fn names(path: &str) -> Result<Vec<&str>> {
    let bad = |text: String| Err(Error::spec("/linux/cgroupsPath", text));
    if path.len() > 4000 {
        return bad(format!("{} bytes long, want at most 4000", path.len()));
    }
    let names: Vec<&str> = path.split('/').filter(|n| !n.is_empty() && *n != ".").collect();
    for name in &names {
        if *name == ".." {
            return bad(format!("has a \"..\", got {}", quoted(path)));
        }
        if name.len() > 255 {
            return bad(format!("has a name of {} bytes, want at most 255: {}", name.len(), quoted(name)));
        }
        if name.contains(['\0', '\n']) {
            return bad(format!("has a character that no cgroup name can have, got {}", quoted(name)));
        }
    }
    if names.is_empty() {
        return bad(format!("names the root of the hierarchy, got {}", quoted(path)));
    }
    Ok(names)
}

fn group(tree: &Tree, absolute: bool, names: &[&str]) -> Group {
    let mut all: Vec<&str> = Vec::new();
    if !absolute {
        all.extend(tree.own.split('/').filter(|n| !n.is_empty()));
        if tree.key.is_empty() {
            all.pop();
        }
    }
    all.extend(names);
    let path = all.join("/");
    let seen = format!("{}/{path}", tree.root.trim_end_matches('/'));
    Group { key: tree.key.clone(), mount: tree.mount.clone(), path, seen }
}

/// Collects the writes of one section of `resources`.
#[derive(Debug)]
pub(super) struct Sink {
    key: String,
    pub writes: Vec<Write>,
    pub warnings: Vec<String>,
}

impl Sink {
    pub(super) fn new(key: String) -> Sink {
        Sink { key, writes: Vec::new(), warnings: Vec::new() }
    }
    fn push(
        &mut self,
        files: Vec<(String, String)>,
        field: String,
        optional: bool,
        above: Option<&'static str>,
    ) {
        self.writes.push(Write { key: self.key.clone(), files, optional, above, field });
    }
    pub(super) fn put(&mut self, file: impl Into<String>, value: impl ToString, field: String) {
        self.push(vec![(file.into(), value.to_string())], field, false, None);
    }
    /// The file may be missing.
    pub(super) fn put_if_there(&mut self, file: impl Into<String>, value: impl ToString, field: String) {
        self.push(vec![(file.into(), value.to_string())], field, true, None);
    }
    /// Only above the number in the file `above`.
    pub(super) fn put_guarded(
        &mut self,
        file: &str,
        value: String,
        field: String,
        above: Option<&'static str>,
    ) {
        self.push(vec![(file.into(), value)], field, false, above);
    }
    /// The first of these files that exists.
    pub(super) fn put_first(&mut self, files: Vec<(String, String)>, field: String) {
        self.push(files, field, false, None);
    }
    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }
}

/// Which table a section is written by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

struct Builder<'a> {
    layout: &'a Layout,
    plan: Plan,
}

impl Builder<'_> {
    fn resources(&mut self, r: &Resources) -> Result<()> {
        self.devices(&device::rules(&r.devices)?)?;
        self.limits(r)
    }

    /// Everything but the device rules.
    fn limits(&mut self, r: &Resources) -> Result<()> {
        let Resources { devices: _, memory, cpu, pids, block_io, hugepage_limits, network, rdma, unified } =
            r;
        if let Some(m) = memory {
            self.memory(m)?;
        }
        if let Some(c) = cpu {
            self.cpu(c)?;
        }
        if let Some(p) = pids {
            self.section("pids", "pids", |_, out| v2::pids(p, out))?;
        }
        if let Some(b) = block_io {
            self.block_io(b)?;
        }
        self.section("hugetlb", "hugetlb", |version, out| match version {
            Version::V1 => v1::hugetlb(hugepage_limits, out),
            Version::V2 => v2::hugetlb(hugepage_limits, out),
        })?;
        self.section("rdma", "rdma", |_, out| {
            for (device, r) in rdma {
                if let Some(line) = limits::rdma(device, r)? {
                    out.put("rdma.max", line, format!("{BASE}/rdma/{}", pointer_step(device)));
                }
            }
            Ok(())
        })?;
        if let Some(n) = network {
            self.network(n)?;
        }
        // Last, so that it overrides what the fields above said.
        for (key, value) in unified {
            self.unified(key, value)?;
        }
        Ok(())
    }

    /// Runs a table for one controller: that of v1 where the controller is mounted so, else that of v2. A
    /// table that writes nothing needs no controller.
    fn section(
        &mut self,
        v1: &str,
        v2: &str,
        table: impl FnOnce(Version, &mut Sink) -> Result<()>,
    ) -> Result<()> {
        let (version, key) = match self.layout.v1_tree(v1) {
            Some(tree) => (Version::V1, tree.key.clone()),
            None if self.layout.v2.is_some() => (Version::V2, String::new()),
            None => (Version::V1, String::new()),
        };
        let mut out = Sink::new(key);
        table(version, &mut out).map_err(|e| match e.kind() {
            Code::Unsupported => e.hint(self.layout.to_string()),
            _ => e,
        })?;
        let here = self.layout.v1_tree(v1).is_some() || self.layout.v2_has(v2);
        if let Some(first) = out.writes.first().filter(|_| !here) {
            return Err(self.absent(if version == Version::V1 { v1 } else { v2 }, &first.field));
        }
        if version == Version::V2 && !out.writes.is_empty() {
            self.need(v2);
        }
        self.plan.writes.append(&mut out.writes);
        self.plan.warnings.append(&mut out.warnings);
        Ok(())
    }

    fn memory(&mut self, m: &Memory) -> Result<()> {
        self.section("memory", "memory", |version, out| match version {
            Version::V1 => v1::memory(m, out),
            Version::V2 => v2::memory(m, out),
        })
    }

    fn cpu(&mut self, c: &Cpu) -> Result<()> {
        self.section("cpu", "cpu", |version, out| match version {
            Version::V1 => v1::cpu(c, out),
            Version::V2 => v2::cpu(c, out),
        })?;
        self.section("cpuset", "cpuset", |_, out| {
            v2::cpuset(c, out);
            Ok(())
        })
    }

    fn block_io(&mut self, b: &BlockIo) -> Result<()> {
        self.section("blkio", "io", |version, out| match version {
            Version::V1 => v1::block_io(b, out),
            Version::V2 => v2::block_io(b, out),
        })
    }

    fn network(&mut self, n: &Network) -> Result<()> {
        let Network { class_id, priorities } = n;
        // Controllers that cgroup v2 does not have under any name.
        self.section("net_cls", "net_cls", |_, out| {
            v1::net_cls(*class_id, out);
            Ok(())
        })?;
        self.section("net_prio", "net_prio", |_, out| v1::net_prio(priorities, out))
    }

    fn unified(&mut self, key: &str, value: &str) -> Result<()> {
        let field = format!("{BASE}/unified/{}", pointer_step(key));
        let (controller, lines) = v2::unified(key, value)?;
        if self.layout.v2.is_none() || (controller != "cgroup" && !self.layout.v2_has(&controller)) {
            return Err(self.absent(&controller, &field));
        }
        if controller != "cgroup" {
            self.need(&controller);
        }
        let mut out = Sink::new(String::new());
        for line in lines {
            out.put(key, line, field.clone());
        }
        self.plan.writes.append(&mut out.writes);
        Ok(())
    }

    /// Device rules always apply: without any, everything but the runtime's own list is denied.
    fn devices(&mut self, rules: &[Rule]) -> Result<()> {
        match (self.layout.v1_tree("devices"), &self.layout.v2) {
            (Some(tree), _) => {
                let mut out = Sink::new(tree.key.clone());
                v1::devices(rules, &mut out).map_err(|e| e.hint(self.layout.to_string()))?;
                self.plan.writes.append(&mut out.writes);
                Ok(())
            }
            (None, Some(_)) => {
                self.plan.device_program = Some(rules.to_vec());
                Ok(())
            }
            (None, None) => Err(self.absent("devices", &at("devices"))),
        }
    }

    fn need(&mut self, controller: &str) {
        if !self.plan.needed.iter().any(|c| c == controller) {
            self.plan.needed.push(controller.to_string());
        }
    }

    /// The error for a limit that cannot be applied here: field, controller, layout.
    fn absent(&self, controller: &str, field: &str) -> Error {
        Error::spec(field, format!("controller {} is not available", quoted(controller)))
            .code(Code::Unsupported)
            .hint(self.layout.to_string())
    }

    fn finish(mut self) -> Plan {
        let good = |c: &str| self.layout.v2_has(c) && !self.plan.needed.iter().any(|n| n == c);
        self.plan.wanted = ACCOUNTING.iter().filter(|c| good(c)).map(|c| c.to_string()).collect();
        self.plan
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
