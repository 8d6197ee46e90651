//! `knarr features`: the features document of the OCI runtime specification (features.md, features-linux.md). Lists of
//! names are cut down to what this kernel was asked for and has; what the specification defines as a property of the
//! program (cgroup, apparmor, selinux, idmap and the like) says what the program does. Reads /proc; changes nothing.

use crate::error::{Code, Error, Result};
use crate::plan::launch::KINDS;
use crate::plan::{mounts, seccomp};
use crate::report;
use crate::spec::annotations;
use crate::spec::words::{self, CAPABILITIES};
use crate::sys::fs;
use crate::sys::seccomp::{self as kernel, flag};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use std::collections::BTreeMap;

/// The oldest configs that are taken.
const OCI_MIN: &str = "1.0.0";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: [&'static str; 6],
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<&'static str>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: Enabled,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

/// Prints the document.
pub fn run() -> Result<i32> {
    let mut out = Vec::new();
    let mut json = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
    features().serialize(&mut json).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    out.push(b'\n');
    report::print(&String::from_utf8_lossy(&out))?;
    Ok(0)
}

fn features() -> Features {
    Features {
        oci_version_min: OCI_MIN,
        oci_version_max: crate::SPEC_VERSION,
        hooks: ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        mount_options: mounts::option_names().collect(),
        linux: linux(),
        annotations: BTreeMap::from([
            ("io.knarr.commit", crate::cli::COMMIT),
            ("io.knarr.version", crate::VERSION),
        ]),
        // A caller that takes configs of others lets them through only if it means to.
        potentially_unsafe_config_annotations: &annotations::MEANT,
    }
}

fn linux() -> Linux {
    Linux {
        namespaces: namespaces(),
        capabilities: capabilities(),
        cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
        seccomp: Seccomp {
            enabled: fs::stat("/proc/sys/kernel/seccomp/actions_avail").is_ok(),
            actions: sorted(&seccomp::ACTIONS).into_iter().filter(|name| has_action(name)).collect(),
            operators: sorted(&seccomp::OPERATORS),
            archs: sorted(&seccomp::ARCHS),
            known_flags: sorted(&seccomp::FLAGS),
            supported_flags: sorted(&seccomp::FLAGS).into_iter().filter(|name| has_flag(name)).collect(),
        },
        apparmor: Enabled { enabled: true },
        selinux: Enabled { enabled: true },
        intel_rdt: Enabled { enabled: true },
        memory_policy: MemoryPolicy {
            modes: words::names(words::MEMORY_MODES),
            flags: words::names(words::MEMORY_FLAGS),
        },
        mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
        net_devices: Enabled { enabled: true },
    }
}

pub(super) fn has_action(name: &str) -> bool {
    seccomp::action_bits(name).is_some_and(kernel::action_available)
}

fn has_flag(name: &str) -> bool {
    // Only together with a listener does the kernel take the last one.
    let with = |bits| if bits == flag::WAIT_KILLABLE_RECV { bits | flag::NEW_LISTENER } else { bits };
    seccomp::flag_bits(name).is_some_and(|bits| kernel::flags_supported(with(bits)))
}

fn sorted(names: &[&'static str]) -> Vec<&'static str> {
    let mut out = names.to_vec();
    out.sort_unstable();
    out
}

/// Namespaces that both sides have.
pub(super) fn namespaces() -> Vec<&'static str> {
    let has = |name: &str| fs::statat(fs::CWD, format!("/proc/self/ns/{name}"), fs::AtFlags::empty()).is_ok();
    let mut out: Vec<_> = KINDS.iter().filter(|(_, _, file)| has(file)).map(|(kind, _, _)| *kind).collect();
    out.sort_unstable();
    out
}

/// Capabilities whose names are known and whose numbers this kernel has.
fn capabilities() -> Vec<&'static str> {
    let last = fs::read_regular("/proc/sys/kernel/cap_last_cap", 16).ok();
    let last = last.and_then(|bytes| String::from_utf8_lossy(&bytes).trim().parse::<usize>().ok());
    let count = last.map_or(CAPABILITIES.len(), |last| last.saturating_add(1));
    CAPABILITIES.iter().take(count).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_kernel_and_reads_as_the_oci_type() {
        let text = serde_json::to_string(&features()).unwrap();
        let v: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(v["ociVersionMax"], crate::SPEC_VERSION);
        assert_eq!(v["hooks"].as_array().unwrap().len(), 6);
        for name in v["linux"]["namespaces"].as_array().unwrap() {
            let (_, _, file) = KINDS.iter().find(|k| k.0 == name.as_str().unwrap()).unwrap();
            assert!(std::path::Path::new("/proc/self/ns").join(file).exists());
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let bounding = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap();
        let bounding = u64::from_str_radix(bounding.trim(), 16).unwrap();
        let capabilities = v["linux"]["capabilities"].as_array().unwrap().len() as u32;
        assert!(64 - bounding.leading_zeros() <= capabilities, "all that this process has are named");
        let parsed: oci_spec::runtime::Features = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.linux().as_ref().unwrap().selinux().as_ref().unwrap().enabled(), &Some(true));
        for list in ["actions", "operators", "archs", "knownFlags"] {
            assert!(!v["linux"]["seccomp"][list].as_array().unwrap().is_empty(), "{list}");
        }
        assert!(v["mountOptions"].as_array().unwrap().iter().any(|o| o == "rro"));
    }
}
