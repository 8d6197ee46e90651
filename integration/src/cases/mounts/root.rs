//! The root itself and what of it is hidden or cannot be written.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bind;
use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::trial::Trial;

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    let mut all = root();
    all.extend(without_pivot());
    all.extend(masks());
    all
}

fn root() -> Vec<Case> {
    vec![
        case("root.readonly")
            .checks("config.md#root readonly")
            .spec(|s| s["root"]["readonly"] = true.into())
            .probe(["all", "open-write", "/etc/marker", "--", "mknod", "/new", "p"])
            .unprotected(
                |s| {
                    s["root"]["readonly"] = false.into();
                    s["process"]["args"][6] = "/of-the-control".into();
                },
                "ok 0\nok 0\n",
            )
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
    ]
}

/// Takes the protection of masks away.
fn no_masks(s: &mut Value) {
    s["linux"]["maskedPaths"] = json!([]);
}

/// Takes the protection of read-only paths away.
fn nothing_readonly(s: &mut Value) {
    s["linux"]["readonlyPaths"] = json!([]);
}

fn masks() -> Vec<Case> {
    let text = "config-linux.md#masked-paths";
    vec![
        case("mask.file")
            .checks(text)
            .prepare(|t| t.put("secret", "hidden", 0o644).map(drop))
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/secret"]))
            .probe(["all", "cat", "/secret", "--", "cat", "/etc/marker"])
            .unprotected(no_masks, "hidden")
            .stdout("marker\n"),
        case("mask.directory")
            .checks(text)
            .prepare(|t| t.put("vault/x", "hidden", 0o644).map(drop))
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/vault"]))
            .probe(["all", "ls", "/vault", "--", "cat", "/etc/marker"])
            .unprotected(no_masks, "x\n")
            .stdout("marker\n"),
        case("mask.directory-not-writable")
            .checks(text)
            .prepare(|t| t.put("vault/x", "hidden", 0o644).map(drop))
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/vault"]))
            .probe(["mknod", "/vault/y", "p"])
            .unprotected(no_masks, "ok 0\n")
            .stdout("errno 30 EROFS\n"),
        case("mask.absent-is-fine")
            .checks(text)
            .spec(|s| s["linux"]["maskedPaths"] = json!(["/not/there"]))
            .probe(["echo", "fine"])
            .stdout("fine\n"),
        case("mask.kcore").checks(text).probe(["stat", "/proc/kcore"]).steps(|t| {
            if !Path::new("/proc/kcore").exists() {
                t.spec["process"]["args"] = json!([PROBE, "open-read", "/proc/kcore"]);
                t.run()?.ok()?.prints("errno 2 ENOENT\n")?;
                return Ok(());
            }
            t.unprotected(no_masks, "file 0400 ")?;
            let o = t.run()?.ok()?.stdout;
            ensure!(o.starts_with("char 0666 ") && o.contains(" 1:3 "), "{o}");
            Ok(())
        }),
        case("mask.kcore-is-null")
            .checks(text)
            .probe(["stat", "/proc/keys"])
            .unprotected(no_masks, "file ")
            .output(|o| {
                ensure!(o.starts_with("char 0666 ") && o.contains(" 1:3 "), "{o}");
                Ok(())
            }),
        case("readonly.directory")
            .checks("config-linux.md#readonly-paths")
            .prepare(|t| t.put("fixed/x", "a", 0o644).map(drop))
            .spec(|s| s["linux"]["readonlyPaths"] = json!(["/fixed"]))
            .probe(["all", "cat", "/fixed/x", "--", "open-write", "/fixed/x", "--", "mknod", "/fixed/y", "p"])
            .unprotected(
                |s| {
                    nothing_readonly(s);
                    s["process"]["args"][9] = "/fixed/of-the-control".into();
                },
                "aok 0\nok 0\n",
            )
            .stdout("aerrno 30 EROFS\nerrno 30 EROFS\n"),
        case("readonly.file")
            .checks("config-linux.md#readonly-paths")
            .prepare(|t| t.put("fixed", "a", 0o644).map(drop))
            .spec(|s| s["linux"]["readonlyPaths"] = json!(["/fixed"]))
            .probe(["open-write", "/fixed"])
            .unprotected(nothing_readonly, "ok 0\n")
            .stdout("errno 30 EROFS\n"),
        case("readonly.proc-sys")
            .checks("config-linux.md#readonly-paths")
            .probe(["open-write", "/proc/sys/kernel/panic"])
            .unprotected(nothing_readonly, "ok 0\n")
            .stdout("errno 30 EROFS\n"),
        case("readonly.sysrq")
            .checks("config-linux.md#readonly-paths")
            .probe(["open-write", "/proc/sysrq-trigger"])
            .steps(|t| {
                let here = Path::new("/proc/sysrq-trigger").exists();
                if here {
                    t.unprotected(nothing_readonly, "ok 0\n")?;
                }
                t.run()?.ok()?.prints(if here { "errno 30 EROFS\n" } else { "errno 2 ENOENT\n" })?;
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
            .unprotected(|s| base::capabilities(s, &["CAP_SYS_ADMIN"]), "ok 0\n")
            .stdout("errno 1 EPERM\n"),
    ]
}

fn without_pivot() -> Vec<Case> {
    let no_pivot = |t: &mut Trial<'_>| {
        t.flags.push("--no-pivot".into());
        Ok(())
    };
    vec![
        case("root.no-pivot")
            .checks("cli: --no-pivot")
            .probe(["cat", "/etc/marker"])
            .prepare(no_pivot)
            .stdout("marker\n"),
        case("root.no-pivot-shared")
            .checks("config-linux.md#rootfs-mount-propagation")
            .spec(|s| s["linux"]["rootfsPropagation"] = "shared".into())
            .probe(["mountinfo"])
            .prepare(no_pivot)
            .output(|o| {
                let root = super::mount(o, "/")?;
                ensure!(root.tags.iter().any(|t| t.starts_with("shared:")), "{:?}", root.tags);
                Ok(())
            }),
        // The old root stays above such a root: what is private would hide unmounts of the host for ever.
        case("root.no-pivot-private-refused")
            .checks("cli: --no-pivot")
            .prepare(no_pivot)
            .wrong(|s| s["linux"]["rootfsPropagation"] = "private".into())
            .refused("/linux/rootfsPropagation", "without pivot_root"),
    ]
}
