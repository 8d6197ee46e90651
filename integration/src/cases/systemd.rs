//! The systemd cgroup driver: units as systemd itself shows them. Needs a systemd that runs; `ci/lane-systemd` boots one.

use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::Need;
use crate::os;
use crate::run::unavailable;
use crate::trial::{Trial, read_lossy, wait_for};

const TEXT: &str = "cli: --systemd-cgroup";
const MIB: i64 = 1 << 20;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = units();
    all.extend(properties());
    all.extend(v1());
    all.extend(devices());
    all.extend(ends());
    all.extend(faults());
    all.extend(users());
    all
}

/// A case whose container is the scope `case-ID.scope` in the system's slice.
pub(super) fn unit(name: &str) -> Case {
    case(format!("systemd.{name}"))
        .checks(TEXT)
        .needs([Need::Systemd])
        .spec(|s| s["linux"]["cgroupsPath"] = json!(""))
        .prepare(|t| {
            t.global.push("--systemd-cgroup".into());
            t.spec["linux"]["cgroupsPath"] = json!(format!("system.slice:case:{}", t.id));
            Ok(())
        })
}

pub(super) fn scope(t: &Trial<'_>) -> String {
    format!("case-{}.scope", t.id)
}

fn systemctl(t: &mut Trial<'_>, args: &[&str]) -> Result<String> {
    let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
    Ok(t.command(Path::new("systemctl"), &args).run()?.ok()?.stdout)
}

/// A property of a unit, as systemd shows it.
fn shows(t: &mut Trial<'_>, unit: &str, property: &str) -> Result<String> {
    Ok(systemctl(t, &["show", "--value", "--property", property, "--", unit])?.trim().to_string())
}

pub(super) fn has(t: &mut Trial<'_>, unit: &str, property: &str, want: &str) -> Result<()> {
    let got = shows(t, unit, property)?;
    ensure!(got == want, "{unit}: {property} is {got:?}, want {want:?}");
    Ok(())
}

/// The v2 group of a process.
fn group_of(pid: i32) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("0::").or_else(|| l.strip_prefix("1:name=systemd:")));
    Ok(line.context("no group")?.to_string())
}

fn group_dir(t: &Trial<'_>, path: &str) -> Result<PathBuf> {
    let top = t.yard.host.v2.clone().context("no cgroup2")?;
    Ok(top.join(path.trim_start_matches('/')))
}

/// The group of the container's scope in the hierarchy of a controller, v1 or v2.
fn limits_dir(t: &Trial<'_>, controller: &str) -> Result<PathBuf> {
    let (top, _) = t.yard.host.controller(controller).context("no such controller")?;
    Ok(top.join("system.slice").join(scope(t)))
}

/// systemd forgets a unit some moments after its end.
pub(super) fn forgotten(t: &mut Trial<'_>, unit: &str) -> Result<()> {
    let seconds = t.seconds();
    let known = wait_for(seconds, || Ok((shows(t, unit, "LoadState")? == "not-found").then_some(())));
    known.with_context(|| format!("systemd still knows {unit}"))
}

/// Gone when `delete` returns, not some time later.
pub(super) fn gone(t: &mut Trial<'_>, unit: &str) -> Result<()> {
    let got = shows(t, unit, "ActiveState")?;
    ensure!(matches!(got.as_str(), "inactive" | ""), "{unit} is {got} after delete");
    let dir = group_dir(t, &format!("/system.slice/{unit}"))?;
    ensure!(!dir.exists(), "{} is left", dir.display());
    forgotten(t, unit)
}

