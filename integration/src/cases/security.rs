//! Regression behaviour for what went wrong in this field before: overwritten binaries, working directories
//! outside, links under /proc, /sys and /dev, and what a leaked view would show. Numbers are those of the
//! project's catalogue; no case here is an exploit.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::mount::MsFlags;
use rustix::fs::{CWD, FileType, SealFlags, StatVfsMountFlags, fcntl_get_seals, fstatvfs, makedev, mknodat};
use serde_json::json;

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::Need;
use crate::oracle::listing;
use crate::trial::Trial;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = binary();
    all.extend(directories());
    all.extend(links());
    all.extend(views());
    all.extend(odds());
    all
}

/// Inode, size and content of a file.
type Seen = (u64, u64, Vec<u8>);

/// The runtime as a private copy, so that a broken one spoils nothing; with inode and content to compare.
fn private_copy(t: &mut Trial<'_>) -> Result<(PathBuf, Seen)> {
    let path = t.dir.join("runtime-copy");
    fs::copy(&t.runtime.path, &path)?;
    let seen = look(&path)?;
    Ok((path, seen))
}

/// Whether nobody can ever write to a file, with whatever rights: a memfd with its seals, or a mount without writing.
fn never_written(file: &fs::File) -> Result<bool> {
    let seals = fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    let sealed = seals.contains(SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW)
        && seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
    Ok(sealed || fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn look(path: &PathBuf) -> Result<Seen> {
    let m = fs::metadata(path)?;
    Ok((m.ino(), m.size(), fs::read(path)?))
}

/// Gives the root files of its own, which a case may spoil.
fn own_files(t: &Trial<'_>) -> Result<()> {
    for name in ["probe", "bin/busybox"] {
        let path = t.rootfs().join(name);
        let bytes = fs::read(&path)?;
        fs::remove_file(&path)?;
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The global flags of the harness, for a command of the copy.
fn with_root(t: &Trial<'_>, more: &[&str]) -> Vec<String> {
    let mut all = vec!["--root".to_string(), t.state_root().display().to_string()];
    all.extend(more.iter().map(|s| s.to_string()));
    all
}

fn binary() -> Vec<Case> {
    let entry = |name: &str, prepare: fn(&Trial<'_>) -> Result<()>, program: &'static str| {
        case(format!("binary.{name}")).checks("catalogue S01").steps(move |t| {
            t.works()?;
            let (copy, before) = private_copy(t)?;
            prepare(t)?;
            t.spec["process"]["args"] = json!([program, "--version"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let args = with_root(t, &["run", "--bundle", &bundle, &id]);
            // Whether it starts or not, the file on the host stays the same.
            let out = t.command(&copy, &args).run()?;
            ensure!(out.code.is_some(), "it hangs");
            ensure!(look(&copy)? == before, "the runtime's binary was changed");
            Ok(())
        })
    };
    vec![
        entry("link-to-self", |t| t.put_link("self", "/proc/self/exe"), "/self"),
        entry("script-of-self", |t| t.put("script", "#!/proc/self/exe\n", 0o755).map(drop), "/script"),
        case("binary.not-the-host-file").checks("catalogue S03").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            let seen = fs::metadata(format!("/proc/{pid}/exe"))?;
            let host = fs::metadata(&t.runtime.path)?;
            ensure!((seen.dev(), seen.ino()) != (host.dev(), host.ino()), "init runs the host's own file before execve");
            Ok(())
        }),
        case("binary.nobody-can-write").checks("catalogue S03").steps(|t| {
            t.create()?;
            let own = fs::File::open(format!("/proc/{}/exe", t.pid()?))?;
            ensure!(never_written(&own)?, "init's program is neither sealed nor read-only");
            // The control: the same program as a file of its own is neither.
            let (copy, _) = private_copy(t)?;
            ensure!(!never_written(&fs::File::open(copy)?)?, "the control: a file is taken for sealed");
            Ok(())
        }),
        case("binary.overwrite-from-inside").checks("catalogue S02").needs([Need::Busybox]).steps(|t| {
            let (copy, before) = private_copy(t)?;
            own_files(t)?;
            base::capabilities(&mut t.spec, &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
            // Everybody who comes is tried, again and again, by its program file.
            let script = "echo ready; while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || (echo spoiled > $p/exe) 2>/dev/null; done; done";
            t.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
            t.run_detached()?;
            t.payload_says("ready")?;
            let id = t.id.clone();
            for _ in 0..15 {
                let args = with_root(t, &["exec", &id, PROBE, "true"]);
                t.command(&copy, &args).run()?;
            }
            ensure!(look(&copy)? == before, "the runtime's binary was changed");
            Ok(())
        }),
        case("binary.overwrite-after-exit").checks("catalogue S02").needs([Need::Busybox]).steps(|t| {
            let (copy, before) = private_copy(t)?;
            own_files(t)?;
            base::capabilities(&mut t.spec, &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
            // A descriptor of the newcomer's program is kept and reopened for writing once it runs something else.
            let script = "echo ready; while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; (exec 7<$p/exe && sleep 0.02 && echo spoiled > /proc/self/fd/7) 2>/dev/null; done; done";
            t.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
            t.run_detached()?;
            t.payload_says("ready")?;
            let id = t.id.clone();
            for _ in 0..15 {
                let args = with_root(t, &["exec", &id, PROBE, "sleep", "5"]);
                t.command(&copy, &args).run()?;
            }
            ensure!(look(&copy)? == before, "the runtime's binary was changed");
            Ok(())
        }),
    ]
}

fn directories() -> Vec<Case> {
    let leaky = |t: &mut Trial<'_>, args: Vec<String>| -> Result<crate::trial::Out> {
        let fds: Result<Vec<(OwnedFd, i32)>> =
            (3..12).map(|n| Ok((OwnedFd::from(fs::File::open("/")?), n))).collect();
        t.rt(&args).fds(fds?).run()
    };
    /// Nothing of the host may be the working directory.
    fn outside(out: &crate::trial::Out) -> Result<()> {
        ensure!(out.code.is_some(), "it hangs");
        ensure!(
            out.code != Some(0) || !out.stdout.contains("tripwire"),
            "a directory of the host is the cwd: {}",
            out.stdout
        );
        Ok(())
    }
    let mut all: Vec<Case> = (3..12)
        .map(|n| {
            case(format!("cwd.fd-{n}")).checks("catalogue S07").steps(move |t| {
                t.works()?;
                t.spec["process"]["cwd"] = format!("/proc/self/fd/{n}").into();
                t.spec["process"]["args"] = json!([PROBE, "ls", "."]);
                t.write_config()?;
                let args =
                    vec!["run".into(), "--bundle".into(), t.bundle.display().to_string(), t.id.clone()];
                let out = leaky(t, args)?;
                out.fails()?;
                Ok(())
            })
        })
        .collect();
    all.extend([
        case("cwd.exec-fd").checks("catalogue S07").steps(move |t| {
            t.resident()?;
            for n in 3..12 {
                let args = vec![
                    "exec".into(),
                    "--cwd".into(),
                    format!("/proc/self/fd/{n}"),
                    t.id.clone(),
                    PROBE.into(),
                    "ls".into(),
                    ".".into(),
                ];
                leaky(t, args)?.fails()?;
            }
            Ok(())
        }),
        case("cwd.link-to-fd").checks("catalogue S07").steps(move |t| {
            t.works()?;
            t.put_link("here", "/proc/self/fd/7")?;
            t.spec["process"]["cwd"] = "/here".into();
            t.spec["process"]["args"] = json!([PROBE, "ls", "."]);
            t.write_config()?;
            let args = vec!["run".into(), "--bundle".into(), t.bundle.display().to_string(), t.id.clone()];
            leaky(t, args)?.fails()?;
            Ok(())
        }),
        case("cwd.through-proc-root")
            .checks("catalogue S07")
            .spec(|s| s["process"]["cwd"] = "/proc/self/root/../../../..".into())
            .probe(["ls", "."])
            .output(|o| {
                ensure!(o.lines().any(|l| l == "probe"), "not the container's root: {o}");
                Ok(())
            }),
        case("cwd.of-pid-1").checks("catalogue S07").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            let out = t.rt(&["exec", "--cwd", "/proc/1/cwd", &id, PROBE, "ls", "."]).run()?;
            outside(&out)?;
            if out.code == Some(0) {
                ensure!(out.stdout.lines().any(|l| l == "probe"), "not the container's root: {}", out.stdout);
            }
            Ok(())
        }),
        case("cwd.program-by-fd").checks("catalogue S08").steps(move |t| {
            t.works()?;
            t.spec["process"]["args"] = json!(["/proc/self/fd/7"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let fds = (3..12)
                .map(|n| {
                    Ok((
                        OwnedFd::from(
                            fs::File::open("/bin/true").or_else(|_| fs::File::open("/bin/busybox"))?,
                        ),
                        n,
                    ))
                })
                .collect::<Result<Vec<_>>>()?;
            t.rt(&["run", "--bundle", &bundle, &id]).fds(fds).run()?.fails()?;
            Ok(())
        }),
        case("cwd.script-by-fd").checks("catalogue S08").steps(move |t| {
            t.works()?;
            t.put("script", "#!/proc/self/fd/7\n", 0o755)?;
            t.spec["process"]["args"] = json!(["/script"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let fds = (3..12)
                .map(|n| {
                    Ok((
                        OwnedFd::from(
                            fs::File::open("/bin/true").or_else(|_| fs::File::open("/bin/busybox"))?,
                        ),
                        n,
                    ))
                })
                .collect::<Result<Vec<_>>>()?;
            t.rt(&["run", "--bundle", &bundle, &id]).fds(fds).run()?.fails()?;
            Ok(())
        }),
        case("cwd.relative-program")
            .checks("catalogue S08")
            .spec(|s| {
                s["process"]["cwd"] = "/data".into();
                s["process"]["args"] = json!(["./p", "echo", "inside"]);
            })
            .prepare(|t| {
                fs::hard_link(&t.yard.probe, t.rootfs().join("data/p"))?;
                Ok(())
            })
            .stdout("inside\n"),
    ]);
    all
}

/// A directory outside the root that no runtime may touch, and a link in the root that leads there.
fn trap(t: &Trial<'_>, name: &str, absolute: bool) -> Result<PathBuf> {
    let away = t.host_dir("away")?;
    for file in ["null", "ptmx", "fd", "console"] {
        fs::write(away.join(file), "host")?;
    }
    let target = if absolute { away.display().to_string() } else { "../../away".to_string() };
    t.put_link(name, &target)?;
    Ok(away)
}

fn links() -> Vec<Case> {
    let untouched = |name: &'static str, link: &'static str, absolute: bool, mounts: fn(&mut Trial<'_>)| {
        case(format!("link.{name}")).checks("catalogue S28").steps(move |t| {
            t.works()?;
            let away = trap(t, link, absolute)?;
            mounts(t);
            let before = listing(&away);
            let out = t.run()?;
            ensure!(out.code.is_some(), "it hangs");
            ensure!(
                listing(&away) == before,
                "a directory of the host was touched: {:?}",
                listing(&away).keys()
            );
            Ok(())
        })
    };
    /// No mount on /dev itself.
    fn no_dev(t: &mut Trial<'_>) {
        if let Some(list) = t.spec["mounts"].as_array_mut() {
            list.retain(|m| !m["destination"].as_str().unwrap_or("").starts_with("/dev"));
        }
    }
    let special = |name: &'static str, kind: fn(&Trial<'_>) -> Result<()>| {
        case(format!("link.proc-is-{name}")).checks("catalogue S17").steps(move |t| {
            t.works()?;
            fs::remove_dir(t.rootfs().join("proc"))?;
            kind(t)?;
            t.run()?.fails()?;
            Ok(())
        })
    };
    vec![
        untouched("dev-absolute", "dev", true, no_dev),
        untouched("dev-relative", "dev", false, no_dev),
        untouched("dev-mounted-absolute", "dev", true, |_| ()),
        untouched("dev-mounted-relative", "dev", false, |_| ()),
        untouched("data-target", "data", true, |t| {
            base::add_mount(&mut t.spec, "/data/x", "tmpfs", "tmpfs", &[])
        }),
        untouched("etc-file-target", "etc", true, |t| {
            base::add_mount(&mut t.spec, "/etc/new", "bind", "/etc/passwd", &["bind"])
        }),
        untouched("cwd-made", "data", true, |t| t.spec["process"]["cwd"] = "/data/made".into()),
        untouched("device-path", "data", true, |t| {
            t.spec["linux"]["devices"] = json!([{"path": "/data/kn0", "type": "c", "major": 1, "minor": 3}])
        }),
        special("absolute-link", |t| {
            t.put_dir("elsewhere")?;
            t.put_link("proc", "/elsewhere")
        }),
        special("relative-link", |t| {
            t.put_dir("elsewhere")?;
            t.put_link("proc", "elsewhere")
        }),
        special("link-to-host", |t| t.put_link("proc", "../../../../../../tmp")),
        special("file", |t| t.put("proc", "x", 0o644).map(drop)),
        special("fifo", |t| Ok(mknodat(CWD, t.rootfs().join("proc"), FileType::Fifo, 0o600.into(), 0)?)),
        case("link.sys-is-link").checks("catalogue S17").steps(|t| {
            t.works()?;
            fs::remove_dir(t.rootfs().join("sys"))?;
            t.put_dir("elsewhere")?;
            t.put_link("sys", "/elsewhere")?;
            t.run()?.fails()?;
            Ok(())
        }),
        case("link.masked-path").checks("catalogue S23").steps(|t| {
            t.works()?;
            let away = t.host_dir("away")?;
            fs::write(away.join("secret"), "host")?;
            t.put_link("mask", "/etc/marker")?;
            t.spec["linux"]["maskedPaths"] = json!(["/mask"]);
            t.spec["process"]["args"] = json!([PROBE, "cat", "/etc/marker"]);
            let out = t.run()?;
            ensure!(
                out.code != Some(0) || out.stdout.is_empty(),
                "the mask does not cover what the path leads to: {:?}",
                out.stdout
            );
            Ok(())
        }),
        case("link.dev-null-is-not-null").checks("catalogue S22").steps(|t| {
            t.works()?;
            // A bound /dev whose null is another device must never be used as a mask.
            let dir = t.device_dir("dev")?;
            mknodat(CWD, dir.join("null"), FileType::CharacterDevice, 0o666.into(), makedev(1, 5))?;
            let source = dir.display().to_string();
            if let Some(list) = t.spec["mounts"].as_array_mut() {
                list.retain(|m| !m["destination"].as_str().unwrap_or("").starts_with("/dev"));
            }
            base::add_mount(&mut t.spec, "/dev", "bind", &source, &["bind"]);
            t.put("secret", "hidden", 0o644)?;
            t.spec["linux"]["maskedPaths"] = json!(["/secret"]);
            t.spec["process"]["args"] = json!([PROBE, "stat", "/secret"]);
            let out = t.run()?;
            ensure!(
                out.code != Some(0) || out.stdout.contains(" 1:3 "),
                "masked by something else: {:?}",
                out.stdout
            );
            Ok(())
        }),
        case("link.dev-null-is-a-link").checks("catalogue S30").steps(|t| {
            t.works()?;
            let dir = t.host_dir("dev")?;
            let victim = t.host_dir("away")?.join("victim");
            fs::write(&victim, "host")?;
            std::os::unix::fs::symlink("/victim", dir.join("null"))?;
            t.put("victim", "inside", 0o600)?;
            let source = dir.display().to_string();
            if let Some(list) = t.spec["mounts"].as_array_mut() {
                list.retain(|m| !m["destination"].as_str().unwrap_or("").starts_with("/dev"));
            }
            base::add_mount(&mut t.spec, "/dev", "bind", &source, &["bind"]);
            t.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            t.spec["linux"]["maskedPaths"] = json!(["/etc/marker"]);
            let _ = t.run()?;
            let owner = fs::metadata(t.rootfs().join("victim"))?.uid();
            ensure!(owner == 0, "a file was given away through /dev/null");
            Ok(())
        }),
        case("link.console-is-a-link").checks("catalogue S27").steps(|t| {
            t.works()?;
            let away = t.host_dir("away")?.join("console");
            fs::write(&away, "host")?;
            if let Some(list) = t.spec["mounts"].as_array_mut() {
                list.retain(|m| m["destination"] != "/dev");
            }
            t.put_link("dev/console", &away.display().to_string())?;
            let before = listing(away.parent().context("parent")?);
            let _ = t.run()?;
            ensure!(listing(away.parent().context("parent")?) == before, "a file of the host was touched");
            Ok(())
        }),
        case("link.root-itself").checks("catalogue S16").probe(["cat", "/etc/marker"]).steps(|t| {
            t.works()?;
            fs::rename(t.rootfs(), t.bundle.join("real"))?;
            std::os::unix::fs::symlink("real", t.rootfs())?;
            // Followed once, or refused; nothing in between.
            let out = t.run()?;
            if out.code == Some(0) {
                out.prints("marker\n")?
            } else {
                out.fails()?
            };
            Ok(())
        }),
    ]
}

fn views() -> Vec<Case> {
    let refused = |o: &str| -> Result<()> {
        ensure!(o.lines().count() >= 4, "nothing was tried: {o}");
        for line in o.lines() {
            ensure!(line.starts_with("errno "), "something could be opened for writing: {o}");
        }
        Ok(())
    };
    let write = |files: &'static [&'static str]| {
        move |s: &mut serde_json::Value| {
            let mut args = vec![PROBE.to_string(), "all".into()];
            for (i, f) in files.iter().enumerate() {
                if i > 0 {
                    args.push("--".into());
                }
                args.extend(["open-write".to_string(), f.to_string()]);
            }
            s["process"]["args"] = json!(args);
        }
    };
    vec![
        case("view.proc-sys-is-fixed").checks("catalogue S25").spec(write(&[
            "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/panic", "/proc/sys/kernel/hostname",
            "/proc/sys/vm/drop_caches", "/proc/sys/fs/file-max", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/bus/pci",
        ])).output(refused),
        case("view.sys-is-fixed").checks("catalogue S25").spec(write(&["/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/module/kernel/parameters/panic"])).output(refused),
        case("view.no-host-processes").checks("catalogue S06").sh("for p in /proc/[0-9]*; do cat $p/comm; done").output(|o| {
            ensure!(o.contains("sh"), "no process is visible: {o}");
                ensure!(!o.contains("conformance"), "host processes are visible: {o}");
            Ok(())
        }),
        case("view.no-host-mounts").checks("catalogue S24").probe(["mountinfo"]).output(|o| {
            ensure!(o.contains(" - proc "), "no mounts: {o}");
                for word in ["/sys/fs/cgroup/memory", "/home", "/boot"] {
                ensure!(!o.lines().any(|l| l.split(' ').nth(4) == Some(word)), "{word} is mounted: {o}");
            }
            Ok(())
        }),
        case("view.mounts-keep-readonly").checks("catalogue S24").probe(["mountinfo"]).spec(|s| {
            s["root"]["readonly"] = true.into();
            for n in 0..10 {
                base::add_mount(s, &format!("/data/{n}"), "bind", "/etc", &["rbind", "ro"]);
            }
        }).prepare(|t| {
            for n in 0..10 {
                t.put_dir(&format!("data/{n}"))?;
            }
            Ok(())
        }).output(|o| {
            let read_only = |p: &str| o.lines().any(|l| { let w: Vec<&str> = l.split(' ').collect(); w[4] == p && w[5].split(',').any(|x| x == "ro") });
            for n in 0..10 {
                ensure!(read_only(&format!("/data/{n}")), "/data/{n} is writable: {o}");
            }
            ensure!(read_only("/"), "the root is writable: {o}");
            Ok(())
        }),
        case("view.no-umount-of-masks").checks("catalogue S23").probe(["all", "syscall", "umount2", "str:/proc/keys", "2", "--", "syscall", "umount2", "str:/proc", "2"]).stdout("errno 1 EPERM\nerrno 1 EPERM\n"),
        case("view.null-of-host-is-fixed").checks("catalogue S22").needs([Need::Busybox]).steps(|t| {
            let null = own_null(t)?;
            let script = "for f in /proc/self/fd/0 /proc/keys /proc/timer_list; do busybox chmod 601 $f; done; busybox true";
            t.spec["process"]["env"] = json!(["PATH=/bin"]);
            t.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
            t.run()?.ok()?;
            t.resident()?;
            t.exec(&["/bin/sh", "-c", "busybox chmod 602 /proc/self/fd/0; busybox true"])?.ok()?;
            let mode = fs::metadata(&null)?.mode() & 0o777;
            ensure!(mode == 0o666, "the container changed the mode of the host's null device to {mode:o}");
            Ok(())
        }),
        case("view.keyring-of-host-hidden").checks("catalogue S39").steps(|t| {
            let first = t.resident()?;
            ensure!(first > 0, "no pid");
            let twin = t.twin("b", |s| s["process"]["args"] = json!([PROBE, "keyring"]))?;
            let other = t.rt(&["run", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?.stdout;
            let own = t.exec_probe(&["keyring"])?.ok()?.stdout;
            ensure!(own != other, "two containers share a session keyring: {own}");
            Ok(())
        }),
        case("view.host-descriptors-of-newcomer").checks("catalogue S06").needs([Need::Busybox]).steps(|t| {
            // A resident root looks at the descriptors of everybody who comes in by exec.
            let script = "echo ready; while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || ls -l $p/fd 2>/dev/null | grep -E ' -> /(sys/fs/cgroup|proc/1/ns|.*/state/)' ; done; done";
            t.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
            t.run_detached()?;
            t.payload_says("ready")?;
            for _ in 0..10 {
                t.exec_probe(&["true"])?;
            }
            let seen = t.payload();
            ensure!(seen.trim() == "ready", "descriptors of the host were visible: {seen}");
            Ok(())
        }),
    ]
}

/// A null device of this trial over the machine's, which a failing runtime would change for everybody.
fn own_null(t: &mut Trial<'_>) -> Result<PathBuf> {
    let null = t.device_dir("nulls")?.join("null");
    mknodat(CWD, &null, FileType::CharacterDevice, 0o600.into(), makedev(1, 3)).context("mknod")?;
    fs::set_permissions(&null, fs::Permissions::from_mode(0o666))?;
    nix::mount::mount(Some(&null), "/dev/null", None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .context("bind a null device")?;
    t.mounted.push("/dev/null".into());
    Ok(null)
}

fn odds() -> Vec<Case> {
    vec![
        case("odd.env-of-caller-not-in-program").checks("catalogue S04").probe(["env"]).steps(|t| {
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let out =
                t.rt(&["run", "--bundle", &bundle, &id]).env("SECRET_OF_CALLER", "x").run()?.ok()?.stdout;
            ensure!(out.contains("PATH="), "{out}");
            ensure!(!out.contains("SECRET_OF_CALLER"), "the caller's environment came in: {out}");
            Ok(())
        }),
        case("odd.preload-not-for-the-runtime")
            .checks("catalogue S04")
            .probe(["env"])
            .spec(|s| {
                s["process"]["env"] = json!(["LD_PRELOAD=/no/such/library.so", "LD_LIBRARY_PATH=/data"])
            })
            .stdout_has("LD_PRELOAD=/no/such/library.so"),
        case("odd.escape-in-hostname").checks("catalogue S42").steps(|t| {
            t.works()?;
            t.spec["hostname"] = "a\u{1b}[31mb".into();
            let out = t.run()?;
            ensure!(!out.stderr.contains('\u{1b}'), "an escape sequence is printed: {:?}", out.stderr);
            Ok(())
        }),
        case("odd.escape-in-error")
            .checks("catalogue S42")
            .spec(|s| s["process"]["args"] = json!(["/no\u{1b}[2Jsuch\nprogram"]))
            .steps(|t| {
                t.works()?;
                let out = t.run()?.fails()?;
                if t.runtime.strict {
                    ensure!(
                        !out.stderr.contains('\u{1b}') && out.stderr.lines().count() == 1,
                        "{:?}",
                        out.stderr
                    );
                }
                Ok(())
            }),
        case("odd.checkpoint-refused-or-works").checks("catalogue S45").steps(|t| {
            // Not a promise of this suite; but it must not end in a hang or a half container.
            t.resident()?;
            let out = t.rt(&["checkpoint", "--help"]).run()?;
            ensure!(out.code.is_some(), "it hangs");
            t.is("running")
        }),
    ]
}
