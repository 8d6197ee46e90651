//! Mounts and the root: sources, flags, recursion, propagation, masks, read-only paths.
//! Read back from the container's own mountinfo, and tried by writing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::MsFlags;
use serde_json::json;

use crate::base;
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

const MOUNTS: &str = "config.md#mounts";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = binds();
    all.extend(flags());
    all.extend(recursive());
    all.extend(kinds());
    all.extend(propagation());
    all.extend(root());
    all.extend(masks());
    all.extend(inside());
    all
}

/// One line of mountinfo, taken apart.
struct Line {
    options: Vec<String>,
    tags: Vec<String>,
    kind: String,
    super_options: Vec<String>,
}

/// The last mount on this path in a mountinfo text.
fn mount(output: &str, path: &str) -> Result<Line> {
    let line = output
        .lines()
        .rfind(|l| l.split(' ').nth(4) == Some(path))
        .with_context(|| format!("nothing is mounted on {path}:\n{output}"))?;
    let (left, right) = line.split_once(" - ").context("mountinfo")?;
    let words: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let list = |s: &str| s.split(',').map(String::from).collect::<Vec<String>>();
    Ok(Line {
        options: list(words[5]),
        tags: words[6..].iter().map(|s| s.to_string()).collect(),
        kind: right[0].to_string(),
        super_options: list(right.get(2).unwrap_or(&"")),
    })
}

/// A host directory with one file, bound into the container.
fn bind(t: &mut Trial<'_>, target: &str, options: &[&str]) -> Result<String> {
    let dir = t.host_dir("src")?;
    fs::write(dir.join("file"), "from the host\n")?;
    let source = dir.display().to_string();
    base::add_mount(&mut t.spec, target, "bind", &source, options);
    Ok(source)
}