fn units() -> Vec<Case> {
    vec![
        unit("scope").steps(|t| {
            let pid = t.resident()?;
            let name = scope(t);
            let group = format!("/system.slice/{name}");
            ensure!(group_of(pid)? == group, "the program is in {}", group_of(pid)?);
            has(t, &name, "ActiveState", "active")?;
            has(t, &name, "ControlGroup", &group)?;
            has(t, &name, "Slice", "system.slice")?;
            has(t, &name, "Delegate", "yes")?;
            let description = shows(t, &name, "Description")?;
            ensure!(description.contains(&t.id), "the description names no {}: {description}", t.id);
            t.remove()?;
            gone(t, &name)
        }),
        unit("default-place").spec(|s| s["linux"]["cgroupsPath"] = Value::Null).steps(|t| {
            t.spec["linux"]["cgroupsPath"] = json!("");
            let pid = t.resident()?;
            let name = format!("{}-{}.scope", t.runtime.name, t.id);
            let group = group_of(pid)?;
            // One runtime puts its programs into a group of their own below.
            ensure!(group.starts_with(&format!("/system.slice/{name}")), "the program is in {group}");
            has(t, &name, "ActiveState", "active")?;
            t.remove()?;
            gone(t, &name)
        }),
        unit("only-the-program-is-inside").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            let dir = group_dir(t, &group_of(pid)?)?;
            let inside = read_lossy(&dir.join("cgroup.procs"));
            ensure!(inside == format!("{pid}\n"), "inside are {inside:?}, want only {pid}");
            t.remove()?;
            Ok(())
        }),
        unit("nested-slice").steps(|t| {
            t.spec["linux"]["cgroupsPath"] = json!(format!("kncase-a-b.slice:case:{}", t.id));
            let pid = t.resident()?;
            let name = scope(t);
            let group = format!("/kncase.slice/kncase-a.slice/kncase-a-b.slice/{name}");
            ensure!(group_of(pid)? == group, "the program is in {}", group_of(pid)?);
            has(t, &name, "Slice", "kncase-a-b.slice")?;
            t.remove()?;
            forgotten(t, &name)
        }),
        unit("root-slice").steps(|t| {
            t.spec["linux"]["cgroupsPath"] = json!(format!("-.slice:case:{}", t.id));
            let pid = t.resident()?;
            let group = format!("/{}", scope(t));
            ensure!(group_of(pid)? == group, "the program is in {}", group_of(pid)?);
            t.remove()?;
            Ok(())
        }),
        unit("exec-is-inside").steps(|t| {
            let pid = t.resident()?;
            let want = group_of(pid)?;
            let groups = t.exec(&[PROBE, "cat", "/proc/self/cgroup"])?.ok()?.stdout;
            ensure!(groups.contains(&want), "exec is in {groups}, want {want}");
            t.remove()?;
            Ok(())
        }),
        unit("own-namespace").spec(|s| base::namespace(s, "cgroup", None)).steps(|t| {
            t.resident()?;
            let groups = t.exec(&[PROBE, "cat", "/proc/1/cgroup"])?.ok()?.stdout;
            ensure!(groups.lines().any(|l| l == "0::/"), "init sees itself in {groups}, want the root");
            t.remove()?;
            Ok(())
        }),
        unit("update").needs([Need::CgroupV2Controller("memory")]).steps(|t| {
            let pid = t.resident()?;
            let (name, id) = (scope(t), t.id.clone());
            let dir = group_dir(t, &group_of(pid)?)?;
            let file = |name: &str| read_lossy(&dir.join(name)).trim().to_string();
            let all = [
                "update",
                "--memory=64m",
                "--pids-limit=21",
                "--cpu-quota=20000",
                "--cpu-period=100000",
                &id,
            ];
            t.rt(&all).run()?.ok()?;
            for reloaded in [false, true] {
                has(t, &name, "MemoryMax", "67108864")?;
                has(t, &name, "TasksMax", "21")?;
                has(t, &name, "CPUQuotaPerSecUSec", "200ms")?;
                let files = [file("memory.max"), file("pids.max"), file("cpu.max")];
                ensure!(files == ["67108864", "21", "20000 100000"], "reloaded {reloaded}: {files:?}");
                systemctl(t, &["daemon-reload"])?;
            }
            t.remove()?;
            gone(t, &name)
        }),
        unit("update-refused").needs([Need::CgroupV2Controller("memory")]).steps(|t| {
            let pid = t.resident()?;
            let (name, id) = (scope(t), t.id.clone());
            let dir = group_dir(t, &group_of(pid)?)?;
            t.rt(&["update", "--memory=64m", &id]).run()?.ok()?;
            // The kernel finds out that there is no such CPU.
            t.rt(&["update", "--memory=80m", "--cpuset-cpus=8191", &id]).run()?.exits(1)?.fails()?;
            has(t, &name, "MemoryMax", "67108864")?;
            let max = read_lossy(&dir.join("memory.max"));
            ensure!(max.trim() == "67108864", "memory.max is {max:?}");
            t.remove()?;
            gone(t, &name)
        }),
        unit("pause").steps(|t| {
            let pid = t.resident()?;
            t.verb("pause", &[])?.ok()?;
            t.is("paused")?;
            let dir = group_dir(t, &group_of(pid)?)?;
            ensure!(read_lossy(&dir.join("cgroup.events")).contains("frozen 1"), "not frozen");
            t.verb("resume", &[])?.ok()?;
            t.is("running")?;
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            t.verb("delete", &[])?.ok()?;
            let name = scope(t);
            gone(t, &name)
        }),
    ]
}

