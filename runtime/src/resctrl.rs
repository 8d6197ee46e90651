//! `linux.intelRdt`: a class of service of resctrl, and a monitoring group, for one container. The rules are those of
//! config-linux.md, "Intel RDT"; the files those of the kernel's Documentation/filesystems/resctrl.rst.
//! May use: `sys::fs`, `spec`, `error`, `mountinfo`.
#![forbid(unsafe_code)]

mod live;

pub use live::{divides, lines_about};

use crate::error::{Code, Context, Error, Result, quoted};
use crate::mountinfo;
use crate::spec::IntelRdt;
use crate::sys::{errno, fs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FIELD: &str = "/linux/intelRdt";

/// What a config asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The class's directory below the root of resctrl; empty for the root itself.
    pub class: String,
    /// The class was named, so it may be others' too and stays; otherwise it is the container's own.
    pub named: bool,
    /// Lines for the file `schemata`.
    pub schemata: Vec<String>,
    /// Name of the container's own monitoring group.
    pub monitor: Option<String>,
}

/// Plans for the container `id`.
pub fn plan(rdt: &IntelRdt, id: &str) -> Plan {
    let IntelRdt {
        clos_id,
        schemata,
        l3_cache_schema,
        mem_bw_schema,
        enable_monitoring,
        enable_cmt,
        enable_mbm,
    } = rdt;
    let lines = l3_cache_schema.lines().filter(|l| !l.is_empty());
    // Two values for one thing: the field that is only about it wins.
    let lines = lines.filter(|l| mem_bw_schema.is_empty() || !l.starts_with("MB:"));
    let memory = Some(mem_bw_schema.as_str()).filter(|l| !l.is_empty());
    Plan {
        class: if clos_id.is_empty() { id } else { clos_id.trim_matches('/') }.to_string(),
        named: !clos_id.is_empty(),
        schemata: lines
            .chain(memory)
            .chain(schemata.iter().map(String::as_str))
            .map(str::to_string)
            .collect(),
        // The two older fields name what one group does by itself.
        monitor: (*enable_monitoring || *enable_cmt || *enable_mbm).then(|| id.to_string()),
    }
}

/// Where a container's processes go, and what goes with the container: part of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// The class of service.
    class: PathBuf,
    /// It belongs to the container.
    own: bool,
    /// The monitoring group, which always does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitor: Option<PathBuf>,
}

/// Where resctrl is mounted.
///
/// # Errors
/// [`Code::Unsupported`] when it is not.
pub fn root() -> Result<PathBuf> {
    const LIMIT: usize = 64 << 20;
    let table = fs::read_kernel("/proc/self/mountinfo", LIMIT)?;
    mountinfo::points(&table, &["resctrl"]).into_iter().next().ok_or_else(|| {
        Error::spec(FIELD, "no resctrl file system is mounted on this host")
            .code(Code::Unsupported)
            .hint("on a machine with Intel RDT or AMD QoS: mount -t resctrl resctrl /sys/fs/resctrl")
    })
}

impl Groups {
    /// The places for `plan` below `root`. Nothing is made yet.
    pub fn of(plan: &Plan, root: &Path) -> Groups {
        let class = if plan.class.is_empty() { root.to_path_buf() } else { root.join(&plan.class) };
        let monitor = plan.monitor.as_ref().map(|name| class.join("mon_groups").join(name));
        Groups { class, own: !plan.named, monitor }
    }

    /// Makes what is missing and writes the schemata, before any process is inside.
    ///
    /// # Errors
    /// A named class without schemata that is not there; one that is there with others; a class of our name in use.
    pub fn make(&self, plan: &Plan) -> Result<()> {
        if self.make_class(plan)? {
            self.write_schemata(plan)?;
        }
        if let Some(monitor) = &self.monitor {
            directory(monitor)
                .step("make the monitoring group")
                .field(&format!("{FIELD}/enableMonitoring"))?;
        }
        Ok(())
    }

    /// False when the class was there with what is asked for.
    fn make_class(&self, plan: &Plan) -> Result<bool> {
        let at = format!("{FIELD}/closID");
        let there = fs::stat(&self.class).is_ok();
        let name = quoted(&plan.class);
        if plan.named && plan.schemata.is_empty() {
            let rule = "want one that is there already, or schemata for a new one";
            return match there {
                true => Ok(false),
                false => Err(Error::spec(at, format!("there is no class of service {name}: {rule}"))),
            };
        }
        if plan.named && there {
            let now = fs::read_file_at(fs::CWD, self.class.join("schemata")).field(&at)?;
            return match differs(&plan.schemata, &now) {
                None => Ok(false),
                Some(line) => {
                    let text = format!(
                        "the class of service {name} is there with other schemata than {}",
                        quoted(line)
                    );
                    Err(Error::spec(at, text))
                }
            };
        }
        directory(&self.class).step("make the class of service").field(&at).map_err(|e| {
            if e.is(errno::ENOSPC) { e.hint("the processor has no more classes of service") } else { e }
        })?;
        if there && self.in_use()? {
            return Err(Error::spec(at, format!("the class of service {name} is there and in use")));
        }
        Ok(!plan.schemata.is_empty())
    }

