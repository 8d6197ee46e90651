//! Rules for `linux.sysctl`: only settings that belong to a namespace of the container may be changed, because
//! /proc/sys shows the host's in the same tree. Pure.

use super::Findings;
use super::namespaces::Spaces;
use crate::error::quoted;
use crate::spec::at::At;
use std::collections::BTreeMap;

/// Settings of an ipc namespace (ipc_namespaces(7)), below /proc/sys/kernel.
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// One write of a sysctl takes at most a page.
const MAX_VALUE: usize = 4095;

/// The path below /proc/sys of a sysctl name. The first separator decides, as in sysctl(8): after a dot, dots
/// separate and a slash stands for a dot in a name; after a slash, slashes separate and a dot is a dot. `None`
/// when the name has empty parts, `.` or `..`, blanks or control characters.
pub fn sysctl_path(name: &str) -> Option<String> {
    let slashes = name.find(['.', '/']).is_some_and(|i| name.as_bytes().get(i) == Some(&b'/'));
    let path: String = match slashes {
        true => name.to_string(),
        false => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    };
    let good = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (good && path.contains('/') && !path.contains(|c: char| c.is_whitespace() || c.is_control()))
        .then_some(path)
}

pub(super) fn check(
    f: &mut Findings,
    at: &At<'_>,
    sysctl: &BTreeMap<String, String>,
    spaces: &Spaces,
    domainname: &str,
) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, value) in sysctl {
        let here = at.key(name);
        let Some(path) = sysctl_path(name) else {
            f.fail(
                &here,
                format!(
                    "not the name of a sysctl: got {}, want one such as net.core.somaxconn",
                    quoted(name)
                ),
            );
            continue;
        };
        if let Err(text) = belongs(&path, name, spaces, domainname) {
            f.fail(&here, text);
        }
        if value.len() > MAX_VALUE || value.contains(|c: char| c.is_control() && c != '\t') {
            let rule = format!("want one line of at most {MAX_VALUE} bytes");
            f.fail(&here, format!("bad value: got {}, {rule}", quoted(value)));
        }
        if let Some(other) = seen.insert(path, name) {
            f.fail(&here, format!("the same setting as {}", quoted(other)));
        }
    }
}

/// Whether the setting is the container's own.
fn belongs(path: &str, name: &str, spaces: &Spaces, domainname: &str) -> Result<(), String> {
    let name = quoted(name);
    let kernel = path.strip_prefix("kernel/");
    if kernel.is_some_and(|k| IPC.contains(&k)) || path.starts_with("fs/mqueue/") {
        return match spaces.ipc {
            true => Ok(()),
            false => Err(format!(
                "sysctl {name} is not allowed in the host's ipc namespace, want an ipc namespace"
            )),
        };
    }
    if path.starts_with("net/") {
        return match spaces.network {
            true => Ok(()),
            false => Err(format!(
                "sysctl {name} is not allowed in the host network namespace, want a network namespace"
            )),
        };
    }
    match kernel {
        Some("hostname") if spaces.uts => {
            Err(format!("sysctl {name} conflicts with the field /hostname, use that"))
        }
        Some("domainname") if spaces.uts && !domainname.is_empty() => {
            Err(format!("sysctl {name} conflicts with the field /domainname, want only one of them"))
        }
        Some("domainname") if spaces.uts => Ok(()),
        _ => Err(format!("sysctl {name} is not in a separate kernel namespace")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_give_one_path() {
        for (name, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eno2.100/rp_filter", "net/ipv4/conf/eno2.100/rp_filter"),
            ("net.ipv4.conf.eno2/100.rp_filter", "net/ipv4/conf/eno2.100/rp_filter"),
        ] {
            assert_eq!(sysctl_path(name).as_deref(), Some(path), "{name}");
        }
    }

    #[test]
    fn no_name_leaves_proc_sys() {
        for bad in [
            "",
            "net",
            "net..x",
            "/net/x",
            "net/../kernel/panic",
            "net.//.x",
            "net.x.",
            "net.a b",
            "net.a\n",
            ".",
        ] {
            assert_eq!(sysctl_path(bad), None, "{bad:?}");
        }
    }
}
