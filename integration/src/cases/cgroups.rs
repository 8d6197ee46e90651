//! Limits, read back from the host's own files in whatever layout it has, and felt from inside.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::host::Need;
use crate::run::unavailable;
use crate::trial::{Trial, wait_for};

mod disabled;
mod fields;
mod library;

const MIB: i64 = 1 << 20;

/// One limit: where it is set in the spec, and what the host's files must say.
struct Limit {
    name: &'static str,
    controller: &'static str,
    /// Value of `linux.resources`, beside the device rules.
    resources: Value,
    /// File and value under v1 and v2; an empty file name is not looked at.
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
}

fn limits() -> Vec<Limit> {
    let l = |name, controller, resources, v1, v2| Limit { name, controller, resources, v1, v2 };
    vec![
        l(
            "memory-limit",
            "memory",
            json!({"memory": {"limit": 64 * MIB}}),
            ("memory.limit_in_bytes", "67108864"),
            ("memory.max", "67108864"),
        ),
        l("memory-unlimited", "memory", json!({"memory": {"limit": -1}}), ("", ""), ("memory.max", "max")),
        l(
            "memory-reservation",
            "memory",
            json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}),
            ("memory.soft_limit_in_bytes", "33554432"),
            ("memory.low", "33554432"),
        ),
        l(
            "cpu-quota",
            "cpu",
            json!({"cpu": {"quota": 50000, "period": 100000}}),
            ("cpu.cfs_quota_us", "50000"),
            ("cpu.max", "50000 100000"),
        ),
        l(
            "cpu-period",
            "cpu",
            json!({"cpu": {"quota": 20000, "period": 50000}}),
            ("cpu.cfs_period_us", "50000"),
            ("cpu.max", "20000 50000"),
        ),
        l(
            "cpu-quota-unlimited",
            "cpu",
            json!({"cpu": {"quota": -1, "period": 100000}}),
            ("cpu.cfs_quota_us", "-1"),
            ("cpu.max", "max 100000"),
        ),
        l("cpu-shares", "cpu", json!({"cpu": {"shares": 512}}), ("cpu.shares", "512"), ("", "")),
        l(
            "cpu-burst",
            "cpu",
            json!({"cpu": {"quota": 50000, "period": 100000, "burst": 20000}}),
            ("cpu.cfs_burst_us", "20000"),
            ("cpu.max.burst", "20000"),
        ),
        l("cpu-idle", "cpu", json!({"cpu": {"idle": 1}}), ("cpu.idle", "1"), ("cpu.idle", "1")),
        l("cpuset-cpus", "cpuset", json!({"cpu": {"cpus": "0"}}), ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
        l(
            "cpuset-mems",
            "cpuset",
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            ("cpuset.mems", "0"),
            ("cpuset.mems", "0"),
        ),
        l("pids-limit", "pids", json!({"pids": {"limit": 10}}), ("pids.max", "10"), ("pids.max", "10")),
        l("pids-unlimited", "pids", json!({"pids": {"limit": -1}}), ("pids.max", "max"), ("pids.max", "max")),
        // The base config is of version 1.0.2; see the text of config-linux.md before 1.3.
        l("pids-zero", "pids", json!({"pids": {"limit": 0}}), ("pids.max", "max"), ("pids.max", "max")),
        l(
            "hugetlb",
            "hugetlb",
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}),
            ("hugetlb.2MB.limit_in_bytes", "4194304"),
            ("hugetlb.2MB.max", "4194304"),
        ),
        l(
            "hugetlb-two-sizes",
            "hugetlb",
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MIB}, {"pageSize": "1GB", "limit": 0}]}),
            ("hugetlb.2MB.limit_in_bytes", "2097152"),
            ("hugetlb.2MB.max", "2097152"),
        ),
    ]
}

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = limits()
        .into_iter()
        .map(|l| {
            let Limit { name, controller, resources, v1, v2 } = l;
            case(format!("cgroup.{name}"))
                .checks(format!("config-linux.md#control-groups {controller}"))
                .needs([Need::CgroupAny(controller)])
                .spec(move |s| add(s, &resources))
                .created(move |t| t.cgroup(controller)?.holds(v1, v2))
        })
        .collect();
    all.extend(special());
    all.extend(only_v2());
    all.extend(only_v1());
    all.extend(enforced());
    all.extend(places());
    all.extend(disabled::cases());
    all.extend(fields::cases());
    all.extend(library::cases());
    all
}

