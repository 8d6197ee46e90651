//! Mounts and the root: sources, flags, recursion, propagation, masks, read-only paths.
//! Read back from the container's own mountinfo, and tried by writing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::MsFlags;
use serde_json::{Value, json};

use crate::base;
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

mod again;
mod idmap;
mod kinds;
mod root;
mod targets;

const MOUNTS: &str = "config.md#mounts";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = binds();
    all.extend(flags());
    all.extend(recursive());
    all.extend(again::cases());
    all.extend(idmap::cases());
    all.extend(kinds::cases());
    all.extend(root::cases());
    all.extend(targets::cases());
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

/// Gives the last mount other options.
fn last_options(options: &'static [&'static str]) -> impl Fn(&mut Value) + 'static {
    move |s| {
        if let Some(last) = s["mounts"].as_array_mut().and_then(|m| m.last_mut()) {
            last["options"] = json!(options);
        }
    }
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
            .unprotected(last_options(&["bind"]), "ok 0\n")
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
            .unprotected(last_options(&["bind"]), "0\n")
            .stdout("126\n"),
        case("mount.nodev-enforced")
            .checks("config.md#linux-mount-options")
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "bind", "/dev", &["bind", "nodev"]);
                Ok(())
            })
            .probe(["open-dev", "/data/null", "r"])
            .unprotected(last_options(&["bind"]), "ok 0\n")
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
            .unprotected(last_options(&["rbind"]), "ok 0\nok 0\n")
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
