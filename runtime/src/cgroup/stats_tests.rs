//! The readers on directories made by hand, and the JSON they become.

use super::*;
use std::os::fd::AsFd;

/// A directory with these files, read by `f`.
fn read(list: &[(&str, &str)], readers: &[Reader]) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in list {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let fd = fs::open_dir_path(dir.path()).unwrap();
    let mut stats = Stats::default();
    for reader in readers {
        reader(Files(fd.as_fd()), &mut stats).unwrap();
    }
    serde_json::to_value(&stats).unwrap()
}

#[test]
fn nothing_known_is_runcs_nothing() {
    let text = serde_json::to_string(&Stats::default()).unwrap();
    assert_eq!(
        text,
        r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{"usage":{"limit":0,"failcnt":0},"swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0}},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#
    );
}

#[test]
fn v2_files() {
    let list = [
        (
            "cpu.stat",
            "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n",
        ),
        ("memory.stat", "anon 5\nfile 6\n"),
        ("memory.max", "1000\n"),
        ("memory.current", "100\n"),
        ("memory.peak", "200\n"),
        ("memory.swap.max", "50\n"),
        ("memory.swap.current", "7\n"),
        ("pids.current", "2\n"),
        ("pids.max", "max\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:1\n"),
        ("hugetlb.2MB.current", "4096\n"),
        ("hugetlb.2MB.events", "max 9\n"),
        (
            "cpu.pressure",
            "some avg10=0.50 avg60=1.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        ),
    ];
    let v = read(&list, &[cpu, memory, pids, io, hugetlb, pressures]);
    assert_eq!(v["cpu"]["usage"], serde_json::json!({"total": 30000, "kernel": 20000, "user": 10000}));
    assert_eq!(
        v["cpu"]["throttling"],
        serde_json::json!({"periods": 4, "throttledPeriods": 3, "throttledTime": 2000})
    );
    assert_eq!(
        v["memory"]["usage"],
        serde_json::json!({"limit": 1000, "usage": 100, "max": 200, "failcnt": 0})
    );
    assert_eq!(v["memory"]["swap"], serde_json::json!({"limit": 1050, "usage": 107, "failcnt": 0}));
    assert_eq!((v["memory"]["cache"].as_u64(), v["memory"]["raw"]["anon"].as_u64()), (Some(6), Some(5)));
    assert_eq!(v["pids"], serde_json::json!({"current": 2}));
    let entry = |op: &str, value: u64| serde_json::json!({"major": 8, "op": op, "value": value});
    assert_eq!(
        v["blkio"]["ioServiceBytesRecursive"],
        serde_json::json!([entry("Read", 1), entry("Write", 2)])
    );
    assert_eq!(v["blkio"]["ioServicedRecursive"], serde_json::json!([entry("Read", 3), entry("Write", 4)]));
    assert_eq!(v["hugetlb"]["2MB"], serde_json::json!({"usage": 4096, "failcnt": 9}));
    assert_eq!(
        v["cpu"]["psi"].to_string(),
        r#"{"full":{"avg10":0,"avg300":0,"avg60":0,"total":1},"some":{"avg10":0.5,"avg300":0,"avg60":1,"total":77}}"#
    );
    assert!(v["memory"].get("psi").is_none(), "a pressure that the kernel does not tell");
}

#[test]
fn v1_files() {
    let list = [
        ("cpuacct.usage", "30\n"),
        ("cpuacct.usage_percpu", "10 20 \n"),
        ("cpuacct.usage_all", "cpu user system\n0 1 2\n1 3 4\n"),
        ("cpuacct.stat", "user 5\nsystem 6\n"),
        ("memory.stat", "cache 8\n"),
        ("memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory.failcnt", "3\n"),
        ("blkio.throttle.io_service_bytes", "8:0 Read 10\n8:0 Total 10\nTotal 10\n"),
        ("hugetlb.2MB.usage_in_bytes", "1\n"),
        ("hugetlb.2MB.rsvd.usage_in_bytes", "2\n"),
        ("hugetlb.2MB.rsvd.failcnt", "4\n"),
    ];
    let v = read(&list, &[stats_v1::cpuacct, stats_v1::memory, stats_v1::blkio, stats_v1::hugetlb]);
    assert_eq!(
        v["cpu"]["usage"],
        serde_json::json!({"total": 30, "percpu": [10, 20], "percpu_kernel": [2, 4], "percpu_user": [1, 3],
            "kernel": 60_000_000, "user": 50_000_000})
    );
    assert_eq!(v["memory"]["usage"]["limit"].as_u64(), Some(9_223_372_036_854_771_712));
    assert_eq!((v["memory"]["cache"].as_u64(), v["memory"]["usage"]["failcnt"].as_u64()), (Some(8), Some(3)));
    assert_eq!(v["blkio"]["ioServiceBytesRecursive"].as_array().unwrap().len(), 2);
    assert_eq!(v["hugetlb"]["2MB"], serde_json::json!({"usage": 2, "failcnt": 4}));
}
