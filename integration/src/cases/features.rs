//! The features document against the runtime itself: all that it lists is tried, and its form is that of the spec.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base::add_mount;
use crate::case::{Case, case};
use crate::host::Need;
use crate::run::unavailable;
use crate::trial::Trial;

fn features(t: &mut Trial<'_>) -> Result<Value> {
    t.rt(&["features"]).run()?.ok()?.json()
}

/// A list of names of the document.
fn names(f: &Value, pointer: &str) -> Result<Vec<String>> {
    let list = f.pointer(pointer).and_then(Value::as_array).with_context(|| format!("no list {pointer}"))?;
    let names: Vec<String> = list.iter().filter_map(|v| v.as_str().map(String::from)).collect();
    ensure!(names.len() == list.len() && !names.is_empty(), "{pointer}: {list:?}");
    ensure!(names.iter().collect::<BTreeSet<_>>().len() == names.len(), "{pointer} has a name twice");
    Ok(names)
}

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = form();
    all.extend(tried());
    all
}

fn form() -> Vec<Case> {
    vec![
        case("features.form").checks("features-linux.md").steps(|t| {
            let f = features(t)?;
            for pointer in [
                "/linux/cgroup/v1",
                "/linux/cgroup/v2",
                "/linux/cgroup/systemd",
                "/linux/cgroup/systemdUser",
                "/linux/cgroup/rdma",
                "/linux/seccomp/enabled",
                "/linux/apparmor/enabled",
                "/linux/selinux/enabled",
                "/linux/intelRdt/enabled",
                "/linux/mountExtensions/idmap/enabled",
                "/linux/netDevices/enabled",
            ] {
                ensure!(f.pointer(pointer).is_some_and(Value::is_boolean), "{pointer}: {f}");
            }
            for pointer in [
                "/linux/memoryPolicy/modes",
                "/linux/memoryPolicy/flags",
                "/potentiallyUnsafeConfigAnnotations",
            ] {
                ensure!(f.pointer(pointer).is_some_and(Value::is_array), "{pointer}: {f}");
            }
            // Both ends of the range are taken.
            for key in ["ociVersionMin", "ociVersionMax"] {
                t.spec["ociVersion"] = f[key].clone();
                t.run()?.ok()?;
            }
            Ok(())
        }),
        case("features.checkpoint-not-offered").checks("cli: checkpoint is not offered").steps(|t| {
            // Callers ask in these ways: each answer must say no, or checkpoint must work.
            let f = features(t)?;
            ensure!(f["annotations"]["org.opencontainers.runc.checkpoint.enabled"] != "true", "{f}");
            t.bare(&["checkpoint", "--help"]).run()?.exits(1)?.fails()?;
            let out = t.bare(&["restore", "--lsm-mount-context"]).run()?.exits(1)?.fails()?;
            let all = out.stdout + &out.stderr;
            ensure!(
                !all.contains("flag needs an argument") && !all.contains("requires an argument"),
                "{all}"
            );
            ensure!(!t.bare(&["--help"]).run()?.ok()?.stdout.contains("checkpoint"), "it is in the help");
            Ok(())
        }),
        case("features.checkpoint-refused").checks("cli: checkpoint, restore").steps(|t| {
            t.resident()?;
            let (id, bundle) = (t.id.clone(), t.bundle.display().to_string());
            // A runtime that has the command makes the directory.
            let image = t.dir.join("image").display().to_string();
            t.rt(&["checkpoint", "--image-path", &image, &id])
                .run()?
                .exits(1)?
                .fails()?
                .says("not supported by this version")?;
            t.rt(&["restore", "-no-subreaper", "--bundle", &bundle, &id])
                .run()?
                .exits(1)?
                .fails()?
                .says("not supported by this version")?;
            t.is("running")
        }),
    ]
}

/// The kernel that has this policy first (set_mempolicy(2)).
fn since(mode: &str, flags: &[String]) -> (u32, u32) {
    match mode {
        "MPOL_WEIGHTED_INTERLEAVE" => (6, 9),
        "MPOL_PREFERRED_MANY" => (5, 15),
        _ if flags.iter().any(|flag| flag == "MPOL_F_NUMA_BALANCING") => (5, 12),
        _ => (2, 6),
    }
}

