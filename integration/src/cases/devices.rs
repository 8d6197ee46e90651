//! Devices: the default set with its links, configured ones, and the control of what may be opened.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::base;
use crate::case::{Case, case};

const DEFAULTS: &str = "config-linux.md#default-devices";
const CONTROL: &str = "config-linux.md#allowed-device-list";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = defaults();
    all.extend(configured());
    all.extend(control());
    all
}

fn defaults() -> Vec<Case> {
    let mut all: Vec<Case> = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ]
    .into_iter()
    .map(|(name, numbers)| {
        case(format!("dev.{name}"))
            .checks(DEFAULTS)
            .probe(["stat", &format!("/dev/{name}")])
            .stdout(format!("char 0666 0 0 {numbers} 0\n"))
    })
    .collect();
    all.extend(
        [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ]
        .into_iter()
        .map(|(name, target)| {
            case(format!("dev.link-{name}"))
                .checks("runtime-linux.md#dev-symbolic-links")
                .probe(["readlink", &format!("/dev/{name}")])
                .stdout(format!("{target}\n"))
        }),
    );
    all.extend([
        case("dev.null-works")
            .checks(DEFAULTS)
            .probe([
                "all",
                "open-dev",
                "/dev/null",
                "rw",
                "--",
                "open-dev",
                "/dev/zero",
                "r",
                "--",
                "open-dev",
                "/dev/urandom",
                "r",
                "--",
                "open-dev",
                "/dev/full",
                "w",
            ])
            .stdout("ok 0\nok 0\nok 0\nok 0\n"),
        case("dev.nothing-else")
            .checks("catalogue S36")
            .probe(["ls", "/dev"])
            .unprotected(
                |s| {
                    s["linux"]["devices"] =
                        json!([{"path": "/dev/kn0", "type": "c", "major": 1, "minor": 5}]);
                },
                "kn0\n",
            )
            .output(|o| {
                let known = [
                    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm",
                    "stderr", "stdin", "stdout", "tty", "urandom", "zero",
                ];
                let extra: Vec<&str> = o.lines().filter(|l| !known.contains(l)).collect();
                ensure!(o.lines().any(|l| l == "null"), "no null: {o}");
                ensure!(extra.is_empty(), "unexpected in /dev: {extra:?}");
                Ok(())
            }),
        case("dev.bound-dev-is-left-alone")
            .checks("cli: a bind on /dev")
            .prepare(|t| {
                let dir = t.device_dir("dev")?;
                std::fs::write(dir.join("only"), "x")?;
                let null = rustix::fs::makedev(1, 3);
                let kind = rustix::fs::FileType::CharacterDevice;
                rustix::fs::mknodat(rustix::fs::CWD, dir.join("null"), kind, 0o666.into(), null)?;
                t.spec["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
                base::add_mount(&mut t.spec, "/dev", "bind", &dir.display().to_string(), &["bind"]);
                t.spec["linux"]["maskedPaths"] = json!([]);
                Ok(())
            })
            .probe(["ls", "/dev"])
            .stdout("null\nonly\n"),
    ]);
    all
}

fn configured() -> Vec<Case> {
    let text = "config-linux.md#devices";
    let device = |d: serde_json::Value| move |s: &mut serde_json::Value| s["linux"]["devices"] = json!([d]);
    vec![
        case("dev.configured-char").checks(text).probe(["stat", "/dev/kn0"]).spec(device(json!({"path": "/dev/kn0", "type": "c", "major": 1, "minor": 5, "fileMode": 416, "uid": 7, "gid": 8}))).stdout("char 0640 7 8 1:5 0\n"),
        case("dev.configured-block").checks(text).probe(["stat", "/dev/kn1"]).spec(device(json!({"path": "/dev/kn1", "type": "b", "major": 7, "minor": 200, "fileMode": 432, "uid": 0, "gid": 0}))).stdout("block 0660 0 0 7:200 0\n"),
        case("dev.configured-fifo").checks(text).probe(["stat", "/dev/knp"]).spec(device(json!({"path": "/dev/knp", "type": "p", "fileMode": 384, "uid": 1, "gid": 2}))).stdout("fifo 0600 1 2 0:0 0\n"),
        case("dev.configured-unbuffered").checks(text).probe(["stat", "/dev/knu"]).spec(device(json!({"path": "/dev/knu", "type": "u", "major": 1, "minor": 5, "fileMode": 438, "uid": 0, "gid": 0}))).stdout_has("char 0666 0 0 1:5 "),
        case("dev.configured-below").checks(text).probe(["stat", "/dev/sub/dir/kn0"]).spec(device(json!({"path": "/dev/sub/dir/kn0", "type": "c", "major": 1, "minor": 5, "fileMode": 438, "uid": 0, "gid": 0}))).stdout_has("char 0666 0 0 1:5 "),
        case("dev.configured-elsewhere").checks(text).probe(["stat", "/data/kn0"]).spec(device(json!({"path": "/data/kn0", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}))).stdout_has("char 0666 0 0 1:3 "),
        case("dev.mode-beats-umask").checks(text).probe(["stat", "/dev/kn0"]).spec(device(json!({"path": "/dev/kn0", "type": "c", "major": 1, "minor": 5, "fileMode": 511, "uid": 0, "gid": 0}))).stdout("char 0777 0 0 1:5 0\n"),
    ]
}

