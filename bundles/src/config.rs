//! From a sample to its config.json, with the confinement that the popular engines give by default.
//! Pure: the seccomp profile is part of the program.

use crate::sample::Sample;
use anyhow::{Context, Result};
use knarr_bundles::defaults::{CAPABILITIES, MASKED, READ_ONLY, SECCOMP_PROFILE, mounts as standard_mounts};
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder,
    LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, Mount, MountBuilder, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder,
    RootBuilder, SpecBuilder, UserBuilder,
};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Where the profile is, for people.
const SECCOMP_PROFILE_PATH: &str = "bundles/profiles/default-seccomp.json";

/// The samples use nothing that came later, so older runtimes take them as well.
const OCI_VERSION: &str = "1.0.2";

/// The config.json of a sample. `host_network` leaves out the network namespace.
pub fn config(sample: &Sample, host_network: bool) -> Result<Value> {
    let mut namespaces = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    if !host_network {
        namespaces.push(LinuxNamespaceType::Network);
    }
    let namespaces = namespaces
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .resources(resources(sample)?)
        .masked_paths(MASKED.map(str::to_owned))
        .readonly_paths(READ_ONLY.map(str::to_owned))
        .build()?;
    let spec = SpecBuilder::default()
        .version(OCI_VERSION)
        .hostname(sample.name)
        .root(RootBuilder::default().path("rootfs").readonly(true).build()?)
        .process(process(sample)?)
        .mounts(mounts()?)
        .linux(linux)
        .build()?;
    let mut config = serde_json::to_value(spec)?;
    repair(&mut config)?;
    Ok(config)
}

/// What the typed builders cannot say: capability sets come out of them in random order, annotations come out
/// although there are none, and the profile may have actions and flags that they do not know.
fn repair(config: &mut Value) -> Result<()> {
    config.as_object_mut().context("not an object")?.remove("annotations");
    let sets = config.pointer_mut("/process/capabilities").and_then(Value::as_object_mut);
    for set in sets.context("no capabilities")?.values_mut() {
        if let Some(names) = set.as_array_mut() {
            names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    let linux = config.pointer_mut("/linux").and_then(Value::as_object_mut).context("no linux section")?;
    linux.insert("seccomp".into(), serde_json::from_str(SECCOMP_PROFILE).context(SECCOMP_PROFILE_PATH)?);
    Ok(())
}

/// Puts the name of the profile in its place: what a person reads, not what a runtime takes.
pub fn shorten(config: &mut Value) {
    if let Some(profile) = config.pointer_mut("/linux/seccomp") {
        *profile = json!(SECCOMP_PROFILE_PATH);
    }
}

fn process(sample: &Sample) -> Result<Process> {
    let set: HashSet<Capability> = CAPABILITIES.into_iter().collect();
    // Nothing inheritable or ambient: a program that changes to another user shall lose them.
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?;
    let mut env = vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        "HOME=/root".to_owned(),
    ];
    if sample.terminal {
        env.push("TERM=xterm".to_owned());
    }
    let files = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(1024u64)
        .hard(1024u64)
        .build()?;
    Ok(ProcessBuilder::default()
        .terminal(sample.terminal)
        .user(UserBuilder::default().uid(0u32).gid(0u32).build()?)
        .args(sample.args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
        .env(env)
        .cwd("/")
        .capabilities(capabilities)
        .rlimits(vec![files])
        .no_new_privileges(true)
        .build()?)
}

fn resources(sample: &Sample) -> Result<LinuxResources> {
    const PERIOD: u64 = 100_000;
    let memory = sample.memory_mib << 20;
    let percent = sample.cpu_percent;
    // Nothing but the default devices, which every runtime adds to this rule.
    let no_devices = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    Ok(LinuxResourcesBuilder::default()
        .devices(vec![no_devices])
        .memory(LinuxMemoryBuilder::default().limit(memory).swap(memory).build()?)
        .cpu(
            LinuxCpuBuilder::default()
                .shares(u64::try_from(percent * 1024 / 100)?)
                .quota(percent * 1000)
                .period(PERIOD)
                .build()?,
        )
        .pids(LinuxPidsBuilder::default().limit(sample.pids).build()?)
        .build()?)
}

/// The usual mounts, with a small writable /tmp because the root is read-only.
fn mounts() -> Result<Vec<Mount>> {
    let options = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut mounts = standard_mounts();
    mounts.push(
        MountBuilder::default()
            .destination("/tmp")
            .typ("tmpfs")
            .source("tmpfs")
            .options(options("nosuid,noexec,nodev,mode=1777,size=16384k"))
            .build()?,
    );
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::SAMPLES;
    use oci_spec::runtime::Spec;
    use std::path::Path;

    #[test]
    fn the_checked_in_configs_are_what_the_builder_makes() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
        for sample in SAMPLES {
            let mut made = config(sample, false).unwrap();
            shorten(&mut made);
            let path = dir.join(format!("{}.json", sample.name));
            let text = std::fs::read_to_string(&path).unwrap();
            let kept: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                kept,
                made,
                "{}: make it new with `knarr-bundles show --short {}`",
                path.display(),
                sample.name
            );
        }
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), SAMPLES.len(), "a file for no sample");
    }

    #[test]
    fn a_typed_reader_agrees_on_limits_and_capabilities() {
        for sample in SAMPLES {
            let mut made = config(sample, false).unwrap();
            // The reader does not know every action of the profile.
            made.pointer_mut("/linux").unwrap().as_object_mut().unwrap().remove("seccomp");
            let spec: Spec = serde_json::from_value(made).unwrap();
            let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
            assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(sample.memory_mib * 1024 * 1024));
            assert_eq!(resources.pids().as_ref().unwrap().limit(), sample.pids);
            let process = spec.process().as_ref().unwrap();
            assert_eq!(process.no_new_privileges(), Some(true));
            let capabilities = process.capabilities().as_ref().unwrap();
            assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 14);
            assert_eq!(capabilities.ambient().as_ref().unwrap().len(), 0);
        }
    }

    #[test]
    fn two_runs_print_the_same_text() {
        for sample in SAMPLES {
            let text = || serde_json::to_string(&config(sample, false).unwrap()).unwrap();
            assert_eq!(text(), text());
        }
    }

    #[test]
    fn host_network_is_the_absence_of_the_namespace() {
        let kinds = |host| {
            let made = config(&SAMPLES[0], host).unwrap();
            made.pointer("/linux/namespaces")
                .unwrap()
                .as_array()
                .unwrap()
                .iter()
                .filter(|n| n["type"] == "network")
                .count()
        };
        assert_eq!((kinds(false), kinds(true)), (1, 0));
    }

    #[test]
    fn every_sample_is_filtered() {
        for sample in SAMPLES {
            let made = config(sample, false).unwrap();
            assert_eq!(
                made.pointer("/linux/seccomp/defaultAction"),
                Some(&json!("SCMP_ACT_ERRNO")),
                "{}",
                sample.name
            );
        }
    }
}