    /// In one write each, because a line that is refused shall be named.
    fn write_schemata(&self, plan: &Plan) -> Result<()> {
        for line in &plan.schemata {
            let text = format!("{line}\n");
            fs::write_file_at(fs::CWD, self.class.join("schemata"), text.as_bytes())
                .step_with(|| format!("set the schema {}", quoted(line)))
                .field(FIELD)
                .map_err(|e| match self.reason() {
                    Some(why) => e.hint(why),
                    None => e,
                })?;
        }
        Ok(())
    }

    /// The kernel's words about the last refusal.
    fn reason(&self) -> Option<String> {
        let info =
            self.class.ancestors().map(|a| a.join("info/last_cmd_status")).find(|f| fs::stat(f).is_ok())?;
        let text = fs::read_file_at(fs::CWD, info).ok()?;
        Some(text.trim().to_string()).filter(|t| !t.is_empty() && t != "ok")
    }

    fn in_use(&self) -> Result<bool> {
        Ok(!fs::read_file_at(fs::CWD, self.class.join("tasks"))?.trim().is_empty())
    }

    /// Puts a process with one thread into the groups; its children are born there.
    pub fn enter(&self, pid: i32) -> Result<()> {
        for group in std::iter::once(&self.class).chain(&self.monitor) {
            fs::write_file_at(fs::CWD, group.join("tasks"), pid.to_string().as_bytes())
                .step("enter the class of service")
                .field(FIELD)?;
        }
        Ok(())
    }

    /// Removes what belongs to the container, unless somebody is inside. What is gone is fine.
    pub fn remove(&self) -> Result<()> {
        let gone = |r: Result<()>| match r {
            Err(e) if e.is(errno::ENOENT) => Ok(()),
            r => r,
        };
        if let Some(monitor) = &self.monitor {
            gone(fs::rmdirat(fs::CWD, monitor)).step("remove the monitoring group")?;
        }
        if self.own && fs::stat(&self.class).is_ok() && !self.in_use()? {
            gone(fs::rmdirat(fs::CWD, &self.class)).step("remove the class of service")?;
        }
        Ok(())
    }
}

fn directory(path: &Path) -> Result<()> {
    match fs::mkdirat(fs::CWD, path, 0o755) {
        Err(e) if e.is(errno::EEXIST) => Ok(()),
        r => r,
    }
}

/// The first of `wanted` that `now` does not say. The kernel pads values and orders domains in its own way.
fn differs<'a>(wanted: &'a [String], now: &str) -> Option<&'a str> {
    let mut values = BTreeMap::new();
    now.lines().for_each(|line| values.extend(parts(line)));
    let same = |line: &str| {
        let mut parts = parts(line).peekable();
        parts.peek().is_some() && parts.all(|(key, value)| values.get(&key) == Some(&value))
    };
    wanted.iter().map(String::as_str).find(|line| !same(line))
}

