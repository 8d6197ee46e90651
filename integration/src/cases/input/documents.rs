//! Documents that are no good config.json, and files that are no ordinary ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, makedev, mknodat};
use serde_json::json;

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

pub fn cases() -> Vec<Case> {
    let mut all = documents();
    all.extend(files());
    all
}

/// A refusal whose fault rewrites the bytes of config.json.
fn bytes(
    id: &str,
    what: &str,
    change: impl Fn(Vec<u8>) -> Vec<u8> + 'static,
    pointer: &str,
    text: &str,
) -> Case {
    case(format!("input.{id}-{what}"))
        .checks(format!("catalogue {id}"))
        .fault(move |t| {
            t.raw = Some(change(serde_json::to_vec(&t.spec)?));
            Ok(())
        })
        .refused(pointer, text)
}

/// Replaces one piece of the document's text.
fn swap(from: &'static str, to: &'static str) -> impl Fn(Vec<u8>) -> Vec<u8> + 'static {
    move |b| {
        let text = String::from_utf8_lossy(&b).into_owned();
        assert!(text.contains(from), "the base has no {from}");
        text.replacen(from, to, 1).into_bytes()
    }
}

fn documents() -> Vec<Case> {
    let whole = |to: &'static [u8]| move |_: Vec<u8>| to.to_vec();
    let mut all = vec![
        bytes("B005", "spaces", whole(b" \n"), "", "empty"),
        bytes("B006", "null", whole(b"null"), "", "object"),
        bytes("B007", "array", whole(b"[]"), "", "object"),
        bytes("B007", "number", whole(b"42"), "", "object"),
        bytes("B007", "string", whole(b"\"x\""), "", "object"),
        bytes(
            "B009",
            "byte-order-mark",
            |mut b| {
                b.splice(0..0, [0xef, 0xbb, 0xbf]);
                b
            },
            "",
            "byte order mark",
        ),
        bytes("B009", "utf-16", |b| b.iter().flat_map(|c| [*c, 0]).collect(), "", "UTF-8"),
        bytes(
            "B010",
            "bad-utf-8",
            |b| {
                let mut v = swap("\"conformance\"", "\"conf@rmance\"")(b);
                v.iter_mut().filter(|c| **c == b'@').for_each(|c| *c = 0xc3);
                v
            },
            "",
            "UTF-8",
        ),
        bytes("B010", "lone-surrogate", swap("\"conformance\"", "\"a\\ud800b\""), "/hostname", "surrogate"),
        bytes(
            "B011",
            "second-document",
            |mut b| {
                b.extend(b"{}");
                b
            },
            "",
            "after the document",
        ),
        bytes(
            "B011",
            "garbage-after",
            |mut b| {
                b.extend(b"\n]");
                b
            },
            "",
            "after the document",
        ),
        bytes(
            "B012",
            "nesting",
            |b| {
                let deep = "[".repeat(200_000) + &"]".repeat(200_000);
                swap_in(b, "\"hostname\":", &format!("\"deep\":{deep},\"hostname\":"))
            },
            "",
            "nested deeper",
        ),
        bytes(
            "B013",
            "process-twice",
            swap("\"hostname\":", "\"process\":{},\"hostname\":"),
            "/process",
            "duplicate",
        ),
        bytes(
            "B013",
            "key-twice",
            swap("\"hostname\":", "\"hostname\":\"x\",\"hostname\":"),
            "/hostname",
            "duplicate",
        ),
        bytes("B014", "other-case", swap("\"process\":", "\"Process\":"), "/process", "missing"),
        bytes("B015", "nan", swap("\"uid\":0", "\"uid\":NaN"), "/process/user/uid", "not JSON"),
        bytes("B015", "huge-exponent", swap("\"uid\":0", "\"uid\":1e400"), "/process/user/uid", "1e400"),
        bytes("B015", "fraction", swap("\"uid\":0", "\"uid\":1.5"), "/process/user/uid", "1.5"),
        bytes(
            "B015",
            "two-to-64",
            swap("\"uid\":0", "\"uid\":18446744073709551616"),
            "/process/user/uid",
            "18446744073709551616",
        ),
        bytes(
            "B018",
            "file-too-large",
            |mut b| {
                b.resize(100 << 20, b' ');
                b
            },
            "",
            "larger than",
        ),
        bytes(
            "B018",
            "array-too-large",
            |b| swap_in(b, "\"args\":[", &format!("\"args\":[{}", "\"\",".repeat(1_000_000))),
            "",
            "more than",
        ),
    ];
    all.extend((1..10u32).map(|tenth| {
        bytes(
            "B008",
            &format!("cut-at-{tenth}0-percent"),
            move |b| {
                let n = b.len() * tenth as usize / 10;
                b[..n].to_vec()
            },
            "",
            "end",
        )
    }));
    all
}

fn swap_in(b: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(&b).replacen(from, to, 1).into_bytes()
}

