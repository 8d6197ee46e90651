//! Names, places and properties of units, from what a caller gives.

use super::super::systemd::number_of;
use super::*;

fn manager() -> Manager {
    let drivers = "Character devices:\n  1 mem\n136 pts\n136 pts2\n\nBlock devices:\n  8 sd\n";
    Manager { bus: Which::System, version: 252, home: String::new(), majors: majors(drivers) }
}

fn writes(files: &[(&str, &str)]) -> Vec<Write> {
    let one = |(file, value): &(&str, &str)| Write {
        key: String::new(),
        files: vec![(file.to_string(), value.to_string())],
        optional: false,
        above: None,
        field: String::new(),
    };
    files.iter().map(one).collect()
}

#[test]
fn places() {
    let place = |path: &str, id: &str| Place::of(path, id, Which::System).map(|p| (p.slice, p.name));
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    assert_eq!(place("", "c1").unwrap(), pair("system.slice", "knarr-c1.scope"));
    assert_eq!(Place::of("", "c1", Which::User).unwrap().slice, "user.slice");
    assert_eq!(place("a-b.slice:docker:x", "c1").unwrap(), pair("a-b.slice", "docker-x.scope"));
    assert_eq!(place(":docker:x", "c1").unwrap(), pair("system.slice", "docker-x.scope"));
    assert_eq!(place("a.slice::a-x.slice", "c1").unwrap(), pair("a.slice", "a-x.slice"));
    for bad in [
        "/a/b",
        "a.slice:x",
        "a.slice:x:y:z",
        "a:x:y",
        "a.slice:x:",
        "a.slice:x:y/z",
        "../a.slice:x:y",
        "a.slice:x:y@z",
    ] {
        let e = place(bad, "c1").expect_err(bad);
        assert_eq!(e.field_path(), Some("/linux/cgroupsPath"), "{bad}");
    }
    assert!(place("/a/b", "c1").unwrap_err().to_string().contains("expected cgroupsPath to be of format"));
    assert!(place("", "a+b").is_err(), "no such name for a unit");
    assert!(place("", &"a".repeat(250)).is_err());
}

#[test]
fn slices() {
    assert_eq!(expand("-.slice").unwrap(), "");
    assert_eq!(expand("system.slice").unwrap(), "/system.slice");
    assert_eq!(expand("a-b-c.slice").unwrap(), "/a.slice/a-b.slice/a-b-c.slice");
    for bad in [
        "",
        "a",
        ".slice",
        "a/b.slice",
        "a--b.slice",
        "-a.slice",
        "a-.slice",
        "a b.slice",
        "../x.slice",
        "..slice",
    ] {
        assert!(expand(bad).is_err(), "{bad}");
    }
}

#[test]
fn values_that_are_properties() {
    let told = |files: &[(&str, &str)]| -> Vec<String> {
        of_writes(&writes(files), 252).into_iter().map(|(n, v)| format!("{n}={v}")).collect()
    };
    assert_eq!(
        told(&[
            ("memory.max", "67108864"),
            ("memory.swap.max", "max"),
            ("pids.max", "20"),
            ("cpu.weight", "39")
        ]),
        [
            "MemoryMax=uint64 67108864",
            "MemorySwapMax=uint64 18446744073709551615",
            "TasksMax=uint64 20",
            "CPUWeight=uint64 39"
        ]
    );
    // 33.333 percent becomes 34.
    assert_eq!(
        told(&[("cpu.max", "10000 30000")]),
        ["CPUQuotaPeriodUSec=uint64 30000", "CPUQuotaPerSecUSec=uint64 340000"]
    );
    assert_eq!(told(&[("cpu.max", "max 100000")])[1], "CPUQuotaPerSecUSec=uint64 18446744073709551615");
    assert_eq!(
        told(&[("cpu.cfs_quota_us", "50000"), ("cpu.cfs_period_us", "100000")])[1],
        "CPUQuotaPerSecUSec=uint64 500000"
    );
    assert_eq!(told(&[("cpuset.cpus", "0-2,9")]), ["AllowedCPUs=@ay [byte 7, byte 2]"]);
    assert_eq!(told(&[("cpuset.cpus", "0-4294967295")]), Vec::<String>::new());
    assert_eq!(of_writes(&writes(&[("cpuset.cpus", "0"), ("cpu.max", "max 1000")]), 239).len(), 1);
    assert_eq!(told(&[("io.max", "8:0 rbps=1"), ("hugetlb.2MB.max", "0")]), Vec::<String>::new());
}

#[test]
fn annotations() {
    let one = |name: &str, text: &str| {
        let key = format!("org.systemd.property.{name}");
        of_annotations(&BTreeMap::from([(key, text.to_string()), ("other".into(), "x".into())]))
            .map(|all| all.into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>())
    };
    assert_eq!(one("CollectMode", "'inactive'").unwrap(), ["CollectMode=\"inactive\""]);
    assert_eq!(one("TimeoutStopUSec", "uint64 7").unwrap(), ["TimeoutStopUSec=uint64 7"]);
    assert_eq!(one("TimeoutStopSec", "7").unwrap(), ["TimeoutStopUSec=uint64 7000000"]);
    assert_eq!(one("TimeoutStopSec", "1.5").unwrap(), ["TimeoutStopUSec=uint64 1500000"]);
    // Not "times in Ms".
    assert_eq!(one("FooMSec", "1").unwrap(), ["FooMSec=1"]);
    for (name, text) in [
        ("ab", "1"),
        ("A_b", "1"),
        ("Abc1", "1"),
        ("Abc", "x y"),
        ("TimeoutStopSec", "'a'"),
        ("TimeoutStopSec", "-1"),
    ] {
        let e = one(name, text).expect_err(name);
        assert_eq!(e.field_path(), Some(format!("/annotations/org.systemd.property.{name}").as_str()));
    }
}

#[test]
fn device_lists_of_version_1() {
    let told = |files: &[(&str, &str)]| {
        let mut warnings = Vec::new();
        let told = of_devices(&writes(files), &manager(), &mut warnings);
        (told.into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(), warnings)
    };
    let (all, warnings) = told(&[
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.allow", "c 136:* rw"),
        ("devices.allow", "b *:* m"),
        ("devices.allow", "c 77:* r"),
    ]);
    assert_eq!(all[0], "DevicePolicy=\"strict\"");
    assert_eq!(
        all[1],
        "DeviceAllow=@a(ss) [(\"/dev/char/1:3\", \"rwm\"), (\"char-pts\", \"rw\"), (\"block-*\", \"m\")]"
    );
    assert!(warnings[0].contains("c 77:* r"), "{warnings:?}");
    assert_eq!(told(&[("devices.allow", "a"), ("devices.deny", "c 1:3 w")]).0, Vec::<String>::new());
}

#[test]
fn versions() {
    assert_eq!(number_of("252.39-1~deb12u2").unwrap(), 252);
    assert_eq!(number_of("v239").unwrap(), 239);
    assert!(number_of("none").is_err());
}
