//! The configuration of a root file system without a bundle: what popular engines give a container that asks for nothing.
//! Pure.

use std::path::Path;

use knarr_bundles::defaults::{CAPABILITIES, MASKED, READ_ONLY, SECCOMP_PROFILE, mounts};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxDeviceCgroupBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResourcesBuilder, ProcessBuilder, RootBuilder,
    SpecBuilder, UserBuilder,
};
use serde_json::Value;

use crate::names::{Instance, RunId};

/// Nothing in it came later, so older runtimes take it as well.
const OCI_VERSION: &str = "1.0.2";
/// The longest host name the kernel takes (`__NEW_UTS_LEN`).
const HOSTNAME_MAX: usize = 64;
pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The host name of an instance whose service file gives none.
pub(super) fn hostname(instance: &Instance) -> String {
    let name = format!("{}-{}", instance.service, instance.replica);
    if name.len() <= HOSTNAME_MAX { name } else { instance.service.to_string() }
}

/// The whole configuration but for the command, which only the service file knows.
pub(super) fn config(path: &Path, read_only: bool, run: &RunId) -> Result<Value, OciSpecError> {
    let hostname = hostname(&run.instance);
    // Nothing but the default devices, which every runtime adds to this rule.
    let no_devices = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    let linux = LinuxBuilder::default()
        .namespaces(namespaces()?)
        .resources(LinuxResourcesBuilder::default().devices(vec![no_devices]).build()?)
        .masked_paths(MASKED.map(str::to_owned))
        .readonly_paths(READ_ONLY.map(str::to_owned))
        .build()?;
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(UserBuilder::default().uid(0u32).gid(0u32).build()?)
        .args(Vec::new())
        .env(vec![PATH.to_owned(), format!("HOSTNAME={hostname}")])
        .cwd("/")
        .capabilities(capabilities()?)
        .no_new_privileges(true)
        .build()?;
    let spec = SpecBuilder::default()
        .version(OCI_VERSION)
        .hostname(hostname)
        .root(RootBuilder::default().path(path).readonly(read_only).build()?)
        .process(process)
        .mounts(mounts())
        .linux(linux)
        .build()?;
    let mut config = serde_json::to_value(spec)?;
    // What the typed builders cannot say: no annotations, the inherited limits of the daemon, and a profile whose
    // actions and flags they do not all know.
    config.as_object_mut().map(|c| c.remove("annotations"));
    config["process"]["rlimits"] = Value::Array(Vec::new());
    config["linux"]["seccomp"] = serde_json::from_str(SECCOMP_PROFILE)?;
    Ok(config)
}

fn namespaces() -> Result<Vec<LinuxNamespace>, OciSpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let one = |kind| LinuxNamespaceBuilder::default().typ(kind).build();
    [Pid, Ipc, Uts, Mount, Cgroup, Network].into_iter().map(one).collect()
}

/// Nothing inheritable or ambient: a program that changes to another user shall lose them.
fn capabilities() -> Result<LinuxCapabilities, OciSpecError> {
    let set: std::collections::HashSet<_> = CAPABILITIES.into_iter().collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build()
}

/// The default sets as JSON, for a bundle that has none to change.
pub(super) fn default_capabilities() -> Result<Value, OciSpecError> {
    Ok(serde_json::to_value(capabilities()?)?)
}
