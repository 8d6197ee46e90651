//! Where mounts land when the image's links lead elsewhere.

use std::fs;

use anyhow::{Context, ensure};

use super::bind;
use crate::base;
use crate::case::{Case, case};

/// All of this part.
pub(super) fn cases() -> Vec<Case> {
    let mut all = inside();
    all.extend(links());
    all
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
            bind(t, "/link/deep", &["bind"])?;
            // The control: where a directory is, the target is made in it.
            t.put_dir("link")?;
            t.run()?.ok().context("the control")?;
            ensure!(t.rootfs().join("link/deep").exists(), "the control: no target was made");
            let outside = t.host_dir("outside")?;
            t.put_link("link", &outside.display().to_string())?;
            // Either it lands inside the root under the same name, or it is refused; never outside.
            let _ = t.run()?;
            ensure!(fs::read_dir(&outside)?.count() == 0, "something was made outside the root");
            Ok(())
        }),
    ]
}

/// Links of the image whose end is not there, is the root, or is a file system that must not be covered.
fn links() -> Vec<Case> {
    let text = "catalogue S10";
    vec![
        case("inside.dangling-link-of-a-file")
            .checks(text)
            .probe(["cat", "/run/stub/resolv.conf"])
            .prepare(|t| {
                let file = t.host_dir("src")?.join("resolv.conf");
                fs::write(&file, "nameserver\n")?;
                t.put_link("etc/resolv.conf", "../run/stub/resolv.conf")?;
                let source = file.display().to_string();
                base::add_mount(&mut t.spec, "/etc/resolv.conf", "bind", &source, &["bind"]);
                Ok(())
            })
            .stdout("nameserver\n"),
        case("inside.dangling-link-absolute")
            .checks(text)
            .probe(["all", "cat", "/data/deep/file", "--", "cat", "/var/lib/data/deep/file"])
            .prepare(|t| {
                t.put_link("data", "/../../var/lib/data")?;
                bind(t, "/data/deep", &["bind"]).map(drop)
            })
            .stdout("from the host\nfrom the host\n"),
        case("inside.link-into-proc-refused")
            .checks("catalogue S19, CVE-2019-16884")
            .prepare(|t| bind(t, "/a", &["bind"]).map(drop))
            .fault(|t| t.put_link("a", "/proc/self/attr"))
            .refused("/mounts/6", "inside /proc"),
        case("inside.link-to-root-refused")
            .checks(text)
            .prepare(|t| bind(t, "/a", &["bind"]).map(drop))
            .fault(|t| t.put_link("a", "/etc/.."))
            .refused("/mounts/6", "root"),
    ]
}