/// Resources, the property and its value as shown, the file and its value.
fn properties() -> Vec<Case> {
    let told: [(&str, Value, &str, &str, &str, &str); 11] = [
        (
            "memory-max",
            json!({"memory": {"limit": 64 * MIB}}),
            "MemoryMax",
            "67108864",
            "memory.max",
            "67108864",
        ),
        (
            "memory-low",
            json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}),
            "MemoryLow",
            "33554432",
            "memory.low",
            "33554432",
        ),
        (
            "memory-swap",
            json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}),
            "MemorySwapMax",
            "33554432",
            "memory.swap.max",
            "33554432",
        ),
        (
            "memory-high",
            json!({"unified": {"memory.high": "50331648"}}),
            "MemoryHigh",
            "50331648",
            "memory.high",
            "50331648",
        ),
        (
            "cpu-quota",
            json!({"cpu": {"quota": 50000, "period": 100_000}}),
            "CPUQuotaPerSecUSec",
            "500ms",
            "cpu.max",
            "50000 100000",
        ),
        (
            "cpu-period",
            json!({"cpu": {"quota": 10000, "period": 40000}}),
            "CPUQuotaPeriodUSec",
            "40ms",
            "cpu.max",
            "10000 40000",
        ),
        ("cpu-weight", json!({"unified": {"cpu.weight": "42"}}), "CPUWeight", "42", "cpu.weight", "42"),
        ("cpuset", json!({"cpu": {"cpus": "0-1", "mems": "0"}}), "AllowedCPUs", "0-1", "cpuset.cpus", "0-1"),
        (
            "cpuset-mems",
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            "AllowedMemoryNodes",
            "0",
            "cpuset.mems",
            "0",
        ),
        ("pids", json!({"pids": {"limit": 20}}), "TasksMax", "20", "pids.max", "20"),
        ("pids-unlimited", json!({"pids": {"limit": -1}}), "TasksMax", "infinity", "pids.max", "max"),
    ];
    let mut all: Vec<Case> = told
        .into_iter()
        .map(|(name, resources, property, shown, file, value)| {
            unit(name)
                .needs(file.split('.').next().map(Need::CgroupV2Controller))
                .spec(move |s| base::merge(&mut s["linux"]["resources"], &resources))
                .created(move |t| {
                    let name = scope(t);
                    has(t, &name, property, shown)?;
                    let path = group_dir(t, &format!("/system.slice/{name}"))?.join(file);
                    let got = read_lossy(&path);
                    ensure!(got.trim() == value, "{}: got {got:?}, want {value:?}", path.display());
                    Ok(())
                })
        })
        .collect();
    all.extend([
        unit("io-weight")
            .needs([Need::CgroupV2Controller("io")])
            .spec(|s| s["linux"]["resources"]["blockIO"] = json!({"weight": 500}))
            .created(|t| {
                let name = scope(t);
                let shown = shows(t, &name, "IOWeight")?;
                // The kernel's 1 to 10000 for the specification's 10 to 1000.
                ensure!(matches!(shown.as_str(), "4950" | "4951"), "IOWeight is {shown}");
                Ok(())
            }),
        // What keeps the scope alive until the program is there must not count.
        unit("one-process")
            .needs([Need::CgroupAny("pids")])
            .spec(|s| s["linux"]["resources"]["pids"] = json!({"limit": 1}))
            .created(|t| {
                let name = scope(t);
                let dir = limits_dir(t, "pids")?;
                ensure!(read_lossy(&dir.join("pids.max")).trim() == "1", "pids.max");
                ensure!(read_lossy(&dir.join("pids.current")).trim() == "1", "pids.current");
                has(t, &name, "TasksMax", "1")
            }),
        unit("not-a-property")
            .spec(|s| s["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 0}]))
            .needs([Need::CgroupV2Controller("hugetlb")])
            .created(|t| {
                let dir = group_dir(t, &format!("/system.slice/{}", scope(t)))?;
                ensure!(read_lossy(&dir.join("hugetlb.2MB.max")).trim() == "0", "hugetlb.2MB.max");
                Ok(())
            }),
        // A value that systemd writes in another form stays as the configuration has it.
        unit("reload-keeps-limits")
            .needs([Need::CgroupV2Controller("cpu")])
            .spec(|s| s["linux"]["resources"]["cpu"] = json!({"quota": 10000, "period": 30000}))
            .created(|t| {
                let name = scope(t);
                let dir = group_dir(t, &format!("/system.slice/{name}"))?;
                let before = read_lossy(&dir.join("cpu.max"));
                ensure!(before.trim() == "10000 30000", "cpu.max is {before:?}");
                systemctl(t, &["daemon-reload"])?;
                systemctl(t, &["set-property", "--runtime", &name, "MemoryMax=128M"])?;
                ensure!(read_lossy(&dir.join("memory.max")).trim() == "134217728", "systemd did not write");
                let after = read_lossy(&dir.join("cpu.max"));
                ensure!(matches!(after.trim(), "10000 30000" | "10200 30000"), "cpu.max is {after:?}");
                Ok(())
            }),
    ]);
    all
}

/// Where systemd has the v1 controllers: properties of other names, other files.
fn v1() -> Vec<Case> {
    let held = |t: &mut Trial<'_>, want: [&str; 4]| -> Result<()> {
        let name = scope(t);
        has(t, &name, "MemoryLimit", want[0])?;
        has(t, &name, "TasksMax", want[1])?;
        has(t, &name, "CPUQuotaPerSecUSec", want[2])?;
        for (controller, file, value) in [
            ("memory", "memory.limit_in_bytes", want[0]),
            ("pids", "pids.max", want[1]),
            ("cpu", "cpu.cfs_quota_us", want[3]),
        ] {
            let got = read_lossy(&limits_dir(t, controller)?.join(file));
            ensure!(got.trim() == value, "{file}: got {got:?}, want {value:?}");
        }
        Ok(())
    };
    let case = |name: &str| {
        unit(name).needs(["memory", "pids", "cpu"].map(Need::V1)).spec(|s| {
            s["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB});
            s["linux"]["resources"]["pids"] = json!({"limit": 20});
            s["linux"]["resources"]["cpu"] = json!({"quota": 50000, "period": 100_000});
        })
    };
    vec![
        case("v1-limits").created(move |t| {
            held(t, ["67108864", "20", "500ms", "50000"])?;
            systemctl(t, &["daemon-reload"])?;
            held(t, ["67108864", "20", "500ms", "50000"])
        }),
        case("v1-update").steps(move |t| {
            t.resident()?;
            let (name, id) = (scope(t), t.id.clone());
            t.rt(&["update", "--memory=80m", "--pids-limit=21", "--cpu-quota=20000", &id]).run()?.ok()?;
            held(t, ["83886080", "21", "200ms", "20000"])?;
            systemctl(t, &["daemon-reload"])?;
            held(t, ["83886080", "21", "200ms", "20000"])?;
            t.remove()?;
            gone(t, &name)
        }),
    ]
}

fn devices() -> Vec<Case> {
    // /dev/kmsg is allowed to be read, /dev/port is not: in a container of the base no other rule knows them.
    let attempt = ["all", "open-dev", "/dev/knk", "r", "--", "open-dev", "/dev/knp", "r"];
    let rules = |t: &mut Trial<'_>| {
        t.spec["linux"]["resources"]["devices"] = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
        ]);
        let node = |path, minor| json!({"path": path, "type": "c", "major": 1, "minor": minor, "fileMode": 438, "uid": 0, "gid": 0});
        t.spec["linux"]["devices"] = json!([node("/dev/knk", 11), node("/dev/knp", 4)]);
        base::capabilities(&mut t.spec, &["CAP_SYS_RAWIO", "CAP_SYSLOG", "CAP_SYS_ADMIN"]);
    };
    vec![
        unit("reload-keeps-devices").checks("peers 7.2: devices survive daemon-reload").steps(move |t| {
            rules(t);
            t.resident()?;
            let name = scope(t);
            let want = "ok 0\nerrno 1 EPERM\n";
            t.exec_probe(&attempt)?.ok()?.prints(want).context("at first")?;
            systemctl(t, &["daemon-reload"])?;
            t.exec_probe(&attempt)?.ok()?.prints(want).context("after daemon-reload")?;
            systemctl(t, &["set-property", "--runtime", &name, "CPUWeight=50"])?;
            t.exec_probe(&attempt)?.ok()?.prints(want).context("after set-property")?;
            t.remove()?;
            Ok(())
        }),
        unit("reexec-keeps-devices").steps(move |t| {
            rules(t);
            t.resident()?;
            let want = "ok 0\nerrno 1 EPERM\n";
            t.exec_probe(&attempt)?.ok()?.prints(want).context("at first")?;
            systemctl(t, &["daemon-reexec"])?;
            t.exec_probe(&attempt)?.ok()?.prints(want).context("after daemon-reexec")?;
            let name = scope(t);
            has(t, &name, "ActiveState", "active")?;
            t.remove()?;
            gone(t, &name)
        }),
    ]
}

