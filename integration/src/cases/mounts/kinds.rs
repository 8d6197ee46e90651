//! What can be mounted besides the host's files, and how it propagates.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, ensure};
use nix::mount::MsFlags;
use serde_json::json;

use super::{MOUNTS, mount};
use crate::base;
use crate::case::{Case, case};
use crate::host::Need;

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    let mut all = kinds();
    all.extend(modes());
    all.extend(propagation());
    all
}

fn kinds() -> Vec<Case> {
    let typed = |name: &'static str, path: &'static str, kind: &'static str| {
        case(format!("mount.type-{name}"))
            .checks("config-linux.md#default-filesystems")
            .probe(["mountinfo"])
            .output(move |o| {
                let m = mount(o, path)?;
                ensure!(m.kind == kind, "{path} is {}", m.kind);
                Ok(())
            })
    };
    vec![
        typed("proc", "/proc", "proc"),
        typed("sysfs", "/sys", "sysfs"),
        typed("devpts", "/dev/pts", "devpts"),
        typed("mqueue", "/dev/mqueue", "mqueue"),
        typed("shm", "/dev/shm", "tmpfs"),
        case("mount.tmpfs-size")
            .checks(MOUNTS)
            .probe(["mountinfo"])
            .prepare(|t| {
                base::add_mount(
                    &mut t.spec,
                    "/data",
                    "tmpfs",
                    "tmpfs",
                    &["size=64k", "mode=1750", "nr_inodes=10"],
                );
                Ok(())
            })
            .output(|o| {
                let m = mount(o, "/data")?;
                for want in ["size=64k", "mode=1750", "nr_inodes=10"] {
                    ensure!(m.super_options.iter().any(|x| x == want), "{want}: {:?}", m.super_options);
                }
                Ok(())
            }),
        case("mount.tmpfs-size-enforced")
            .checks(MOUNTS)
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &["size=64k"]);
                Ok(())
            })
            .sh("dd if=/dev/zero of=/data/f bs=1k count=100 2>/dev/null; echo $?; stat -c %s /data/f")
            .stdout("1\n65536\n"),
        case("mount.tmpfs-mode")
            .checks(MOUNTS)
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &["mode=0710", "uid=5", "gid=6"]);
                Ok(())
            })
            .probe(["stat", "/data"])
            .stdout_has("dir 0710 5 6 "),
        case("mount.tmpcopyup")
            .checks("cli: tmpcopyup")
            .prepare(|t| {
                t.put("etc/sub/inner", "inner\n", 0o600)?;
                base::add_mount(&mut t.spec, "/etc", "tmpfs", "tmpfs", &["tmpcopyup", "mode=755"]);
                Ok(())
            })
            .probe([
                "all",
                "cat",
                "/etc/marker",
                "/etc/sub/inner",
                "--",
                "stat",
                "/etc/sub/inner",
                "--",
                "open-write",
                "/etc/marker",
            ])
            .stdout_has("marker\ninner\nfile 0600 0 0 "),
        case("mount.tmpcopyup-leaves-the-root")
            .checks("cli: tmpcopyup")
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/etc", "tmpfs", "tmpfs", &["tmpcopyup"]);
                Ok(())
            })
            .probe(["all", "write", "/etc/marker", "changed", "--", "cat", "/etc/marker"])
            .stdout("changed")
            .steps_after(|t| {
                ensure!(
                    fs::read_to_string(t.rootfs().join("etc/marker"))? == "marker\n",
                    "the root was changed"
                );
                Ok(())
            }),
        case("mount.proc-own-instance").checks(MOUNTS).probe(["cat", "/proc/1/comm"]).stdout("probe\n"),
        case("mount.proc-hidepid")
            .checks(MOUNTS)
            .needs([Need::Kernel(5, 8)])
            .prepare(|t| {
                t.spec["mounts"][0]["options"] = json!(["nosuid", "noexec", "nodev", "hidepid=2"]);
                Ok(())
            })
            .probe(["mountinfo"])
            .output(|o| {
                let m = mount(o, "/proc")?;
                ensure!(m.super_options.iter().any(|x| x.starts_with("hidepid=")), "{:?}", m.super_options);
                Ok(())
            }),
        case("mount.devpts-options").checks(MOUNTS).probe(["mountinfo"]).output(|o| {
            let m = mount(o, "/dev/pts")?;
            for want in ["gid=5", "mode=620", "ptmxmode=666"] {
                ensure!(m.super_options.iter().any(|x| x == want), "{want}: {:?}", m.super_options);
            }
            Ok(())
        }),
        case("mount.devpts-own-instance").checks(MOUNTS).probe(["ls", "/dev/pts"]).stdout("ptmx\n"),
        case("mount.sysfs-readonly")
            .checks(MOUNTS)
            .probe(["open-write", "/sys/kernel/uevent_helper"])
            .output(|o| {
                ensure!(o.contains("EROFS") || o.contains("ENOENT"), "{o}");
                Ok(())
            }),
        case("mount.cgroup")
            .checks("config-linux.md#cgroups")
            .prepare(|t| {
                base::add_mount(
                    &mut t.spec,
                    "/sys/fs/cgroup",
                    "cgroup",
                    "cgroup",
                    &["nosuid", "noexec", "nodev", "relatime", "ro"],
                );
                Ok(())
            })
            .probe(["all", "mountinfo", "--", "write", "/sys/fs/cgroup/x", "1"])
            .exit(1)
            .output(|o| {
                let lines: Vec<&str> = o.lines().filter(|l| l.contains(" - cgroup")).collect();
                ensure!(!lines.is_empty(), "no cgroup mount: {o}");
                for l in lines {
                    ensure!(
                        l.split(' ').nth(5).is_some_and(|x| x.split(',').any(|x| x == "ro")),
                        "not read-only: {l}"
                    );
                }
                Ok(())
            }),
        case("mount.cgroup-with-namespace")
            .checks("config-linux.md#cgroups")
            .spec(|s| base::namespace(s, "cgroup", None))
            .prepare(|t| {
                base::add_mount(
                    &mut t.spec,
                    "/sys/fs/cgroup",
                    "cgroup",
                    "cgroup",
                    &["nosuid", "noexec", "nodev", "relatime", "ro"],
                );
                Ok(())
            })
            .probe(["mountinfo"])
            .output(|o| {
                for l in o.lines().filter(|l| l.contains(" - cgroup")) {
                    ensure!(
                        l.split(' ').nth(3) == Some("/"),
                        "the mount's root is outside the namespace: {l}"
                    );
                }
                ensure!(o.contains(" - cgroup"), "no cgroup mount: {o}");
                Ok(())
            }),
        case("mount.cgroup-own-part-only")
            .checks("catalogue S35")
            .prepare(|t| {
                base::add_mount(
                    &mut t.spec,
                    "/sys/fs/cgroup",
                    "cgroup",
                    "cgroup",
                    &["nosuid", "noexec", "nodev", "relatime"],
                );
                Ok(())
            })
            .steps(|t| {
                t.spec["process"]["args"] = json!(["/probe", "mountinfo"]);
                let want = t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string();
                let unified = t.yard.host.layout() == "unified";
                let own_part = |text: &str| {
                    for l in text.lines().filter(|l| l.contains(" - cgroup ") || l.contains(" - cgroup2 ")) {
                        let shown = l.split(' ').nth(3).unwrap_or("");
                        ensure!(
                            shown.ends_with(&want) || shown == "/" && unified,
                            "more than the container's own group is mounted: {l}"
                        );
                    }
                    ensure!(text.contains(" - cgroup"), "no cgroup mount");
                    Ok(())
                };
                own_part(&t.run()?.ok()?.stdout)?;
                // The control: the host's own tree, bound beside it, is noticed; on a unified host it may be seen.
                let top = t.yard.host.hierarchies().into_iter().next().context("no hierarchy")?;
                let top = top.display().to_string();
                let seen =
                    t.unprotected(|s| base::add_mount(s, "/data", "bind", &top, &["bind"]), " /data ")?;
                ensure!(unified || own_part(&seen).is_err(), "the control: {seen}");
                Ok(())
            }),
    ]
}