fn bound(options: &'static [&'static str]) -> impl Fn(&mut Trial<'_>) -> Result<()> + 'static {
    move |t| bind(t, "/data", options).map(drop)
}

fn binds() -> Vec<Case> {
    vec![
        case("mount.bind-read")
            .checks(MOUNTS)
            .prepare(bound(&["bind"]))
            .probe(["cat", "/data/file"])
            .stdout("from the host\n"),
        case("mount.bind-write").checks(MOUNTS).steps(|t| {
            let source = bind(t, "/data", &["bind", "rw"])?;
            t.spec["process"]["args"] = json!(["/probe", "write", "/data/new", "hello"]);
            t.run()?.ok()?;
            ensure!(fs::read_to_string(Path::new(&source).join("new"))? == "hello", "not written through");
            Ok(())
        }),
        case("mount.bind-readonly")
            .checks(MOUNTS)
            .prepare(bound(&["bind", "ro"]))
            .probe(["open-write", "/data/file"])
            .stdout("errno 30 EROFS\n"),
        case("mount.bind-type-none")
            .checks(MOUNTS)
            .prepare(|t| {
                let source = t.host_dir("src")?.display().to_string();
                base::add_mount(&mut t.spec, "/data", "none", &source, &["bind", "ro"]);
                Ok(())
            })
            .probe(["open-write", "/data"])
            .stdout_has("errno "),
        case("mount.bind-file")
            .checks(MOUNTS)
            .prepare(|t| {
                let file = t.host_dir("src")?.join("hosts");
                fs::write(&file, "127.0.0.1 me\n")?;
                base::add_mount(
                    &mut t.spec,
                    "/etc/hosts",
                    "bind",
                    &file.display().to_string(),
                    &["bind", "ro"],
                );
                Ok(())
            })
            .probe(["cat", "/etc/hosts"])
            .stdout("127.0.0.1 me\n"),
        case("mount.bind-file-over-file")
            .checks(MOUNTS)
            .prepare(|t| {
                let file = t.host_dir("src")?.join("m");
                fs::write(&file, "other\n")?;
                base::add_mount(&mut t.spec, "/etc/marker", "bind", &file.display().to_string(), &["bind"]);
                Ok(())
            })
            .probe(["cat", "/etc/marker"])
            .stdout("other\n"),
        case("mount.bind-relative-source")
            .checks("config.md#mounts source relative to the bundle")
            .prepare(|t| {
                fs::create_dir(t.bundle.join("rel"))?;
                fs::write(t.bundle.join("rel/file"), "relative\n")?;
                base::add_mount(&mut t.spec, "/data", "bind", "rel", &["bind"]);
                Ok(())
            })
            .probe(["cat", "/data/file"])
            .stdout("relative\n"),
        case("mount.bind-nonrecursive")
            .checks(MOUNTS)
            .prepare(nested(&["bind"]))
            .probe(["all", "ls", "/data/sub", "--", "cat", "/data/file"])
            .stdout("from the host\n"),
        case("mount.rbind")
            .checks(MOUNTS)
            .prepare(nested(&["rbind"]))
            .probe(["ls", "/data/sub"])
            .stdout("deep\n"),
        case("mount.target-is-made")
            .checks("cli: missing mount targets are made")
            .prepare(|t| bind(t, "/new/deep/dir", &["bind"]).map(drop))
            .probe(["cat", "/new/deep/dir/file"])
            .stdout("from the host\n"),
        case("mount.file-target-is-made")
            .checks("cli: missing mount targets are made")
            .prepare(|t| {
                let source = t.host_dir("src")?.join("f");
                fs::write(&source, "a file\n")?;
                base::add_mount(
                    &mut t.spec,
                    "/new/deep/file",
                    "bind",
                    &source.display().to_string(),
                    &["bind"],
                );
                Ok(())
            })
            .probe(["cat", "/new/deep/file"])
            .stdout("a file\n"),
        case("mount.order")
            .checks("config.md#mounts in the listed order")
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &[]);
                bind(t, "/data/in", &["bind"])?;
                Ok(())
            })
            .probe(["ls", "/data"])
            .stdout("in\n"),
        case("mount.device-file")
            .checks(MOUNTS)
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data/zero", "bind", "/dev/zero", &["bind"]);
                Ok(())
            })
            .probe(["stat", "/data/zero"])
            .output(|o| {
                ensure!(o.starts_with("char ") && o.contains(" 1:5 "), "{o}");
                Ok(())
            }),
        case("mount.odd-names")
            .checks("catalogue B065")
            .prepare(|t| bind(t, "/data/a b\u{e4}", &["bind"]).map(drop))
            .probe(["cat", "/data/a b\u{e4}/file"])
            .stdout("from the host\n"),
        case("mount.not-on-the-host").checks("config.md#mounts in the container's namespace").steps(|t| {
            bind(t, "/data", &["bind"])?;
            t.resident()?;
            let info = fs::read_to_string("/proc/self/mountinfo")?;
            let root = t.rootfs().display().to_string();
            ensure!(!info.contains(&root), "a container mount shows on the host: {info}");
            Ok(())
        }),
    ]
}