/// Adds resources beside the device rules of the base.
fn add(spec: &mut Value, resources: &Value) {
    for (key, value) in resources.as_object().into_iter().flatten() {
        spec["linux"]["resources"][key] = value.clone();
    }
}

fn resources(value: Value) -> impl Fn(&mut Value) + 'static {
    move |s| add(s, &value)
}

fn special() -> Vec<Case> {
    let swap = Need::CgroupFile("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    vec![
        case("cgroup.memory-swap")
            .checks("config-linux.md#memory swap")
            .needs([Need::CgroupAny("memory"), swap])
            .spec(resources(json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}})))
            .created(|t| {
                t.cgroup("memory")?
                    .holds(("memory.memsw.limit_in_bytes", "100663296"), ("memory.swap.max", "33554432"))
            }),
        case("cgroup.memory-no-swap")
            .checks("config-linux.md#memory swap")
            .needs([Need::CgroupAny("memory"), swap])
            .spec(resources(json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})))
            .created(|t| {
                t.cgroup("memory")?
                    .holds(("memory.memsw.limit_in_bytes", "67108864"), ("memory.swap.max", "0"))
            }),
        // The same share of the processor; both published formulas give an accepted weight.
        case("cgroup.cpu-weight")
            .checks("config-linux.md#cpu shares")
            .needs([Need::CgroupV2Controller("cpu")])
            .spec(resources(json!({"cpu": {"shares": 512}})))
            .created(|t| {
                let weight = t.cgroup("cpu")?.read("cpu.weight")?;
                ensure!(matches!(weight.as_str(), "20" | "59"), "cpu.weight is {weight}");
                Ok(())
            }),
        case("cgroup.io-throttle")
            .checks("config-linux.md#block-io")
            .prepare(|t| {
                let (major, minor) = disk()?;
                let entry = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
                add(
                    &mut t.spec,
                    &json!({"blockIO": {
                "throttleReadBpsDevice": entry(1_048_576), "throttleWriteBpsDevice": entry(2_097_152),
                "throttleReadIOPSDevice": entry(100), "throttleWriteIOPSDevice": entry(200)}}),
                );
                Ok(())
            })
            .created(|t| {
                let (major, minor) = disk()?;
                let dev = format!("{major}:{minor}");
                if t.yard.host.v1.contains_key("blkio") {
                    let g = t.cgroup("blkio")?;
                    for (file, want) in [
                        ("read_bps", 1_048_576),
                        ("write_bps", 2_097_152),
                        ("read_iops", 100),
                        ("write_iops", 200),
                    ] {
                        let got = g.read(&format!("blkio.throttle.{file}_device"))?;
                        ensure!(got == format!("{dev} {want}"), "{file}: {got:?}");
                    }
                    return Ok(());
                }
                let got = t.cgroup("io")?.read("io.max")?;
                ensure!(got == format!("{dev} rbps=1048576 wbps=2097152 riops=100 wiops=200"), "{got:?}");
                Ok(())
            })
            .needs([Need::Disk]),
        case("cgroup.io-weight")
            .checks("config-linux.md#block-io weight")
            .spec(resources(json!({"blockIO": {"weight": 500}})))
            .needs([Need::CgroupFile("blkio", "blkio.bfq.weight", "io.bfq.weight")])
            .created(|t| {
                let g = t.cgroup("blkio").or_else(|_| t.cgroup("io"))?;
                g.holds(("blkio.bfq.weight", "500"), ("io.bfq.weight", "default 500"))
            }),
        case("cgroup.several-at-once")
            .checks("config-linux.md#control-groups")
            .needs([Need::CgroupAny("memory"), Need::CgroupAny("pids"), Need::CgroupAny("cpu")])
            .spec(resources(json!({
                "memory": {"limit": 48 * MIB}, "pids": {"limit": 33}, "cpu": {"quota": 30000, "period": 60000}
            })))
            .created(|t| {
                t.cgroup("memory")?
                    .holds(("memory.limit_in_bytes", "50331648"), ("memory.max", "50331648"))?;
                t.cgroup("pids")?.holds(("pids.max", "33"), ("pids.max", "33"))?;
                t.cgroup("cpu")?.holds(("cpu.cfs_quota_us", "30000"), ("cpu.max", "30000 60000"))
            }),
    ]
}

