//! An ordinary user calls the runtime: uid 65534, without any capability and without a control group of its own unless
//! the case gives it one. And the root of a user namespace, who is no more than that.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::Need;
use crate::oracle;
use crate::os;
use crate::trial::{Trial, USER, wait_for};

const CHECKS: &str = "cli: rootless";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = life();
    all.extend(ids());
    all.extend(groups());
    all.extend(files());
    all.extend(nested());
    all
}

fn user(name: &str) -> Case {
    case(format!("rootless.{name}")).checks(CHECKS).needs([Need::Userns]).spec(plain).prepare(|t| {
        plain(&mut t.base);
        t.become_user()
    })
}

/// What an ordinary user can ask for: one id, its own, and no control group.
fn plain(spec: &mut Value) {
    base::namespace(spec, "user", None);
    for side in ["uidMappings", "gidMappings"] {
        spec["linux"][side] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    }
    if let Some(linux) = spec["linux"].as_object_mut() {
        linux.remove("resources");
        linux.remove("cgroupsPath");
    }
    for options in mounts(spec).filter_map(|m| m["options"].as_array_mut()) {
        options.retain(|o| *o != "gid=5");
    }
}

fn mounts(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    spec["mounts"].as_array_mut().into_iter().flatten()
}

fn life() -> Vec<Case> {
    vec![
        user("run").probe(["all", "id", "--", "cat", "/proc/self/uid_map", "--", "hostname"]).output(|o| {
            let words: Vec<&str> = o.split_whitespace().collect();
            let want = ["uid=0", "gid=0", "groups=", "0", "65534", "1", "conformance"];
            ensure!(words == want, "{o}");
            Ok(())
        }),
        user("exit-code").probe(["exit", "42"]).exit(42),
        user("life").steps(|t| {
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.create()?;
            t.is("created")?;
            t.start()?;
            t.payload_says("ready")?;
            t.is("running")?;
            t.exec_probe(&["id"])?.ok()?.prints("uid=0 gid=0 groups=\n")?;
            t.exec_probe(&["exit", "7"])?.exits(7)?;
            let listed = t.rt(&["list", "--quiet"]).run()?.ok()?.stdout;
            ensure!(listed.trim() == t.id, "{listed}");
            let pid = t.pid()?;
            t.verb("kill", &["TERM"])?.ok()?;
            ensure!(t.ended(pid)? == 0, "the program was not asked to end");
            t.is("stopped")?;
            t.verb("delete", &[])?.ok()?;
            ensure!(oracle::names(&t.state_root()).is_empty(), "state is left");
            Ok(())
        }),
        user("exec-before-start").steps(|t| {
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.create()?;
            let early = t.exec_probe(&["id"])?.exits(255)?;
            ensure!(early.stderr.contains("start it first"), "{}", early.stderr);
            t.start()?;
            t.payload_says("ready")?;
            t.exec_probe(&["id"])?.ok().map(drop)
        }),
        user("exec-same-namespaces").steps(|t| {
            let pid = t.resident()?;
            let out = t.exec_probe(&["ns"])?.ok()?.stdout;
            for kind in ["user", "pid", "mnt", "net", "ipc", "uts"] {
                let want = std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.display().to_string();
                ensure!(out.lines().any(|l| l == format!("{kind} {want}")), "{kind} is not {want}: {out}");
            }
            Ok(())
        }),
        user("joins-another").steps(|t| {
            // As in a pod: the first one's namespaces by path, and none that is new but those of files and processes.
            let pid = t.resident()?;
            let twin = t.twin("b", |s| {
                for (kind, link) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
                    base::namespace(s, kind, Some(&format!("/proc/{pid}/ns/{link}")));
                }
                s.as_object_mut().map(|s| s.remove("hostname"));
                s["linux"].as_object_mut().map(|l| l.remove("cgroupsPath"));
                s["process"]["args"] = json!([PROBE, "ns"]);
            })?;
            for dir in ["", "rootfs", "rootfs/proc", "rootfs/dev", "rootfs/sys", "rootfs/tmp"] {
                chown(Path::new(&twin.bundle).join(dir), Some(USER), Some(USER))?;
            }
            let out = t.rt(&["run", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?.stdout;
            for kind in ["user", "net", "ipc", "uts"] {
                let want = std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.display().to_string();
                ensure!(out.lines().any(|l| l == format!("{kind} {want}")), "{kind} is not {want}: {out}");
            }
            Ok(())
        }),
        user("exec-terminal").steps(|t| {
            t.resident()?;
            let (master, slave) = os::open_pty(24, 80)?;
            let id = t.id.clone();
            t.rt(&["exec", "-t", &id, PROBE, "echo", "seen"]).on_terminal(slave)?.run()?.ok()?;
            use std::os::fd::AsFd;
            os::read_until(master.as_fd(), std::time::Duration::from_secs(t.seconds()), "seen")?;
            Ok(())
        }),
        user("ps").steps(|t| {
            let pid = t.resident()?;
            ensure!(t.ps()? == json!([pid]), "want [{pid}], got {}", t.ps()?);
            Ok(())
        }),
        user("pause-says-why").steps(|t| {
            t.resident()?;
            t.verb("pause", &[])?.fails()?;
            t.is("running")
        }),
        user("delete-force").steps(|t| {
            let pid = t.resident()?;
            t.remove()?;
            ensure!(!Path::new(&format!("/proc/{pid}/exe")).exists(), "process {pid} lives");
            Ok(())
        }),
        user("state-in-xdg-runtime-dir").steps(|t| {
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.write_config()?;
            let run = t.host_dir("run")?;
            chown(&run, Some(USER), Some(USER))?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let bare = |t: &mut Trial<'_>, args: &[&str]| -> Result<String> {
                let program = t.user.clone().context("user")?;
                let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
                let run = run.display().to_string();
                let cmd = t.command(&program, &args).adjust(os::as_nobody).env("XDG_RUNTIME_DIR", &run);
                Ok(cmd.run()?.ok()?.stdout)
            };
            bare(t, &["run", "--detach", "--bundle", &bundle, &id])?;
            let roots = oracle::names(&run);
            ensure!(roots.len() == 1, "one directory is wanted below XDG_RUNTIME_DIR: {roots:?}");
            let root = run.join(&roots[0]);
            ensure!(oracle::names(&root).contains(&id), "{} is not in {}", id, root.display());
            let mode = root.metadata()?.permissions().mode() & 0o7777;
            ensure!(mode & 0o1077 == 0o1000, "mode {mode:o}, want private and sticky");
            ensure!(bare(t, &["list", "--quiet"])?.trim() == id, "list does not show it");
            bare(t, &["delete", "--force", &id])?;
            ensure!(oracle::names(&root).is_empty(), "state is left");
            Ok(())
        }),
        user("spec-as-it-is").steps(|t| {
            let config = t.bundle.join("config.json");
            let _ = std::fs::remove_file(&config);
            let dir = t.bundle.clone();
            t.rt(&["spec", "--rootless"]).dir(&dir).run()?.ok()?;
            let mut spec: Value = serde_json::from_slice(&std::fs::read(&config)?)?;
            ensure!(spec["process"]["args"] == json!(["sh"]), "{}", spec["process"]);
            spec["process"]["args"] = json!([PROBE, "id"]);
            spec["process"]["terminal"] = json!(false);
            t.spec = spec;
            t.run()?.ok()?.prints("uid=0 gid=0 groups=\n")?;
            Ok(())
        }),
        user("without-user-namespace")
            .wrong(|s| {
                base::no_namespace(s, "user");
                s["linux"].as_object_mut().map(|l| (l.remove("uidMappings"), l.remove("gidMappings")));
            })
            .refused("/linux/namespaces", "rootless container requires user namespaces"),
        user("hooks").probe(["echo", "ran"]).steps(|t| {
            let mark = t.dir.join("out/hook");
            let script = format!("id -u >>{}", mark.display());
            let hook =
                json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
            t.spec["hooks"] = json!({"createRuntime": hook, "poststart": hook, "poststop": hook});
            t.run()?.ok()?.prints("ran\n")?;
            let seen = std::fs::read_to_string(&mark)?;
            ensure!(seen == "65534\n65534\n65534\n", "{seen}");
            Ok(())
        }),
    ]
}

