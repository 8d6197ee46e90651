//! Images: what is imported and what a container of it finds, what is refused and why, and who may remove what.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::images::{Coding, Files, Image, Item, archive, pack, write_dir};
use crate::oracle;
use crate::os;
use crate::trial::{Out, Running, Trial, wait_for};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = forms();
    all.extend(running());
    all.extend(keeping());
    all.extend(engines());
    all
}

/// Options that make `knarrctl image` work on the directories of this daemon.
fn line(d: &Daemon<'_, '_>, args: &[&str]) -> Vec<String> {
    let mut all = vec!["image".to_owned()];
    all.extend(args.iter().map(|a| (*a).to_owned()));
    all.extend([
        "--state".into(),
        d.state.display().to_string(),
        "--run".into(),
        d.run.display().to_string(),
    ]);
    all
}

fn image(d: &mut Daemon<'_, '_>, args: &[&str]) -> Result<Out> {
    let line = line(d, args);
    d.ctl(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

fn image_running(d: &mut Daemon<'_, '_>, args: &[&str]) -> Result<Running> {
    let line = line(d, args);
    d.ctl_running(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Writes an archive and gives its path.
fn saved(d: &mut Daemon<'_, '_>, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = d.t.dir.join(name);
    fs::write(&path, bytes)?;
    Ok(path)
}

/// Imports an image as an OCI archive.
fn import(image: &Image, d: &mut Daemon<'_, '_>) -> Result<Value> {
    let path = saved(d, "image.tar", &pack(&image.oci()))?;
    self::image(d, &["import", &text(&path), "--json"])?.ok()?.json()
}

fn probe(d: &Daemon<'_, '_>, name: &str, config: Value) -> Result<Image> {
    Image::of_probe(name, &d.t.yard.probe, config, &[])
}

fn resident() -> Value {
    json!({ "Entrypoint": ["/probe"], "Cmd": ["trap", "TERM"] })
}

/// Nothing of an import is there but what every command makes.
fn nothing_left(d: &Daemon<'_, '_>) -> Result<()> {
    let dir = d.state.join("images");
    let left = oracle::names(&dir);
    ensure!(
        left.iter().all(|n| ["ids", "lock", "names.json", "trees"].contains(&n.as_str())),
        "left: {left:?}"
    );
    let names = fs::read_to_string(dir.join("names.json")).unwrap_or_else(|_| "{}".into());
    ensure!(names == "{}", "names are left: {names}");
    let (ids, trees) = (oracle::names(&dir.join("ids")), oracle::names(&dir.join("trees")));
    ensure!(ids.is_empty() && trees.is_empty(), "left: {ids:?} {trees:?}");
    Ok(())
}

/// The tree of the only image.
fn tree(d: &Daemon<'_, '_>) -> Result<PathBuf> {
    let trees = d.state.join("images/trees");
    let names = oracle::names(&trees);
    ensure!(names.len() == 1, "trees: {names:?}");
    Ok(trees.join(&names[0]))
}

fn forms() -> Vec<Case> {
    vec![
        sup("images.forms", "image import: layouts and archives of all kinds").daemon(|d| {
            let image = probe(d, "shop/web:1", resident())?;
            let dir = d.t.dir.join("layout");
            write_dir(&image.oci(), &dir)?;
            let (oci, docker) = (pack(&image.oci()), pack(&image.docker()));
            let mut ids = Vec::new();
            let forms = [
                dir,
                saved(d, "oci.tar", &oci)?,
                saved(d, "oci.tar.zst", &Coding::Zstd.encode(&oci))?,
                saved(d, "docker.tar", &docker)?,
                saved(d, "docker.tar.gz", &Coding::Gzip.encode(&docker))?,
            ];
            for from in forms {
                let told = self::image(d, &["import", &text(&from), "--json"])?.ok()?.json()?;
                ensure!(told["name"] == "shop/web:1", "{}: {told}", from.display());
                ensure!(told["shared"] == !ids.is_empty(), "{}: {told}", from.display());
                ids.push(told["id"].clone());
            }
            ensure!(ids.iter().all(|id| *id == ids[0]), "ids differ: {ids:?}");
            tree(d)?;
            let list = self::image(d, &["ls", "--json"])?.ok()?.json()?;
            ensure!(
                list[0]["name"] == "shop/web:1" && list.as_array().is_some_and(|l| l.len() == 1),
                "{list}"
            );
            Ok(())
        }),
        sup("images.tree", "image import: everything that a layer can have").daemon(|d| {
            let capability = [1, 0, 0, 2, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
            let lower = [
                Item::dir("usr/lib"),
                Item::symlink("lib", "/usr/lib"),
                Item::file("usr/lib/old", "old"),
                Item::dir("gone"),
                Item::file("gone/a", "a"),
                Item::dir("opaque"),
                Item::file("opaque/lower", "x"),
                Item::file("both", "lower"),
            ];
            let upper = [
                Item::file("lib/new", "through a link of the layer below"),
                Item::file(".wh.gone", ""),
                Item::file("opaque/upper", "y"),
                Item::file("opaque/.wh..wh..opq", ""),
                Item::file("both", "upper").owner(1000, 100_000).mode(0o4755),
                Item::hard("hard", "both"),
                // With a byte in it that is a line end.
                Item::file("capable", "c").pax("SCHILY.xattr.security.capability", &capability),
                Item::file("labelled", "l").pax("SCHILY.xattr.security.selinux", b"x"),
                Item::file("holes", vec![0; 1 << 20]),
                Item::file(&long, "long"),
                Item::file("pax", "p").pax("path", b"pax-name").pax("mtime", b"1234.5"),
                Item::dir("dev"),
                Item::device("dev/null", b'3', (1, 3)),
                Item::device("pipe", b'6', (0, 0)),
            ];
            let image = Image::new("tree", &[&lower, &upper], json!({ "Cmd": ["/x"] }));
            let told = import(&image, d)?;
            let tree = tree(d)?;
            let at = |name: &str| tree.join(name);
            ensure!(fs::read_to_string(at("usr/lib/new"))?.starts_with("through"), "not behind the link");
            ensure!(!at("gone").exists(), "a whiteout did nothing");
            ensure!(oracle::names(&at("opaque")) == ["upper"], "opaque: {:?}", oracle::names(&at("opaque")));
            let both = fs::metadata(at("both"))?;
            let mode = both.permissions().mode() & 0o7777;
            ensure!((both.uid(), both.gid(), mode) == (1000, 100_000, 0o4755), "both: {both:?}");
            ensure!(
                fs::metadata(at("hard"))?.ino() == both.ino() && both.mtime() == 1_000_000_000,
                "{both:?}"
            );
            let holes = fs::metadata(at("holes"))?;
            ensure!(holes.len() == 1 << 20 && holes.blocks() < 64, "holes: {} blocks", holes.blocks());
            ensure!(fs::read_to_string(at(&long))? == "long", "a long name");
            ensure!(fs::metadata(at("pax-name"))?.mtime() == 1234, "the time of a PAX record");
            let attribute = |file: &str, name: &str| {
                let mut value = [0u8; 64];
                rustix::fs::getxattr(at(file), name, &mut value).map(|n| value[..n].to_vec())
            };
            ensure!(attribute("capable", "security.capability")? == capability, "capabilities of a file");
            ensure!(oracle::names(&at("dev")).is_empty(), "a device file in dev");
            let dropped = told["dropped"].to_string();
            ensure!(dropped.contains("device files in /dev") && dropped.contains("selinux"), "{dropped}");
            Ok(())
        }),
        sup("images.hostile-layers", "image import: what no honest layer has").daemon(|d| {
            let ok = Item::file("ok", "x");
            let rows: Vec<(&str, Vec<Item>, Vec<Item>, &str)> = vec![
                ("dots", vec![Item::file("a/../../x", "x")], vec![Item::file("a/x", "x")], "\"..\""),
                (
                    "absolute",
                    vec![Item::file("/etc/x", "x")],
                    vec![Item::file("etc/x", "x")],
                    "absolute name",
                ),
                (
                    "through-link",
                    vec![Item::symlink("a", "/etc"), Item::file("a/x", "x")],
                    vec![Item::symlink("a", "/etc"), Item::file("b/x", "x")],
                    "symbolic link of the same layer",
                ),
                (
                    "hard-outside",
                    vec![Item::hard("h", "../../etc/passwd")],
                    vec![ok.clone(), Item::hard("h", "ok")],
                    "hard link to",
                ),
                (
                    "hard-absolute",
                    vec![Item::hard("h", "/etc/passwd")],
                    vec![ok.clone(), Item::hard("h", "./ok")],
                    "absolute name",
                ),
                (
                    "hard-nowhere",
                    vec![Item::hard("h", "none")],
                    vec![ok.clone(), Item::hard("h", "ok")],
                    "there is none",
                ),
                (
                    "device",
                    vec![Item::device("srv/disk", b'4', (8, 0))],
                    vec![Item::device("dev/disk", b'4', (8, 0))],
                    "device file outside of /dev",
                ),
                (
                    "overlay-whiteout",
                    vec![Item::device("x", b'3', (0, 0))],
                    vec![Item::file(".wh.x", "")],
                    "device file outside of /dev",
                ),
                (
                    "overlay-attribute",
                    vec![Item::dir("a").pax("SCHILY.xattr.trusted.overlay.redirect", b"/x")],
                    vec![Item::dir("a").pax("SCHILY.xattr.user.redirect", b"/x")],
                    "trusted.overlay.redirect",
                ),
                (
                    "twice",
                    vec![ok.clone(), Item::symlink("ok", "/etc/shadow")],
                    vec![ok.clone(), Item::dir("d"), Item::dir("d")],
                    "is there twice",
                ),
                (
                    "whiteout-of-own",
                    vec![ok.clone(), Item::file(".wh.ok", "")],
                    vec![ok.clone(), Item::file(".wh.ko", "")],
                    "whiteout of what the same layer has",
                ),
                (
                    "sparse",
                    vec![Item::file("s", "x").pax("GNU.sparse.realsize", b"99")],
                    vec![Item::file("s", "x").pax("comment", b"99")],
                    "sparse",
                ),
                (
                    "two-sizes",
                    vec![Item::file("s", "x").pax("size", b"513")],
                    vec![Item::file("s", "x").pax("size", b"1")],
                    "its two sizes differ",
                ),
                (
                    "owner",
                    vec![Item::file("s", "x").owner(u32::MAX, 0)],
                    vec![Item::file("s", "x").owner(u32::MAX - 1, 0)],
                    "an owner that is no",
                ),
                (
                    "deep",
                    vec![Item::dir(&"d/".repeat(201))],
                    vec![Item::dir(&"d/".repeat(200))],
                    "directories deep",
                ),
                ("cut", vec![Item { size: Some(1 << 20), ..ok.clone() }], vec![ok.clone()], "cut off"),
            ];
            for (name, bad, good, why) in rows {
                let config = json!({ "Cmd": ["/x"] });
                let refused = Image::new("bad", &[&bad], config.clone());
                let path = saved(d, "bad.tar", &pack(&refused.oci()))?;
                let out = image(d, &["import", &text(&path)])?.exits(1)?;
                ensure!(out.stderr.contains(why), "{name}: {}", out.stderr);
                nothing_left(d).context(name)?;
                import(&Image::new("good", &[&good], config), d).context(name)?;
                image(d, &["rm", "good"])?.ok()?;
            }
            Ok(())
        }),
        sup("images.hostile-archives", "image import: digests, media types, platforms, limits").daemon(|d| {
            let plain = Image::new("web", &[&[Item::file("x", vec![b'x'; 4096])]], json!({ "Cmd": ["/x"] }));
            let is_layer = |bytes: &[u8]| bytes.starts_with(&[0x1f, 0x8b]);
            let edit = |from: &str, to: &str| {
                // The digest of what is changed is made anew all the way up, so that only the change is wrong.
                rewrite(&plain, from, to)
            };
            let mut flipped = plain.oci();
            flipped.values_mut().filter(|b| is_layer(b)).for_each(|b| *b.last_mut().unwrap_or(&mut 0) ^= 1);
            let mut missing = plain.oci();
            missing.retain(|_, b| !is_layer(b));
            let mut other = plain.oci();
            other.values_mut().filter(|b| is_layer(b)).for_each(|b| *b = Coding::Gzip.encode(&archive(&[])));
            let mut swapped = plain.docker();
            swapped.iter_mut().filter(|(n, _)| n.ends_with("layer.tar")).for_each(|(_, b)| *b = archive(&[]));
            let whole = pack(&plain.oci());
            const NONE: &[&str] = &[];
            let rows: Vec<(&str, Vec<u8>, &[&str], &str)> = vec![
                ("flipped", pack(&flipped), NONE, "blobs/sha256/"),
                ("missing", pack(&missing), NONE, "not in the archive"),
                ("other", pack(&other), NONE, "the manifest says"),
                ("diff-id", pack(&swapped), NONE, "the configuration says"),
                ("cut", whole[..522].to_vec(), NONE, "cut off"),
                ("no-image", archive(&[Item::file("x", "y")]), NONE, "no image"),
                ("outside", archive(&[Item::file("../index.json", "y")]), NONE, "not a name in an archive"),
                ("twice", archive(&[Item::file("a", "y"), Item::file("a", "z")]), NONE, "is there twice"),
                ("media-type", pack(&edit("layer.v1.tar+gzip", "layer.v1.cpio")), NONE, "is not supported"),
                ("platform", pack(&edit("\"linux\"", "\"plan9\"")), NONE, "an image for plan9"),
                ("algorithm", pack(&edit("\"digest\":\"sha256:", "\"digest\":\"sha1:")), NONE, "sha1"),
                ("bytes", whole.clone(), &["--max-bytes", "4095"][..], "more than 4095 bytes"),
                ("entries", whole.clone(), &["--max-entries", "0"][..], "more than 0 entries"),
                (
                    "bomb",
                    Coding::Gzip.encode(&vec![0; 8 << 20]),
                    &["--max-bytes", "1000000"][..],
                    "--max-bytes",
                ),
                ("name", whole.clone(), &["--name", "../web"][..], "not the name of an image"),
                ("ref", whole.clone(), &["--ref", "shop"][..], "no image shop in it, there is: web"),
            ];
            for (name, bytes, options, why) in rows {
                let path = saved(d, "bad.tar", &bytes)?;
                let mut args = vec!["import".to_owned(), text(&path)];
                args.extend(options.iter().map(|o| (*o).to_owned()));
                let out = image(d, &args.iter().map(String::as_str).collect::<Vec<_>>())?.exits(1)?;
                ensure!(out.stderr.contains(why), "{name}: {}", out.stderr);
                nothing_left(d).context(name)?;
            }
            let path = saved(d, "good.tar", &whole)?;
            image(d, &["import", &text(&path), "--max-bytes", "4096", "--max-entries", "1"])?.ok().map(drop)
        }),
        sup("images.two-in-one", "image import: one of several").daemon(|d| {
            let (a, b) = (probe(d, "a", resident())?, probe(d, "b", json!({ "Cmd": ["/probe", "true"] }))?);
            let (mut files, other) = (a.docker(), b.docker());
            let list = |f: &Files| serde_json::from_slice::<Value>(&f["manifest.json"]);
            let both = json!([list(&files)?[0], list(&other)?[0]]).to_string().into_bytes();
            files.extend(other);
            files.insert("manifest.json".into(), both);
            let path = saved(d, "two.tar", &pack(&files))?;
            let out = image(d, &["import", &text(&path)])?.exits(1)?;
            ensure!(out.stderr.contains("several images in it, choose with --ref: a, b"), "{}", out.stderr);
            let told = image(d, &["import", &text(&path), "--ref", "b", "--json"])?.ok()?.json()?;
            ensure!(told["name"] == "b", "{told}");
            let out = image(d, &["inspect", "b"])?.ok()?.json()?;
            ensure!(out["command"] == json!(["/probe", "true"]), "{out}");
            Ok(())
        }),
    ]
}

/// An image with a change of text in its configuration or manifest, whose digests are right all the same.
fn rewrite(image: &Image, from: &str, to: &str) -> Files {
    let files = image.oci();
    let mut changed = Files::new();
    let mut names: Vec<(String, String)> = Vec::new();
    // Layers, then the configuration, then the manifest, then the index: each may name what was before it.
    let mut all: Vec<_> = files.into_iter().collect();
    all.sort_by_key(|(_, bytes)| {
        let text = String::from_utf8_lossy(bytes);
        ["\"diff_ids\":[", "\"layers\":[", "\"manifests\":["]
            .map(|w| text.contains(w))
            .into_iter()
            .rposition(|b| b)
    });
    for (name, bytes) in all {
        let Ok(mut text) = String::from_utf8(bytes.clone()) else {
            changed.insert(name, bytes);
            continue;
        };
        for (old, new) in &names {
            text = text.replace(old, new);
        }
        text = text.replace(from, to);
        match name.strip_prefix("blobs/sha256/") {
            Some(old) => {
                let new = crate::images::digest(text.as_bytes());
                names.push((old.to_owned(), new.clone()));
                names.push((format!("\"size\":{}", bytes.len()), format!("\"size\":{}", text.len())));
                changed.insert(format!("blobs/sha256/{new}"), text.into_bytes());
            }
            None => drop(changed.insert(name, text.into_bytes())),
        }
    }
    changed
}

/// What a service of an image says in its log.
fn said(d: &Daemon<'_, '_>, instance: &str, words: &[&str]) -> Result<()> {
    words.iter().try_for_each(|w| d.says(instance, w))
}

fn running() -> Vec<Case> {
    vec![
        sup("images.config", "image: command, environment, user, directory, stop signal").daemon(|d| {
            let look = ["all", "id", "--", "env", "--", "cwd", "--", "trap", "USR1", "TERM"];
            let config = json!({ "Entrypoint": ["/probe"], "Cmd": look, "Env": ["A=image", "B=image", "KNARR_X=1"],
                "User": "web", "WorkingDir": "/srv", "StopSignal": "SIGUSR1", "Labels": { "run.oci.handler": "x" },
                "ExposedPorts": { "80/tcp": {} } });
            let image = probe(d, "web", config)?;
            import(&image, d)?;
            d.write("web", "image = 'web'\nenv = { B = 'file' }\n")?;
            d.apply()?;
            d.ready("web.1")?;
            said(d, "web.1", &["A=image", "B=file", "/srv"])?;
            let log = d.log("web.1")?.join("\n");
            ensure!(log.contains("101") && log.contains("102"), "not the user of the image: {log}");
            ensure!(!log.contains("KNARR_X"), "a name of the daemon's: {log}");
            let bundle = d.run.join("bundles/web.1.1/config.json");
            let config: Value = serde_json::from_slice(&fs::read(bundle)?)?;
            ensure!(config["annotations"]["image.label.run.oci.handler"] == "x", "{}", config["annotations"]);
            ensure!(config["annotations"]["run.oci.handler"].is_null(), "a label is an order to a runtime");
            ensure!(config["process"]["user"]["additionalGids"] == json!([4]), "{}", config["process"]["user"]);
            d.ctl(&["stop", "web"])?.ok()?;
            d.says("web.1", "SIGUSR1")?;
            // What the file says wins.
            d.write("web", "image = 'web'\nuser = '7:8'\nworkdir = '/tmp'\ncommand = ['/probe', 'all', 'cwd', '--', 'id']\n[restart]\npolicy = 'no'\n")?;
            d.apply()?;
            d.ctl(&["start", "web"])?.ok()?;
            d.until("web.1", "exited")?;
            said(d, "web.1", &["/tmp"])
        }),
        sup("images.healthcheck", "image: HEALTHCHECK is a liveness probe").daemon(|d| {
            let mut config = resident();
            let check = |test: Value| json!({ "Test": test, "Interval": 200_000_000, "Retries": 1 });
            config["Healthcheck"] = check(json!(["CMD", "/probe", "true"]));
            let well = probe(d, "well", config.clone())?;
            config["Healthcheck"] = check(json!(["CMD", "/probe", "exit", "3"]));
            let ill = probe(d, "ill", config)?;
            import(&well, d)?;
            import(&ill, d)?;
            d.write("well", "image = 'well'\n")?;
            d.write("ill", &format!("image = 'ill'\n{}", super::SOON))?;
            d.write("own", "image = 'ill'\n[probes.readiness]\nexec = ['/probe', 'true']\n")?;
            d.apply()?;
            d.until_it("ill.1", "restarted", |i| i["restarts"].as_u64() > Some(0))?;
            d.explains("ill.1", &["unhealthy", "exit code 3"])?;
            d.until_it("well.1", "ready", |i| i["ready"] == true)?;
            d.until_it("own.1", "ready", |i| i["ready"] == true)?;
            super::life::restarts(&d.instance("own.1")?, 0)?;
            super::life::restarts(&d.instance("well.1")?, 0)
        }),
        sup("images.layer-is-kept", "image: what an instance writes lives as long as its version").daemon(|d| {
            import(&probe(d, "web", resident())?, d)?;
            kept(d, "overlay")
        }),
        sup("images.copy", "image: a copy where there is no overlay").daemon(|d| {
            import(&probe(d, "web", resident())?, d)?;
            d.end()?;
            d.options = vec!["--image-root".into(), "copy".into()];
            d.start()?;
            kept(d, "copy")
        }),
        sup("images.no-such-image", "image: a name that nobody imported").daemon(|d| {
            d.write("web", "image = 'web'\n")?;
            let plan = d.try_apply()?["problems"].to_string();
            ensure!(plan.contains("there is no image web; knarrctl image import"), "{plan}");
            ensure!(d.find("web.1")?.is_none(), "it is there");
            import(&probe(d, "web", resident())?, d)?;
            d.apply()?;
            d.ready("web.1")
        }),
    ]
}

/// A file in the container stays over a restart and a crash of the daemon, and is gone with a new version and with the instance.
fn kept(d: &mut Daemon<'_, '_>, how: &str) -> Result<()> {
    d.write("web", "image = 'web'\n")?;
    d.apply()?;
    d.ready("web.1")?;
    d.explains("web.1", &["image-root", how])?;
    d.ctl(&["exec", "web.1", "--", "/probe", "write", "/note", "hello"])?.ok()?;
    ensure!(!tree(d)?.join("note").exists(), "the image itself was written to");
    d.crash_and_start()?;
    d.ctl(&["restart", "web"])?.ok()?;
    let read = |d: &mut Daemon<'_, '_>| d.ctl(&["exec", "web.1", "--", "/probe", "cat", "/note"]);
    ensure!(read(d)?.ok()?.stdout == "hello", "not kept over a restart");
    let shown = image(d, &["inspect", "web"])?.ok()?.json()?;
    ensure!(shown["instances"][0] == json!({ "instance": "web.1", "root": how }), "{shown}");
    d.write("web", "image = 'web'\nenv = { A = '1' }\n")?;
    d.apply()?;
    d.until_it("web.1", "of the new version", |i| i["run"] == "web.1.3" && i["state"] == "running")?;
    read(d)?.fails().context("a new version has the files of the old one")?;
    d.ctl(&["rm", "web"])?.ok()?;
    let none = || {
        let left = oracle::names(&d.state.join("layers"));
        Ok((left.is_empty() && oracle::names(&d.run.join("roots")).is_empty()).then_some(()))
    };
    crate::trial::wait_for(d.t.seconds(), none).context("files of an instance that is gone")
}

fn keeping() -> Vec<Case> {
    vec![
        sup("images.new-generation", "image: another one under the name").seconds(40).daemon(|d| {
            let of = |d: &Daemon<'_, '_>, n: &str| {
                probe(
                    d,
                    "web",
                    json!({ "Entrypoint": ["/probe"],
                "Cmd": ["all", "echo", n, "--", "trap", "TERM"] }),
                )
            };
            import(&of(d, "one")?, d)?;
            d.write("web", "image = 'web'\n[update]\nmin_healthy = '0s'\n")?;
            d.apply()?;
            d.ready("web.1")?;
            let pid = d.pid_of("web.1")?;
            let told = import(&of(d, "two")?, d)?;
            ensure!(told["before"].is_string(), "{told}");
            // Another change of another file, and a new daemon: only an order looks the name up again.
            d.write("other", &d.text(&["trap", "TERM"], ""))?;
            d.ready("other.1")?;
            d.crash_and_start()?;
            ensure!(d.pid_of("web.1")? == pid, "a new image under a running service");
            let plan = d.ctl(&["plan", "--json"])?.ok()?.json()?.to_string();
            ensure!(plan.contains("sha256:"), "a plan does not show it: {plan}");
            d.ctl(&["apply"])?.ok()?;
            d.says("web.1", "two")?;
            let out = image(d, &["prune"])?.ok()?;
            ensure!(out.stdout.is_empty(), "the image of a generation was removed: {}", out.stdout);
            d.until_it("web.1", "rolled out", |i| i["run"] == "web.1.2" && i["state"] == "running")?;
            d.ctl(&["rollout", "undo", "web"])?.ok()?;
            d.until_it("web.1", "back", |i| i["run"] == "web.1.3" && i["state"] == "running")?;
            let back = || {
                let log = d.log("web.1")?;
                Ok((log.iter().filter(|l| *l == "one").count() == 2).then_some(()))
            };
            wait_for(d.t.seconds(), back)
                .with_context(|| format!("not the image of before: {:?}", d.log("web.1")))
        }),
        sup("images.rm-in-use", "image rm, prune: never what somebody needs").daemon(|d| {
            import(&probe(d, "web", resident())?, d)?;
            d.write("web", "image = 'web'\n")?;
            d.apply()?;
            d.ready("web.1")?;
            let out = image(d, &["rm", "web"])?.exits(6)?;
            ensure!(out.stderr.contains("is used by service web"), "{}", out.stderr);
            d.ctl(&["rm", "web"])?.ok()?;
            let free = || Ok(oracle::names(&d.state.join("layers")).is_empty().then_some(()));
            crate::trial::wait_for(d.t.seconds(), free)?;
            image(d, &["rm", "web"])?.ok()?;
            nothing_left(d)?;
            image(d, &["rm", "web"])?.exits(3)?;
            import(&probe(d, "web", resident())?, d)?;
            import(&probe(d, "web", json!({ "Cmd": ["/probe", "true"] }))?, d)?;
            let out = image(d, &["prune", "--json"])?.ok()?.json()?;
            ensure!(out.as_array().is_some_and(|l| l.len() == 1), "prune: {out}");
            image(d, &["inspect", "web"])?.ok().map(drop)
        }),
        sup("images.killed", "image import: kill -9 at any point").seconds(60).daemon(|d| {
            let many: Vec<Item> = (0..400)
                .map(|i| Item::file(&format!("d{}/f{i}", i % 7), vec![b'a' + (i % 26) as u8; 9000]))
                .collect();
            let image = Image::of_probe("web", &d.t.yard.probe, resident(), &many)?;
            let path = saved(d, "web.tar", &pack(&image.oci()))?;
            for pause in [0, 2, 5, 10, 20, 40, 80, 160, 320] {
                let running = image_running(d, &["import", &text(&path)])?;
                std::thread::sleep(Duration::from_millis(pause));
                os::kill(running.pid() as i32, libc::SIGKILL);
                running.wait()?;
                // What is listed is whole.
                let list = self::image(d, &["ls", "--json"])?.ok()?.json()?;
                if list.as_array().is_some_and(|l| !l.is_empty()) {
                    ensure!(fs::metadata(tree(d)?.join("d6/f398"))?.len() == 9000, "not whole: {list}");
                    self::image(d, &["rm", "web"])?.ok()?;
                }
                self::image(d, &["prune"])?.ok()?;
                let left = oracle::names(&d.state.join("images"));
                ensure!(!left.iter().any(|n| n.starts_with("tmp-") || n.starts_with('.')), "left: {left:?}");
                let known = oracle::names(&d.state.join("images/ids")).len();
                ensure!(oracle::names(&d.state.join("images/trees")).len() == known, "a tree of nobody");
            }
            self::image(d, &["import", &text(&path)])?.ok()?;
            d.write("web", "image = 'web'\n")?;
            d.apply()?;
            d.ready("web.1")
        }),
        sup("images.two-at-once", "image import: two commands").daemon(|d| {
            let image = probe(d, "web", resident())?;
            let path = saved(d, "web.tar", &pack(&image.oci()))?;
            let all =
                (0..3).map(|i| image_running(d, &["import", &text(&path), "--name", &format!("web{i}")]));
            let all = all.collect::<Result<Vec<_>>>()?;
            for one in all {
                one.wait()?.ok()?;
            }
            tree(d)?;
            let list = self::image(d, &["ls", "--json"])?.ok()?.json()?;
            ensure!(list.as_array().is_some_and(|l| l.len() == 3), "{list}");
            // The last name takes the image along, the others do not.
            self::image(d, &["rm", "web0", "web1"])?.ok()?;
            tree(d)?;
            self::image(d, &["rm", "web2"])?.ok()?;
            nothing_left(d)
        }),
        sup("images.changed-on-disk", "image: the daemon does not wait for a tree").daemon(|d| {
            import(&probe(d, "web", resident())?, d)?;
            d.write("web", "image = 'web'\n")?;
            d.apply()?;
            d.ready("web.1")?;
            // Somebody removes records by hand: what runs goes on, also over a new daemon, and the reason is told.
            let ids = d.state.join("images/ids");
            let away = d.state.join("images/ids-away");
            fs::rename(&ids, &away)?;
            d.crash_and_start()?;
            d.is("web.1", "running")?;
            let problems = d.try_apply()?["problems"].to_string();
            ensure!(problems.contains("there is no image"), "{problems}");
            d.is("web.1", "running")?;
            fs::rename(&away, &ids)?;
            d.apply()
        }),
    ]
}

/// Archives that the real engines write, and a container of each.
fn engines() -> Vec<Case> {
    let case = |name: &str, save: fn(&mut Trial<'_>) -> Result<Vec<PathBuf>>| {
        sup(&format!("images.{name}"), "image import: what the engine itself has saved")
            .needs([Need::CgroupAny("memory")])
            .seconds(120)
            .daemon(move |d| {
                for (i, from) in save(d.t)?.iter().enumerate() {
                    let name = format!("web{i}");
                    let told = image(d, &["import", &text(from), "--json"])?.ok()?.json()?;
                    ensure!(told["name"].as_str().is_some_and(|n| n.ends_with("probe:1")), "{told}");
                    let image = told["name"].as_str().unwrap_or_default();
                    d.write(&name, &format!("image = '{image}'\ncommand = ['/probe', 'trap', 'TERM']\n"))?;
                    d.apply()?;
                    d.ready(&format!("{name}.1"))?;
                }
                Ok(())
            })
    };
    vec![
        case("podman-save", crate::cases::engines::podman_saved)
            .needs(["podman", "conmon"].map(Need::Program)),
        case("docker-save", crate::cases::engines::docker_saved)
            .needs(["docker", "dockerd", "containerd"].map(Need::Program)),
    ]
}