/// A whole disk of this machine as major:minor.
pub fn disk() -> Result<(u64, u64)> {
    for entry in std::fs::read_dir("/sys/block")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path().join("dev")).unwrap_or_default();
        if let Some((a, b)) = text.trim().split_once(':')
            && !name.starts_with("ram")
            && entry.path().join("queue").exists()
        {
            return Ok((a.parse()?, b.parse()?));
        }
    }
    bail!("no disk")
}

fn only_v2() -> Vec<Case> {
    let unified = "config-linux.md#unified";
    vec![
        case("cgroup.unified-memory-high")
            .checks(unified)
            .needs([Need::CgroupV2Controller("memory")])
            .spec(resources(json!({"unified": {"memory.high": "33554432", "memory.min": "4194304"}})))
            .created(|t| {
                t.cgroup("memory")?.holds(("", ""), ("memory.high", "33554432"))?;
                t.cgroup("memory")?.holds(("", ""), ("memory.min", "4194304"))
            }),
        case("cgroup.unified-beats-fields")
            .checks(unified)
            .needs([Need::CgroupV2Controller("memory")])
            .spec(resources(json!({"memory": {"limit": 64 * MIB}, "unified": {"memory.max": "83886080"}})))
            .created(|t| t.cgroup("memory")?.holds(("", ""), ("memory.max", "83886080"))),
        case("cgroup.unified-pids")
            .checks(unified)
            .needs([Need::CgroupV2Controller("pids")])
            .spec(resources(json!({"unified": {"pids.max": "77"}})))
            .created(|t| t.cgroup("pids")?.holds(("", ""), ("pids.max", "77"))),
        case("cgroup.unified-hugetlb")
            .checks(unified)
            .needs([Need::CgroupV2Controller("hugetlb")])
            .spec(resources(json!({"unified": {"hugetlb.2MB.max": "6291456"}})))
            .created(|t| t.cgroup("hugetlb")?.holds(("", ""), ("hugetlb.2MB.max", "6291456"))),
        case("cgroup.rdma")
            .checks("config-linux.md#rdma")
            .needs([Need::CgroupV2Controller("rdma"), Need::Rdma])
            .spec(resources(json!({"rdma": {"mlx5_0": {"hcaHandles": 3}}})))
            .created(|t| {
                let got = t.cgroup("rdma")?.read("rdma.max")?;
                ensure!(got.contains("hca_handle=3"), "{got}");
                Ok(())
            }),
        case("cgroup.v2-tracks-init")
            .checks("DESIGN: the v2 tree tracks processes")
            .needs([Need::CgroupV2])
            .running(|t| {
                let pid = t.pid()?;
                let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
                let line = text.lines().find(|l| l.starts_with("0::")).context("no v2 line")?;
                let want = t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string();
                ensure!(line == format!("0::{want}"), "{line}, want {want}");
                Ok(())
            })
            .probe(["trap", "TERM"]),
        case("cgroup.v2-freeze-file")
            .checks("cli: pause")
            .needs([Need::CgroupV2, Need::NoV1("freezer")])
            .steps(|t| {
                t.resident()?;
                t.verb("pause", &[])?.ok()?;
                let top = t.yard.host.v2.clone().context("v2")?;
                let path =
                    t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/').to_string();
                let got = std::fs::read_to_string(top.join(path).join("cgroup.freeze"))?;
                ensure!(got.trim() == "1", "cgroup.freeze is {got:?}");
                Ok(())
            }),
    ]
}

