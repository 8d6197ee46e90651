//! Plans for the three layouts, compared value by value; refusals with their fields.
use super::*;
use serde_json::json;

fn tree(key: &str, mount: &str, own: &str, controllers: &[&str]) -> Tree {
    Tree {
        key: key.into(),
        mount: mount.into(),
        root: "/".into(),
        own: own.into(),
        controllers: controllers.iter().map(|c| c.to_string()).collect(),
    }
}

const ALL: [&str; 8] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];

fn unified() -> Layout {
    let v2 = tree("", "/sys/fs/cgroup", "/user.slice/me.scope", &ALL);
    Layout { kind: Kind::Unified, v2: Some(v2), v1: vec![] }
}

fn v1_trees() -> Vec<Tree> {
    [
        "cpu,cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "net_cls,net_prio",
        "name=systemd",
    ]
    .iter()
    .map(|k| {
        let c: Vec<&str> = k.split(',').collect();
        tree(k, &format!("/sys/fs/cgroup/{}", k.trim_start_matches("name=")), "/own", &c)
    })
    .collect()
}

fn hybrid() -> Layout {
    let v2 = tree("", "/sys/fs/cgroup/unified", "/", &["hugetlb"]);
    Layout { kind: Kind::Hybrid, v2: Some(v2), v1: v1_trees() }
}

fn legacy() -> Layout {
    Layout { kind: Kind::Legacy, v2: None, v1: v1_trees() }
}

fn resources(v: serde_json::Value) -> Resources {
    serde_json::from_value(v).unwrap()
}

/// `hierarchy/file=value` of every write that is not a device rule.
fn lines(plan: &Plan) -> Vec<String> {
    plan.writes
        .iter()
        .filter(|w| w.key != "devices")
        .map(|w| {
            let f: Vec<String> = w.files.iter().map(|(f, v)| format!("{f}={v}")).collect();
            let key = if w.key.is_empty() { "v2" } else { &w.key };
            format!("{key}/{}{}", f.join("|"), if w.optional { "?" } else { "" })
        })
        .collect()
}

fn ask(layout: &Layout, v: serde_json::Value) -> Result<Plan> {
    plan(layout, "/test", "id", &resources(v))
}

fn refused(layout: &Layout, v: serde_json::Value) -> Error {
    match ask(layout, v.clone()) {
        Err(e) => e,
        Ok(p) => panic!("{v} gave {:?}", lines(&p)),
    }
}

#[test]
fn paths_as_runc_makes_them() {
    let dir = |l: &Layout, path: &str, key: &str| {
        let p = plan(l, path, "web", &Resources::default()).unwrap();
        p.groups.iter().find(|g| g.key == key).unwrap().dir().display().to_string()
    };
    // Absolute: below each mount. Relative or absent: beside our own cgroup on v2, below it on v1.
    assert_eq!(dir(&unified(), "/a/b", ""), "/sys/fs/cgroup/a/b");
    assert_eq!(dir(&unified(), "a//./b/", ""), "/sys/fs/cgroup/user.slice/a/b");
    assert_eq!(dir(&unified(), "", ""), "/sys/fs/cgroup/user.slice/web");
    assert_eq!(
        dir(&unified(), "system.slice:runc:web", ""),
        "/sys/fs/cgroup/user.slice/system.slice:runc:web"
    );
    assert_eq!(dir(&hybrid(), "/a", "memory"), "/sys/fs/cgroup/memory/a");
    assert_eq!(dir(&hybrid(), "a", "cpu,cpuacct"), "/sys/fs/cgroup/cpu,cpuacct/own/a");
    assert_eq!(dir(&hybrid(), "", "name=systemd"), "/sys/fs/cgroup/systemd/own/web");
    assert_eq!(dir(&hybrid(), "", ""), "/sys/fs/cgroup/unified/web");
    let p = plan(&hybrid(), "/a", "web", &Resources::default()).unwrap();
    assert_eq!(p.groups.len(), 10, "every hierarchy tracks");
    let saved = p.saved();
    assert_eq!((saved.paths.len(), saved.created, saved.seen.as_str()), (10, false, "/a"));
}

#[test]
fn bad_paths() {
    let long = "x".repeat(256);
    let huge = "x/".repeat(2500);
    for (path, text) in [
        ("/a/../b", ".."),
        ("..", ".."),
        ("/", "root of the hierarchy"),
        ("/./", "root of the hierarchy"),
        ("a\0b", "no cgroup name can have"),
        ("a\nb", "no cgroup name can have"),
        (long.as_str(), "at most 255"),
        (huge.as_str(), "at most 4000"),
    ] {
        let e = plan(&unified(), path, "id", &Resources::default()).unwrap_err();
        assert_eq!(e.field_path(), Some("/linux/cgroupsPath"), "{path:?}");
        assert!(e.to_string().contains(text), "{e}");
        assert!(!e.to_string().contains('\n'));
    }
}

