//! `update`: every option and the document, read back from the host's own files; what depends on what, what stays, what
//! is saved, and that a refused value changes nothing.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::{Out, Trial};

const MIB: i64 = 1 << 20;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = options();
    all.extend(documents());
    all.extend(relations());
    all.extend(kept());
    all.extend(refusals());
    all
}

fn update(t: &mut Trial<'_>, options: &[&str]) -> Result<Out> {
    let id = t.id.clone();
    let mut all = vec!["update"];
    all.extend(options);
    all.push(&id);
    t.rt(&all).run()
}

/// `update --resources -`.
fn feed(t: &mut Trial<'_>, document: &Value) -> Result<Out> {
    let id = t.id.clone();
    t.rt(&["update", "--resources=-", &id]).stdin(&document.to_string())?.run()
}

/// A value of the host: controller, file and content under v1, and under v2.
type Holds = (&'static str, (&'static str, &'static str), (&'static str, &'static str));

fn holds(t: &Trial<'_>, list: &[Holds]) -> Result<()> {
    list.iter().try_for_each(|(controller, v1, v2)| t.cgroup(controller)?.holds(*v1, *v2))
}

/// One option and what it must write; before it, the values of `limited`.
struct Step {
    name: &'static str,
    options: &'static [&'static str],
    /// File that decides whether this can be had here (v1, v2), beside the controller.
    file: Option<(&'static str, &'static str)>,
    want: Holds,
}

/// The limits every case begins with.
fn limited(s: &mut Value) {
    s["linux"]["resources"]["memory"] = json!({"limit": 32 * MIB, "reservation": 24 * MIB});
    s["linux"]["resources"]["cpu"] = json!({"shares": 100, "quota": 50000, "period": 100000});
    s["linux"]["resources"]["pids"] = json!({"limit": 20});
}