fn ends() -> Vec<Case> {
    vec![
        unit("program-ends").steps(|t| {
            for _ in 0..3 {
                t.run()?.ok()?;
                let name = scope(t);
                gone(t, &name)?;
            }
            Ok(())
        }),
        unit("delete-after-the-end").steps(|t| {
            t.create()?;
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            t.is("stopped")?;
            let name = scope(t);
            t.verb("delete", &[])?.ok()?;
            gone(t, &name)?;
            // The name is free at once.
            t.run()?.ok()?;
            Ok(())
        }),
        unit("stopped-by-systemd").steps(|t| {
            let pid = t.resident()?;
            let name = scope(t);
            systemctl(t, &["stop", &name])?;
            t.ended(pid)?;
            t.is("stopped")?;
            t.verb("delete", &[])?.ok()?;
            gone(t, &name)
        }),
        unit("killed-by-systemd").steps(|t| {
            let pid = t.resident()?;
            let name = scope(t);
            systemctl(t, &["kill", "--signal=KILL", &name])?;
            t.ended(pid)?;
            t.verb("delete", &[])?.ok()?;
            gone(t, &name)
        }),
        unit("create-killed").needs([Need::Busybox]).steps(|t| {
            let busybox = t.yard.busybox.clone().context("busybox")?;
            let sign = t.dir.join("sign");
            let script = format!("touch {}; sleep 60", sign.display());
            t.spec["hooks"] = json!({"createRuntime": [{"path": busybox, "args": ["sh", "-c", script]}]});
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let running = t.rt(&["create", "--bundle", &bundle, &id]).spawn()?;
            wait_for(t.seconds(), || Ok(sign.exists().then_some(())))?;
            let name = scope(t);
            has(t, &name, "ActiveState", "active")?;
            os::kill(running.pid() as i32, libc::SIGKILL);
            running.wait()?;
            t.remove()?;
            gone(t, &name)
        }),
        unit("damaged-record").steps(|t| {
            // Where others keep what, and what they do without it, is theirs.
            if !t.runtime.strict {
                return Err(unavailable("damaged-record"));
            }
            let pid = t.resident()?;
            fs::write(t.state_root().join(&t.id).join("state.json"), "{")?;
            t.remove()?;
            t.ended(pid)?;
            let name = scope(t);
            gone(t, &name)
        }),
        unit("hook-fails").needs([Need::Busybox]).steps(|t| {
            let busybox = t.yard.busybox.clone().context("busybox")?;
            t.spec["hooks"] = json!({"createRuntime": [{"path": busybox, "args": ["false"]}]});
            t.try_create()?.fails()?;
            let name = scope(t);
            gone(t, &name)
        }),
    ]
}