/// A host directory with a tmpfs below it.
fn nested(options: &'static [&'static str]) -> impl Fn(&mut Trial<'_>) -> Result<()> + 'static {
    move |t| {
        let source = bind(t, "/data", options)?;
        let sub = Path::new(&source).join("sub");
        fs::create_dir(&sub)?;
        nix::mount::mount(Some("none"), &sub, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        fs::write(sub.join("deep"), "deep")?;
        // Held by the trial's directory; the oracle compares after it is unmounted again.
        t.mounted.push(sub);
        Ok(())
    }
}

fn flags() -> Vec<Case> {
    let mut all: Vec<Case> = [
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("ro", "ro"),
        ("relatime", "relatime"),
    ]
    .into_iter()
    .flat_map(|(option, shown)| {
        let check = move |o: &str| {
            let m = mount(o, "/data")?;
            ensure!(m.options.iter().any(|x| x == shown), "{option}: options are {:?}", m.options);
            Ok(())
        };
        let tmpfs = case(format!("mount.tmpfs-{option}"))
            .checks("config.md#linux-mount-options")
            .probe(["mountinfo"])
            .prepare(move |t| {
                base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &[option]);
                Ok(())
            })
            .output(check);
        let bound = case(format!("mount.bind-{option}"))
            .checks("config.md#linux-mount-options")
            .probe(["mountinfo"])
            .prepare(move |t| bind(t, "/data", &["bind", option]).map(drop))
            .output(check);
        if matches!(option, "nosuid" | "nodev" | "noexec" | "noatime") {
            vec![tmpfs, bound]
        } else {
            vec![tmpfs]
        }
    })
    .collect();
    all.extend([
        case("mount.strictatime")
            .checks("config.md#linux-mount-options")
            .probe(["mountinfo"])
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &["strictatime"]);
                Ok(())
            })
            .output(|o| {
                let m = mount(o, "/data")?;
                ensure!(!m.options.iter().any(|x| x == "relatime" || x == "noatime"), "{:?}", m.options);
                Ok(())
            }),
        case("mount.noexec-enforced")
            .checks("config.md#linux-mount-options")
            .prepare(|t| {
                let dir = t.host_dir("src")?;
                fs::copy(&t.yard.probe, dir.join("probe"))?;
                base::add_mount(
                    &mut t.spec,
                    "/data",
                    "bind",
                    &dir.display().to_string(),
                    &["bind", "noexec"],
                );
                Ok(())
            })
            .sh("/data/probe true; echo $?")
            .stdout("126\n"),
        case("mount.nodev-enforced")
            .checks("config.md#linux-mount-options")
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "bind", "/dev", &["bind", "nodev"]);
                Ok(())
            })
            .probe(["open-dev", "/data/null", "r"])
            .stdout("errno 13 EACCES\n"),
        case("mount.last-option-wins")
            .checks("catalogue B069")
            .probe(["mountinfo"])
            .prepare(|t| {
                base::add_mount(
                    &mut t.spec,
                    "/data",
                    "tmpfs",
                    "tmpfs",
                    &["nosuid", "suid", "ro", "rw", "exec", "noexec"],
                );
                Ok(())
            })
            .output(|o| {
                let m = mount(o, "/data")?;
                let has = |w: &str| m.options.iter().any(|x| x == w);
                ensure!(!has("nosuid") && has("rw") && has("noexec"), "{:?}", m.options);
                Ok(())
            }),
        case("mount.bind-keeps-source-flags")
            .checks("catalogue: a bind keeps the flags of its source")
            .prepare(|t| {
                let dir = t.host_dir("flags")?;
                nix::mount::mount(
                    Some("none"),
                    &dir,
                    Some("tmpfs"),
                    MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
                    None::<&str>,
                )?;
                t.mounted.push(dir.clone());
                base::add_mount(
                    &mut t.spec,
                    "/data",
                    "bind",
                    &dir.display().to_string(),
                    &["bind", "noexec"],
                );
                Ok(())
            })
            .probe(["mountinfo"])
            .output(|o| {
                let m = mount(o, "/data")?;
                ensure!(m.options.iter().any(|x| x == "noexec"), "{:?}", m.options);
                Ok(())
            }),
    ]);
    all
}

