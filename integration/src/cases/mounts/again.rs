//! The option `remount`, options that take an attribute of the source away, and those about symbolic links.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use nix::mount::MsFlags;

use super::{bind, bound, last_options, mount};
use crate::base;
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

const OPTIONS: &str = "config.md#linux-mount-options";

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    let mut all = remounts();
    all.extend(cleared());
    all.extend(links());
    all
}

/// A tmpfs on /data, then an entry that changes it.
fn twice(options: &'static [&'static str]) -> impl Fn(&mut Trial<'_>) -> Result<()> {
    move |t| {
        base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &["nosuid"]);
        base::add_mount(&mut t.spec, "/data", "none", "/", options);
        Ok(())
    }
}

fn remounts() -> Vec<Case> {
    vec![
        case("mount.remount")
            .checks(OPTIONS)
            .prepare(twice(&["bind", "remount", "ro", "nosuid", "noexec"]))
            .probe(["all", "mountinfo", "--", "syscall", "mkdir", "str:/data/x", "493"])
            .output(|o| {
                let m = mount(o, "/data")?;
                let has = |w: &str| m.options.iter().any(|x| x == w);
                ensure!(has("ro") && has("nosuid") && has("noexec"), "{:?}", m.options);
                ensure!(o.matches(" /data ").count() == 1, "more than one mount:\n{o}");
                ensure!(o.trim_end().ends_with("EROFS"), "{o}");
                Ok(())
            }),
        case("mount.remount-of-a-file-system")
            .checks("catalogue B068")
            .prepare(twice(&["bind", "remount", "ro"]))
            .wrong(last_options(&["remount", "ro"]))
            .refused("/mounts/7/options/0", "want bind"),
        case("mount.remount-of-nothing")
            .checks("catalogue B068")
            .prepare(twice(&["bind", "remount", "ro"]))
            .wrong(|s| s["mounts"][7]["destination"] = "/tmp".into())
            .refused("/mounts/7", "nothing is mounted there"),
        case("mount.iversion-refused")
            .checks("catalogue B068")
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &["noiversion"]);
                Ok(())
            })
            .wrong(last_options(&["iversion"]))
            .refused("/mounts/6/options/0", "iversion"),
    ]
}

/// A tree whose mounts have every attribute that a bind can take away.
fn locked(option: &'static str) -> impl Fn(&mut Trial<'_>) -> Result<()> {
    move |t| {
        let dir = t.host_dir("src")?;
        let sub = dir.join("sub");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        for place in [&dir, &sub] {
            fs::create_dir_all(place)?;
            nix::mount::mount(
                Some("none"),
                place,
                Some("tmpfs"),
                flags | MsFlags::MS_NODIRATIME,
                None::<&str>,
            )?;
            t.mounted.push(place.clone());
        }
        fs::create_dir(sub.join("x"))?;
        for place in [&dir, &sub] {
            let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NODIRATIME;
            nix::mount::mount(None::<&Path>, place, None::<&Path>, again | flags, None::<&str>)?;
        }
        base::add_mount(&mut t.spec, "/data", "bind", &dir.display().to_string(), &["rbind", option]);
        Ok(())
    }
}

/// An option without `r` changes the top alone, one with it the whole tree.
fn cleared() -> Vec<Case> {
    [
        ("rw", "ro", false),
        ("suid", "nosuid", false),
        ("dev", "nodev", false),
        ("exec", "noexec", false),
        ("atime", "noatime", false),
        ("diratime", "nodiratime", false),
        ("rrw", "ro", true),
        ("rsuid", "nosuid", true),
        ("rdev", "nodev", true),
        ("rexec", "noexec", true),
        ("ratime", "noatime", true),
        ("rrelatime", "noatime", true),
        ("rstrictatime", "noatime", true),
        ("rdiratime", "nodiratime", true),
    ]
    .into_iter()
    .map(|(option, gone, tree)| {
        case(format!("mount.clears-{option}"))
            .checks(OPTIONS)
            .needs([Need::Kernel(5, 12)])
            .prepare(locked(option))
            .probe(["mountinfo"])
            .output(move |o| {
                for (path, want) in [("/data", false), ("/data/sub", !tree)] {
                    let m = mount(o, path)?;
                    ensure!(m.options.iter().any(|x| x == gone) == want, "{path}: {:?}", m.options);
                }
                let relative = mount(o, "/data/sub")?.options.iter().any(|x| x == "relatime");
                ensure!(option != "rstrictatime" || !relative, "{o}");
                Ok(())
            })
    })
    .collect()
}

/// A directory with a link to its file, and the same again on a mount below.
fn linked(options: &'static [&'static str]) -> impl Fn(&mut Trial<'_>) -> Result<()> {
    move |t| {
        let dir = bind(t, "/data", options)?;
        let sub = Path::new(&dir).join("sub");
        fs::create_dir(&sub)?;
        nix::mount::mount(Some("none"), &sub, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        t.mounted.push(sub.clone());
        std::os::unix::fs::symlink("file", Path::new(&dir).join("link"))?;
        fs::write(sub.join("file"), "below\n")?;
        std::os::unix::fs::symlink("file", sub.join("link"))?;
        Ok(())
    }
}

fn links() -> Vec<Case> {
    let follow = |name: &str, options: &'static [&'static str]| {
        case(name).checks(OPTIONS).needs([Need::Kernel(5, 14)]).prepare(linked(options)).probe([
            "all",
            "open-read",
            "/data/link",
            "--",
            "open-read",
            "/data/sub/link",
        ])
    };
    vec![
        follow("mount.nosymfollow-enforced", &["rbind", "nosymfollow"])
            .unprotected(last_options(&["rbind"]), "ok 0\nok 0\n")
            .stdout("errno 40 ELOOP\nok 0\n"),
        follow("mount.rnosymfollow-enforced", &["rbind", "rnosymfollow"])
            .unprotected(last_options(&["rbind"]), "ok 0\nok 0\n")
            .stdout("errno 40 ELOOP\nerrno 40 ELOOP\n"),
        follow("mount.symfollow-wins-at-the-top", &["rbind", "rnosymfollow", "rsymfollow"])
            .stdout("ok 0\nok 0\n"),
        case("mount.nosymfollow-shows")
            .checks(OPTIONS)
            .needs([Need::Kernel(5, 14)])
            .prepare(bound(&["bind", "nosymfollow"]))
            .probe(["mountinfo"])
            .output(|o| {
                let m = mount(o, "/data")?;
                ensure!(m.options.iter().any(|x| x == "nosymfollow"), "{:?}", m.options);
                Ok(())
            }),
    ]
}
