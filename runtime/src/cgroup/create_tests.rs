//! Creation in a directory of ordinary files that looks like a v2 tree: every controller can be had there, which
//! no test machine can promise for real ones.
use super::*;
use crate::cgroup::plan::plan;
use crate::cgroup::{Kind, Tree};
use serde_json::json;
use std::fs as std_fs;

const FILES: [&str; 17] = [
    "cgroup.procs",
    "cgroup.freeze",
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "memory.current",
    "memory.high",
    "cpu.weight",
    "cpu.max",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.cpus.effective",
    "pids.max",
    "io.weight",
    "io.max",
    "hugetlb.2MB.max",
    "cgroup.subtree_control",
];

/// A root with one directory `box`, both with empty files.
fn fake() -> (tempfile::TempDir, Layout) {
    let top = tempfile::tempdir().unwrap();
    std_fs::create_dir(top.path().join("box")).unwrap();
    for f in FILES {
        std_fs::write(top.path().join("box").join(f), "").unwrap();
    }
    std_fs::write(top.path().join("cgroup.subtree_control"), "").unwrap();
    let controllers = ["cpu", "cpuset", "io", "memory", "hugetlb", "pids"].map(String::from).to_vec();
    let tree = Tree {
        key: String::new(),
        mount: top.path().to_path_buf(),
        root: "/".into(),
        own: "/".into(),
        controllers,
    };
    (top, Layout { kind: Kind::Unified, v2: Some(tree), v1: vec![] })
}

/// Without the device program, which only a real cgroup takes.
fn make(layout: &Layout, path: &str, resources: serde_json::Value) -> Result<Cgroup> {
    let mut p = plan(layout, path, "id", &serde_json::from_value(resources).unwrap())?;
    p.device_program = None;
    Cgroup::create(layout, &p, &|| false)
}

#[test]
fn writes_every_controller() {
    let (top, layout) = fake();
    let group = make(
        &layout,
        "/box",
        json!({
            "memory": {"limit": 1 << 20, "swap": 1 << 20, "reservation": 4096, "checkBeforeUpdate": true},
            "cpu": {"shares": 1024, "quota": 5000, "cpus": "0", "idle": 1},
            "pids": {"limit": 9},
            "blockIO": {"weight": 1000, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}],
            "unified": {"memory.high": "65536"}
        }),
    )
    .unwrap();
    let read = |f: &str| std_fs::read_to_string(top.path().join(f)).unwrap();
    for (file, want) in [
        ("memory.max", "1048576"),
        ("memory.swap.max", "0"),
        ("memory.low", "4096"),
        ("memory.high", "65536"),
        ("cpu.weight", "100"),
        ("cpu.idle", "1"),
        ("cpu.max", "5000 100000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "9"),
        ("io.weight", "10000"),
        ("io.max", "8:0 rbps=7"),
        ("hugetlb.2MB.max", "2097152"),
    ] {
        assert_eq!(read(&format!("box/{file}")), want, "{file}");
    }
    assert_eq!(read("cgroup.subtree_control"), "+memory +cpu +cpuset +pids +io +hugetlb", "one write");
    // The directory was there before, so it is not ours to remove.
    let saved = group.saved();
    assert!(!saved.created && saved.kept.contains(""));
    group.destroy(std::time::Duration::ZERO).unwrap();
    assert!(top.path().join("box").exists());
}

#[test]
fn controllers_that_are_on_are_left_alone() {
    let (top, layout) = fake();
    std_fs::write(top.path().join("cgroup.subtree_control"), "cpu io memory pids\n").unwrap();
    make(&layout, "/box", json!({"pids": {"limit": 9}})).unwrap();
    let text = std_fs::read_to_string(top.path().join("cgroup.subtree_control")).unwrap();
    assert_eq!(text, "cpu io memory pids\n");
}

#[test]
fn cpus_that_cannot_be_had() {
    let (top, layout) = fake();
    std_fs::write(top.path().join("box/cpuset.cpus.effective"), "0-1\n").unwrap();
    let e = make(&layout, "/box", json!({"cpu": {"cpus": "1-3"}})).unwrap_err();
    assert_eq!((e.kind(), e.field_path()), (Code::Unsupported, Some("/linux/resources/cpu/cpus")));
    assert!(e.to_string().contains("the parent cgroup has 0-1"), "{e}");
    make(&layout, "/box", json!({"cpu": {"cpus": "0-5"}})).unwrap();
}

#[test]
fn used_and_frozen_groups_are_refused() {
    let (top, layout) = fake();
    std_fs::write(top.path().join("box/cgroup.freeze"), "1\n").unwrap();
    let e = make(&layout, "/box", json!({})).unwrap_err();
    assert!(e.to_string().contains("container's cgroup unexpectedly frozen"), "{e}");
    std_fs::write(top.path().join("box/cgroup.procs"), "12\n34\n").unwrap();
    let e = make(&layout, "/box", json!({})).unwrap_err();
    assert!(e.to_string().contains("container's cgroup is not empty: 2 process(es) found"), "{e}");
    assert_eq!(e.field_path(), Some("/linux/cgroupsPath"));
}

#[test]
fn a_missing_file_names_field_and_file() {
    let (_top, layout) = fake();
    let e = make(&layout, "/box", json!({"hugepageLimits": [{"pageSize": "1GB", "limit": 1}]})).unwrap_err();
    assert_eq!(e.field_path(), Some("/linux/resources/hugepageLimits/0/limit"));
    assert!(e.to_string().contains("does not offer hugetlb.1GB.max"), "{e}");
    // Callers take this text for a missing program.
    assert!(!e.to_string().contains("no such file"), "{e}");
}

#[test]
fn a_limit_below_the_usage_is_refused_when_asked() {
    let (top, layout) = fake();
    std_fs::write(top.path().join("box/memory.current"), "8192\n").unwrap();
    let v = |check: bool| json!({"memory": {"limit": 8192, "checkBeforeUpdate": check}});
    let e = make(&layout, "/box", v(true)).unwrap_err();
    assert!(e.to_string().contains("rejecting memory limit 8192 <= usage 8192"), "{e}");
    make(&layout, "/box", v(false)).unwrap();
}

#[test]
fn a_failure_leaves_nothing() {
    let (top, layout) = fake();
    // New directories have no files here, so a step fails after some were made.
    let e = make(&layout, "/one/two/three", json!({"unified": {"cgroup.max.depth": "2"}})).unwrap_err();
    assert!(e.to_string().contains("set up cgroup"), "{e}");
    assert!(!top.path().join("one").exists());
}
