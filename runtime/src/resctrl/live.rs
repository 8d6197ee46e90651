//! Groups of resctrl in use: new schemata for `update`, with a way back, and what `events` tells. Files of the kernel's
//! Documentation/filesystems/resctrl.rst. May use: `sys::fs`, `error`, the types of statistics.

use super::{Groups, Plan, parts};
use crate::cgroup::stats::{CacheInfo, CacheUse, IntelRdt, MemoryInfo, MemoryUse};
use crate::error::{Context, Result, quoted};
use crate::sys::fs;
use std::path::Path;

/// Whether the machine can divide this resource (`L3` or `MB`), in the file system mounted at `root`.
pub fn divides(root: &Path, resource: &str) -> bool {
    let info = root.join("info");
    // With code and data apart, the cache has two entries.
    [resource.to_string(), format!("{resource}CODE")].iter().any(|r| fs::stat(info.join(r)).is_ok())
}

impl Groups {
    /// Sets lines such as `L3:0=f`, and gives the old values of what they name.
    ///
    /// # Errors
    /// The first line that the kernel refuses; those before it have their old values again.
    pub fn set(&self, lines: &[String]) -> Result<Vec<String>> {
        let before = fs::read_file_at(fs::CWD, self.class.join("schemata"))?;
        let old: Vec<String> = lines.iter().filter_map(|l| line_of(&before, resource(l))).collect();
        let plan = Plan { class: String::new(), named: false, schemata: lines.to_vec(), monitor: None };
        match self.write_schemata(&plan) {
            Ok(()) => Ok(old),
            Err(e) => Err(match self.write_schemata(&Plan { schemata: old, ..plan }) {
                Ok(()) => e,
                Err(left) => e.hint(format!("and the old values are not all back: {left}")),
            }),
        }
    }

    /// Moves all threads of running processes here, for a container that had no group. Those that end meanwhile are
    /// fine; those that are born meanwhile are where their parent was.
    ///
    /// # Errors
    /// A thread that cannot be moved.
    pub fn take(&self, pids: &[i32]) -> Result<()> {
        for pid in pids {
            let threads = fs::open_dir_path(format!("/proc/{pid}/task"))
                .and_then(|dir| fs::openat(dir, ".", fs::OFlags::RDONLY | fs::OFlags::DIRECTORY, 0))
                .and_then(fs::list);
            let Ok(threads) = threads else { continue };
            for thread in threads.iter().filter_map(|t| t.to_str()?.parse::<i32>().ok()) {
                match self.enter(thread) {
                    Err(_) if fs::stat(format!("/proc/{pid}/task/{thread}")).is_err() => {}
                    r => r.step_with(|| format!("move thread {thread} of process {pid}"))?,
                }
            }
        }
        Ok(())
    }

    /// What the groups say, in the shape of runc's statistics; `root` is where resctrl is mounted.
    pub fn usage(&self, root: &Path) -> IntelRdt {
        let text = |path: &Path| fs::read_file_at(fs::CWD, path).unwrap_or_default();
        let number = |dir: &Path, name: &str| text(&dir.join(name)).trim().parse().unwrap_or(0);
        let (all, own) = (text(&root.join("schemata")), text(&self.class.join("schemata")));
        let mut out = IntelRdt::default();
        if divides(root, "L3") {
            let info = root.join("info/L3");
            out.l3_cache_info = Some(CacheInfo {
                cbm_mask: text(&info.join("cbm_mask")).trim().to_string(),
                min_cbm_bits: number(&info, "min_cbm_bits"),
                num_closids: number(&info, "num_closids"),
            });
            out.l3_cache_schema_root = line_of(&all, "L3").unwrap_or_default();
            out.l3_cache_schema = line_of(&own, "L3").unwrap_or_default();
        }
        if divides(root, "MB") {
            let info = root.join("info/MB");
            out.mem_bw_info = Some(MemoryInfo {
                bandwidth_gran: number(&info, "bandwidth_gran"),
                delay_linear: number(&info, "delay_linear"),
                min_bandwidth: number(&info, "min_bandwidth"),
                num_closids: number(&info, "num_closids"),
            });
            out.mem_bw_schema_root = line_of(&all, "MB").unwrap_or_default();
            out.mem_bw_schema = line_of(&own, "MB").unwrap_or_default();
        }
        let features = text(&root.join("info/L3_MON/mon_features"));
        let data = self.monitor.as_ref().unwrap_or(&self.class).join("mon_data");
        let domains = domains(&data);
        if features.lines().any(|f| f.starts_with("mbm_")) {
            let one = |d: &String| MemoryUse {
                mbm_total_bytes: number(&data.join(d), "mbm_total_bytes"),
                mbm_local_bytes: number(&data.join(d), "mbm_local_bytes"),
            };
            out.mbm_stats = Some(domains.iter().map(one).collect());
        }
        if features.lines().any(|f| f == "llc_occupancy") {
            let one = |d: &String| CacheUse { llc_occupancy: number(&data.join(d), "llc_occupancy") };
            out.cmt_stats = Some(domains.iter().map(one).collect());
        }
        out
    }
}