fn propagation() -> Vec<Case> {
    let text = "config-linux.md#rootfs-mount-propagation";
    let mut all: Vec<Case> = [("shared", "shared:"), ("private", ""), ("unbindable", "unbindable")]
        .into_iter()
        .map(|(word, tag)| {
            case(format!("propagation.root-{word}"))
                .checks(text)
                .probe(["mountinfo"])
                .spec(move |s| s["linux"]["rootfsPropagation"] = word.into())
                .output(move |o| {
                    let m = mount(o, "/")?;
                    let fits = if tag.is_empty() {
                        m.tags.is_empty()
                    } else {
                        m.tags.iter().any(|x| x.starts_with(tag))
                    };
                    ensure!(fits, "tags of / are {:?}", m.tags);
                    Ok(())
                })
        })
        .collect();
    all.extend([
        case("propagation.root-slave")
            .checks(text)
            .prepare(|t| {
                let root = t.rootfs();
                let none: Option<&str> = None;
                nix::mount::mount(Some(&root), &root, none, MsFlags::MS_BIND, none)?;
                nix::mount::mount(none, &root, none, MsFlags::MS_SHARED, none)?;
                t.mounted.push(root);
                Ok(())
            })
            .probe(["mountinfo"])
            .spec(|s| s["linux"]["rootfsPropagation"] = "rslave".into())
            .output(|o| {
                let m = mount(o, "/")?;
                ensure!(m.tags.iter().any(|x| x.starts_with("master:")), "tags of / are {:?}", m.tags);
                Ok(())
            }),
        case("propagation.default-is-not-shared").checks(text).probe(["mountinfo"]).output(|o| {
            let m = mount(o, "/")?;
            ensure!(!m.tags.iter().any(|x| x.starts_with("shared:")), "tags of / are {:?}", m.tags);
            Ok(())
        }),
    ]);
    all.extend(
        [
            ("rshared", "shared:"),
            ("shared", "shared:"),
            ("rslave", "master:"),
            ("slave", "master:"),
            ("rprivate", ""),
            ("private", ""),
        ]
        .into_iter()
        .map(|(word, tag)| {
            case(format!("propagation.mount-{word}"))
                .checks("config.md#linux-mount-options")
                .prepare(move |t| {
                    let dir = t.host_dir("shared")?;
                    let none: Option<&str> = None;
                    nix::mount::mount(Some(&dir), &dir, none, MsFlags::MS_BIND, none)?;
                    nix::mount::mount(none, &dir, none, MsFlags::MS_SHARED, none)?;
                    t.mounted.push(dir.clone());
                    base::add_mount(
                        &mut t.spec,
                        "/data",
                        "bind",
                        &dir.display().to_string(),
                        &["rbind", word],
                    );
                    Ok(())
                })
                .probe(["mountinfo"])
                .output(move |o| {
                    let m = mount(o, "/data")?;
                    let fits = if tag.is_empty() {
                        m.tags.is_empty()
                    } else {
                        m.tags.iter().any(|x| x.starts_with(tag))
                    };
                    ensure!(fits, "tags of /data are {:?}", m.tags);
                    Ok(())
                })
        }),
    );
    all
}