fn only_v1() -> Vec<Case> {
    vec![
        case("cgroup.v1-swappiness")
            .checks("config-linux.md#memory swappiness")
            .needs([Need::V1("memory")])
            .spec(resources(json!({"memory": {"swappiness": 10}})))
            .created(|t| t.cgroup("memory")?.holds(("memory.swappiness", "10"), ("", ""))),
        case("cgroup.v1-disable-oom-killer")
            .checks("config-linux.md#memory disableOOMKiller")
            .needs([Need::V1("memory")])
            .spec(resources(json!({"memory": {"limit": 64 * MIB, "disableOOMKiller": true}})))
            .created(|t| {
                let got = t.cgroup("memory")?.read("memory.oom_control")?;
                ensure!(got.contains("oom_kill_disable 1"), "{got}");
                Ok(())
            }),
        case("cgroup.v1-every-controller")
            .checks("runtime-linux.md cgroups")
            .needs([Need::Hybrid])
            .probe(["trap", "TERM"])
            .running(|t| {
                let pid = t.pid()?;
                let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
                let want = t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string();
                for controller in t.yard.host.v1.keys().filter(|c| !c.contains('=')) {
                    let line = text
                        .lines()
                        .find(|l| l.split(':').nth(1).is_some_and(|c| c.split(',').any(|c| c == controller)));
                    let line = line.with_context(|| format!("no line for {controller}"))?;
                    ensure!(line.ends_with(&format!(":{want}")), "{line}, want {want}");
                }
                Ok(())
            }),
        case("cgroup.v1-crosscheck")
            .checks("an independent reader agrees")
            .needs([Need::V1("memory"), Need::V1("pids"), Need::V1("cpu")])
            .spec(resources(json!({
                "memory": {"limit": 48 * MIB}, "pids": {"limit": 33}, "cpu": {"shares": 300}
            })))
            .probe(["trap", "TERM"])
            .running(|t| {
                // procfs reads the membership, the files are found from that and not from our configuration.
                let pid = t.pid()?;
                let process = procfs::process::Process::new(pid)?;
                for group in process.cgroups()?.0 {
                    for (controller, file, want) in [
                        ("memory", "memory.limit_in_bytes", "50331648"),
                        ("pids", "pids.max", "33"),
                        ("cpu", "cpu.shares", "300"),
                    ] {
                        if group.controllers.iter().any(|c| c == controller) {
                            let top = t.yard.host.v1.get(controller).context("mount")?;
                            let got = std::fs::read_to_string(
                                top.join(group.pathname.trim_start_matches('/')).join(file),
                            )?;
                            ensure!(got.trim() == want, "{file} is {got:?}, want {want}");
                        }
                    }
                }
                Ok(())
            }),
    ]
}