/// `mon_L3_00`, `mon_L3_01`: a directory for each cache.
fn domains(data: &Path) -> Vec<String> {
    let names = fs::openat(fs::CWD, data, fs::OFlags::RDONLY | fs::OFlags::DIRECTORY, 0).and_then(fs::list);
    let mut names: Vec<String> =
        names.unwrap_or_default().iter().filter_map(|n| n.to_str().map(String::from)).collect();
    names.retain(|n| n.starts_with("mon_L3_"));
    names.sort();
    names
}

fn resource(line: &str) -> &str {
    line.split(':').next().unwrap_or_default().trim()
}

/// The line of one resource, without the blanks that the kernel puts in front.
fn line_of(schemata: &str, wanted: &str) -> Option<String> {
    schemata.lines().map(str::trim).find(|l| resource(l) == wanted).map(str::to_string)
}

/// The lines of one value of an option, each about `resource`.
///
/// # Errors
/// A line of another form, or about another resource.
pub fn lines_about(option: &str, resource_wanted: &str, text: &str) -> Result<Vec<String>> {
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_string).collect();
    let fits = |l: &&String| resource(l).starts_with(resource_wanted) && parts(l).next().is_some();
    match lines.iter().find(|l| !fits(l)) {
        None if !lines.is_empty() => Ok(lines),
        other => {
            let got = quoted(other.map_or("", String::as_str));
            let text = format!(
                "invalid value for {option}: got {got}, want a form such as \"{resource_wanted}:0=f\""
            );
            Err(crate::error::Error::new(crate::error::Code::Usage, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as file;
    use std::path::PathBuf;

    /// A mounted resctrl as files, with one group `c1`.
    fn tree(root: &Path) -> Groups {
        for (path, text) in [
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
            ("schemata", "    MB:0=100\n    L3:0=fffff\n"),
            ("c1/schemata", "    MB:0=100\n    L3:0=ff\n"),
            ("c1/tasks", ""),
            ("c1/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("c1/mon_data/mon_L3_00/mbm_total_bytes", "7\n"),
            ("c1/mon_data/mon_L3_00/mbm_local_bytes", "0\n"),
        ] {
            file::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            file::write(root.join(path), text).unwrap();
        }
        Groups { class: root.join("c1"), own: true, monitor: None }
    }

    #[test]
    fn statistics_in_runcs_shape() {
        let dir = tempfile::tempdir().unwrap();
        let usage = serde_json::to_value(tree(dir.path()).usage(dir.path())).unwrap();
        assert_eq!(
            usage,
            serde_json::json!({
                "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
                "l3_cache_schema_root": "L3:0=fffff",
                "l3_cache_schema": "L3:0=ff",
                "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
                "mem_bw_schema_root": "MB:0=100",
                "mem_bw_schema": "MB:0=100",
                "mbm_stats": [{"mbm_total_bytes": 7}],
                "cmt_stats": [{"llc_occupancy": 4096}]
            })
        );
        let nowhere = Groups { class: PathBuf::from("/no/such"), own: true, monitor: None };
        assert_eq!(serde_json::to_string(&nowhere.usage(Path::new("/no/such"))).unwrap(), "{}");
    }

    #[test]
    fn new_schemata_give_the_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let groups = tree(dir.path());
        let old = groups.set(&["L3:0=f".into(), "MB:0=50".into()]).unwrap();
        assert_eq!(old, ["L3:0=ff", "MB:0=100"]);
        // The kernel keeps both lines; a plain file has what was written last.
        let now = file::read_to_string(dir.path().join("c1/schemata")).unwrap();
        assert!(now.starts_with("MB:0=50\n"), "{now:?}");
    }

    #[test]
    fn all_threads_move() {
        let dir = tempfile::tempdir().unwrap();
        let groups = tree(dir.path());
        groups.take(&[crate::sys::process::getpid(), i32::MAX]).unwrap();
        assert!(!file::read_to_string(dir.path().join("c1/tasks")).unwrap().is_empty());
    }

    #[test]
    fn lines_of_an_option() {
        assert_eq!(lines_about("l3-cache-schema", "L3", "L3:0=f\nL3:1=f\n").unwrap(), ["L3:0=f", "L3:1=f"]);
        assert_eq!(lines_about("l3-cache-schema", "L3", "L3CODE:0=f").unwrap(), ["L3CODE:0=f"]);
        for bad in ["", "MB:0=10", "L3", "L3:", "L3:0=f\nMB:0=10"] {
            let e = lines_about("l3-cache-schema", "L3", bad).unwrap_err();
            assert!(e.to_string().contains("invalid value for l3-cache-schema"), "{bad}");
        }
    }
}