/// A tmpfs that is given no mode has that of the directory it covers.
fn modes() -> Vec<Case> {
    vec![
        case("mount.tmpfs-without-mode")
            .checks("cli: tmpfs without a mode, as runc")
            .sh("stat -c %a /private /new")
            .prepare(|t| {
                let dir = t.put_dir("private")?;
                fs::set_permissions(dir, fs::Permissions::from_mode(0o711))?;
                base::add_mount(&mut t.spec, "/private", "tmpfs", "tmpfs", &[]);
                base::add_mount(&mut t.spec, "/new", "tmpfs", "tmpfs", &[]);
                Ok(())
            })
            .stdout("711\n1777\n"),
        case("mount.tmpcopyup-modes")
            .checks("cli: tmpcopyup")
            .sh("stat -c %a /up /up/prog /up/shared")
            .prepare(|t| {
                t.put_dir("up/shared")?;
                t.put("up/prog", "x", 0o4755)?;
                for (path, mode) in [("up/shared", 0o2770), ("up", 0o1750)] {
                    fs::set_permissions(t.rootfs().join(path), fs::Permissions::from_mode(mode))?;
                }
                base::add_mount(&mut t.spec, "/up", "tmpfs", "tmpfs", &["tmpcopyup"]);
                Ok(())
            })
            .stdout("1750\n4755\n2770\n"),
    ]
}
