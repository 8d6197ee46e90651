//! Namespaces: made new, left as the caller's, joined by path, with mappings and offsets.
//! Compared by the kernel's own ids, inside and outside.

use std::os::unix::fs::{MetadataExt, chown};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

const NS: &str = "config-linux.md#namespaces";

/// Spec name and name below /proc/PID/ns.
const KINDS: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
];

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (kind, link) in KINDS {
        all.push(new(kind, link));
        if kind != "mount" {
            all.push(inherited(kind, link));
        }
        if kind != "mount" {
            all.push(joined(kind, link));
        }
    }
    all.push(joined_mount());
    all.extend(uts_and_net());
    all.extend(user());
    all.extend(owned_groups());
    all.extend(time());
    all
}

fn own(link: &str) -> Result<String> {
    Ok(std::fs::read_link(format!("/proc/self/ns/{link}"))?.display().to_string())
}

/// The value of one line of the probe's `ns`.
fn of(output: &str, link: &str) -> Result<String> {
    let line = output.lines().find_map(|l| l.strip_prefix(&format!("{link} ")));
    Ok(line.with_context(|| format!("no {link} in {output}"))?.to_string())
}

fn new(kind: &'static str, link: &'static str) -> Case {
    case(format!("ns.new-{kind}"))
        .checks(NS)
        .probe(["ns"])
        .spec(move |s| base::namespace(s, kind, None))
        .output(move |o| {
            ensure!(of(o, link)? != own(link)?, "the {kind} namespace is the caller's: {o}");
            Ok(())
        })
}

fn inherited(kind: &'static str, link: &'static str) -> Case {
    case(format!("ns.inherited-{kind}"))
        .checks(NS)
        .probe(["ns"])
        .spec(move |s| {
            base::no_namespace(s, kind);
            if kind == "uts" {
                s["hostname"] = Value::Null;
                s.as_object_mut().map(|o| o.remove("hostname"));
            }
            if kind == "network" {
                // sysfs belongs to the network namespace, which is not ours to mount.
                if let Some(mounts) = s["mounts"].as_array_mut() {
                    mounts.retain(|m| m["type"] != "sysfs");
                }
            }
        })
        .output(move |o| {
            ensure!(of(o, link)? == own(link)?, "the {kind} namespace is not the caller's: {o}");
            Ok(())
        })
}

