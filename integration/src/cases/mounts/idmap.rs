//! Id-mapped mounts: files appear with other ids than they have, per mount.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use nix::mount::MsFlags;
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::cases::namespaces::map_users;
use crate::host::Need;
use crate::trial::Trial;

const SPEC: &str = "config.md#posix-platform-mounts uidMappings";

/// The directories that the cases bind are on a tmpfs of their own.
const TMPFS: Need = Need::Kernel(6, 3);

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    let mut all = own_maps();
    all.extend(of_the_container());
    all.extend(refused());
    all
}

fn one_id(container: u32, host: u32) -> Value {
    json!([{"containerID": container, "hostID": host, "size": 1}])
}

/// A directory of root's with a file in it, and one on another mount below it, bound on /data.
fn bound(t: &mut Trial<'_>, options: &[&str]) -> Result<PathBuf> {
    let dir = t.device_dir("src")?;
    fs::write(dir.join("file"), "")?;
    let sub = dir.join("sub");
    fs::create_dir(&sub)?;
    nix::mount::mount(Some("none"), &sub, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    t.mounted.push(sub.clone());
    fs::write(sub.join("deep"), "")?;
    base::add_mount(&mut t.spec, "/data", "bind", &dir.display().to_string(), options);
    Ok(dir)
}

/// Changes the last mount.
fn last(s: &mut Value, edit: impl Fn(&mut Value)) {
    if let Some(mount) = s["mounts"].as_array_mut().and_then(|m| m.last_mut()) {
        edit(mount);
    }
}

/// With maps of its own: 0 appears as 1000 and 2000.
fn mapped(options: &'static [&'static str]) -> impl Fn(&mut Trial<'_>) -> Result<()> {
    move |t| {
        bound(t, options)?;
        last(&mut t.spec, |m| {
            m["uidMappings"] = one_id(0, 1000);
            m["gidMappings"] = one_id(0, 2000);
        });
        Ok(())
    }
}

fn unmapped(s: &mut Value) {
    last(s, |m| {
        m["options"] = json!(["rbind"]);
        m.as_object_mut().map(|m| (m.remove("uidMappings"), m.remove("gidMappings")));
    });
}

fn own_maps() -> Vec<Case> {
    let owners = |name: &str, options: &'static [&'static str]| {
        case(name)
            .checks(SPEC)
            .needs([TMPFS])
            .prepare(mapped(options))
            .probe(["stat", "/data/file", "/data/sub/deep"])
            .unprotected(unmapped, "file 0644 0 0 0:0 0\nfile 0644 0 0 0:0 0\n")
    };
    let inline = |name: &str, option: &'static str, seen: &str| {
        case(name)
            .checks("cli: crun's form of the option, which Podman hands through")
            .needs([TMPFS])
            .prepare(move |t| bound(t, &["bind", option]).map(drop))
            .probe(["stat", "/data/file"])
            .stdout(seen)
    };
    vec![
        owners("idmap.own-maps", &["rbind"]).stdout("file 0644 1000 2000 0:0 0\nfile 0644 0 0 0:0 0\n"),
        owners("idmap.recursive", &["rbind", "ridmap"])
            .stdout("file 0644 1000 2000 0:0 0\nfile 0644 1000 2000 0:0 0\n"),
        owners("idmap.readonly", &["rbind", "idmap", "ro"])
            .stdout("file 0644 1000 2000 0:0 0\nfile 0644 0 0 0:0 0\n"),
        case("idmap.written-back").checks(SPEC).needs([TMPFS]).steps(|t| {
            let dir = bound(t, &["bind", "idmap"])?;
            last(&mut t.spec, |m| {
                m["uidMappings"] = one_id(0, 1000);
                m["gidMappings"] = one_id(0, 2000);
            });
            t.spec["process"]["user"] = json!({"uid": 1000, "gid": 2000});
            t.spec["process"]["args"] = json!([PROBE, "write", "/data/new", "x"]);
            t.run()?.ok()?;
            let made = fs::metadata(dir.join("new"))?;
            ensure!((made.uid(), made.gid()) == (0, 0), "{}:{} owns it", made.uid(), made.gid());
            Ok(())
        }),
        case("idmap.several-mounts")
            .checks(SPEC)
            .needs([TMPFS])
            .prepare(|t| {
                let dir = bound(t, &["bind"])?.display().to_string();
                for (place, uid) in [("/tmp/a", 5), ("/tmp/b", 6), ("/tmp/c", 5)] {
                    base::add_mount(&mut t.spec, place, "bind", &dir, &["bind"]);
                    last(&mut t.spec, |m| {
                        m["uidMappings"] = one_id(0, uid);
                        m["gidMappings"] = one_id(0, 7);
                    });
                }
                Ok(())
            })
            .probe(["stat", "/tmp/a/file", "/tmp/b/file", "/tmp/c/file", "/data/file"])
            .stdout("file 0644 5 7 0:0 0\nfile 0644 6 7 0:0 0\nfile 0644 5 7 0:0 0\nfile 0644 0 0 0:0 0\n"),
        inline("idmap.inline", "idmap=uids=0-5-1#7-8-2;gids=0-6-1", "file 0644 5 6 0:0 0\n"),
        inline("idmap.inline-relative", "idmap=uids=@0-5-1;gids=@0-6-1", "file 0644 5 6 0:0 0\n")
            .needs([Need::Userns])
            .prepare(map_users),
    ]
}