fn everything() -> serde_json::Value {
    json!({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20, "checkBeforeUpdate": true,
                   "useHierarchy": true, "disableOOMKiller": false},
        "cpu": {"shares": 512, "quota": 50000, "period": 200000, "burst": 1000, "idle": 0, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 77},
        "blockIO": {"weight": 100,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
                    "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 0}],
                    "throttleReadIOPSDevice": [{"major": 8, "minor": 16, "rate": 30}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 40}]}
    })
}

#[test]
fn everything_on_v2() {
    let mut v = everything();
    v["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4194304}]);
    v["rdma"] = json!({"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}});
    v["unified"] = json!({"memory.high": "50331648", "cgroup.max.depth": "3", "misc.max": "a 1\nb 2\n"});
    let p = ask(&unified(), v).unwrap();
    assert_eq!(
        lines(&p),
        [
            "v2/memory.max=67108864",
            "v2/memory.swap.max=33554432",
            "v2/memory.low=33554432",
            "v2/cpu.weight=59",
            "v2/cpu.idle=0",
            "v2/cpu.max=50000 200000",
            "v2/cpu.max.burst=1000",
            "v2/cpuset.cpus=0-1",
            "v2/cpuset.mems=0",
            "v2/pids.max=77",
            "v2/io.bfq.weight=100|io.weight=910",
            "v2/io.bfq.weight=8:0 500|io.weight=8:0 4950",
            "v2/io.max=8:0 rbps=1000",
            "v2/io.max=8:0 wbps=max",
            "v2/io.max=8:16 riops=30",
            "v2/io.max=8:16 wiops=40",
            "v2/hugetlb.2MB.max=4194304",
            "v2/hugetlb.2MB.rsvd.max=4194304?",
            "v2/rdma.max=mlx5_1 hca_handle=3 hca_object=10",
            "v2/cgroup.max.depth=3",
            "v2/memory.high=50331648",
            "v2/misc.max=a 1",
            "v2/misc.max=b 2",
        ]
    );
    assert_eq!(p.needed, ["memory", "cpu", "cpuset", "pids", "io", "hugetlb", "rdma", "misc"]);
    assert!(p.wanted.is_empty() && p.warnings.is_empty());
    assert_eq!(p.writes[0].above, Some("memory.current"));
    assert_eq!(p.device_program.unwrap().len(), 11);
}

#[test]
fn everything_on_v1() {
    let mut v = everything();
    v["memory"]["swappiness"] = json!(10);
    v["memory"]["disableOOMKiller"] = json!(true);
    v["cpu"]["realtimeRuntime"] = json!(900);
    v["cpu"]["realtimePeriod"] = json!(9000);
    v["blockIO"]["leafWeight"] = json!(300);
    v["network"] = json!({"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]});
    for layout in [hybrid(), legacy()] {
        let p = ask(&layout, v.clone()).unwrap();
        assert_eq!(
            lines(&p),
            [
                "memory/memory.limit_in_bytes=67108864",
                "memory/memory.memsw.limit_in_bytes=100663296",
                "memory/memory.soft_limit_in_bytes=33554432",
                "memory/memory.swappiness=10",
                "memory/memory.use_hierarchy=1",
                "memory/memory.oom_control=1",
                "cpu,cpuacct/cpu.shares=512",
                "cpu,cpuacct/cpu.idle=0",
                "cpu,cpuacct/cpu.cfs_period_us=200000",
                "cpu,cpuacct/cpu.cfs_quota_us=50000",
                "cpu,cpuacct/cpu.cfs_burst_us=1000",
                "cpu,cpuacct/cpu.rt_period_us=9000",
                "cpu,cpuacct/cpu.rt_runtime_us=900",
                "cpuset/cpuset.cpus=0-1",
                "cpuset/cpuset.mems=0",
                "pids/pids.max=77",
                "blkio/blkio.bfq.weight=100|blkio.weight=100",
                "blkio/blkio.leaf_weight=300",
                "blkio/blkio.bfq.weight_device=8:0 500|blkio.weight_device=8:0 500",
                "blkio/blkio.throttle.read_bps_device=8:0 1000",
                "blkio/blkio.throttle.write_bps_device=8:0 0",
                "blkio/blkio.throttle.read_iops_device=8:16 30",
                "blkio/blkio.throttle.write_iops_device=8:16 40",
                "net_cls,net_prio/net_cls.classid=1048577",
                "net_cls,net_prio/net_prio.ifpriomap=eth0 5",
            ]
        );
        assert!(p.needed.is_empty() && p.device_program.is_none());
        assert_eq!(p.writes.iter().filter(|w| w.key == "devices").count(), 12);
    }
}

#[test]
fn nothing_asked_nothing_written() {
    for layout in [unified(), hybrid()] {
        let empty =
            json!({"memory": {}, "cpu": {}, "pids": {}, "blockIO": {}, "network": {}, "hugepageLimits": []});
        for v in [json!({}), empty] {
            let p = ask(&layout, v).unwrap();
            assert!(lines(&p).is_empty() && p.needed.is_empty(), "{p:?}");
        }
    }
    assert_eq!(ask(&unified(), json!({})).unwrap().wanted, ["cpu", "io", "memory", "pids"]);
    // What Docker sends for "not set".
    let zeros = json!({"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": false},
                       "cpu": {"shares": 0, "quota": 0, "period": 0}, "blockIO": {"weight": 0}});
    assert!(lines(&ask(&unified(), zeros).unwrap()).is_empty());
}

#[test]
fn hybrid_uses_v2_for_what_v1_lacks() {
    let p = ask(
        &hybrid(),
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "pids": {"limit": 5},
                                  "unified": {"hugetlb.2MB.max": "0"}}),
    );
    let p = p.unwrap();
    assert_eq!(
        lines(&p),
        ["pids/pids.max=5", "v2/hugetlb.2MB.max=0", "v2/hugetlb.2MB.rsvd.max=0?", "v2/hugetlb.2MB.max=0"]
    );
    assert_eq!(p.needed, ["hugetlb"]);
}

#[test]
fn unlimited() {
    let v = json!({"memory": {"limit": -1, "swap": -1, "reservation": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}});
    assert_eq!(
        lines(&ask(&unified(), v.clone()).unwrap()),
        [
            "v2/memory.max=max",
            "v2/memory.swap.max=max?",
            "v2/memory.low=max",
            "v2/cpu.max=max 100000",
            "v2/pids.max=max"
        ]
    );
    assert_eq!(
        lines(&ask(&hybrid(), v).unwrap()),
        [
            "memory/memory.memsw.limit_in_bytes=-1?",
            "memory/memory.limit_in_bytes=-1",
            "memory/memory.soft_limit_in_bytes=-1",
            "cpu,cpuacct/cpu.cfs_quota_us=-1",
            "pids/pids.max=max"
        ]
    );
}

/// Field, controller and layout are in the message.
#[test]
fn what_cannot_be_applied_here() {
    let mut bare = unified();
    bare.v2.as_mut().unwrap().controllers = vec!["hugetlb".into()];
    for (layout, v, field, controller) in [
        (&bare, json!({"memory": {"limit": 1 << 20}}), "memory/limit", "memory"),
        (&bare, json!({"cpu": {"cpus": "0"}}), "cpu/cpus", "cpuset"),
        (&bare, json!({"pids": {"limit": 1}}), "pids/limit", "pids"),
        (&bare, json!({"unified": {"memory.high": "1"}}), "unified/memory.high", "memory"),
        (&unified(), json!({"network": {"classID": 1}}), "network/classID", "net_cls"),
        (
            &unified(),
            json!({"network": {"priorities": [{"name": "a", "priority": 1}]}}),
            "network/priorities/0",
            "net_prio",
        ),
        (&hybrid(), json!({"rdma": {"x": {"hcaHandles": 1}}}), "rdma/x", "rdma"),
        (&hybrid(), json!({"unified": {"memory.high": "1"}}), "unified/memory.high", "memory"),
        (&legacy(), json!({"unified": {"cgroup.max.depth": "1"}}), "unified/cgroup.max.depth", "cgroup"),
        (
            &legacy(),
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}),
            "hugepageLimits/0/limit",
            "hugetlb",
        ),
    ] {
        let e = refused(layout, v);
        let text = e.to_string();
        assert_eq!(e.kind(), Code::Unsupported, "{text}");
        assert_eq!(e.field_path(), Some(format!("/linux/resources/{field}").as_str()));
        assert!(text.contains(&format!("controller \"{controller}\"")) && text.contains("layout"), "{text}");
    }
    let mut no_devices = legacy();
    no_devices.v1.retain(|t| t.key != "devices");
    assert_eq!(refused(&no_devices, json!({})).field_path(), Some("/linux/resources/devices"));
}