/// `L3:0=00f;1=ff` as ((L3, 0), f), ((L3, 1), ff).
fn parts(line: &str) -> impl Iterator<Item = ((String, String), String)> {
    let (resource, rest) = line.trim().split_once(':').unwrap_or(("", ""));
    rest.split(';').filter_map(move |part| {
        let (domain, value) = part.split_once('=')?;
        let value = value.trim().to_ascii_lowercase();
        let short = value.trim_start_matches('0');
        let value = if short.is_empty() && !value.is_empty() { "0" } else { short };
        Some(((resource.trim().to_string(), domain.trim().to_string()), value.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as file;

    fn rdt(clos_id: &str, l3: &str, mb: &str, more: &[&str], enable_monitoring: bool) -> IntelRdt {
        IntelRdt {
            clos_id: clos_id.into(),
            l3_cache_schema: l3.into(),
            mem_bw_schema: mb.into(),
            schemata: more.iter().map(|s| s.to_string()).collect(),
            enable_monitoring,
            ..Default::default()
        }
    }

    /// A class as mkdir makes one in resctrl.
    fn class(root: &Path, name: &str, schemata: &str) -> PathBuf {
        let dir = root.join(name);
        file::create_dir_all(dir.join("mon_groups")).unwrap();
        file::write(dir.join("tasks"), "").unwrap();
        file::write(dir.join("schemata"), schemata).unwrap();
        dir
    }

    #[test]
    fn lines_are_joined_as_the_specification_says() {
        let p = plan(&rdt("", "L3:0=f\nMB:0=10", "MB:0=20", &["L2:0=1"], true), "c1");
        assert_eq!(p.schemata, ["L3:0=f", "MB:0=20", "L2:0=1"]);
        assert_eq!((p.class.as_str(), p.named, p.monitor.as_deref()), ("c1", false, Some("c1")));
        assert_eq!(plan(&rdt("", "L3:0=f\nMB:0=10", "", &[], false), "c1").schemata, ["L3:0=f", "MB:0=10"]);
        let of_all = plan(&rdt("/", "", "", &[], false), "c1");
        assert_eq!((of_all.class.as_str(), of_all.named), ("", true));
        let older = IntelRdt { enable_cmt: true, ..Default::default() };
        assert_eq!(plan(&older, "c1").monitor.as_deref(), Some("c1"));
    }

    #[test]
    fn schemata_are_compared_by_meaning() {
        let now = "    MB:0= 100;1= 100\n    L3:0=0ff;1=7FF\n";
        let same =
            |lines: &[&str]| differs(&lines.iter().map(|l| l.to_string()).collect::<Vec<_>>(), now).is_none();
        assert!(same(&["L3:1=7ff;0=ff", "MB:0=100"]));
        assert!(!same(&["L3:0=f"]) && !same(&["L2:0=ff"]) && !same(&["L3:2=ff"]) && !same(&["L3"]));
    }

    #[test]
    fn a_named_class_without_schemata_must_be_there() {
        let root = tempfile::tempdir().unwrap();
        let p = plan(&rdt("gold", "", "", &[], false), "c1");
        let groups = Groups::of(&p, root.path());
        let e = groups.make(&p).unwrap_err();
        assert_eq!(e.field_path(), Some("/linux/intelRdt/closID"), "{e}");
        let dir = class(root.path(), "gold", "L3:0=ff\n");
        groups.make(&p).unwrap();
        groups.enter(42).unwrap();
        assert_eq!(file::read_to_string(dir.join("tasks")).unwrap(), "42");
        groups.remove().unwrap();
        assert!(dir.exists(), "it is others'");
    }

    #[test]
    fn a_named_class_with_other_schemata_is_refused() {
        let root = tempfile::tempdir().unwrap();
        class(root.path(), "gold", "    L3:0=0ff\n");
        let p = plan(&rdt("gold", "L3:0=f", "", &[], false), "c1");
        let e = Groups::of(&p, root.path()).make(&p).unwrap_err();
        assert!(e.to_string().contains("other schemata"), "{e}");
        let p = plan(&rdt("gold", "L3:0=ff", "", &[], false), "c1");
        Groups::of(&p, root.path()).make(&p).unwrap();
    }

    #[test]
    fn an_own_class_is_set_entered_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let p = plan(&rdt("", "L3:0=f", "", &[], false), "c1");
        let groups = Groups::of(&p, root.path());
        let dir = class(root.path(), "c1", "L3:0=ff\n");
        groups.make(&p).unwrap();
        assert_eq!(file::read_to_string(dir.join("schemata")).unwrap().trim(), "L3:0=f");
        groups.enter(7).unwrap();
        groups.remove().unwrap();
        assert!(dir.exists(), "somebody is inside");
        let e = groups.make(&p).unwrap_err();
        assert!(e.to_string().contains("in use"), "{e}");
        file::remove_dir_all(&dir).unwrap();
        groups.remove().unwrap();
    }

    #[test]
    fn a_monitoring_group_goes_with_the_container() {
        let root = tempfile::tempdir().unwrap();
        let dir = class(root.path(), "gold", "L3:0=ff\n");
        let p = plan(&rdt("gold", "", "", &[], true), "c1");
        let groups = Groups::of(&p, root.path());
        groups.make(&p).unwrap();
        let monitor = dir.join("mon_groups/c1");
        assert!(monitor.is_dir());
        file::write(monitor.join("tasks"), "").unwrap();
        groups.enter(9).unwrap();
        assert_eq!(file::read_to_string(monitor.join("tasks")).unwrap(), "9");
        // resctrl removes a group's files with it.
        file::remove_file(monitor.join("tasks")).unwrap();
        groups.remove().unwrap();
        assert!(!monitor.exists() && dir.exists());
    }
}