fn control() -> Vec<Case> {
    /// Rules after "deny all", and CAP_MKNOD.
    fn rules(list: serde_json::Value) -> impl Fn(&mut serde_json::Value) + 'static {
        move |s| {
            base::capabilities(s, &["CAP_MKNOD"]);
            let mut all = vec![json!({"allow": false, "access": "rwm"})];
            all.extend(list.as_array().cloned().unwrap_or_default());
            s["linux"]["resources"]["devices"] = json!(all);
        }
    }
    /// A rule that allows every device.
    fn all() -> serde_json::Value {
        json!([{"allow": true, "access": "rwm"}])
    }
    /// Makes the node of a disk and tries to open it; below /dev, because the root may forbid devices.
    const DISK: [&str; 11] = ["all", "mknod", "/dev/d", "b", "8", "0", "--", "open-dev", "/dev/d", "r", "--"];
    let disk = |more: &'static str| {
        let mut all: Vec<String> = DISK[..10].iter().map(|s| s.to_string()).collect();
        all.extend(more.split_whitespace().map(String::from));
        move |s: &mut serde_json::Value| {
            let mut args = vec!["/probe".to_string()];
            args.extend(all.iter().cloned());
            s["process"]["args"] = json!(args);
        }
    };
    // No disk 8:0 answers here, so an open that the rules allow ends in ENXIO; only EPERM is a refusal.
    let allowed = |o: &str, first: &str| -> Result<()> {
        let lines: Vec<&str> = o.lines().collect();
        ensure!(lines.len() == 2 && lines[0] == first && !lines[1].contains("EPERM"), "{o}");
        Ok(())
    };
    // Making a node is in the default list of every peer; opening it must fail either way.
    let denied = |o: &str| -> Result<()> {
        ensure!(matches!(o, "errno 1 EPERM\nerrno 2 ENOENT\n" | "ok 0\nerrno 1 EPERM\n"), "{o}");
        Ok(())
    };
    vec![
        case("devctl.deny-all").checks(CONTROL).spec(rules(json!([]))).spec(disk("")).output(denied).unprotected(rules(all()), ""),
        case("devctl.mknod-only").checks(CONTROL).unprotected(rules(all()), "ok 0\n").spec(rules(json!([{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "m"}]))).spec(disk("")).stdout("ok 0\nerrno 1 EPERM\n"),
        case("devctl.read-allowed").checks(CONTROL).spec(rules(json!([{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "rm"}]))).spec(disk("")).output(move |o| allowed(o, "ok 0")),
        case("devctl.read-not-write").checks(CONTROL).spec(rules(json!([{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "rm"}]))).spec(disk("-- open-dev /dev/d w")).output(|o| {
            let lines: Vec<&str> = o.lines().collect();
            ensure!(lines.len() == 3 && !lines[1].contains("EPERM") && lines[2] == "errno 1 EPERM", "{o}");
            Ok(())
        }),
        case("devctl.wildcard-minor").checks(CONTROL).spec(rules(json!([{"allow": true, "type": "b", "major": 8, "access": "rwm"}]))).spec(disk("")).output(move |o| allowed(o, "ok 0")),
        case("devctl.wildcard-all").checks(CONTROL).spec(rules(json!([{"allow": true, "access": "rwm"}]))).spec(disk("")).output(move |o| allowed(o, "ok 0")),
        case("devctl.later-deny-wins").checks(CONTROL).unprotected(rules(all()), "ok 0\n").spec(rules(json!([{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "rwm"}, {"allow": false, "type": "b", "major": 8, "minor": 0, "access": "r"}]))).spec(disk("")).stdout("ok 0\nerrno 1 EPERM\n"),
        case("devctl.other-type").checks(CONTROL).unprotected(rules(all()), "ok 0\n").spec(rules(json!([{"allow": true, "type": "c", "major": 8, "minor": 0, "access": "rwm"}]))).spec(disk("")).output(denied),
        case("devctl.defaults-stay").checks(CONTROL).spec(rules(json!([]))).probe(["all", "open-dev", "/dev/null", "rw", "--", "open-dev", "/dev/ptmx", "rw", "--", "open-dev", "/dev/tty", "r"]).stdout_has("ok 0\nok 0\n"),
        case("devctl.configured-needs-a-rule").checks(CONTROL).unprotected(rules(all()), "").spec(rules(json!([]))).spec(|s| s["linux"]["devices"] = json!([{"path": "/dev/kn0", "type": "b", "major": 8, "minor": 0, "fileMode": 438, "uid": 0, "gid": 0}])).probe(["open-dev", "/dev/kn0", "r"]).stdout("errno 1 EPERM\n"),
        case("devctl.exec-is-held-too").checks(CONTROL).spec(rules(json!([{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "m"}]))).steps(|t| {
            let attempt = ["all", "mknod", "/dev/d", "b", "8", "0", "--", "open-dev", "/dev/d", "r"];
            let protected = t.spec.clone();
            rules(all())(&mut t.spec);
            t.resident()?;
            let free = t.exec_probe(&attempt)?.ok()?.stdout;
            ensure!(!free.contains("EPERM"), "the control: {free}");
            t.remove()?;
            t.spec = protected;
            t.resident()?;
            t.exec_probe(&attempt)?.ok()?.prints("ok 0\nerrno 1 EPERM\n")?;
            Ok(())
        }),
        case("devctl.v1-list").checks(CONTROL).spec(rules(json!([{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"}]))).needs([crate::host::Need::CgroupAny("devices")]).created(|t| {
            let list = t.cgroup("devices")?.read("devices.list")?;
            ensure!(list.lines().any(|l| l == "b 8:0 r"), "{list}");
            ensure!(!list.lines().any(|l| l.starts_with("a ")), "{list}");
            Ok(())
        }),
    ]
}
