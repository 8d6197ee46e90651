//! Rules for the rest of `linux`: config-linux.md. Whether this host has what is asked for is the plan's. Pure.

use super::namespaces::{self, Spaces};
use super::{Findings, climbs, devices, number_list, path_length, resources, seccomp, sysctl, tidy};
use crate::error::quoted;
use crate::spec::at::At;
use crate::spec::types::*;
use crate::spec::words;
use std::collections::BTreeMap;

const PROPAGATIONS: [&str; 8] =
    ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"];

pub(super) fn check(f: &mut Findings, at: &At<'_>, linux: &Linux, spec: &Spec, spaces: &Spaces) {
    let Linux {
        // By `identities`, which wants both.
        uid_mappings: _,
        gid_mappings: _,
        sysctl,
        resources,
        cgroups_path,
        namespaces,
        devices,
        net_devices,
        seccomp,
        rootfs_propagation,
        masked_paths,
        readonly_paths,
        mount_label,
        intel_rdt,
        memory_policy,
        personality,
        time_offsets,
    } = linux;
    namespaces::identities(f, at, linux, spaces);
    sysctl::check(f, &at.key("sysctl"), sysctl, spaces, &spec.domainname);
    if let Some(r) = resources {
        resources::check(f, &at.key("resources"), r);
    }
    cgroup(f, &at.key("cgroupsPath"), cgroups_path);
    namespaces::check(f, &at.key("namespaces"), namespaces);
    devices::check(f, &at.key("devices"), devices);
    interfaces(f, &at.key("netDevices"), net_devices, spaces);
    if let Some(s) = seccomp {
        seccomp::check(f, &at.key("seccomp"), s);
    }
    if !rootfs_propagation.is_empty() {
        f.one_of(&at.key("rootfsPropagation"), "propagation", rootfs_propagation, &PROPAGATIONS);
    }
    covered(f, &at.key("maskedPaths"), masked_paths, spaces);
    covered(f, &at.key("readonlyPaths"), readonly_paths, spaces);
    f.one_line(&at.key("mountLabel"), mount_label);
    if let Some(rdt) = intel_rdt {
        cache(f, &at.key("intelRdt"), rdt);
    }
    if let Some(policy) = memory_policy {
        memory(f, &at.key("memoryPolicy"), policy);
    }
    if let Some(Personality { domain, flags }) = personality {
        let here = at.key("personality");
        f.one_of(&here.key("domain"), "domain", domain, &["LINUX", "LINUX32"]);
        if let Some(flag) = flags.first() {
            f.fail(&here.key("flags"), format!("got {}, but runtime-spec has no flags", quoted(flag)));
        }
    }
    namespaces::clocks(f, &at.key("timeOffsets"), time_offsets, spaces);
}

/// cgroup_mkdir refuses a newline, because /proc/PID/cgroup has one path a line. Whether `a:b:c` names a unit of
/// systemd depends on the driver.
fn cgroup(f: &mut Findings, at: &At<'_>, path: &str) {
    if climbs(path) {
        f.fail(at, format!("got {}, want a path without ..", quoted(path)));
    }
    f.one_line(at, path);
    path_length(f, at, path);
}

/// `maskedPaths` and `readonlyPaths`. A path twice is harmless; engines add the user's to their own.
fn covered(f: &mut Findings, at: &At<'_>, paths: &[String], spaces: &Spaces) {
    if !paths.is_empty() && !spaces.mount {
        f.fail(at, "covered paths need a mount namespace in /linux/namespaces");
    }
    for (i, path) in paths.iter().enumerate() {
        let here = at.item(i);
        if !f.absolute(&here, path) {
            continue;
        }
        if path.split('/').any(|c| c == "." || c == "..") || tidy(path) == "/" {
            f.fail(
                &here,
                format!("must be clean: got {}, want a path below / without . and ..", quoted(path)),
            );
        }
    }
}