fn enforced() -> Vec<Case> {
    vec![
        case("cgroup.pids-enforced")
            .checks("config-linux.md#pids")
            .needs([Need::CgroupAny("pids")])
            .spec(resources(json!({"pids": {"limit": 10}})))
            .probe(["fork", "30"])
            .output(|o| {
                ensure!(o.starts_with("forked ") && o.contains(" of 30 errno 11 EAGAIN"), "{o}");
                let n: u32 = o.split(' ').nth(1).context("number")?.parse()?;
                ensure!((5..10).contains(&n), "{n} forks under a limit of 10");
                Ok(())
            }),
        case("cgroup.memory-enforced")
            .checks("config-linux.md#memory")
            .needs([Need::CgroupAny("memory")])
            .spec(resources(json!({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}})))
            .prepare(without_swap)
            .probe(["mem", "100"])
            .exit(137)
            .output(|o| {
                let last: u32 = o
                    .lines()
                    .last()
                    .and_then(|l| l.split(' ').next())
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(0);
                ensure!((10..=32).contains(&last), "it got {last} MiB under a limit of 32");
                Ok(())
            }),
        case("cgroup.memory-within-limit")
            .checks("config-linux.md#memory")
            .needs([Need::CgroupAny("memory")])
            .spec(resources(json!({"memory": {"limit": 64 * MIB}})))
            .probe(["mem", "20"])
            .stdout_has("20 MiB\n"),
        case("cgroup.oom-is-counted")
            .checks("config-linux.md#memory")
            .needs([Need::CgroupAny("memory")])
            .spec(resources(json!({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}})))
            .prepare(without_swap)
            .probe(["mem", "100"])
            .steps(|t| {
                t.create()?;
                let pid = t.pid()?;
                t.start()?;
                let code = t.ended(pid)?;
                ensure!(code == 137, "it ended with {code}");
                let g = t.cgroup("memory")?;
                let text = g.read(if g.v2 { "memory.events" } else { "memory.oom_control" })?;
                let line = text.lines().find_map(|l| l.strip_prefix("oom_kill ")).context("no oom_kill")?;
                ensure!(line.parse::<u32>()? >= 1, "{text}");
                t.is("stopped")
            }),
        case("cgroup.cpuset-enforced")
            .checks("config-linux.md#cpu cpus")
            .needs([Need::CgroupAny("cpuset"), Need::TwoCpus])
            .spec(resources(json!({"cpu": {"cpus": "1"}})))
            .probe(["affinity"])
            .stdout("1\n"),
        case("cgroup.cpu-quota-felt")
            .checks("config-linux.md#cpu quota")
            .needs([Need::CgroupAny("cpu")])
            .spec(resources(json!({"cpu": {"quota": 5000, "period": 100000}})))
            .sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done")
            .steps(|t| {
                t.create()?;
                let pid = t.pid()?;
                t.start()?;
                t.ended(pid)?;
                let text = t.cgroup("cpu")?.read("cpu.stat")?;
                let line =
                    text.lines().find_map(|l| l.strip_prefix("nr_throttled ")).context("no nr_throttled")?;
                ensure!(line.parse::<u32>()? >= 1, "never throttled: {text}");
                Ok(())
            }),
        case("cgroup.exec-is-inside").checks("cli: exec joins the container's cgroup").steps(|t| {
            let pid = t.resident()?;
            t.exec_flags =
                vec!["--detach".into(), "--pid-file".into(), t.dir.join("p").display().to_string()];
            t.exec_probe(&["trap", "TERM"])?.ok()?;
            let other = std::fs::read_to_string(t.dir.join("p"))?;
            let read = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
            let (a, b) = (read(&pid.to_string())?, read(&other)?);
            ensure!(a == b, "init: {a}; exec: {b}");
            Ok(())
        }),
        case("cgroup.tiny-memory")
            .checks("config-linux.md#memory")
            .needs([Need::CgroupAny("memory")])
            .spec(resources(json!({"memory": {"limit": 8 * MIB}})))
            .probe(["echo", "small"])
            .stdout("small\n"),
    ]
}

/// Where swap accounting is off, the swap limit cannot be asked for.
fn without_swap(t: &mut Trial<'_>) -> Result<()> {
    let (top, v2) = t.yard.host.controller("memory").context("memory")?;
    let file = if v2 { "cgroup.controllers" } else { "memory.memsw.limit_in_bytes" };
    if !top.join(file).exists() {
        t.spec["linux"]["resources"]["memory"].as_object_mut().map(|m| m.remove("swap"));
    }
    Ok(())
}