/// A refusal whose fault is something else than a regular config.json or root.
fn file(
    id: &str,
    what: &str,
    fault: impl Fn(&mut Trial<'_>) -> Result<()> + 'static,
    pointer: &str,
    text: &str,
) -> Case {
    case(format!("input.{id}-{what}"))
        .checks(format!("catalogue {id}"))
        .fault(move |t| {
            t.write_config()?;
            // An empty replacement: the bundle stays as the fault left it.
            t.raw = Some(Vec::new());
            fault(t)
        })
        .refused(pointer, text)
}

fn files() -> Vec<Case> {
    let config = |t: &Trial<'_>| t.bundle.join("config.json");
    vec![
        file("B001", "config-missing", move |t| Ok(fs::remove_file(config(t))?), "", "config.json"),
        file("B002", "config-is-directory", move |t| { fs::remove_file(config(t))?; Ok(fs::create_dir(config(t))?) }, "", "config.json"),
        file("B002", "config-is-fifo", move |t| { fs::remove_file(config(t))?; Ok(mknodat(CWD, config(t), FileType::Fifo, 0o600.into(), 0)?) }, "", "regular file"),
        file("B002", "config-is-socket", move |t| { fs::remove_file(config(t))?; drop(UnixListener::bind(config(t))?); Ok(()) }, "", "config.json"),
        file("B002", "config-is-device", move |t| { fs::remove_file(config(t))?; Ok(mknodat(CWD, config(t), FileType::CharacterDevice, 0o600.into(), makedev(1, 5))?) }, "", "regular file"),
        file("B005", "config-0-bytes", move |t| Ok(fs::write(config(t), b"")?), "", "empty"),
        file("B001", "bundle-missing", |t| { t.bundle = t.dir.join("no-such-bundle"); Ok(()) }, "", "no-such-bundle"),
        file("B023", "root-is-file", |t| { fs::rename(t.rootfs(), t.bundle.join("away"))?; Ok(fs::write(t.rootfs(), "x")?) }, "/root/path", "directory"),
        file("B023", "root-is-dangling-link", |t| { fs::rename(t.rootfs(), t.bundle.join("away"))?; Ok(std::os::unix::fs::symlink("nowhere", t.rootfs())?) }, "/root/path", "rootfs"),
        case("input.B003-config-is-link").checks("catalogue B003: a link is followed, as every peer does").probe(["echo", "followed"]).steps(|t| {
            t.write_config()?;
            let away = t.host_dir("away")?.join("c.json");
            fs::rename(t.bundle.join("config.json"), &away)?;
            std::os::unix::fs::symlink(&away, t.bundle.join("config.json"))?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            t.rt(&["run", "--bundle", &bundle, &id]).run()?.ok()?.prints("followed\n")?;
            Ok(())
        }),
        case("input.B004-config-not-readable").checks("catalogue B004").steps(|t| {
            let run = |t: &mut Trial<'_>| {
                let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                t.rt(&["run", "--bundle", &bundle, &id]).run()
            };
            t.user = Some(t.within_reach(&t.runtime.path)?);
            t.write_config()?;
            fs::set_permissions(t.bundle.join("config.json"), fs::Permissions::from_mode(0o000))?;
            // The log of another user goes where that user may write.
            fs::set_permissions(t.dir.join("out"), fs::Permissions::from_mode(0o777))?;
            let out = run(t)?.fails()?;
            ensure!(out.stderr.contains("ermission denied") && out.stderr.contains("config.json"), "{}", out.stderr);
            fs::set_permissions(t.bundle.join("config.json"), fs::Permissions::from_mode(0o644))?;
            let twin = run(t)?;
            ensure!(!twin.stderr.contains("config.json"), "readable, and yet: {}", twin.stderr);
            Ok(())
        }),
        case("input.B019-config-changes-while-read").checks("catalogue B019").needs([Need::Busybox]).steps(|t| {
            for name in ["aaaa", "bbbb"] {
                t.spec["hostname"] = name.into();
                t.spec["process"]["args"] = json!([PROBE, "all", "hostname", "--", "echo", name]);
                fs::write(t.dir.join(name), t.spec.to_string())?;
            }
            fs::copy(t.dir.join("aaaa"), t.bundle.join("config.json"))?;
            let busybox = t.yard.busybox.clone().context("busybox")?;
            let (d, b) = (t.dir.display().to_string(), t.bundle.display().to_string());
            let script = format!("while :; do for n in aaaa bbbb; do cp {d}/$n {b}/next; mv {b}/next {b}/config.json; done; done");
            let _swapper = t.command(&busybox, &["sh".into(), "-c".into(), script]).spawn()?;
            for _ in 0..10 {
                let id = t.id.clone();
                let out = t.rt(&["run", "--bundle", &b, &id]).run()?.ok()?.stdout;
                ensure!(out == "aaaa\naaaa\n" || out == "bbbb\nbbbb\n", "two documents were mixed: {out:?}");
            }
            Ok(())
        }),
    ]
}
