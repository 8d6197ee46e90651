//! The kernel: its age, calls that somebody may have taken away, namespaces, seccomp, security modules, and programs of the host.

use super::Finding;
use crate::host::Lsm;
use crate::ops::features;
use crate::plan::launch::KINDS;
use crate::plan::seccomp;
use crate::sys::fs::{self, OFlags, ResolveFlags};
use crate::sys::process;
use std::path::{Path, PathBuf};

/// docs/decisions/0005-lowest-kernel.md.
const LOWEST: (u32, u32) = (5, 15);
/// Without these no container of a usual configuration starts.
const VITAL: [&str; 4] = ["mount", "pid", "ipc", "uts"];

pub(super) fn findings() -> Vec<Finding> {
    let mut out = Vec::new();
    out.extend(age(&kernel_text("/proc/sys/kernel/osrelease")));
    out.extend(calls());
    out.extend(namespaces(&features::namespaces()));
    out.extend(user_namespaces());
    out.extend(filters());
    out.push(modules());
    out.extend(programs(process::euid() != 0, |name| in_path(name).is_some()));
    out
}

/// A value of the kernel, empty where there is none.
fn kernel_text(path: &str) -> String {
    let bytes = fs::read_kernel_value(path, 1 << 12).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn age(release: &str) -> Option<Finding> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (version < LOWEST).then(|| {
        let (major, minor) = LOWEST;
        let what = format!("this is Linux {release}; knarr is made for {major}.{minor} and later");
        Finding::error("kernel.version", what, "boot a newer kernel")
    })
}

/// Calls that every kernel of that age has, and that a filter around this process may refuse.
fn calls() -> Vec<Finding> {
    let tried = [
        fs::openat2(fs::CWD, "/", OFlags::PATH | OFlags::DIRECTORY, 0, ResolveFlags::NO_SYMLINKS).err(),
        process::pidfd_open(process::getpid()).err(),
    ];
    let fix = "allow this call in the seccomp profile of what runs around knarr (an outer container?)";
    tried.into_iter().flatten().map(|e| Finding::error("kernel.calls", e.to_string(), fix)).collect()
}

fn namespaces(has: &[&str]) -> Vec<Finding> {
    let missing = KINDS.iter().map(|(kind, _, _)| *kind).filter(|kind| !has.contains(kind));
    let told = |kind: &str| {
        let what = format!("this kernel has no {kind} namespaces");
        let fix = format!("boot a kernel with CONFIG_{}_NS", option(kind));
        match VITAL.contains(&kind) {
            true => Finding::error("kernel.namespaces", what, fix),
            false => Finding::warning("kernel.namespaces", what, fix),
        }
    };
    missing.map(told).collect()
}

/// The word of the kernel's configuration; that of cgroups has no option of its own.
fn option(kind: &str) -> String {
    match kind {
        "network" => "NET".into(),
        "mount" | "cgroup" => "NAMESPACES and CONFIG_CGROUPS, then CONFIG_UTS".into(),
        kind => kind.to_uppercase(),
    }
}

fn user_namespaces() -> Vec<Finding> {
    let mut out = Vec::new();
    let mut refused = |path: &str, value: &str, fix: &str| {
        if kernel_text(path) == value {
            out.push(Finding::warning(
                "kernel.user-namespaces",
                format!("{path} is {value}: user namespaces cannot be made"),
                fix,
            ));
        }
    };
    refused("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=65536");
    if process::euid() != 0 {
        refused(
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        );
        refused(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "as root: an AppArmor profile for knarr with `userns,`, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        );
    }
    out
}

fn filters() -> Option<Finding> {
    if kernel_text("/proc/sys/kernel/seccomp/actions_avail").is_empty() {
        let what = "this kernel has no seccomp filters, which nearly every configuration asks for";
        return Some(Finding::error("kernel.seccomp", what, "boot a kernel with CONFIG_SECCOMP_FILTER"));
    }
    let missing: Vec<_> =
        seccomp::ACTIONS.iter().copied().filter(|name| !features::has_action(name)).collect();
    (!missing.is_empty()).then(|| {
        let what = format!("this kernel does not know {}", missing.join(", "));
        Finding::warning("kernel.seccomp", what, "leave them out of profiles, or boot a newer kernel")
    })
}

/// Which modules confine by label: a configuration with a label of another one is refused.
fn modules() -> Finding {
    let lsm = Lsm::detect();
    let known = match (lsm.apparmor, lsm.selinux) {
        (true, true) => "AppArmor and SELinux",
        (true, false) => "AppArmor",
        (false, true) => "SELinux",
        (false, false) => "neither AppArmor nor SELinux is on; configurations that name a label are refused",
    };
    let list = kernel_text("/sys/kernel/security/lsm");
    let list = if list.is_empty() { String::new() } else { format!(" (all modules: {list})") };
    Finding::note("lsm", format!("{known}{list}"))
}

fn programs(rootless: bool, has: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut out = Vec::new();
    if !has("ps") {
        out.push(Finding::warning(
            "tools",
            "there is no program ps, which `knarr ps` calls",
            "install procps",
        ));
    }
    for name in ["newuidmap", "newgidmap"] {
        if rootless && !has(name) {
            let what = format!("there is no program {name}: a container of an ordinary user has one id only");
            out.push(Finding::warning(
                "tools",
                what,
                "as root: install uidmap (shadow-utils), and list the user in /etc/subuid and /etc/subgid",
            ));
        }
    }
    out
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| is_program(p))
}

fn is_program(path: &Path) -> bool {
    fs::stat(path).is_ok_and(|st| st.kind() == fs::FileType::RegularFile && st.mode & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Severity;

    #[test]
    fn an_old_kernel_is_named() {
        assert!(age("5.15.0-91-generic").is_none() && age("6.1.0").is_none() && age("5.100").is_none());
        assert!(age("5.14.99").unwrap().what.contains("5.14.99"));
        assert!(age("4.19").is_some() && age("").is_some());
    }

    #[test]
    fn what_is_missing_is_named_by_its_weight() {
        let all: Vec<_> = KINDS.iter().map(|k| k.0).collect();
        assert!(namespaces(&all).is_empty());
        let some: Vec<_> = all.into_iter().filter(|k| !["time", "pid"].contains(k)).collect();
        let found: Vec<_> = namespaces(&some).into_iter().map(|f| (f.severity, f.fix)).collect();
        assert_eq!(found.len(), 2);
        assert!(found.contains(&(Severity::Warning, "boot a kernel with CONFIG_TIME_NS".into())));
        assert!(found.iter().any(|f| f.0 == Severity::Error && f.1.contains("PID")));
    }

    #[test]
    fn programs_of_ordinary_users_are_nothing_to_root() {
        assert!(programs(false, |name| name == "ps").is_empty());
        assert_eq!(programs(true, |name| name == "ps").len(), 2);
        assert!(programs(false, |_| false)[0].what.contains("no program ps"));
    }
}
