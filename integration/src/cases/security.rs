//! Regression behaviour for what went wrong in this field before: overwritten binaries, working directories
//! outside, links under /proc, /sys and /dev, and what a leaked view would show. Numbers are those of the
//! project's catalogue; no case here is an exploit.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::mount::MsFlags;
use rustix::fs::{CWD, FileType, SealFlags, StatVfsMountFlags, fcntl_get_seals, fstatvfs, makedev, mknodat};
use serde_json::json;

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::{Need, find_program};
use crate::oracle::listing;
use crate::os;
use crate::run::unavailable;
use crate::trial::{Out, Trial, wait_for};

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

/// Whether a program names an interpreter (elf(5), PT_INTERP); with `make` its first program header becomes one.
fn interpreter(bytes: &mut [u8], make: bool) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let word = |bytes: &[u8], at: usize, len: usize| {
        let raw = bytes.get(at..at + len).context("the file is cut")?;
        Ok::<usize, anyhow::Error>(raw.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)))
    };
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "no 64-bit little-endian program");
    let (table, size, count) = (word(bytes, 32, 8)?, word(bytes, 54, 2)?, word(bytes, 56, 2)?);
    if make {
        bytes[table..table + 4].copy_from_slice(&PT_INTERP.to_le_bytes());
    }
    for n in 0..count {
        if word(bytes, table + n * size, 4)? == PT_INTERP as usize {
            return Ok(true);
        }
    }
    Ok(false)
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
    let entry = |name: &str, prepare: fn(&Trial<'_>, &str) -> Result<()>, program: &'static str| {
        case(format!("binary.{name}")).checks("catalogue S01").steps(move |t| {
            // The control: whatever else is named that way does run.
            prepare(t, if program == "/self" { PROBE } else { "/probe echo" })?;
            t.unprotected(|s| s["process"]["args"] = json!([program, "echo", "it runs"]), "it runs")?;
            let (copy, before) = private_copy(t)?;
            prepare(t, "/proc/self/exe")?;
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
        entry("link-to-self", |t, to| t.put_link("self", to), "/self"),
        entry("script-of-self", |t, to| t.put("script", &format!("#!{to}\n"), 0o755).map(drop), "/script"),
        case("binary.not-the-host-file").checks("catalogue S03").probe(["trap", "TERM"]).steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            let file = |path: String| fs::metadata(path).map(|m| (m.dev(), m.ino()));
            let seen = file(format!("/proc/{pid}/exe"))?;
            let host = file(t.runtime.path.display().to_string())?;
            ensure!(seen != host, "init runs the host's own file before execve");
            // The control: the file of a program that is the host's own is recognised that way.
            t.start()?;
            t.payload_says("ready")?;
            let (seen, host) = (file(format!("/proc/{pid}/exe"))?, file(t.yard.probe.display().to_string())?);
            ensure!(seen == host, "the control: {seen:?} is the program, its file on the host {host:?}");
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
        case("binary.nothing-is-loaded").checks("catalogue S04").steps(|t| {
            t.works()?;
            let mut bytes = fs::read(&t.runtime.path)?;
            let found = interpreter(&mut bytes, false)?;
            ensure!(!found || !t.runtime.strict, "a dynamic loader would come first, and libraries with it");
            // The control: the same file with such a header is recognised.
            interpreter(&mut bytes, true)?;
            ensure!(interpreter(&mut bytes, false)?, "the control: no interpreter is found");
            Ok(())
        }),
        case("binary.overwrite-from-inside").checks("catalogue S02").needs([Need::Busybox]).steps(|t| {
            let (copy, before) = private_copy(t)?;
            own_files(t)?;
            base::capabilities(&mut t.spec, &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
            // Everybody who comes is tried, again and again, by its program file.
            let script = "echo ready; while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || (echo spoiled > $p/exe) 2>&1; done; done";
            t.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
            t.run_detached()?;
            t.payload_says("ready")?;
            let id = t.id.clone();
            for _ in 0..15 {
                let args = with_root(t, &["exec", &id, PROBE, "true"]);
                t.command(&copy, &args).run()?;
            }
            // The control: of a program of the container's own the loop gets hold, and only that it runs keeps it from writing
            // (ETXTBSY), which no file is kept by that runs no more: see `binary.overwrite-after-exit`. Kernels without that error
            // let it be spoiled.
            let victim = t.rootfs().join("victim");
            fs::copy(&t.yard.probe, &victim)?;
            let id = t.id.clone();
            wait_for(t.seconds(), || {
                t.rt(&["exec", &id, "/victim", "sleep", "200"]).run()?;
                let met = t.payload().contains("Text file busy") || fs::read(&victim)? == b"spoiled\n";
                Ok(met.then_some(()))
            })
            .context("the control: no program is reached")?;
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
                let args = with_root(t, &["exec", &id, PROBE, "sleep", "100"]);
                t.command(&copy, &args).run()?;
            }
            // The control: a program of the container's own is lost to the same loop.
            let victim = t.rootfs().join("victim");
            fs::copy(&t.yard.probe, &victim)?;
            wait_for(t.seconds(), || {
                t.exec(&["/victim", "sleep", "100"])?;
                Ok((fs::read(&victim)? == b"spoiled\n").then_some(()))
            })
            .context("the control: the loop spoils no program")?;
            ensure!(look(&copy)? == before, "the runtime's binary was changed");
            Ok(())
        }),
    ]
}

fn directories() -> Vec<Case> {
    /// A command with every descriptor from 3 to 11 open on a file or directory of the host.
    fn leaky(t: &mut Trial<'_>, open: &Path, args: &[&str]) -> Result<Out> {
        let fds =
            (3..12).map(|n| Ok((OwnedFd::from(fs::File::open(open)?), n))).collect::<Result<Vec<_>>>()?;
        t.rt(args).fds(fds).run()
    }
    /// `run` so; with `given` the descriptors are the container's, which is the control: they are open and lead there.
    fn leaky_run(t: &mut Trial<'_>, open: &Path, given: bool) -> Result<Out> {
        t.write_config()?;
        let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
        let all = ["run", "--preserve-fds", "9", "--bundle", &bundle, &id];
        let none = ["run", "--bundle", &bundle, &id];
        leaky(t, open, if given { &all } else { &none })
    }
    /// A directory of the host that shows where one is.
    fn away(t: &Trial<'_>) -> Result<PathBuf> {
        let dir = t.host_dir("away")?;
        fs::write(dir.join("of-the-host"), "")?;
        Ok(dir)
    }
    let mut all: Vec<Case> = (3..12)
        .map(|n| {
            case(format!("cwd.fd-{n}")).checks("catalogue S07").steps(move |t| {
                let (away, path) = (away(t)?, format!("/proc/self/fd/{n}"));
                t.spec["process"]["args"] = json!([PROBE, "ls", path]);
                leaky_run(t, &away, true)?.ok()?.prints("of-the-host\n").context("the control")?;
                t.spec["process"]["cwd"] = path.into();
                t.spec["process"]["args"] = json!([PROBE, "ls", "."]);
                leaky_run(t, &away, false)?.fails()?;
                Ok(())
            })
        })
        .collect();
    all.extend([
        case("cwd.exec-fd").checks("catalogue S07").steps(move |t| {
            t.resident()?;
            let (away, id) = (away(t)?, t.id.clone());
            for n in 3..12 {
                let path = format!("/proc/self/fd/{n}");
                leaky(t, &away, &["exec", "--preserve-fds", "9", &id, PROBE, "ls", &path])?
                    .ok()?
                    .prints("of-the-host\n")
                    .context("the control")?;
                leaky(t, &away, &["exec", "--cwd", &path, &id, PROBE, "ls", "."])?.fails()?;
            }
            Ok(())
        }),
        case("cwd.link-to-fd").checks("catalogue S07").steps(move |t| {
            let away = away(t)?;
            t.put_link("here", "/proc/self/fd/7")?;
            t.spec["process"]["args"] = json!([PROBE, "ls", "/here"]);
            leaky_run(t, &away, true)?.ok()?.prints("of-the-host\n").context("the control")?;
            t.spec["process"]["cwd"] = "/here".into();
            t.spec["process"]["args"] = json!([PROBE, "ls", "."]);
            leaky_run(t, &away, false)?.fails()?;
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
            ensure!(out.code.is_some(), "it hangs");
            if out.code == Some(0) {
                ensure!(out.stdout.lines().any(|l| l == "probe"), "not the container's root: {}", out.stdout);
            }
            Ok(())
        }),
        case("cwd.program-by-fd").checks("catalogue S08").steps(move |t| {
            let program = t.yard.probe.clone();
            t.spec["process"]["args"] = json!(["/proc/self/fd/7", "echo", "it runs"]);
            leaky_run(t, &program, true)?.ok()?.prints("it runs\n").context("the control")?;
            leaky_run(t, &program, false)?.fails()?;
            Ok(())
        }),
        case("cwd.script-by-fd").checks("catalogue S08").steps(move |t| {
            let program = t.yard.probe.clone();
            t.put("script", "#!/proc/self/fd/7 echo\n", 0o755)?;
            t.spec["process"]["args"] = json!(["/script"]);
            leaky_run(t, &program, true)?.ok()?.prints("/script\n").context("the control")?;
            leaky_run(t, &program, false)?.fails()?;
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

/// That a case of links would notice: where a directory of the root is, this configuration changes it.
fn changes(t: &mut Trial<'_>, directory: &str) -> Result<()> {
    let real = t.rootfs().join(directory);
    let before = listing(&real);
    t.run().context("the control")?;
    ensure!(listing(&real) != before, "the control: nothing is made below a real /{directory}");
    Ok(())
}

/// No configuration makes a runtime follow a link of /dev, or give a file away through /dev/null: that these cases notice is
/// shown by weakened builds (`ci/controls`).
fn links() -> Vec<Case> {
    let untouched = |name: &'static str, link: &'static str, absolute: bool, mounts: fn(&mut Trial<'_>)| {
        case(format!("link.{name}")).checks("catalogue S28").steps(move |t| {
            t.works()?;
            mounts(t);
            if !name.starts_with("dev-mounted") {
                changes(t, link)?;
            }
            let away = trap(t, link, absolute)?;
            let before = listing(&away);
            t.spec["process"]["args"] = json!([PROBE, "mountinfo"]);
            let out = t.run()?;
            ensure!(out.code.is_some(), "it hangs");
            ensure!(
                listing(&away) == before,
                "a directory of the host was touched: {:?}",
                listing(&away).keys()
            );
            // What was mounted must be to see, or it is elsewhere.
            if out.code == Some(0) && name.starts_with("dev-mounted") {
                ensure!(out.stdout.contains(" - devpts "), "mounted out of sight: {}", out.stdout);
            }
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
            t.put_link("mask", "/etc/marker")?;
            t.spec["linux"]["maskedPaths"] = json!(["/mask"]);
            t.spec["process"]["args"] = json!([PROBE, "cat", "/etc/marker"]);
            t.unprotected(|s| s["linux"]["maskedPaths"] = json!([]), "marker\n")?;
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
            let null = |minor| {
                mknodat(CWD, dir.join("null"), FileType::CharacterDevice, 0o666.into(), makedev(1, minor))
            };
            null(3)?;
            let source = dir.display().to_string();
            if let Some(list) = t.spec["mounts"].as_array_mut() {
                list.retain(|m| !m["destination"].as_str().unwrap_or("").starts_with("/dev"));
            }
            base::add_mount(&mut t.spec, "/dev", "bind", &source, &["bind"]);
            t.put("secret", "hidden", 0o644)?;
            t.spec["linux"]["maskedPaths"] = json!(["/secret"]);
            t.spec["process"]["args"] = json!([PROBE, "stat", "/secret"]);
            // The control: with a right one the file is there, and the mask over it.
            t.unprotected(|s| s["linux"]["maskedPaths"] = json!([]), "file 0644 ")?;
            let out = t.run()?.ok().context("the control")?;
            ensure!(out.stdout.contains(" 1:3 "), "the control: {:?}", out.stdout);
            fs::remove_file(dir.join("null"))?;
            null(5)?;
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
            // Without a mount on /dev itself, so that what is made there is made in the image.
            if let Some(list) = t.spec["mounts"].as_array_mut() {
                list.retain(|m| m["destination"] != "/dev");
            }
            t.spec["process"]["terminal"] = true.into();
            // The control: with a terminal the runtime makes the file.
            let console = t.rootfs().join("dev/console");
            let on_terminal = |t: &mut Trial<'_>| {
                let (_master, slave) = os::open_pty(25, 66)?;
                t.write_config()?;
                let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                t.rt(&["run", "--bundle", &bundle, &id]).on_terminal(slave)?.run()
            };
            on_terminal(t)?.ok().context("the control")?;
            ensure!(console.symlink_metadata().is_ok(), "the control: no /dev/console was made");
            let away = t.host_dir("away")?;
            fs::write(away.join("console"), "host")?;
            t.put_link("dev/console", &away.join("console").display().to_string())?;
            let before = listing(&away);
            let out = on_terminal(t)?;
            ensure!(out.code.is_some(), "it hangs");
            ensure!(listing(&away) == before, "a file of the host was touched");
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
        ])).output(refused).unprotected(|s| s["linux"]["readonlyPaths"] = json!([]), "ok 0\n"),
        case("view.sys-is-fixed").checks("catalogue S25").spec(write(&["/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/module/kernel/parameters/panic"])).output(refused).unprotected(|s| {
            for m in s["mounts"].as_array_mut().into_iter().flatten().filter(|m| m["destination"] == "/sys") {
                m["options"] = json!(["nosuid", "noexec", "nodev"]);
            }
        }, "ok 0\n"),
        case("view.no-host-processes").checks("catalogue S06").sh("for p in /proc/[0-9]*; do cat $p/comm; done").output(|o| {
            ensure!(o.contains("sh"), "no process is visible: {o}");
                ensure!(!o.contains("conformance"), "host processes are visible: {o}");
            Ok(())
        }).unprotected(|s| base::no_namespace(s, "pid"), "conformance"),
        case("view.no-host-mounts").checks("catalogue S24").probe(["mountinfo"]).output(|o| {
            ensure!(o.contains(" - proc "), "no mounts: {o}");
                for word in ["/sys/fs/cgroup/memory", "/home", "/boot"] {
                ensure!(!o.lines().any(|l| l.split(' ').nth(4) == Some(word)), "{word} is mounted: {o}");
            }
            Ok(())
        }).unprotected(|s| base::add_mount(s, "/home", "bind", "/tmp", &["bind"]), " /home "),
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
        }).unprotected(|s| s["root"]["readonly"] = false.into(), " / rw,").unprotected(|s| {
            if let Some(last) = s["mounts"].as_array_mut().and_then(|m| m.last_mut()) {
                last["options"] = json!(["rbind"]);
            }
        }, " /data/9 rw,"),
        case("view.no-umount-of-masks").checks("catalogue S23").probe(["all", "syscall", "umount2", "str:/proc/keys", "2", "--", "syscall", "umount2", "str:/proc", "2"]).stdout("errno 1 EPERM\nerrno 1 EPERM\n").unprotected(|s| base::capabilities(s, &["CAP_SYS_ADMIN"]), "ok 0\nok 0\n"),
        case("view.null-of-host-is-fixed").checks("catalogue S22").needs([Need::Busybox]).steps(|t| {
            let null = own_null(t)?;
            let mode = || Ok::<u32, std::io::Error>(fs::metadata(&null)?.mode() & 0o777);
            // The control: where the host's device itself is bound, its mode changes.
            t.unprotected(|s| {
                base::add_mount(s, "/data/null", "bind", "/dev/null", &["bind"]);
                s["process"]["args"] = json!(["/bin/sh", "-c", "busybox chmod 600 /data/null; echo done"]);
            }, "done\n")?;
            ensure!(mode()? == 0o600, "the control: the mode stays {:o}", mode()?);
            fs::set_permissions(&null, fs::Permissions::from_mode(0o666))?;
            let script = "for f in /proc/self/fd/0 /proc/keys /proc/timer_list; do busybox chmod 601 $f; done; busybox true";
            t.spec["process"]["env"] = json!(["PATH=/bin"]);
            t.spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
            t.run()?.ok()?;
            t.resident()?;
            t.exec(&["/bin/sh", "-c", "busybox chmod 602 /proc/self/fd/0; busybox true"])?.ok()?;
            ensure!(mode()? == 0o666, "the container changed the mode of the host's null device to {:o}", mode()?);
            Ok(())
        }),
        case("view.keyring-of-host-hidden").checks("catalogue S39").steps(|t| {
            let first = t.resident()?;
            ensure!(first > 0, "no pid");
            let twin = t.twin("b", |s| s["process"]["args"] = json!([PROBE, "keyring"]))?;
            let other = t.rt(&["run", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?.stdout;
            let own = t.exec_probe(&["keyring"])?.ok()?.stdout;
            ensure!(own != other, "two containers share a session keyring: {own}");
            // The control: without keyrings of their own they do.
            let shared = |t: &mut Trial<'_>, id: &str| {
                let args = ["run", "--no-new-keyring", "--bundle", &twin.bundle, id];
                Ok::<String, anyhow::Error>(t.rt(&args).run()?.ok()?.stdout)
            };
            let (one, two) = (shared(t, &twin.id)?, shared(t, &twin.id)?);
            ensure!(one == two, "the control: {one:?} and {two:?} should be one keyring");
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
            // The control: one that is handed over is seen.
            let (state, id) = (t.state_root(), t.id.clone());
            let given = vec![(OwnedFd::from(fs::File::open(state.join(&id))?), 3)];
            t.rt(&["exec", "--preserve-fds", "1", &id, PROBE, "sleep", "500"]).fds(given).run()?.ok()?;
            t.payload_says(" -> /").context("the control")?;
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
            t.unprotected(|s| s["process"]["env"] = json!(["SECRET_OF_CALLER=x"]), "SECRET_OF_CALLER")?;
            Ok(())
        }),
        case("odd.preload-not-for-the-runtime").checks("catalogue S04").steps(|t| {
            let wrong = ["LD_PRELOAD=/no/such/library.so", "LD_LIBRARY_PATH=/data", "GCONV_PATH=/data"];
            let moved = |out: &Out| out.stderr.contains("ld.so") || out.stderr.contains("library.so");
            t.spec["process"]["env"] = json!(wrong);
            t.spec["process"]["args"] = json!([PROBE, "env"]);
            let run = t.run()?.ok()?;
            ensure!(run.stdout.contains(wrong[0]), "the program has not got it: {}", run.stdout);
            t.resident()?;
            let exec = t.exec_probe(&["env"])?.ok()?;
            ensure!(exec.stdout.contains(wrong[0]), "the program of exec has not got it: {}", exec.stdout);
            ensure!(
                !moved(&run) && !moved(&exec),
                "the loader has heard of it: {}{}",
                run.stderr,
                exec.stderr
            );
            // The control: a program with a loader complains.
            let loaded = |path: &PathBuf| {
                fs::read(path).is_ok_and(|mut bytes| interpreter(&mut bytes, false).is_ok_and(|found| found))
            };
            let all = ["id", "ip", "mount"].into_iter().filter_map(find_program);
            let Some(id) = all.into_iter().find(loaded) else {
                return Err(unavailable("program:dynamic"));
            };
            let mut id = t.command(&id, &[]);
            for (key, value) in wrong.iter().filter_map(|w| w.split_once('=')) {
                id = id.env(key, value);
            }
            let id = id.run()?;
            ensure!(moved(&id), "the control: a loader says nothing: {:?}", id.stderr);
            Ok(())
        }),
        case("odd.escape-in-hostname").checks("catalogue S42").steps(|t| {
            t.works()?;
            t.spec["hostname"] = "a\u{1b}[31mb".into();
            let quiet = |out: &Out| -> Result<()> {
                ensure!(!out.stderr.contains('\u{1b}'), "an escape sequence is printed: {:?}", out.stderr);
                Ok(())
            };
            quiet(&t.run()?)?;
            // Where it cannot be set, the error tells it.
            base::no_namespace(&mut t.spec, "uts");
            let out = t.run()?.fails()?;
            if t.runtime.strict {
                ensure!(out.stderr.contains("[31mb"), "the control: no name in {:?}", out.stderr);
            }
            quiet(&out)
        }),
        case("odd.escape-in-error")
            .checks("catalogue S42")
            .spec(|s| s["process"]["args"] = json!(["/no\u{1b}[2Jsuch\nprogram"]))
            .steps(|t| {
                let escaping = t.spec["process"]["args"].take();
                t.spec["process"]["args"] = json!(["/no-such-program"]);
                let out = t.run()?.fails()?;
                ensure!(out.stderr.contains("no-such-program"), "the control: no name in {:?}", out.stderr);
                t.spec["process"]["args"] = escaping;
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
