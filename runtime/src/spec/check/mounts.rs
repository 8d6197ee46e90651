//! Rules for `mounts` that follow from the text alone: destinations, what may cover /proc and /sys, id mappings,
//! tmpfs sizes. File system types and options are looked up when the plan is made. Pure.

use super::namespaces::{Spaces, mappings};
use super::{Findings, climbs, path_length, tidy};
use crate::error::quoted;
use crate::spec::at::At;
use crate::spec::types::*;

/// Files of /proc that may be covered: tools that show a container its own limits emulate them. Everything else
/// below /proc stays as the kernel made it, because LSM labels and masks are applied through it.
const PROC_ALLOWED: [&str; 12] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/version",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// File systems whose place is below /sys/kernel.
const SYS_KERNEL: [&str; 5] = ["debugfs", "tracefs", "securityfs", "configfs", "sysfs"];

/// More than any machine has; a larger size is a slip of the pen.
const MAX_TMPFS: u128 = 1 << 60;

pub(super) fn check(f: &mut Findings, at: &At<'_>, mounts: &[Mount], spaces: &Spaces) {
    if !mounts.is_empty() && !spaces.mount {
        f.fail(at, "mounts need a mount namespace in /linux/namespaces");
    }
    for (i, mount) in mounts.iter().enumerate() {
        one(f, &at.item(i), mount, spaces);
    }
}

fn one(f: &mut Findings, at: &At<'_>, mount: &Mount, spaces: &Spaces) {
    let Mount { destination: target, kind, source, options, uid_mappings, gid_mappings } = mount;
    let bind = kind == "bind" || options.iter().any(|o| o == "bind" || o == "rbind");
    if f.absolute(&at.key("destination"), target) {
        destination(f, &at.key("destination"), &tidy(target), kind, source, bind);
    }
    path_length(f, &at.key("source"), source);
    if bind && source.is_empty() {
        f.fail(&at.key("source"), "missing, a bind mount needs a source");
    }
    if kind == "tmpfs" && !bind {
        for (i, option) in options.iter().enumerate() {
            tmpfs_option(f, &at.key("options").item(i), option);
        }
    }
    mappings(f, &at.key("uidMappings"), uid_mappings);
    mappings(f, &at.key("gidMappings"), gid_mappings);
    if uid_mappings.is_empty() != gid_mappings.is_empty() {
        f.fail(at, "uidMappings and gidMappings go together, got only one of them");
    }
    let idmap = options.iter().enumerate().find(|(_, o)| *o == "idmap" || *o == "ridmap");
    if let Some((i, option)) = idmap
        && uid_mappings.is_empty()
        && !spaces.user
    {
        let rule = "want uidMappings and gidMappings on the mount, or a user namespace";
        f.fail(&at.key("options").item(i), format!("{} without mappings, {rule}", quoted(option)));
    }
}

fn destination(f: &mut Findings, at: &At<'_>, path: &str, kind: &str, source: &str, bind: bool) {
    if path == "/" {
        f.fail(at, "a mount over the container's root is not allowed");
    }
    // A bind of the host's own /proc is what engines write for a container in the host's pid namespace.
    let is_proc = if bind { tidy(source) == "/proc" && !climbs(source) } else { kind == "proc" };
    if path == "/proc" && !is_proc {
        f.fail(at, format!("{} cannot be mounted because it is not of type proc", quoted(path)));
    }
    if path.starts_with("/proc/") && !PROC_ALLOWED.contains(&path) {
        let rule = format!("want /proc itself or one of {}", PROC_ALLOWED.join(", "));
        f.fail(at, format!("{} cannot be mounted because it is inside /proc, {rule}", quoted(path)));
    }
    let in_sys_kernel = path == "/sys/kernel" || path.starts_with("/sys/kernel/");
    if in_sys_kernel && !bind && !SYS_KERNEL.contains(&kind) {
        let rule = format!("want a bind or one of {}", SYS_KERNEL.join(", "));
        f.fail(at, format!("{} cannot hide {}, {rule}", quoted(kind), quoted(path)));
    }
}

/// tmpfs(5). Options without a value, and those the kernel alone can judge, pass.
fn tmpfs_option(f: &mut Findings, at: &At<'_>, option: &str) {
    let Some((name, value)) = option.split_once('=') else { return };
    let rule = match name {
        "size" if tmpfs_size(value) => return,
        "size" => "want bytes with an optional k, m, g, t, or a percentage of memory",
        "nr_blocks" | "nr_inodes" if scaled(value).is_some() => return,
        "nr_blocks" | "nr_inodes" => "want a number with an optional k, m, g",
        "mode" if u32::from_str_radix(value, 8).is_ok_and(|m| m <= 0o7777) && !value.starts_with('+') => {
            return;
        }
        "mode" => "want octal permissions up to 7777",
        "uid" | "gid" if value.parse::<u32>().is_ok_and(|id| id < u32::MAX) => return,
        "uid" | "gid" => "want a number from 0 to 4294967294",
        _ => return,
    };
    f.fail(at, format!("bad value for {name}: got {}, {rule}", quoted(value)));
}

fn tmpfs_size(value: &str) -> bool {
    match value.strip_suffix('%') {
        Some(percent) => percent.parse::<u64>().is_ok_and(|_| percent.bytes().all(|b| b.is_ascii_digit())),
        None => scaled(value).is_some_and(|bytes| bytes < MAX_TMPFS),
    }
}

/// A number with a binary suffix, as memparse in lib/cmdline.c reads it, without its octal and hexadecimal forms.
fn scaled(value: &str) -> Option<u128> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match value.get(digits.len()..)? {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        "e" | "E" => 60,
        _ => return None,
    };
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
    Some(u128::from(number) << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for good in ["0", "65536k", "64m", "2G", "1t", "50%", "4096", "1023p"] {
            assert!(tmpfs_size(good), "{good}");
        }
        for bad in ["", "-1", "abc", "1E", "10mb", "m", "%", "1.5g", "18446744073709551616", "+1", "+1%"] {
            assert!(!tmpfs_size(bad), "{bad}");
        }
    }
}
