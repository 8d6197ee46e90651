//! Control groups: how they are mounted, which controllers there are, and what of them the caller may use.

use super::Finding;
use crate::cgroup::{Kind, Layout};
use crate::host;
use crate::sys::{bpf, fs, process};
use std::path::PathBuf;

/// Controllers that limits in daily use need, with the name of v1 where that is another one.
const WANTED: [(&str, &str, &str); 5] = [
    ("memory", "memory", "limits of memory"),
    ("cpu", "cpu", "limits and shares of CPU time"),
    ("pids", "pids", "limits of processes"),
    ("cpuset", "cpuset", "processors and memory nodes"),
    ("io", "blkio", "limits and weights of block I/O"),
];

pub(super) fn findings() -> Vec<Finding> {
    let layout = match Layout::detect() {
        Ok(layout) => layout,
        Err(e) => {
            let fix = "mount -t cgroup2 none /sys/fs/cgroup";
            return vec![Finding::error("cgroup.mounted", e.to_string(), fix)];
        }
    };
    let mut out = vec![Finding::note("cgroup.layout", layout.to_string())];
    out.extend(missing(&layout));
    match host::is_rootless(None) {
        true => out.extend(delegation(&layout)),
        false => out.extend(device_programs(&layout)),
    }
    out
}

/// Controllers that no hierarchy has.
fn missing(layout: &Layout) -> Vec<Finding> {
    let has = |v2: &str, v1: &str| layout.v2_has(v2) || layout.v1_tree(v1).is_some();
    let told = |(v2, v1, what): &(&str, &str, &str)| {
        let name = if layout.kind == Kind::Unified { v2 } else { v1 };
        let what = format!("no hierarchy has the controller {name}: {what} are refused");
        let fix = "look at /proc/cgroups: enabled there, it is in a hierarchy that is not mounted here; 0 there, take \
                   cgroup_disable= off the kernel's command line (cgroup_enable=memory on some kernels)";
        Finding::warning("cgroup.controllers", what, fix)
    };
    WANTED.iter().filter(|(v2, v1, _)| !has(v2, v1)).map(told).collect()
}

/// What a service manager has handed to an ordinary user.
fn delegation(layout: &Layout) -> Vec<Finding> {
    let fix = "have systemd make the groups (--systemd-cgroup), or start from a delegated one: systemd-run --user --scope \
               --property Delegate=yes ...; all controllers: Delegate=cpu cpuset io memory pids in a drop-in of user@.service";
    let Some(tree) = &layout.v2 else {
        let what = "cgroup v1 cannot be handed to ordinary users: containers get no limits";
        return vec![Finding::warning(
            "cgroup.delegation",
            what,
            "boot with systemd.unified_cgroup_hierarchy=1",
        )];
    };
    let own = tree.mount.join(tree.own.trim_start_matches('/'));
    let may_write = fs::open_dir_path(&own).and_then(process::may_write);
    if let Err(e) = may_write {
        let what = format!("the own group {} is not this user's: {e}", own.display());
        return vec![Finding::warning("cgroup.delegation", what, fix)];
    }
    let handed = fs::read_kernel_value(own.join("cgroup.controllers"), 1 << 12).unwrap_or_default();
    let handed = String::from_utf8_lossy(&handed).into_owned();
    let lacks =
        WANTED.iter().map(|w| w.0).filter(|w| tree.has(w) && !handed.split_whitespace().any(|h| h == *w));
    let lacks: Vec<_> = lacks.collect();
    if lacks.is_empty() {
        return Vec::new();
    }
    let what = format!("{} was delegated without {}", own.display(), lacks.join(", "));
    vec![Finding::warning("cgroup.delegation", what, fix)]
}

/// Device rules are programs on v2, and a controller on v1.
fn device_programs(layout: &Layout) -> Option<Finding> {
    if layout.v1_tree("devices").is_some() {
        return None;
    }
    let dir: PathBuf = layout.v2.as_ref()?.mount.clone();
    let asked =
        fs::open(&dir, fs::OFlags::RDONLY | fs::OFlags::DIRECTORY, 0).and_then(bpf::query_device_programs);
    let e = asked.err()?;
    let fix =
        "boot a kernel with CONFIG_CGROUP_BPF; inside an outer container, give it CAP_BPF or CAP_SYS_ADMIN";
    Some(Finding::error("cgroup.devices", format!("access to devices cannot be limited: {e}"), fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Tree;

    fn unified(controllers: &str) -> Layout {
        let tree = Tree {
            key: String::new(),
            mount: "/sys/fs/cgroup".into(),
            root: "/".into(),
            own: "/".into(),
            controllers: controllers.split_whitespace().map(str::to_string).collect(),
        };
        Layout { kind: Kind::Unified, v2: Some(tree), v1: Vec::new() }
    }

    #[test]
    fn only_what_is_missing_is_named() {
        assert_eq!(missing(&unified("cpuset cpu io memory hugetlb pids")), Vec::new());
        let found = missing(&unified("cpu io pids cpuset"));
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("controller memory"), "{found:?}");
        assert_eq!(missing(&unified("")).len(), WANTED.len());
    }
}