fn faults() -> Vec<Case> {
    let path = |text: &'static str| move |s: &mut Value| s["linux"]["cgroupsPath"] = json!(text);
    vec![
        unit("path-of-cgroupfs")
            .checks("catalogue B078")
            .wrong(path("/a/b"))
            .refused("/linux/cgroupsPath", "expected cgroupsPath to be of format"),
        unit("path-four-parts")
            .wrong(path("a.slice:b:c:d"))
            .refused("/linux/cgroupsPath", "expected cgroupsPath"),
        unit("path-no-slice").wrong(path("a:b:c")).refused("/linux/cgroupsPath", "invalid slice name"),
        unit("path-climbs")
            .wrong(path("../a.slice:b:c"))
            .refused("/linux/cgroupsPath", "want a path without"),
        unit("path-bad-unit")
            .wrong(path("system.slice:b:c/d"))
            .refused("/linux/cgroupsPath", "not the name of a unit"),
        // A unit of that name that lives is somebody else's and stays as it is.
        unit("unit-is-taken").steps(|t| {
            let name = scope(t);
            let option = format!("--unit={name}");
            let args = ["--scope", &option, "sleep", "100"].map(String::from);
            let other = t.command(Path::new("systemd-run"), &args).spawn()?;
            wait_for(t.seconds(), || Ok((shows(t, &name, "ActiveState")? == "active").then_some(())))?;
            t.try_create()?.fails()?;
            t.verb("state", &[])?.fails()?;
            has(t, &name, "ActiveState", "active")?;
            t.rt(&["delete", "--force", &t.id.clone()]).run()?;
            has(t, &name, "ActiveState", "active").context("after delete --force")?;
            systemctl(t, &["stop", &name])?;
            drop(other);
            forgotten(t, &name)
        }),
        unit("bus-absent").steps(|t| {
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let nowhere = t
                .rt(&["run", "--bundle", &bundle, &id])
                .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/no/such/bus");
            let out = nowhere.run()?.fails()?;
            if t.runtime.strict {
                out.says("over the system bus")?;
            }
            ensure!(t.verb("state", &[])?.code != Some(0), "a container is left");
            Ok(())
        }),
        unit("bus-silent").seconds(60).steps(|t| {
            // Others wait for ever; that is known, and not worth this lane's time.
            if !t.runtime.strict {
                return Err(unavailable("deadline"));
            }
            t.write_config()?;
            let socket = t.dir.join("bus");
            let _listener = UnixListener::bind(&socket)?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let address = format!("unix:path={}", socket.display());
            let out = t
                .rt(&["run", "--bundle", &bundle, &id])
                .env("DBUS_SYSTEM_BUS_ADDRESS", &address)
                .run()?
                .fails()?;
            if t.runtime.strict {
                out.says("gave up after")?.says("over the system bus")?;
            }
            Ok(())
        }),
    ]
}