fn recursive() -> Vec<Case> {
    let text = "config.md#linux-mount-options recursive";
    let kernel = [Need::Kernel(5, 12)];
    let mut all = vec![
        case("mount.rro")
            .checks(text)
            .needs(kernel)
            .prepare(nested(&["rbind", "rro"]))
            .probe(["all", "open-write", "/data/file", "--", "open-write", "/data/sub/deep"])
            .stdout("errno 30 EROFS\nerrno 30 EROFS\n"),
        case("mount.ro-is-not-recursive")
            .checks(text)
            .needs(kernel)
            .prepare(nested(&["rbind", "ro"]))
            .probe(["all", "open-write", "/data/file", "--", "open-write", "/data/sub/deep"])
            .stdout("errno 30 EROFS\nok 0\n"),
    ];
    all.extend(["rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime"].into_iter().map(|option| {
        case(format!("mount.{option}"))
            .checks(text)
            .needs(kernel)
            .prepare(move |t| {
                nested(&["rbind"])(t)?;
                if let Some(last) = t.spec["mounts"].as_array_mut().and_then(|m| m.last_mut()) {
                    last["options"] = json!(["rbind", option]);
                }
                Ok(())
            })
            .probe(["mountinfo"])
            .output(move |o| {
                for path in ["/data", "/data/sub"] {
                    let m = mount(o, path)?;
                    ensure!(m.options.iter().any(|x| x == &option[1..]), "{path}: {:?}", m.options);
                }
                Ok(())
            })
    }));
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
                let out = t.run()?.ok()?.stdout;
                for l in out.lines().filter(|l| l.contains(" - cgroup ") || l.contains(" - cgroup2 ")) {
                    let shown = l.split(' ').nth(3).unwrap_or("");
                    ensure!(
                        shown.ends_with(&want) || shown == "/" && t.yard.host.layout() == "unified",
                        "more than the container's own group is mounted: {l}"
                    );
                }
                ensure!(out.contains(" - cgroup"), "no cgroup mount");
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

fn root() -> Vec<Case> {
    vec![
        case("root.readonly")
            .checks("config.md#root readonly")
            .spec(|s| s["root"]["readonly"] = true.into())
            .probe(["all", "open-write", "/etc/marker", "--", "mknod", "/new", "p"])
            .stdout("errno 30 EROFS\nerrno 30 EROFS\n"),
        case("root.readonly-not-below")
            .checks("config.md#root readonly")
            .spec(|s| s["root"]["readonly"] = true.into())
            .prepare(|t| bind(t, "/data", &["bind"]).map(drop))
            .probe(["open-write", "/data/file"])
            .stdout("ok 0\n"),
        case("root.writable")
            .checks("config.md#root readonly")
            .probe(["all", "write", "/tmp/x", "y", "--", "cat", "/tmp/x"])
            .stdout("y")
            .steps_after(|t| {
                ensure!(fs::read_to_string(t.rootfs().join("tmp/x"))? == "y", "not written");
                Ok(())
            }),
        case("root.absolute-path")
            .checks("config.md#root path")
            .prepare(|t| {
                t.spec["root"]["path"] = t.rootfs().display().to_string().into();
                Ok(())
            })
            .probe(["cat", "/etc/marker"])
            .stdout("marker\n"),
        case("root.nothing-above")
            .checks("config.md#root")
            .probe(["all", "cat", "/../../../etc/marker", "--", "readlink", "/proc/self/root"])
            .stdout("marker\n/\n"),
        case("root.old-root-is-gone").checks("config.md#root").probe(["mountinfo"]).output(|o| {
            let first = o.lines().next().unwrap_or("");
            ensure!(
                o.lines().filter(|l| l.split(' ').nth(4) == Some("/")).count() == 1,
                "several mounts on /: {o}"
            );
            ensure!(!o.contains("/tripwire"), "{first}");
            Ok(())
        }),
        case("root.no-pivot")
            .checks("cli: --no-pivot")
            .probe(["cat", "/etc/marker"])
            .prepare(|t| {
                t.flags.push("--no-pivot".into());
                Ok(())
            })
            .stdout("marker\n"),
    ]
}

fn masks() -> Vec<Case> {
    let text = "config-linux.md#masked-paths";
    vec![
        case("mask.file")
            .checks(text)
            .prepare(|t| t.put("secret", "hidden", 0o644).map(drop))
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/secret"]))
            .probe(["all", "cat", "/secret", "--", "cat", "/etc/marker"])
            .stdout("marker\n"),
        case("mask.directory")
            .checks(text)
            .prepare(|t| t.put("vault/x", "hidden", 0o644).map(drop))
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/vault"]))
            .probe(["all", "ls", "/vault", "--", "cat", "/etc/marker"])
            .stdout("marker\n"),
        case("mask.directory-not-writable")
            .checks(text)
            .prepare(|t| t.put("vault/x", "hidden", 0o644).map(drop))
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/vault"]))
            .probe(["mknod", "/vault/y", "p"])
            .stdout("errno 30 EROFS\n"),
        case("mask.absent-is-fine")
            .checks(text)
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/not/there"]))
            .probe(["echo", "fine"])
            .stdout("fine\n"),
        case("mask.kcore").checks(text).probe(["open-read", "/proc/kcore"]).output(|o| {
            ensure!(o == "ok 0\n" || o.contains("ENOENT") || o.contains("EACCES"), "{o}");
            Ok(())
        }),
        case("mask.kcore-is-null").checks(text).probe(["stat", "/proc/keys"]).output(|o| {
            ensure!(o.starts_with("char 0666 ") && o.contains(" 1:3 "), "{o}");
            Ok(())
        }),
        case("readonly.directory")
            .checks("config-linux.md#readonly-paths")
            .prepare(|t| t.put("fixed/x", "a", 0o644).map(drop))
            .spec(|s| s["linux"]["readonlyPaths"] = json!(["/fixed"]))
            .probe(["all", "cat", "/fixed/x", "--", "open-write", "/fixed/x", "--", "mknod", "/fixed/y", "p"])
            .stdout("aerrno 30 EROFS\nerrno 30 EROFS\n"),
        case("readonly.file")
            .checks("config-linux.md#readonly-paths")
            .prepare(|t| t.put("fixed", "a", 0o644).map(drop))
            .spec(|s| s["linux"]["readonlyPaths"] = json!(["/fixed"]))
            .probe(["open-write", "/fixed"])
            .stdout("errno 30 EROFS\n"),
        case("readonly.proc-sys")
            .checks("config-linux.md#readonly-paths")
            .probe(["open-write", "/proc/sys/kernel/panic"])
            .stdout("errno 30 EROFS\n"),
        case("readonly.sysrq")
            .checks("config-linux.md#readonly-paths")
            .probe(["open-write", "/proc/sysrq-trigger"])
            .output(|o| {
                let here = Path::new("/proc/sysrq-trigger").exists();
                ensure!(o == if here { "errno 30 EROFS\n" } else { "errno 2 ENOENT\n" }, "{o}");
                Ok(())
            }),
        case("readonly.absent-is-fine")
            .checks("config-linux.md#readonly-paths")
            .spec(|s| s["linux"]["readonlyPaths"] = json!(["/not/there"]))
            .probe(["echo", "fine"])
            .stdout("fine\n"),
        case("mask.cannot-be-undone")
            .checks("catalogue S23")
            .prepare(|t| t.put("secret", "hidden", 0o644).map(drop))
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/secret"]))
            .probe(["syscall", "umount2", "str:/secret", "0"])
            .stdout("errno 1 EPERM\n"),
    ]
}

/// Targets that try to leave the root land inside it.
fn inside() -> Vec<Case> {
    let through = |name: &'static str, link: &'static str, to: &'static str, real: &'static str| {
        case(format!("inside.{name}"))
            .checks("catalogue S10")
            .prepare(move |t| {
                t.put_link(link, to)?;
                let target = format!("/{link}/deep");
                bind(t, &target, &["bind"]).map(drop)
            })
            .probe(["cat", real])
    };
    vec![
        through("absolute-link", "link", "/data", "/data/deep/file").stdout("from the host\n"),
        through("relative-link", "link", "data", "/data/deep/file").stdout("from the host\n"),
        through("dotdot-link", "link", "../../../../../../data", "/data/deep/file").stdout("from the host\n"),
        through("link-chain", "tmp/link", "../data", "/data/deep/file").stdout("from the host\n"),
        case("inside.dotdot-target")
            .checks("catalogue S10")
            .prepare(|t| bind(t, "/data/../../../../data/deep", &["bind"]).map(drop))
            .probe(["cat", "/data/deep/file"])
            .stdout("from the host\n"),
        case("inside.trailing-slash")
            .checks("catalogue S10")
            .prepare(|t| bind(t, "/data/", &["bind"]).map(drop))
            .probe(["cat", "/data/file"])
            .stdout("from the host\n"),
        case("inside.link-loop-refused")
            .checks("catalogue S10")
            .prepare(|t| bind(t, "/data/deep", &["bind"]).map(drop))
            .fault(|t| {
                fs::remove_dir_all(t.rootfs().join("data"))?;
                t.put_link("data", "/data")
            })
            .refused("/mounts/6", "symbolic links"),
        case("inside.host-path-link").checks("catalogue S10").steps(|t| {
            t.works()?;
            let outside = t.host_dir("outside")?;
            t.put_link("link", &outside.display().to_string())?;
            bind(t, "/link/deep", &["bind"])?;
            // Either it lands inside the root under the same name, or it is refused; never outside.
            let _ = t.run()?;
            ensure!(fs::read_dir(&outside)?.count() == 0, "something was made outside the root");
            Ok(())
        }),
    ]
}