/// Gives the user a range of ids, in a copy of the files that belongs to the case.
fn own_ids(t: &mut Trial<'_>) -> Result<()> {
    let file = t.dir.join("ranges");
    std::fs::write(&file, "nobody:100000:65536\n65534:100000:65536\n")?;
    for place in ["/etc/subuid", "/etc/subgid"] {
        let none: Option<&str> = None;
        mount(Some(&file), place, none, MsFlags::MS_BIND, none).with_context(|| place.to_string())?;
        t.mounted.push(PathBuf::from(place));
    }
    Ok(())
}

/// Its own id as root, and a range behind it.
fn many(spec: &mut Value) {
    for side in ["uidMappings", "gidMappings"] {
        spec["linux"][side] = json!([
            {"containerID": 0, "hostID": USER, "size": 1},
            {"containerID": 1, "hostID": 100_000, "size": 65_535}
        ]);
    }
}

fn ranges(name: &str) -> Case {
    user(name).needs([Need::Program("newuidmap"), Need::Program("newgidmap")]).prepare(own_ids).spec(many)
}

fn ids() -> Vec<Case> {
    vec![
        ranges("many-ids")
            .probe(["all", "cat", "/proc/self/uid_map", "--", "cat", "/proc/self/gid_map"])
            .output(|o| {
                let words: Vec<&str> = o.split_whitespace().collect();
                ensure!(words == ["0", "65534", "1", "1", "100000", "65535"].repeat(2), "{o}");
                Ok(())
            }),
        ranges("many-ids-other-user")
            .probe(["id"])
            .spec(|s| s["process"]["user"] = json!({"uid": 5, "gid": 6}))
            .stdout("uid=5 gid=6 groups=\n"),
        ranges("many-ids-groups")
            .probe(["id"])
            .spec(|s| s["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7, 8]}))
            .stdout("uid=5 gid=6 groups=7,8\n"),
        ranges("many-ids-life").steps(|t| {
            t.spec["process"]["user"] = json!({"uid": 5, "gid": 6});
            let pid = t.resident()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            ensure!(status.lines().any(|l| l.starts_with("Uid:\t100004\t")), "{status}");
            t.exec_probe(&["id"])?.ok()?.prints("uid=5 gid=6 groups=\n")?;
            t.exec_flags = vec!["--user".into(), "9:10".into()];
            t.exec_probe(&["id"])?.ok()?.prints("uid=9 gid=10 groups=\n")?;
            t.verb("kill", &["KILL"])?.ok()?;
            ensure!(t.ended(pid)? == 137, "not killed");
            t.verb("delete", &[])?.ok()?;
            Ok(())
        }),
        ranges("newuidmap-missing").checks("catalogue B059").steps(|t| {
            t.works()?;
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let out = t.rt(&["run", "--bundle", &bundle, &id]).env("PATH", "/nonexistent").run()?.fails()?;
            let strict = t.runtime.strict;
            ensure!(!strict || out.stderr.contains("/linux/uidMappings"), "no field: {}", out.stderr);
            out.says("newuidmap")?;
            Ok(())
        }),
        user("ids-of-others")
            .needs([Need::Program("newuidmap")])
            .wrong(|s| {
                let more = json!({"containerID": 1, "hostID": 1, "size": 9});
                if let Some(maps) = s["linux"]["uidMappings"].as_array_mut() {
                    maps.push(more);
                }
            })
            .refused("/linux/uidMappings", "newuidmap"),
        user("groups-not-to-be-had")
            .wrong(|s| s["process"]["user"]["additionalGids"] = json!([0]))
            .refused("/process/user/additionalGids", "setgroups"),
        user("gid-option-unmapped")
            .wrong(|s| {
                base::add_mount(s, "/data", "tmpfs", "tmpfs", &["gid=5"]);
            })
            .refused("/mounts/6/options", "gid=5"),
    ]
}

/// A group of the user's own, and the files in which the caller and the container will be: `D`, `D/run`.
fn delegated(t: &Trial<'_>) -> Result<PathBuf> {
    let top = t.yard.host.v2.clone().context("cgroup2")?;
    let dir = top.join(&t.yard.cgroup);
    let run = dir.join("run");
    std::fs::create_dir_all(&run)?;
    for group in [&dir, &run] {
        chown(group, Some(USER), Some(USER))?;
        for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            chown(group.join(file), Some(USER), Some(USER))?;
        }
    }
    Ok(dir)
}

/// Runs the runtime from inside the delegated group.
fn inside(t: &mut Trial<'_>, dir: &Path, args: &[&str]) -> Result<crate::trial::Out> {
    let procs = std::fs::OpenOptions::new().write(true).open(dir.join("run/cgroup.procs"))?;
    let mut all = vec!["--root".to_string(), t.state_root().display().to_string()];
    all.extend(args.iter().map(|a| a.to_string()));
    let program = t.user.clone().context("user")?;
    t.command(&program, &all)
        .adjust(|c| {
            os::in_group(c, procs);
            os::as_nobody(c);
        })
        .run()
}

fn give_back(t: &mut Trial<'_>, dir: &Path) -> Result<()> {
    for group in [dir.join("run"), dir.to_path_buf()] {
        let seconds = t.seconds();
        wait_for(seconds, || Ok(std::fs::remove_dir(&group).is_ok().then_some(())))
            .with_context(|| format!("{} is in use", group.display()))?;
    }
    Ok(())
}

fn groups() -> Vec<Case> {
    let limited = |s: &mut Value| s["linux"]["resources"] = json!({"pids": {"limit": 20}});
    let owned = |name: &str| user(name).needs([Need::CgroupV2, Need::NoV1("pids"), Need::NoV1("memory")]);
    vec![
        user("limit-refused")
            .needs([Need::CgroupAny("pids")])
            .wrong(limited)
            .refused("/linux/resources/pids/limit", "cgroup"),
        user("cgroups-path-refused")
            .fault(|t| {
                t.spec["linux"]["cgroupsPath"] = format!("/{}/own", t.yard.cgroup).into();
                Ok(())
            })
            .refused("/linux/cgroupsPath", "permission denied"),
        user("flag-false").steps(|t| {
            t.works()?;
            t.global = vec!["--rootless".into(), "false".into()];
            t.run()?.fails()?.says("permission denied")?;
            t.global = vec!["--rootless".into(), "true".into()];
            t.works()
        }),
        case("rootless.flag-true-as-root").checks(CHECKS).probe(["echo", "x"]).steps(|t| {
            t.global = vec!["--rootless".into(), "true".into()];
            t.run()?.ok()?.prints("x\n")?;
            Ok(())
        }),
        user("device-rules-alone")
            .probe(["echo", "x"])
            .spec(|s| s["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]}))
            .stdout("x\n"),
        // Without a namespace of its own the view would be the host's (CVE-2023-25809).
        user("host-groups-are-not-shown")
            .probe(["ls", "/sys/fs/cgroup"])
            .spec(|s| base::add_mount(s, "/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]))
            .stdout(""),
        owned("delegated-group").steps(|t| {
            let dir = delegated(t)?;
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            base::namespace(&mut t.spec, "cgroup", None);
            base::add_mount(&mut t.spec, "/sys/fs/cgroup", "cgroup", "cgroup", &["rw"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            inside(t, &dir, &["run", "--detach", "--bundle", &bundle, &id])?.ok()?;
            let pid = t.pid()?;
            let seen = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            let want = format!("0::/{}/{id}", t.yard.cgroup);
            ensure!(seen.lines().any(|l| l == want), "want {want}, got {seen}");
            let out = inside(t, &dir, &["exec", &id, PROBE, "cgroup"])?.ok()?.stdout;
            ensure!(out.lines().any(|l| l == "0::/"), "exec is elsewhere: {out}");
            inside(t, &dir, &["pause", &id])?.ok()?;
            t.is("paused")?;
            inside(t, &dir, &["resume", &id])?.ok()?;
            let made = format!("/sys/fs/cgroup/own-{pid}");
            let line = ["exec", &id, PROBE, "syscall", "mkdir", &format!("str:{made}"), "493"];
            inside(t, &dir, &line)?.ok()?;
            ensure!(dir.join(&id).join(format!("own-{pid}")).is_dir(), "the group below is not in its own");
            inside(t, &dir, &["delete", "--force", &id])?.ok()?;
            give_back(t, &dir)
        }),
        owned("delegated-group-by-path").steps(|t| {
            let dir = delegated(t)?;
            t.spec["linux"]["cgroupsPath"] = format!("/{}/by-path", t.yard.cgroup).into();
            t.spec["process"]["args"] = json!([PROBE, "cgroup"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let out = inside(t, &dir, &["run", "--bundle", &bundle, &id])?.ok()?.stdout;
            let want = format!("0::/{}/by-path", t.yard.cgroup);
            ensure!(out.lines().any(|l| l == want), "want {want}, got {out}");
            ensure!(!dir.join("by-path").exists(), "the group is left");
            give_back(t, &dir)
        }),
        owned("delegated-limit").needs([Need::CgroupV2Controller("pids")]).steps(|t| {
            let dir = delegated(t)?;
            let top = dir.parent().context("top")?;
            std::fs::write(top.join("cgroup.subtree_control"), "+pids")?;
            t.spec["linux"]["resources"] = json!({"pids": {"limit": 20}});
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            inside(t, &dir, &["run", "--detach", "--bundle", &bundle, &id])?.ok()?;
            let got = std::fs::read_to_string(dir.join(&id).join("pids.max"))?;
            ensure!(got.trim() == "20", "pids.max is {got}");
            inside(t, &dir, &["delete", "--force", &id])?.ok()?;
            give_back(t, &dir)
        }),
    ]
}

fn files() -> Vec<Case> {
    vec![
        user("devices")
            .probe([
                "all",
                "open-dev",
                "/dev/null",
                "rw",
                "--",
                "open-dev",
                "/dev/urandom",
                "r",
                "--",
                "stat",
                "/dev/zero",
            ])
            .stdout_has("ok 0\nok 0\nchar 0666 "),
        user("sysfs-without-network-namespace")
            .probe(["ls", "/sys/class/net"])
            .spec(|s| base::no_namespace(s, "network"))
            .output(|o| {
                let mut seen: Vec<String> = o.lines().map(String::from).collect();
                let mut want = oracle::names(Path::new("/sys/class/net"));
                seen.sort();
                want.sort();
                ensure!(seen == want, "got {seen:?}, the host has {want:?}");
                Ok(())
            }),
        user("proc-without-pid-namespace")
            .probe(["cat", "/proc/sys/kernel/ostype"])
            .spec(|s| base::no_namespace(s, "pid"))
            .stdout("Linux\n"),
        user("locked-flags-stay").steps(|t| {
            let source = locked_source(t)?;
            base::add_mount(&mut t.spec, "/data", "bind", &source, &["bind", "ro"]);
            t.spec["process"]["args"] = json!([PROBE, "mountinfo"]);
            let out = t.run()?.ok()?.stdout;
            let line =
                out.lines().find(|l| l.contains(" /data ")).with_context(|| format!("no /data: {out}"))?;
            for flag in ["ro", "nosuid", "nodev", "noexec"] {
                ensure!(line.split([' ', ',']).any(|w| w == flag), "{flag} is gone: {line}");
            }
            Ok(())
        }),
        user("locked-flags-cannot-go").steps(|t| {
            let source = locked_source(t)?;
            t.works()?;
            base::add_mount(&mut t.spec, "/data", "bind", &source, &["bind", "exec"]);
            let out = t.run()?.fails()?;
            if t.runtime.strict {
                let out = out.says("/mounts/6/options")?.says("noexec")?;
                ensure!(!out.stderr.contains("nosuid"), "{}", out.stderr);
            }
            Ok(())
        }),
        user("rbind-of-a-tree").steps(|t| {
            let source = t.device_dir("tree")?;
            std::fs::create_dir(source.join("below"))?;
            let none: Option<&str> = None;
            mount(Some("none"), &source.join("below"), Some("tmpfs"), MsFlags::empty(), none)?;
            t.mounted.push(source.join("below"));
            std::fs::write(source.join("below/file"), "deep\n")?;
            let source = source.display().to_string();
            base::add_mount(&mut t.spec, "/data", "none", &source, &["rbind", "rro"]);
            t.spec["process"]["args"] = json!([PROBE, "cat", "/data/below/file"]);
            t.run()?.ok()?.prints("deep\n")?;
            Ok(())
        }),
        user("oom-score-higher")
            .probe(["oom"])
            .spec(|s| s["process"]["oomScoreAdj"] = json!(300))
            .stdout("300\n"),
        user("oom-score-lower")
            .probe(["echo", "x"])
            .spec(|s| s["process"]["oomScoreAdj"] = json!(-500))
            .stdout("x\n"),
        user("oom-score-exec").steps(|t| {
            t.spec["process"]["oomScoreAdj"] = json!(300);
            t.resident()?;
            t.exec_probe(&["oom"])?.ok()?.prints("300\n")?;
            Ok(())
        }),
        user("read-only-root-and-masks")
            .probe(["all", "ls", "/proc/acpi", "--", "write", "/x", "text"])
            .spec(|s| s["root"]["readonly"] = json!(true))
            .exit(1)
            .steps_after(|t| {
                ensure!(!t.rootfs().join("x").exists(), "the root was written to");
                Ok(())
            })
            .stdout(""),
    ]
}

/// A file system that the host's root mounted with three flags.
fn locked_source(t: &mut Trial<'_>) -> Result<String> {
    let dir = t.host_dir("locked")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let none: Option<&str> = None;
    mount(Some("none"), &dir, Some("tmpfs"), flags, none)?;
    t.mounted.push(dir.clone());
    Ok(dir.display().to_string())
}

/// The runtime as uid 0 of a user namespace that an ordinary user made.
fn as_its_root(t: &mut Trial<'_>, args: &[&str]) -> Result<crate::trial::Out> {
    let program = t.user.clone().context("user")?;
    let mut all: Vec<String> = ["--map-root-user", "--mount"].map(String::from).to_vec();
    all.extend([program.display().to_string(), "--root".into(), t.state_root().display().to_string()]);
    all.extend(args.iter().map(|a| a.to_string()));
    let cmd = t.command("unshare".as_ref(), &all).adjust(os::as_nobody);
    // A runtime that goes by the name of the user.
    cmd.env("USER", "nobody").run()
}

fn nested() -> Vec<Case> {
    let root = |name: &str| user(name).needs([Need::Program("unshare")]);
    vec![
        root("root-of-a-user-namespace").steps(|t| {
            for side in ["uidMappings", "gidMappings"] {
                t.spec["linux"][side] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
            }
            t.spec["process"]["args"] = json!([PROBE, "id"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            as_its_root(t, &["run", "--bundle", &bundle, &id])?.ok()?.prints("uid=0 gid=0 groups=\n")?;
            Ok(())
        }),
        root("root-of-a-user-namespace-shared").steps(|t| {
            // The container stays in the caller's user namespace, as with `podman run --userns host`.
            base::no_namespace(&mut t.spec, "user");
            t.spec["linux"].as_object_mut().map(|l| (l.remove("uidMappings"), l.remove("gidMappings")));
            t.spec["process"]["args"] = json!([
                PROBE,
                "all",
                "id",
                "--",
                "open-dev",
                "/dev/null",
                "rw",
                "--",
                "ls",
                "/sys/class/net"
            ]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let out = as_its_root(t, &["run", "--bundle", &bundle, &id])?.ok()?.stdout;
            ensure!(out == "uid=0 gid=0 groups=\nok 0\nlo\n", "{out}");
            Ok(())
        }),
        root("root-of-a-user-namespace-limits").needs([Need::CgroupAny("pids")]).steps(|t| {
            base::no_namespace(&mut t.spec, "user");
            t.spec["linux"].as_object_mut().map(|l| (l.remove("uidMappings"), l.remove("gidMappings")));
            t.spec["linux"]["resources"] = json!({"pids": {"limit": 20}});
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            as_its_root(t, &["run", "--bundle", &bundle, &id])?.fails()?.says("cgroup")?;
            Ok(())
        }),
    ]
}