/// The ordinary user of the guest.
const USER: u32 = 1000;

/// A container of an ordinary user, by the systemd of its session. With `inside` the runtime itself is started in that
/// session, as rootless engines do; else in a group of somebody else's, from where processes cannot be moved freely.
fn users() -> Vec<Case> {
    let story = |inside: bool| {
        move |t: &mut Trial<'_>| -> Result<()> {
            // Mounts that are made from now on are not seen here, so the session must be there already.
            if !Path::new(&format!("/run/user/{USER}/bus")).exists() {
                return Err(unavailable("user-session"));
            }
            for dir in [t.yard.dir.clone(), t.dir.clone(), t.dir.join("out"), t.bundle.clone(), t.rootfs()] {
                std::os::unix::fs::chown(&dir, Some(USER), Some(USER))?;
            }
            base::namespace(&mut t.spec, "user", None);
            base::no_namespace(&mut t.spec, "network");
            let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
            t.spec["linux"]["uidMappings"] = map.clone();
            t.spec["linux"]["gidMappings"] = map;
            let keep = |m: &&Value| !matches!(m["type"].as_str(), Some("sysfs" | "mqueue"));
            let mounts: Vec<Value> =
                t.spec["mounts"].as_array().context("mounts")?.iter().filter(keep).cloned().collect();
            t.spec["mounts"] = json!(mounts);
            let pts =
                t.spec["mounts"].as_array_mut().context("mounts")?.iter_mut().find(|m| m["type"] == "devpts");
            pts.context("devpts")?["options"] = json!(["newinstance", "ptmxmode=0666", "mode=0620"]);
            t.spec["linux"]["resources"] = json!({"memory": {"limit": 64 * MIB}});
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.spec["linux"]["cgroupsPath"] = json!(format!("user.slice:case:{}", t.id));
            t.write_config()?;
            let name = scope(t);
            let home = format!("/user.slice/user-{USER}.slice/user@{USER}.service");
            let group = format!("{home}/user.slice/{name}");
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            as_user(t, inside, &["run", "--detach", "--bundle", &bundle, &id])?;
            let dir = group_dir(t, &group)?;
            let procs = read_lossy(&dir.join("cgroup.procs"));
            ensure!(procs.lines().count() == 1, "in {group} are {procs:?}, want one process");
            ensure!(read_lossy(&dir.join("memory.max")).trim() == "67108864", "memory.max");
            as_user(t, inside, &["exec", &id, PROBE, "true"])?;
            as_user(t, inside, &["kill", &id, "KILL"])?;
            let pid: i32 = procs.trim().parse()?;
            t.ended(pid)?;
            as_user(t, inside, &["delete", &id])?;
            ensure!(!dir.exists(), "{group} is left");
            Ok(())
        }
    };
    vec![
        unit("user-session")
            .checks("peers 2.8: rootless session bus")
            .needs([Need::Userns, Need::CgroupV2Controller("memory")])
            .steps(story(true)),
        unit("user-from-outside")
            .checks("peers 2.8: rootless session bus")
            .needs([Need::Userns, Need::CgroupV2Controller("memory")])
            .steps(story(false)),
    ]
}

/// The runtime as the ordinary user.
fn as_user(t: &mut Trial<'_>, inside: bool, args: &[&str]) -> Result<()> {
    let run = format!("/run/user/{USER}");
    let mut line: Vec<String> = Vec::new();
    if inside {
        line.extend(["systemd-run", "--user", "--scope", "--quiet"].map(String::from));
    }
    line.push(t.runtime.path.display().to_string());
    line.extend(["--root".into(), t.state_root().display().to_string(), "--systemd-cgroup".into()]);
    line.extend(args.iter().map(|a| a.to_string()));
    let program = PathBuf::from(line.remove(0));
    let command = t.command(&program, &line).env("XDG_RUNTIME_DIR", &run);
    let command = command.env("DBUS_SESSION_BUS_ADDRESS", &format!("unix:path={run}/bus"));
    let out = command
        .adjust(|c| {
            c.uid(USER).gid(USER);
        })
        .run()?;
    match out.code {
        Some(0) => Ok(()),
        code => bail!("exit {code:?} as user {USER}: {}", out.stderr.trim()),
    }
}