#[test]
fn what_v2_does_not_have() {
    for (v, field) in [
        (json!({"memory": {"swappiness": 10}}), "memory/swappiness"),
        (json!({"memory": {"disableOOMKiller": true}}), "memory/disableOOMKiller"),
        (json!({"memory": {"useHierarchy": false}}), "memory/useHierarchy"),
        (json!({"cpu": {"realtimeRuntime": 5}}), "cpu/realtimeRuntime"),
        (json!({"cpu": {"realtimePeriod": 5}}), "cpu/realtimePeriod"),
        (json!({"blockIO": {"leafWeight": 10}}), "blockIO/leafWeight"),
        (
            json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}}),
            "blockIO/weightDevice/0/leafWeight",
        ),
    ] {
        let e = refused(&unified(), v);
        assert_eq!(e.field_path(), Some(format!("/linux/resources/{field}").as_str()));
        assert!(e.kind() == Code::Unsupported && e.to_string().contains("unified layout"), "{e}");
    }
}

#[test]
fn warned_about() {
    for layout in [unified(), hybrid()] {
        let p = ask(&layout, json!({"memory": {"kernel": 1, "kernelTCP": 2}})).unwrap();
        assert_eq!((p.warnings.len(), lines(&p).len()), (2, 0));
        assert!(p.warnings[0].starts_with("/linux/resources/memory/kernel: "));
    }
    let p = ask(&unified(), json!({"cpu": {"shares": 1}})).unwrap();
    assert_eq!((p.warnings.len(), lines(&p)), (1, vec!["v2/cpu.weight=1".to_string()]));
    assert_eq!(
        refused(&hybrid(), json!({"cpu": {"shares": 1}})).field_path(),
        Some("/linux/resources/cpu/shares")
    );
}