fn steps() -> Vec<Step> {
    let memory = |name, options, v1, v2| Step {
        name,
        options,
        file: None,
        want: ("memory", ("memory.limit_in_bytes", v1), ("memory.max", v2)),
    };
    let cpu = |name, options, v1, v2| Step { name, options, file: None, want: ("cpu", v1, v2) };
    let pids = |name, options, want| Step {
        name,
        options,
        file: None,
        want: ("pids", ("pids.max", want), ("pids.max", want)),
    };
    vec![
        memory("memory", &["--memory", "67108864"], "67108864", "67108864"),
        memory("memory-unit", &["--memory", "50M"], "52428800", "52428800"),
        memory("memory-fraction", &["--memory=0.5g"], "536870912", "536870912"),
        memory("memory-unlimited", &["--memory", "-1"], "9223372036854771712", "max"),
        Step {
            name: "memory-reservation",
            options: &["--memory-reservation", "33554432"],
            file: None,
            want: ("memory", ("memory.soft_limit_in_bytes", "33554432"), ("memory.low", "33554432")),
        },
        Step {
            name: "memory-swap",
            options: &["--memory", "50m", "--memory-swap", "92m"],
            file: Some(("memory.memsw.limit_in_bytes", "memory.swap.max")),
            want: ("memory", ("memory.memsw.limit_in_bytes", "96468992"), ("memory.swap.max", "44040192")),
        },
        cpu(
            "cpu-quota",
            &["--cpu-quota", "60000"],
            ("cpu.cfs_quota_us", "60000"),
            ("cpu.max", "60000 100000"),
        ),
        cpu(
            "cpu-quota-unlimited",
            &["--cpu-quota", "-1"],
            ("cpu.cfs_quota_us", "-1"),
            ("cpu.max", "max 100000"),
        ),
        cpu(
            "cpu-period",
            &["--cpu-period", "90000"],
            ("cpu.cfs_period_us", "90000"),
            ("cpu.max", "50000 90000"),
        ),
        cpu("cpu-share", &["--cpu-share", "200"], ("cpu.shares", "200"), ("cpu.weight", "29")),
        Step {
            name: "cpu-burst",
            options: &["--cpu-burst", "10000"],
            file: Some(("cpu.cfs_burst_us", "cpu.max.burst")),
            want: ("cpu", ("cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000")),
        },
        Step {
            name: "cpu-idle",
            options: &["--cpu-idle", "1"],
            file: Some(("cpu.idle", "cpu.idle")),
            want: ("cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
        },
        Step {
            name: "cpuset-cpus",
            options: &["--cpuset-cpus", "0"],
            file: None,
            want: ("cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
        },
        Step {
            name: "cpuset-mems",
            options: &["--cpuset-mems", "0"],
            file: None,
            want: ("cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
        },
        pids("pids-limit", &["--pids-limit", "10"], "10"),
        pids("pids-unlimited", &["--pids-limit", "-1"], "max"),
    ]
}

fn options() -> Vec<Case> {
    let one = |s: Step| {
        let (controller, v1, v2) = s.want;
        let mut needs = vec![Need::CgroupAny("memory"), Need::CgroupAny("cpu"), Need::CgroupAny("pids")];
        needs.push(Need::CgroupAny(controller));
        needs.extend(s.file.map(|(v1, v2)| Need::CgroupFile(controller, v1, v2)));
        case(format!("update.{}", s.name)).checks("cli: update").needs(needs).spec(limited).steps(move |t| {
            t.resident()?;
            update(t, s.options)?.ok()?;
            holds(t, &[(controller, v1, v2)])?;
            t.is("running")
        })
    };
    let mut all: Vec<Case> = steps().into_iter().map(one).collect();
    all.push(
        case("update.created-and-paused")
            .checks("cli: update")
            .needs([Need::CgroupAny("pids")])
            .probe(["trap", "TERM"])
            .steps(|t| {
                t.create()?;
                update(t, &["--pids-limit", "11"])?.ok()?;
                holds(t, &[("pids", ("pids.max", "11"), ("pids.max", "11"))])?;
                t.start()?;
                t.verb("pause", &[])?.ok()?;
                update(t, &["--pids-limit", "12"])?.ok()?;
                t.is("paused")?;
                holds(t, &[("pids", ("pids.max", "12"), ("pids.max", "12"))])
            }),
    );
    all.push(
        case("update.blkio-weight")
            .checks("cli: update --blkio-weight")
            .needs([Need::CgroupFile("blkio", "blkio.bfq.weight", "io.bfq.weight")])
            .steps(|t| {
                t.resident()?;
                update(t, &["--blkio-weight", "500"])?.ok()?;
                let controller = if t.yard.host.controller("blkio").is_some() { "blkio" } else { "io" };
                let group = t.cgroup(controller)?;
                let text = group.read(if group.v2 { "io.bfq.weight" } else { "blkio.bfq.weight" })?;
                ensure!(text.split_whitespace().any(|w| w == "500"), "{text}");
                Ok(())
            }),
    );
    all.push(case("update.felt-inside").checks("cli: update").needs([Need::CgroupAny("pids")]).steps(|t| {
        t.resident()?;
        t.exec_probe(&["fork", "40"])?.ok()?.prints("forked 40 of 40\n")?;
        update(t, &["--pids-limit", "15"])?.ok()?;
        let out = t.exec_probe(&["fork", "40"])?.ok()?;
        ensure!(out.stdout.contains("EAGAIN"), "{}", out.stdout);
        update(t, &["--pids-limit", "-1"])?.ok()?;
        t.exec_probe(&["fork", "40"])?.ok()?.prints("forked 40 of 40\n")?;
        Ok(())
    }));
    all
}

fn all_changed() -> Value {
    json!({
        "memory": {"limit": 64 * MIB, "reservation": 32 * MIB},
        "cpu": {"shares": 200, "quota": 60000, "period": 90000, "cpus": "0"},
        "pids": {"limit": 10}
    })
}

const ALL_CHANGED: [Holds; 6] = [
    ("memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")),
    ("memory", ("memory.soft_limit_in_bytes", "33554432"), ("memory.low", "33554432")),
    ("cpu", ("cpu.cfs_quota_us", "60000"), ("cpu.max", "60000 90000")),
    ("cpu", ("cpu.cfs_period_us", "90000"), ("cpu.weight", "29")),
    ("cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    ("pids", ("pids.max", "10"), ("pids.max", "10")),
];

fn needs_all() -> Vec<Need> {
    ["memory", "cpu", "cpuset", "pids"].map(Need::CgroupAny).to_vec()
}

fn documents() -> Vec<Case> {
    let text = "cli: update --resources";
    let long = |name: &str| case(name).checks(text).needs(needs_all()).spec(limited);
    vec![
        long("update.resources-stdin").steps(|t| {
            t.resident()?;
            feed(t, &all_changed())?.ok()?;
            holds(t, &ALL_CHANGED)
        }),
        long("update.resources-file").steps(|t| {
            t.resident()?;
            std::fs::write(t.dir.join("r.json"), all_changed().to_string())?;
            // Relative to the caller's directory, as callers may write it.
            update(t, &["-r", "r.json"])?.ok()?;
            holds(t, &ALL_CHANGED)
        }),
        long("update.all-options-at-once").steps(|t| {
            t.resident()?;
            let options = [
                "--cpu-period=90000",
                "--cpu-quota=60000",
                "--cpu-share=200",
                "--cpuset-cpus=0",
                "--memory=67108864",
                "--memory-reservation=33554432",
                "--pids-limit=10",
            ];
            update(t, &options)?.ok()?;
            holds(t, &ALL_CHANGED)
        }),
        long("update.resources-before-options").steps(|t| {
            // As runc has it: with a document, the options beside it do not count.
            t.resident()?;
            let id = t.id.clone();
            let args = ["update", "--pids-limit=5", "--resources=-", &id];
            t.rt(&args).stdin(&json!({"cpu": {"shares": 200}}).to_string())?.run()?.ok()?;
            holds(t, &[("pids", ("pids.max", "20"), ("pids.max", "20"))])?;
            holds(t, &[("cpu", ("cpu.shares", "200"), ("cpu.weight", "29"))])
        }),
        long("update.zero-says-nothing").steps(|t| {
            // What programs in Go send for fields that nobody set.
            t.resident()?;
            let nothing = json!({
                "memory": {"limit": 0, "reservation": 0, "swap": 0},
                "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
                "blockIO": {"weight": 0}
            });
            feed(t, &nothing)?.ok()?;
            feed(t, &json!({}))?.ok()?;
            holds(
                t,
                &[
                    ("memory", ("memory.limit_in_bytes", "33554432"), ("memory.max", "33554432")),
                    ("cpu", ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
                    ("cpu", ("cpu.shares", "100"), ("cpu.weight", "17")),
                    ("pids", ("pids.max", "20"), ("pids.max", "20")),
                ],
            )
        }),
        case("update.devices-stay")
            .checks("cli: update leaves devices alone")
            .needs([Need::CgroupAny("pids")])
            .spec(|s| {
                s["linux"]["resources"]["devices"] = json!([
                    {"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
                ]);
                s["linux"]["devices"] = json!([{"path": "/dev/kn0", "type": "c", "major": 1, "minor": 11}]);
            })
            .steps(|t| {
                t.resident()?;
                t.exec_probe(&["open-dev", "/dev/kn0", "w"])?.ok()?.prints("ok 0\n")?;
                feed(t, &json!({"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 9}}))?
                    .ok()?;
                holds(t, &[("pids", ("pids.max", "9"), ("pids.max", "9"))])?;
                t.exec_probe(&["open-dev", "/dev/kn0", "w"])?.ok()?.prints("ok 0\n")?;
                Ok(())
            }),
        case("update.unified")
            .checks("cli: update --resources with unified")
            .needs([Need::CgroupV2Controller("memory")])
            .spec(limited)
            .steps(|t| {
                t.resident()?;
                feed(t, &json!({"unified": {"memory.high": "30000000", "pids.max": "9"}}))?.ok()?;
                let group = t.cgroup("memory")?;
                ensure!(group.read("memory.high")? == "29999104", "{}", group.read("memory.high")?);
                ensure!(group.read("pids.max")? == "9" && group.read("memory.max")? == "33554432");
                // The field's value wins over the file's of an earlier update.
                update(t, &["--pids-limit", "8"])?.ok()?;
                update(t, &["--cpu-share", "300"])?.ok()?;
                ensure!(group.read("pids.max")? == "8", "{}", group.read("pids.max")?);
                Ok(())
            }),
        case("update.hugetlb")
            .checks("cli: update --resources with hugepageLimits")
            .needs([Need::CgroupAny("hugetlb")])
            .steps(|t| {
                t.resident()?;
                feed(t, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}))?.ok()?;
                t.cgroup("hugetlb")?
                    .holds(("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.max", "4194304"))
            }),
    ]
}

/// Memory and swap, quota and period: each order of values must arrive.
fn relations() -> Vec<Case> {
    let swap = Need::CgroupFile("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    let both = |t: &Trial<'_>, v1: [&str; 2], v2: [&str; 2]| -> Result<()> {
        let group = t.cgroup("memory")?;
        group.holds(("memory.limit_in_bytes", v1[0]), ("memory.max", v2[0]))?;
        group.holds(("memory.memsw.limit_in_bytes", v1[1]), ("memory.swap.max", v2[1]))
    };
    vec![
        case("update.memory-and-swap-order")
            .checks("cli: update, order of memory and swap")
            .needs([swap])
            .spec(|s| {
                s["linux"]["resources"]["memory"] = json!({"limit": 32 * MIB, "swap": 64 * MIB});
            })
            .steps(move |t| {
                t.resident()?;
                // Up beyond the old sum, down below the old memory, and through no limit at all.
                for (memory, sum, v1, v2) in [
                    ("128m", "256m", ["134217728", "268435456"], ["134217728", "134217728"]),
                    ("16m", "20m", ["16777216", "20971520"], ["16777216", "4194304"]),
                    ("24m", "24m", ["25165824", "25165824"], ["25165824", "0"]),
                    ("-1", "-1", ["9223372036854771712", "9223372036854771712"], ["max", "max"]),
                    ("32m", "-1", ["33554432", "9223372036854771712"], ["33554432", "max"]),
                    ("16m", "32m", ["16777216", "33554432"], ["16777216", "16777216"]),
                ] {
                    update(t, &["--memory", memory, "--memory-swap", sum])?.ok()?;
                    both(t, v1, v2)?;
                }
                Ok(())
            }),
        case("update.memory-unlimited-lifts-swap")
            .checks("cli: update --memory -1")
            .needs([swap])
            .spec(|s| {
                s["linux"]["resources"]["memory"] = json!({"limit": 32 * MIB, "swap": 64 * MIB});
            })
            .steps(move |t| {
                t.resident()?;
                update(t, &["--memory", "-1"])?.ok()?;
                both(t, ["9223372036854771712", "9223372036854771712"], ["max", "max"])
            }),
        case("update.swap-needs-the-old-limit")
            .checks("cli: update --memory-swap")
            .needs([swap])
            .spec(|s| {
                s["linux"]["resources"]["memory"] = json!({"limit": 32 * MIB, "swap": 64 * MIB});
            })
            .steps(move |t| {
                t.resident()?;
                update(t, &["--memory-swap", "96m"])?.ok()?;
                both(t, ["33554432", "100663296"], ["33554432", "67108864"])?;
                update(t, &["--memory", "48m"])?.ok()?;
                both(t, ["50331648", "100663296"], ["50331648", "50331648"])
            }),
        case("update.quota-and-period-order")
            .checks("cli: update, quota and period")
            .needs([Need::CgroupAny("cpu")])
            .spec(|s| {
                s["linux"]["resources"]["cpu"] = json!({"quota": 50000, "period": 100000});
            })
            .steps(|t| {
                t.resident()?;
                for (options, v1, v2) in [
                    (
                        vec!["--cpu-period", "1000000", "--cpu-quota", "900000"],
                        ["900000", "1000000"],
                        "900000 1000000",
                    ),
                    (vec!["--cpu-period", "10000", "--cpu-quota", "5000"], ["5000", "10000"], "5000 10000"),
                    (vec!["--cpu-quota", "7000"], ["7000", "10000"], "7000 10000"),
                    (vec!["--cpu-period", "20000"], ["7000", "20000"], "7000 20000"),
                    (vec!["--cpu-quota", "-1"], ["-1", "20000"], "max 20000"),
                ] {
                    update(t, &options)?.ok()?;
                    let group = t.cgroup("cpu")?;
                    group.holds(("cpu.cfs_quota_us", v1[0]), ("cpu.max", v2))?;
                    group.holds(("cpu.cfs_period_us", v1[1]), ("", ""))?;
                }
                Ok(())
            }),
        case("update.cpu-idle-and-back")
            .checks("cli: update --cpu-idle")
            .needs([Need::CgroupFile("cpu", "cpu.idle", "cpu.idle")])
            .spec(limited)
            .steps(|t| {
                t.resident()?;
                update(t, &["--cpu-idle", "1"])?.ok()?;
                // Another value of the same controller can be had while it is idle.
                update(t, &["--cpu-period", "90000"])?.ok()?;
                let group = t.cgroup("cpu")?;
                group.holds(("cpu.idle", "1"), ("cpu.idle", "1"))?;
                // But not a weight, and the period that came with it goes back.
                let out = update(t, &["--cpu-period", "80000", "--cpu-share", "300"])?.exits(1)?.fails()?;
                if t.runtime.strict {
                    out.says("idle")?;
                }
                group.holds(("cpu.cfs_period_us", "90000"), ("cpu.max", "50000 90000"))?;
                for bad in ["2", "-1"] {
                    update(t, &["--cpu-idle", bad])?.exits(1)?.fails()?;
                }
                update(t, &["--cpu-idle", "0"])?.ok()?;
                group.holds(("cpu.idle", "0"), ("cpu.idle", "0"))?;
                group.holds(("cpu.shares", "100"), ("cpu.weight", "17"))
            }),
    ]
}

/// What an update leaves behind for the commands after it.
fn kept() -> Vec<Case> {
    vec![
        case("update.saved")
            .checks("cli: update is saved")
            .needs([Need::CgroupAny("memory"), Need::CgroupAny("cpu")])
            .spec(limited)
            .steps(|t| {
                t.resident()?;
                update(t, &["--cpu-quota", "70000"])?.ok()?;
                // The second one needs what the first one set.
                update(t, &["--cpu-period", "200000"])?.ok()?;
                holds(t, &[("cpu", ("cpu.cfs_quota_us", "70000"), ("cpu.max", "70000 200000"))])?;
                t.exec_probe(&["echo", "x"])?.ok()?.prints("x\n")?;
                let s = t.state()?;
                ensure!(s["status"] == "running" && s["bundle"] == t.bundle.display().to_string(), "{s}");
                t.remove()?;
                t.verb("state", &[])?.exits(1)?;
                Ok(())
            }),
        case("update.others-stay")
            .checks("cli: update leaves the rest")
            .needs([Need::CgroupAny("memory"), Need::CgroupAny("cpu"), Need::CgroupAny("pids")])
            .spec(limited)
            .steps(|t| {
                t.resident()?;
                // Somebody else's change, which an update of another value must not undo.
                let memory = t.cgroup("memory")?;
                let (file, v1, v2) = if memory.v2 {
                    ("memory.max", "", "40960000")
                } else {
                    ("memory.limit_in_bytes", "40960000", "")
                };
                std::fs::write(memory.dir.join(file), "40960000")?;
                update(t, &["--pids-limit", "9"])?.ok()?;
                memory.holds(
                    (if v1.is_empty() { "" } else { file }, v1),
                    (if v2.is_empty() { "" } else { file }, v2),
                )
            }),
    ]
}

fn refusals() -> Vec<Case> {
    let text = "catalogue B118; cli: update, refusals";
    let refused = |name: &str, options: &'static [&'static str], says: &'static str| {
        case(name).checks(text).needs(needs_all()).spec(limited).steps(move |t| {
            t.resident()?;
            update(t, &["--memory", "40m", "--pids-limit", "19"])?.ok()?;
            let out = update(t, options)?.exits(1)?.fails()?;
            if t.runtime.strict {
                out.says(says)?;
            }
            // Nothing changed, and the next one works.
            holds(
                t,
                &[
                    ("memory", ("memory.limit_in_bytes", "41943040"), ("memory.max", "41943040")),
                    ("cpu", ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
                    ("pids", ("pids.max", "19"), ("pids.max", "19")),
                ],
            )?;
            update(t, &["--pids-limit", "18"])?.ok()?;
            Ok(())
        })
    };
    vec![
        refused("update.bad-unit", &["--memory", "50x"], "invalid value for memory"),
        refused("update.bad-number", &["--cpu-period", "ten"], "invalid value for cpu-period"),
        refused("update.quota-too-small", &["--pids-limit", "3", "--cpu-quota", "5"], "/cpu/quota"),
        refused("update.period-too-long", &["--pids-limit", "3", "--cpu-period", "10000000"], "/cpu/period"),
        refused("update.cpus-not-a-list", &["--pids-limit", "3", "--cpuset-cpus", "a-b"], "/cpu/cpus"),
        refused("update.file-missing", &["--resources", "/no/such/file"], "no such file or directory"),
        refused("update.rdt-absent", &["--l3-cache-schema", "L3:0=f"], "Intel RDT/CAT"),
        refused(
            "update.rolled-back",
            // The CPU that is not there is found out by the kernel, after the memory and CPU limits were written.
            &["--memory", "64m", "--memory-swap", "128m", "--cpu-quota", "20000", "--cpuset-cpus", "8191"],
            "/linux/resources/cpu/cpus",
        ),
        case("update.document-is-no-json").checks(text).needs([Need::CgroupAny("pids")]).steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            for bad in ["", "{", "[]", "{\"pids\": {\"limit\": \"7\"}}", "{\"pids\": {\"limit\": 1e99}}"] {
                t.rt(&["update", "-r", "-", &id]).stdin(bad)?.run()?.exits(1)?.fails()?;
            }
            feed(t, &json!({"pids": {"limit": 7}}))?.ok()?;
            holds(t, &[("pids", ("pids.max", "7"), ("pids.max", "7"))])
        }),
        case("update.below-usage")
            .checks("catalogue B080; cli: update below the usage")
            .needs([Need::CgroupAny("memory")])
            .spec(|s| s["process"]["args"] = json!([PROBE, "mem", "24", "hold"]))
            .steps(|t| {
                t.run_detached()?;
                t.payload_says("24 MiB")?;
                let pid = t.pid()?;
                let out = update(t, &["--memory", "4m"])?;
                if t.cgroup("memory")?.v2 {
                    // The kernel makes it true.
                    ensure!(t.ended(pid)? == 137, "the program lives");
                    if t.runtime.strict {
                        let out = out.ok()?;
                        ensure!(out.log.contains("is below the "), "no word about it: {:?}", out.log);
                    }
                } else {
                    out.exits(1)?.fails()?.says("unable to set memory limit to 4194304 (current usage: ")?;
                    t.is("running")?;
                }
                Ok(())
            }),
        case("update.checked-before")
            .checks("config-linux.md#memory checkBeforeUpdate")
            .needs([Need::CgroupAny("memory")])
            .spec(|s| {
                s["process"]["args"] = json!([PROBE, "mem", "24", "hold"]);
                s["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB, "checkBeforeUpdate": true});
            })
            .steps(|t| {
                t.run_detached()?;
                t.payload_says("24 MiB")?;
                update(t, &["--memory", "4m"])?.exits(1)?.fails()?;
                t.is("running")?;
                holds(t, &[("memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"))])
            }),
        case("update.of-the-stopped").checks(text).needs([Need::CgroupAny("pids")]).steps(|t| {
            let pid = t.resident()?;
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            t.is("stopped")?;
            update(t, &["--pids-limit", "5"])?.exits(1)?.fails()?.says("container not running")?;
            Ok(())
        }),
        case("update.of-nobody").checks(text).steps(|t| {
            t.works()?;
            update(t, &["--pids-limit", "5"])?.exits(1)?.fails()?.says("does not exist")?;
            Ok(())
        }),
    ]
}