/// The option alone: the ids of the container's user namespace.
fn of_the_container() -> Vec<Case> {
    vec![
        case("idmap.userns")
            .checks(SPEC)
            .needs([TMPFS, Need::Userns])
            .prepare(|t| {
                map_users(t)?;
                bound(t, &["bind", "idmap"]).map(drop)
            })
            .probe(["all", "stat", "/data/file", "--", "open-write", "/data/file"])
            .unprotected(|s| last(s, |m| m["options"] = json!(["bind"])), "file 0644 65534 65534 0:0 0\n")
            .stdout("file 0644 0 0 0:0 0\nok 0\n"),
        case("idmap.joined-userns").checks(SPEC).needs([TMPFS, Need::Userns]).steps(|t| {
            map_users(t)?;
            let pid = t.resident()?;
            let dir = bound(t, &["bind"])?.display().to_string();
            let twin = t.twin("b", |s| {
                base::namespace(s, "user", Some(&format!("/proc/{pid}/ns/user")));
                base::add_mount(s, "/data", "bind", &dir, &["bind", "idmap"]);
                s["process"]["args"] = json!([PROBE, "stat", "/data/file"]);
            })?;
            let root = PathBuf::from(&twin.bundle).join("rootfs");
            for place in ["", "proc", "dev", "sys", "tmp", "etc", "data"] {
                chown(root.join(place), Some(100_000), Some(100_000))?;
            }
            t.rt(&["run", "--bundle", &twin.bundle, &twin.id])
                .run()?
                .ok()?
                .prints("file 0644 0 0 0:0 0\n")?;
            Ok(())
        }),
    ]
}

fn refused() -> Vec<Case> {
    let fault = |name: &str, edit: fn(&mut Value), at: &str, text: &str| {
        case(name)
            .checks(SPEC)
            .needs([TMPFS])
            .prepare(mapped(&["bind"]))
            .wrong(move |s| last(s, edit))
            .refused(at, text)
    };
    vec![
        fault(
            "idmap.only-uids",
            |m| {
                m.as_object_mut().map(|m| m.remove("gidMappings"));
            },
            "/mounts/6",
            "uidMappings and gidMappings go together",
        ),
        fault(
            "idmap.not-a-bind",
            |m| {
                m["type"] = "tmpfs".into();
                m["options"] = json!([]);
            },
            "/mounts/6/uidMappings",
            "only supported for bind-mounts",
        ),
        fault(
            "idmap.no-such-file-system",
            |m| m["source"] = "/proc/sys".into(),
            "/mounts/6",
            "cannot be id-mapped",
        ),
        fault(
            "idmap.inline-nonsense",
            |m| {
                m.as_object_mut().map(|m| (m.remove("uidMappings"), m.remove("gidMappings")));
                m["options"] = json!(["bind", "idmap=uids=0-1;gids=0-1"]);
            },
            "/mounts/6/options/1",
            "not an id mapping",
        ),
    ]
}