fn tried() -> Vec<Case> {
    vec![
        case("features.namespaces-tried").checks("features-linux.md#namespaces").needs([Need::Userns]).steps(
            |t| {
                let list = names(&features(t)?, "/linux/namespaces")?;
                t.spec["linux"]["namespaces"] = list.iter().map(|kind| json!({"type": kind})).collect();
                let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
                t.spec["linux"]["uidMappings"] = map.clone();
                t.spec["linux"]["gidMappings"] = map;
                t.run()?.ok()?;
                Ok(())
            },
        ),
        case("features.capabilities-tried").checks("features-linux.md#capabilities").steps(|t| {
            let list = names(&features(t)?, "/linux/capabilities")?;
            // More than this the suite itself may not have.
            t.spec["process"]["capabilities"]["bounding"] = json!(list);
            t.run()?.ok()?;
            Ok(())
        }),
        case("features.mount-options-tried").checks("features.md#mount-options").steps(|t| {
            // Those that the kernel hands to a file system which may not know them, and those that need a mapping.
            let special =
                ["acl", "noacl", "iversion", "noiversion", "mand", "nomand", "remount", "idmap", "ridmap"];
            // And those of a superblock, which no bind mount takes.
            let of_super = ["async", "sync", "dirsync", "lazytime", "nolazytime", "tmpcopyup"];
            let source = t.host_dir("src")?.display().to_string();
            for option in names(&features(t)?, "/mountOptions")? {
                let place = format!("/data/{option}");
                match option.as_str() {
                    o if special.contains(&o) => {}
                    o if of_super.contains(&o) => {
                        add_mount(&mut t.spec, &place, "tmpfs", "tmpfs", &[o, "nodev"]);
                    }
                    o => add_mount(&mut t.spec, &place, "bind", &source, &["rbind", o]),
                }
            }
            t.run()?.ok()?;
            Ok(())
        }),
        case("features.seccomp-tried").checks("features-linux.md#seccomp").steps(|t| {
            let f = features(t)?;
            let flags = names(&f, "/linux/seccomp/supportedFlags")?;
            let known = names(&f, "/linux/seccomp/knownFlags")?;
            ensure!(flags.iter().all(|flag| known.contains(flag)), "{flags:?} of {known:?}");
            // These two want a listener, which other cases have.
            let alone = |list: Vec<String>| -> Vec<String> {
                let with = ["SCMP_ACT_NOTIFY", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"];
                list.into_iter().filter(|name| !with.contains(&name.as_str())).collect()
            };
            let mut rules: Vec<Value> = alone(names(&f, "/linux/seccomp/actions")?)
                .iter()
                .enumerate()
                .map(|(i, action)| {
                    json!({"names": ["lookup_dcookie"], "action": action,
                        "args": [{"index": 0, "value": i, "op": "SCMP_CMP_EQ"}]})
                })
                .collect();
            rules.extend(names(&f, "/linux/seccomp/operators")?.iter().enumerate().map(|(i, op)| {
                json!({"names": ["vmsplice"], "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 1, "value": i, "valueTwo": i, "op": op}]})
            }));
            t.spec["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": names(&f, "/linux/seccomp/archs")?,
                "flags": alone(flags),
                "syscalls": rules,
            });
            t.run()?.ok()?;
            Ok(())
        }),
        case("features.memory-policies-tried")
            .checks("features-linux.md#memory-policy")
            .needs([Need::Numa])
            .steps(|t| {
                let f = features(t)?;
                // An older runtime says nothing of it.
                ensure!(f["linux"]["memoryPolicy"].is_object() || !t.runtime.strict, "{f}");
                if f["linux"]["memoryPolicy"].is_null() {
                    return Err(unavailable("memory-policy"));
                }
                let flags = names(&f, "/linux/memoryPolicy/flags")?;
                // Flags say how nodes are meant, or that they are a preference only.
                let goes_with = |flag: &str, mode: &str| match flag {
                    "MPOL_F_NUMA_BALANCING" => mode == "MPOL_BIND",
                    _ => !["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode),
                };
                for mode in names(&f, "/linux/memoryPolicy/modes")? {
                    let nodes =
                        if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode.as_str()) { "" } else { "0" };
                    let with =
                        flags.iter().filter(|flag| goes_with(flag, &mode)).map(|flag| vec![flag.clone()]);
                    for flags in with.chain([vec![]]) {
                        let mut policy = json!({"mode": mode, "flags": flags});
                        if !nodes.is_empty() {
                            policy["nodes"] = nodes.into();
                        }
                        t.spec["linux"]["memoryPolicy"] = policy;
                        let out = t.run()?;
                        // The list is of what is recognized; what this kernel is too old for is refused.
                        match t.yard.host.kernel >= since(&mode, &flags) {
                            true => drop(out.ok().with_context(|| format!("{mode} {flags:?}"))?),
                            false => drop(out.fails()?.says("set_mempolicy")?),
                        }
                    }
                }
                Ok(())
            }),
        case("features.hooks-tried").checks("features.md#hooks").steps(|t| {
            let list = names(&features(t)?, "/hooks")?;
            let dir = t.host_dir("ran")?;
            // Two kinds run inside the container's mounts: there the same directory is at the same place.
            let here = dir.display().to_string();
            add_mount(&mut t.spec, &here, "bind", &here, &["bind"]);
            for kind in &list {
                // startContainer runs inside, where the probe is the only program.
                let path = match kind.as_str() {
                    "startContainer" => "/probe".to_string(),
                    _ => t.yard.probe.display().to_string(),
                };
                t.spec["hooks"][kind] =
                    json!([{"path": path, "args": ["probe", "write", format!("{here}/{kind}"), "x"]}]);
            }
            t.run_detached()?;
            t.remove()?;
            for kind in &list {
                ensure!(dir.join(kind).is_file(), "{kind} did not run");
            }
            Ok(())
        }),
    ]
}