/// The kernel numbers the interface when the new name holds one `%d`.
fn interfaces(f: &mut Findings, at: &At<'_>, devices: &BTreeMap<String, NetDevice>, spaces: &Spaces) {
    if !devices.is_empty() && !spaces.network {
        f.fail(at, "network devices need a network namespace in /linux/namespaces");
    }
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (host, NetDevice { name }) in devices {
        let here = at.key(host);
        f.interface(&here, host);
        let inside = if name.is_empty() { host } else { name };
        if !name.is_empty() {
            f.interface(&here.key("name"), name);
        }
        if inside.contains('%') && inside.matches('%').count() != inside.matches("%d").count().min(1) {
            f.fail(&here.key("name"), format!("got {}, want at most one %d", quoted(inside)));
        }
        if let Some(other) = taken.insert(inside, host)
            && !inside.contains('%')
        {
            let rule = format!("{} gets it already", quoted(other));
            f.fail(
                &here.key("name"),
                format!("duplicate name {} inside the container: {rule}", quoted(inside)),
            );
        }
    }
}

/// resctrl: the class is a directory, a schema is a line.
fn cache(f: &mut Findings, at: &At<'_>, rdt: &IntelRdt) {
    let IntelRdt {
        clos_id,
        schemata,
        l3_cache_schema,
        mem_bw_schema,
        enable_monitoring: _,
        enable_cmt: _,
        enable_mbm: _,
    } = rdt;
    // "/" is the class of everybody who has none.
    let reserved = [".", "..", "info", "mon_data", "mon_groups"];
    let bad = clos_id.contains(|c: char| c == '/' || c.is_control()) || reserved.contains(&clos_id.as_str());
    if clos_id != "/" && (bad || clos_id.len() > super::NAME_MAX) {
        f.fail(
            &at.key("closID"),
            format!("got {}, want the name of a directory in resctrl", quoted(clos_id)),
        );
    }
    for (i, line) in schemata.iter().enumerate() {
        let shaped = line.split_once(':').is_some_and(|(resource, values)| {
            !resource.is_empty() && !values.is_empty() && !line.chars().any(char::is_control)
        });
        if !shaped {
            let rule = "want one line such as L3:0=ff";
            f.fail(&at.key("schemata").item(i), format!("not a schema: got {}, {rule}", quoted(line)));
        }
    }
    // The L3 schema may have several lines; those of MB give way to memBwSchema when it is written.
    if l3_cache_schema.chars().any(|c| c.is_control() && c != '\n') {
        f.fail(&at.key("l3CacheSchema"), format!("control character: got {}", quoted(l3_cache_schema)));
    }
    let one_line = mem_bw_schema.starts_with("MB:") && !mem_bw_schema.chars().any(char::is_control);
    if !one_line && !mem_bw_schema.is_empty() {
        let rule = "want one line that starts with MB:";
        f.fail(&at.key("memBwSchema"), format!("not a schema: got {}, {rule}", quoted(mem_bw_schema)));
    }
}

/// Which mode goes with which nodes and flags depends on the kernel, which says so itself. An empty object
/// changes nothing.
fn memory(f: &mut Findings, at: &At<'_>, policy: &MemoryPolicy) {
    let MemoryPolicy { mode, nodes, flags } = policy;
    let nothing = mode.is_empty() && nodes.is_empty() && flags.is_empty();
    let modes = words::names(words::MEMORY_MODES);
    if !nothing && !modes.contains(&mode.as_str()) {
        let rule = format!("got {}, want {}", quoted(mode), modes.join(", "));
        f.fail(&at.key("mode"), format!("invalid memory policy mode: {rule}"));
    }
    if let Err(text) = number_list(nodes, resources::MAX_NODE) {
        f.fail(&at.key("nodes"), format!("invalid memory policy node: {text}"));
    }
    let known = words::names(words::MEMORY_FLAGS);
    for (i, flag) in flags.iter().enumerate() {
        if !known.contains(&flag.as_str()) {
            let rule = format!("got {}, want {}", quoted(flag), known.join(", "));
            f.fail(&at.key("flags").item(i), format!("invalid memory policy flag: {rule}"));
        }
    }
}