fn joined(kind: &'static str, link: &'static str) -> Case {
    case(format!("ns.joined-{kind}")).checks("config-linux.md#namespaces path").steps(move |t| {
        base::namespace(&mut t.spec, kind, None);
        let pid = t.resident()?;
        let path = format!("/proc/{pid}/ns/{link}");
        let want = std::fs::read_link(&path)?.display().to_string();
        let twin = t.twin("b", |s| {
            base::namespace(s, kind, Some(&path));
            s["process"]["args"] = json!([PROBE, "ns"]);
            if kind == "uts" {
                s.as_object_mut().map(|o| o.remove("hostname"));
            }
        })?;
        let out = t.rt(&["run", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?.stdout;
        ensure!(of(&out, link)? == want, "want {link} {want}, got {out}");
        Ok(())
    })
}

/// A mount namespace must be one where the bundle can be seen, so a helper process holds it.
fn joined_mount() -> Case {
    case("ns.joined-mount").checks("config-linux.md#namespaces path").probe(["ns"]).steps(|t| {
        let probe = t.yard.probe.clone();
        let args = ["trap".to_string(), "TERM".to_string()];
        let holder = t
            .command(&probe, &args)
            .adjust(|c| crate::os::isolate(c, nix::sched::CloneFlags::CLONE_NEWNS))
            .spawn()?;
        crate::trial::wait_for(t.seconds(), || Ok(holder.so_far().0.contains("ready").then_some(())))?;
        let path = format!("/proc/{}/ns/mnt", holder.pid());
        let want = std::fs::read_link(&path)?.display().to_string();
        base::namespace(&mut t.spec, "mount", Some(&path));
        let out = t.run()?.ok()?.stdout;
        ensure!(of(&out, "mnt")? == want, "want mnt {want}, got {out}");
        Ok(())
    })
}

fn uts_and_net() -> Vec<Case> {
    vec![
        case("uts.hostname")
            .checks("config.md#hostname")
            .probe(["hostname"])
            .spec(|s| s["hostname"] = "box".into())
            .stdout("box\n"),
        case("uts.hostname-64")
            .checks("config.md#hostname")
            .probe(["hostname"])
            .spec(|s| s["hostname"] = "h".repeat(64).into())
            .stdout(format!("{}\n", "h".repeat(64))),
        case("uts.domainname")
            .checks("config.md#domainname")
            .probe(["domainname"])
            .spec(|s| s["domainname"] = "example.org".into())
            .stdout("example.org\n"),
        case("uts.exec-sees-it").checks("config.md#hostname").spec(|s| s["hostname"] = "box".into()).steps(
            |t| {
                t.resident()?;
                t.exec_probe(&["hostname"])?.ok()?.prints("box\n")?;
                Ok(())
            },
        ),
        case("net.loopback-up").checks("cli: a new network namespace has lo up").probe(["net"]).output(|o| {
            let lo = o.lines().find(|l| l.starts_with("lo ")).context("no lo")?;
            ensure!(lo.contains(" UP") && lo.contains("LOOPBACK") && lo.contains("127.0.0.1"), "{o}");
            Ok(())
        }),
        case("net.only-loopback").checks(NS).probe(["ls", "/sys/class/net"]).output(|o| {
            let names: Vec<&str> = o.lines().collect();
            ensure!(names.contains(&"lo") && !names.iter().any(|n| n.starts_with("eth")), "{o}");
            Ok(())
        }),
        case("pid.tree-of-its-own").checks(NS).sh("ls /proc | grep -c '^[0-9]'").output(|o| {
            let count: u32 = o.trim().parse()?;
            ensure!(count <= 4, "{count} processes are visible");
            Ok(())
        }),
        case("ipc.sysctl")
            .checks("config-linux.md#sysctl")
            .probe(["sysctl", "kernel.msgmax"])
            .spec(|s| s["linux"]["sysctl"] = json!({"kernel.msgmax": "12345"}))
            .stdout("12345\n"),
        case("net.sysctl")
            .checks("config-linux.md#sysctl")
            .probe(["sysctl", "net.ipv4.ip_unprivileged_port_start"])
            .spec(|s| s["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "80"}))
            .stdout("80\n"),
        case("cgroup.namespace-root")
            .checks(NS)
            .probe(["cgroup"])
            .spec(|s| base::namespace(s, "cgroup", None))
            .output(|o| {
                ensure!(o.lines().count() > 0, "no cgroup is shown");
                for line in o.lines() {
                    let path = line.splitn(3, ':').nth(2).unwrap_or("");
                    ensure!(path == "/", "a path outside the namespace shows: {line}");
                }
                Ok(())
            }),
    ]
}

/// Maps ids 0..65536 to 100000.. and hands the root to the mapped owner.
pub(super) fn map_users(t: &mut Trial<'_>) -> Result<()> {
    base::namespace(&mut t.spec, "user", None);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    t.spec["linux"]["uidMappings"] = map.clone();
    t.spec["linux"]["gidMappings"] = map;
    for dir in ["", "proc", "dev", "sys", "tmp", "etc", "data"] {
        chown(t.rootfs().join(dir), Some(100_000), Some(100_000))?;
    }
    Ok(())
}

fn user() -> Vec<Case> {
    let maps = "config-linux.md#user-namespace-mappings";
    vec![
        case("userns.maps")
            .checks(maps)
            .needs([Need::Userns])
            .prepare(map_users)
            .probe(["cat", "/proc/self/uid_map", "/proc/self/gid_map"])
            .output(|o| {
                for line in o.lines() {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    ensure!(words == ["0", "100000", "65536"], "{o}");
                }
                ensure!(o.lines().count() == 2, "{o}");
                Ok(())
            }),
        case("userns.root-inside")
            .checks(maps)
            .needs([Need::Userns])
            .prepare(map_users)
            .probe(["id"])
            .stdout("uid=0 gid=0 groups=\n"),
        case("userns.other-user-inside")
            .checks(maps)
            .needs([Need::Userns])
            .prepare(map_users)
            .probe(["id"])
            .spec(|s| s["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [7]}))
            .stdout("uid=1000 gid=1001 groups=7\n"),
        case("userns.outside-is-mapped").checks(maps).needs([Need::Userns]).steps(|t| {
            map_users(t)?;
            let pid = t.resident()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find(|l| l.starts_with("Uid:")).context("no Uid")?;
            ensure!(line == "Uid:\t100000\t100000\t100000\t100000", "{line}");
            Ok(())
        }),
        case("userns.exec").checks(maps).needs([Need::Userns]).steps(|t| {
            map_users(t)?;
            let pid = t.resident()?;
            let out = t.exec_probe(&["all", "id", "--", "ns"])?.ok()?.stdout;
            ensure!(out.starts_with("uid=0 gid=0 groups=\n"), "{out}");
            let want = std::fs::read_link(format!("/proc/{pid}/ns/user"))?.display().to_string();
            ensure!(of(&out, "user")? == want, "{out}");
            Ok(())
        }),
        case("userns.devices-and-mounts")
            .checks(maps)
            .needs([Need::Userns])
            .prepare(map_users)
            .probe([
                "all",
                "open-dev",
                "/dev/null",
                "rw",
                "--",
                "cat",
                "/proc/self/setgroups",
                "--",
                "stat",
                "/dev/null",
            ])
            .stdout_has("ok 0\nallow\nchar 0666 "),
        case("userns.owns-other-namespaces")
            .checks(maps)
            .needs([Need::Userns])
            .prepare(map_users)
            .probe(["all", "sysctl", "kernel.msgmax", "--", "net", "--", "hostname"])
            .spec(|s| s["linux"]["sysctl"] = json!({"kernel.msgmax": "12345"}))
            .stdout_has("12345\nlo UP"),
        case("userns.joined").checks(NS).needs([Need::Userns]).steps(|t| {
            map_users(t)?;
            let pid = t.resident()?;
            let map = t.spec["linux"]["uidMappings"].clone();
            let twin = t.twin("b", |s| {
                base::namespace(s, "user", Some(&format!("/proc/{pid}/ns/user")));
                // Engines name the mappings of the namespace they give by path.
                s["linux"]["uidMappings"] = map.clone();
                s["linux"]["gidMappings"] = map;
                s["process"]["args"] = json!([PROBE, "all", "id", "--", "ns"]);
            })?;
            for dir in ["", "proc", "dev", "sys", "tmp", "etc", "data"] {
                chown(
                    std::path::Path::new(&twin.bundle).join("rootfs").join(dir),
                    Some(100_000),
                    Some(100_000),
                )?;
            }
            let out = t.rt(&["run", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?.stdout;
            let want = std::fs::read_link(format!("/proc/{pid}/ns/user"))?.display().to_string();
            ensure!(of(&out, "user")? == want && out.starts_with("uid=0 gid=0 "), "{out}");
            Ok(())
        }),
    ]
}

/// A container that sees its own v2 group as the root of a tree it may write to owns it; otherwise nobody but us does.
fn owned_groups() -> Vec<Case> {
    let owner = |name: &str, option: &'static str, want: u32| {
        case(name)
            .checks("config-linux.md#cgroup-ownership")
            .needs([Need::Userns, Need::CgroupV2, Need::NoV1("memory")])
            .spec(move |s| {
                base::namespace(s, "cgroup", None);
                base::add_mount(s, "/sys/fs/cgroup", "cgroup", "cgroup", &[option]);
            })
            .prepare(map_users)
            .probe([
                "all",
                "syscall",
                "mkdir",
                "str:/sys/fs/cgroup/own",
                "493",
                "--",
                "open-write",
                "/sys/fs/cgroup/cgroup.procs",
                "--",
                "open-write",
                "/sys/fs/cgroup/cgroup.max.depth",
            ])
            .created(move |t| {
                let path = t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/');
                let dir = t.yard.host.v2.clone().context("cgroup2")?.join(path);
                for (file, want) in [("", want), ("cgroup.procs", want), ("cgroup.max.depth", 0)] {
                    let got = std::fs::metadata(dir.join(file))?.uid();
                    ensure!(got == want, "{file:?} belongs to {got}, want {want}");
                }
                Ok(())
            })
    };
    vec![
        owner("userns.owns-its-cgroup", "rw", 100_000).stdout("ok 0\nok 0\nerrno 13 EACCES\n"),
        owner("userns.readonly-cgroup-not-owned", "ro", 0)
            .stdout("errno 30 EROFS\nerrno 13 EACCES\nerrno 13 EACCES\n"),
    ]
}

fn time() -> Vec<Case> {
    let offsets = "config-linux.md#offset-for-time-namespace";
    let seconds = |o: &str, clock: &str| -> Result<f64> {
        let line = o.lines().find_map(|l| l.strip_prefix(&format!("{clock} "))).context("no such clock")?;
        Ok(line.parse()?)
    };
    let uptime = || -> Result<f64> {
        Ok(std::fs::read_to_string("/proc/uptime")?.split(' ').next().context("uptime")?.parse()?)
    };
    vec![
        case("timens.new")
            .checks(NS)
            .needs([Need::Timens])
            .probe(["ns"])
            .spec(|s| base::namespace(s, "time", None))
            .output(|o| {
                ensure!(of(o, "time")? != own("time")?, "the caller's time namespace: {o}");
                Ok(())
            }),
        case("timens.offsets")
            .checks(offsets)
            .needs([Need::Timens])
            .probe(["time-offset"])
            .spec(|s| {
                base::namespace(s, "time", None);
                s["linux"]["timeOffsets"] =
                    json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": 2_000_000}});
            })
            .output(move |o| {
                let (boot, mono, here) = (seconds(o, "boottime")?, seconds(o, "monotonic")?, uptime()?);
                ensure!((boot - here - 1_000_000.0).abs() < 60.0, "boottime {boot}, here {here}");
                ensure!((mono - here - 2_000_000.0).abs() < 60.0, "monotonic {mono}, here {here}");
                Ok(())
            }),
        case("timens.offset-negative")
            .checks(offsets)
            .needs([Need::Timens])
            .probe(["cat", "/proc/self/timens_offsets"])
            .spec(|s| {
                base::namespace(s, "time", None);
                s["linux"]["timeOffsets"] = json!({"boottime": {"secs": -10}});
            })
            .output(|o| {
                let line = o.lines().find(|l| l.starts_with("boottime")).context("no boottime")?;
                ensure!(line.split_whitespace().nth(1) == Some("-10"), "{o}");
                Ok(())
            }),
        case("timens.exec").checks(NS).needs([Need::Timens]).steps(|t| {
            base::namespace(&mut t.spec, "time", None);
            t.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 77_777}});
            let pid = t.resident()?;
            let out = t.exec_probe(&["ns"])?.ok()?.stdout;
            let want = std::fs::read_link(format!("/proc/{pid}/ns/time"))?.display().to_string();
            ensure!(of(&out, "time")? == want, "{out}, want {want}");
            Ok(())
        }),
        case("timens.joined").checks(NS).needs([Need::Timens]).steps(|t| {
            base::namespace(&mut t.spec, "time", None);
            t.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 77_777}});
            let pid = t.resident()?;
            let path = format!("/proc/{pid}/ns/time");
            let want = std::fs::read_link(&path)?.display().to_string();
            let twin = t.twin("b", |s| {
                base::namespace(s, "time", Some(&path));
                s["process"]["args"] = json!([PROBE, "ns"]);
            })?;
            let out = t.rt(&["run", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?.stdout;
            ensure!(of(&out, "time")? == want, "{out}, want {want}");
            Ok(())
        }),
    ]
}