fn places() -> Vec<Case> {
    vec![
        case("cgroup.path-absolute").checks("config-linux.md#cgroups-path").created(|t| {
            let host = &t.yard.host;
            let path =
                t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/').to_string();
            ensure!(host.hierarchies().iter().any(|h| h.join(&path).exists()), "no group at {path}");
            Ok(())
        }),
        case("cgroup.path-relative")
            .checks("config-linux.md#cgroups-path")
            .prepare(|t| {
                let path =
                    t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/').to_string();
                t.spec["linux"]["cgroupsPath"] = path.into();
                Ok(())
            })
            .created(|t| {
                let pid = t.pid()?;
                let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
                let path = t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string();
                ensure!(text.contains(&path), "{text}");
                Ok(())
            }),
        case("cgroup.path-none")
            .checks("config-linux.md#cgroups-path")
            .prepare(|t| {
                t.spec["linux"].as_object_mut().map(|l| l.remove("cgroupsPath"));
                Ok(())
            })
            .steps(|t| {
                t.resident()?;
                let pid = t.pid()?;
                let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
                ensure!(text.contains(&t.id), "the default path does not name the container: {text}");
                t.remove()?;
                for h in t.yard.host.hierarchies() {
                    ensure!(!h.join(&t.id).exists(), "{} is left", h.join(&t.id).display());
                }
                Ok(())
            }),
        case("cgroup.path-deep")
            .checks("config-linux.md#cgroups-path")
            .prepare(|t| {
                let path = format!("{}/a/b/c", t.spec["linux"]["cgroupsPath"].as_str().unwrap_or(""));
                t.spec["linux"]["cgroupsPath"] = path.into();
                Ok(())
            })
            .steps(|t| {
                t.resident()?;
                t.remove()?;
                // Parents made on the way are the caller's to remove, as with every peer.
                for dir in crate::oracle::cgroups(t.yard) {
                    ensure!(!dir.ends_with("c"), "{} is left", dir.display());
                    std::fs::remove_dir(&dir)?;
                }
                Ok(())
            }),
        case("cgroup.shared-path-refused").checks("cli: container's cgroup is not empty").steps(|t| {
            t.resident()?;
            let path = t.spec["linux"]["cgroupsPath"].clone();
            let twin = t.twin("b", |s| s["linux"]["cgroupsPath"] = path)?;
            t.rt(&["create", "--bundle", &twin.bundle, &twin.id])
                .run()?
                .fails()?
                .says("container's cgroup is not empty")?;
            t.is("running")
        }),
        case("cgroup.escape-stays-inside").checks("catalogue S34").steps(|t| {
            t.works()?;
            let ours = format!("/{}", t.yard.cgroup);
            // Every group that the runtime has chosen, as the kernel tells it.
            let strays = |t: &mut Trial<'_>| -> Result<Vec<String>> {
                let (pid, me) = (t.pid()?, std::fs::read_to_string("/proc/self/cgroup")?);
                let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
                let path = |l: &str| l.splitn(3, ':').nth(2).unwrap_or_default().to_string();
                let moved = text.lines().filter(|l| !me.lines().any(|m| m == *l));
                let below = |p: &String| p.strip_prefix(&ours).is_some_and(|r| r.starts_with('/'));
                Ok(moved.map(path).filter(|p| !below(p) || p.contains("..")).collect())
            };
            let clear = |t: &mut Trial<'_>| -> Result<()> {
                t.remove()?;
                crate::oracle::cgroups(t.yard).iter().try_for_each(|dir| Ok(std::fs::remove_dir(dir)?))
            };
            // The twin is inside; the control, beside our groups, is not.
            t.create()?;
            let found = strays(t)?;
            ensure!(found.is_empty(), "an ordinary path leads to {found:?}");
            clear(t)?;
            let away = format!("{ours}-away");
            t.spec["linux"]["cgroupsPath"] = away.clone().into();
            t.create()?;
            let found = strays(t)?;
            ensure!(found.contains(&away), "the control: {away} is not found: {found:?}");
            clear(t)?;
            for top in t.yard.host.hierarchies() {
                let _ = std::fs::remove_dir(top.join(away.trim_start_matches('/')));
            }
            // Refused or cleaned; never above the mount point.
            t.spec["linux"]["cgroupsPath"] = format!("{ours}/x/../../..{ours}/1").into();
            let out = t.try_create()?;
            if out.code == Some(0) {
                let found = strays(t)?;
                ensure!(found.is_empty(), "the container is in {found:?}");
                return clear(t);
            }
            let out = out.fails()?;
            if t.runtime.strict {
                out.says("/linux/cgroupsPath")?;
            }
            Ok(())
        }),
        case("cgroup.leftover-children-removed")
            .checks("cli: delete removes the whole group")
            .needs([Need::CgroupAny("pids")])
            .steps(|t| {
                t.resident()?;
                let dir = t.cgroup("pids")?.dir;
                std::fs::create_dir_all(dir.join("inner/deeper"))?;
                t.remove()?;
                wait_for(2, || Ok((!dir.exists()).then_some(()))).context("the group is left")?;
                Ok(())
            }),
        case("cgroup.used-again")
            .checks("config-linux.md#cgroups-path: a directory that is there already")
            .needs([Need::CgroupV2, Need::Kernel(5, 14)])
            .steps(|t| {
                // Recent kernels kill what is cloned into a group in which cgroup.kill was used an odd number of times.
                let path = t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").trim_start_matches('/');
                let dir = t.yard.host.v2.clone().context("cgroup2")?.join(path);
                std::fs::create_dir_all(&dir)?;
                std::fs::write(dir.join("cgroup.kill"), "1")?;
                t.resident()?;
                t.exec_probe(&["true"])?.ok()?;
                t.remove()?;
                // Where the runtime did not make it, it may have left it.
                std::fs::remove_dir(&dir).ok();
                Ok(())
            }),
        case("cgroup.own-view")
            .checks("config-linux.md#cgroups")
            .needs([Need::Busybox])
            .spec(|s| {
                crate::base::namespace(s, "cgroup", None);
                crate::base::add_mount(s, "/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
                add(s, &json!({"pids": {"limit": 44}}));
                s["process"]["args"] = json!([PROBE, "cat", "/sys/fs/cgroup/pids/pids.max"]);
            })
            .needs([Need::V1("pids")])
            .stdout("44\n"),
        case("cgroup.own-view-v2")
            .checks("config-linux.md#cgroups")
            .needs([Need::CgroupV2Controller("pids")])
            .spec(|s| {
                crate::base::namespace(s, "cgroup", None);
                crate::base::add_mount(s, "/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
                add(s, &json!({"pids": {"limit": 44}}));
                s["process"]["args"] = json!([PROBE, "cat", "/sys/fs/cgroup/pids.max"]);
            })
            .stdout("44\n"),
        case("cgroup.missing-controller-is-said")
            .checks("catalogue B084; DESIGN: a limit that cannot be applied is an error")
            .steps(|t| {
                let Some(gone) =
                    ["memory", "pids", "cpu"].into_iter().find(|c| t.yard.host.controller(c).is_none())
                else {
                    return Err(unavailable("missing-controller"));
                };
                add(
                    &mut t.spec,
                    &match gone {
                        "memory" => json!({"memory": {"limit": 64 * MIB}}),
                        "pids" => json!({"pids": {"limit": 10}}),
                        _ => json!({"cpu": {"quota": 50000, "period": 100000}}),
                    },
                );
                t.run()?.fails()?.says(gone)?;
                Ok(())
            }),
    ]
}
