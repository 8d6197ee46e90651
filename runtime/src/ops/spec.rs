//! `knarr spec`: a starter config.json. Writes one new file and never replaces one.

use crate::cli::SpecArgs;
use crate::error::{Code, Error, Result};
use crate::sys::fs::{self, OFlags};
use crate::sys::{errno, process};
use std::path::Path;

/// The file, with `@NAMES@` where the two kinds of it differ.
const TEMPLATE: &str = include_str!("spec.template.json");

const SYS_MOUNT: &str = r#"{
			"destination": "/sys",
			"type": "sysfs",
			"source": "sysfs",
			"options": ["nosuid", "noexec", "nodev", "ro"]
		}"#;

/// sysfs cannot be mounted without a network namespace of one's own.
const SYS_BIND: &str = r#"{
			"destination": "/sys",
			"type": "none",
			"source": "/sys",
			"options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
		}"#;

const DEVICES: &str = r#""resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},"#;

/// Makes the file.
pub fn run(args: &SpecArgs) -> Result<i32> {
    let ids = args.rootless.then(|| (process::euid(), process::egid()));
    let unified = fs::stat("/sys/fs/cgroup/cgroup.controllers").is_ok();
    write(args.bundle.as_deref().unwrap_or(Path::new(".")), &document(ids, unified))?;
    Ok(0)
}

fn write(bundle: &Path, text: &str) -> Result<()> {
    let dir =
        fs::open(bundle, OFlags::RDONLY | OFlags::DIRECTORY, 0).map_err(|e| e.step("open the bundle"))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let file = fs::openat(&dir, "config.json", flags, 0o666).map_err(|e| {
        if e.is(errno::EEXIST) {
            Error::new(Code::Exists, "File config.json exists. Remove it first").path("config.json")
        } else {
            e
        }
    })?;
    fs::write_all(&file, text.as_bytes()).inspect_err(|_| {
        // A cut file would be in the way of the next try.
        let _ = fs::unlinkat(&dir, "config.json");
    })
}

/// The document. `ids` are the caller's, for a container without privilege; `unified` adds a cgroup namespace,
/// which only hides something on a host with one hierarchy.
fn document(ids: Option<(u32, u32)>, unified: bool) -> String {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if unified {
        namespaces.push("cgroup");
    }
    let (sys, limits) = match ids {
        None => {
            namespaces.insert(1, "network");
            (SYS_MOUNT, DEVICES.to_string())
        }
        Some((uid, gid)) => {
            namespaces.push("user");
            (SYS_BIND, format!("{}\n\t\t{}", mapping("uid", uid), mapping("gid", gid)))
        }
    };
    let namespaces: Vec<String> = namespaces.iter().map(|n| format!("{{\"type\": \"{n}\"}}")).collect();
    // The group of a terminal has no mapping when only one id has.
    let tty_group = if ids.is_some() { "" } else { ", \"gid=5\"" };
    TEMPLATE
        .replace("@VERSION@", crate::SPEC_VERSION)
        .replace("@TTY_GROUP@", tty_group)
        .replace("@SYS@", sys)
        .replace("@LIMITS@", &limits)
        .replace("@NAMESPACES@", &namespaces.join(",\n\t\t\t"))
}

fn mapping(kind: &str, id: u32) -> String {
    format!(
        "\"{kind}Mappings\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Linux, Spec, check, read};

    fn read_back(ids: Option<(u32, u32)>, unified: bool) -> (Spec, Linux) {
        let text = document(ids, unified);
        assert!(!text.contains('@'), "{text}");
        let (spec, warnings) = read::config(text.as_bytes()).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(check::config(&spec).iter().map(|e| e.to_string()).collect::<Vec<_>>(), [""; 0]);
        let linux = spec.linux().into_owned();
        (spec, linux)
    }

    fn kinds(linux: &Linux) -> Vec<&str> {
        linux.namespaces.iter().map(|n| n.kind.as_str()).collect()
    }

    #[test]
    fn the_default_is_valid_and_tight() {
        let (spec, linux) = read_back(None, false);
        assert_eq!(kinds(&linux), ["pid", "network", "ipc", "uts", "mount"]);
        assert!(spec.root.unwrap().readonly);
        let process = spec.process.unwrap();
        assert!(process.no_new_privileges && process.terminal);
        assert_eq!(process.capabilities.unwrap().bounding.len(), 3);
        let devices = linux.resources.unwrap().devices;
        assert!(devices.len() == 1 && !devices[0].allow);
        assert!(linux.masked_paths.len() >= 10);
    }

    #[test]
    fn rootless_maps_the_caller_and_asks_for_nothing_else() {
        let (spec, linux) = read_back(Some((1000, 1001)), true);
        assert_eq!(kinds(&linux), ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
        assert_eq!((linux.uid_mappings[0].host_id, linux.gid_mappings[0].host_id), (1000, 1001));
        assert!(linux.resources.is_none());
        assert!(
            spec.mounts.iter().any(|m| m.destination == "/sys" && m.options.iter().any(|o| o == "rbind"))
        );
        assert!(!spec.mounts.iter().flat_map(|m| &m.options).any(|o| o.starts_with("gid=")));
    }

    #[test]
    fn an_existing_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "one").unwrap();
        let e = write(dir.path(), "two").unwrap_err();
        assert_eq!(e.to_string(), "File config.json exists. Remove it first");
        assert_eq!(std::fs::read_to_string(dir.path().join("config.json")).unwrap(), "one");
    }
}