#[test]
fn unified_keys() {
    for key in [
        "../memory.max",
        "a/b.c",
        "memory",
        ".max",
        "memory.",
        "memory.max\n",
        "memory..max",
        "",
        "cgroup.procs",
        "cgroup.kill",
        "cgroup.freeze",
        "cgroup.subtree_control",
        "cgroup.threads",
        "cgroup.type",
    ] {
        let e = refused(&unified(), json!({"unified": {key: "1"}}));
        let step = key.replace('~', "~0").replace('/', "~1");
        assert_eq!(e.field_path(), Some(format!("/linux/resources/unified/{step}").as_str()));
        assert!(e.to_string().contains("not an allowed cgroup file"), "{e}");
    }
    let p = ask(&unified(), json!({"unified": {"cpuset.cpus": ""}})).unwrap();
    assert_eq!(lines(&p), ["v2/cpuset.cpus=\n"]);
}

#[test]
fn bad_values_name_their_field() {
    for (v, field) in [
        (json!({"memory": {"limit": -2}}), "memory/limit"),
        (json!({"memory": {"limit": 1 << 20, "swap": 4096}}), "memory/swap"),
        (json!({"cpu": {"quota": 999}}), "cpu/quota"),
        (json!({"cpu": {"cpus": "3-1"}}), "cpu/cpus"),
        (json!({"cpu": {"mems": "x"}}), "cpu/mems"),
        (json!({"pids": {"limit": -5}}), "pids/limit"),
        (json!({"blockIO": {"weight": 10001}}), "blockIO/weight"),
        (
            json!({"blockIO": {"weightDevice": [{"major": -1, "minor": 0, "weight": 10}]}}),
            "blockIO/weightDevice/0/major",
        ),
        (
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 1 << 20, "rate": 1}]}}),
            "blockIO/throttleReadBpsDevice/0/minor",
        ),
        (json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}), "hugepageLimits/0/pageSize"),
        (
            json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwx"}]}),
            "devices/0/access",
        ),
    ] {
        for layout in [unified(), hybrid()] {
            let e = refused(&layout, v.clone());
            assert_eq!(e.field_path(), Some(format!("/linux/resources/{field}").as_str()), "{e}");
            assert_eq!(e.kind(), Code::Spec);
        }
    }
    assert!(refused(&hybrid(), json!({"memory": {"swappiness": 101}})).to_string().contains("0 to 100"));
    assert!(
        refused(&hybrid(), json!({"memory": {"limit": -1, "swap": 1 << 20}}))
            .to_string()
            .contains("without a memory limit")
    );
    assert!(
        refused(&hybrid(), json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}))
            .field_path()
            .unwrap()
            .ends_with("/0/name")
    );
}

#[test]
fn plans_print_as_json() {
    let p = ask(&unified(), json!({"pids": {"limit": 3}})).unwrap();
    let v = serde_json::to_value(&p).unwrap();
    assert_eq!(v["layout"], "unified");
    assert_eq!(v["writes"][0]["field"], "/linux/resources/pids/limit");
    assert_eq!(v["writes"][0]["files"][0], json!(["pids.max", "3"]));
    assert_eq!(v["device_program"][0]["node"], "char");
}
