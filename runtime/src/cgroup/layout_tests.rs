//! Samples of mount tables: unified, hybrid in two styles, legacy, nested, hidden and odd ones.
use super::*;

const UNIFIED: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
24 22 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

const SYSTEMD_HYBRID: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
24 22 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
36 30 0:32 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,memory
";
const SYSTEMD_HYBRID_OWN: &str = "\
12:memory:/user.slice
3:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/user-0.slice/session-1.scope
0::/user.slice/user-0.slice/session-1.scope
";

/// A tmpfs with each controller mounted alone, the v2 tree beside them.
const SINGLE_HYBRID: &str = "\
23 1 254:0 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const SINGLE_HYBRID_OWN: &str = "9:name=systemd:/\n4:memory:/jobs/one\n2:cpuacct:/\n1:cpu:/\n0::/\n";

fn keys(l: &Layout) -> Vec<&str> {
    l.v1.iter().map(|t| t.key.as_str()).collect()
}

#[test]
fn unified() {
    let l = parse(UNIFIED.as_bytes(), b"0::/user.slice/a.scope\n").unwrap();
    assert_eq!((l.kind, keys(&l).len()), (Kind::Unified, 0));
    let v2 = l.v2.unwrap();
    assert_eq!((v2.mount.as_path(), v2.own.as_str()), (Path::new("/sys/fs/cgroup"), "/user.slice/a.scope"));
}

#[test]
fn hybrid_of_systemd() {
    let l = parse(SYSTEMD_HYBRID.as_bytes(), SYSTEMD_HYBRID_OWN.as_bytes()).unwrap();
    assert_eq!((l.kind, keys(&l)), (Kind::Hybrid, vec!["memory", "cpu,cpuacct", "name=systemd"]));
    let cpu = l.v1_tree("cpuacct").unwrap();
    assert_eq!(cpu.mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    assert_eq!((cpu.key.as_str(), cpu.own.as_str()), ("cpu,cpuacct", "/user.slice"));
    assert_eq!(l.v2.as_ref().unwrap().mount, Path::new("/sys/fs/cgroup/unified"));
    assert_eq!(
        l.to_string(),
        "hybrid layout, cgroup v1 has memory cpu,cpuacct name=systemd, cgroup v2 has no controller"
    );
}

#[test]
fn hybrid_of_single_mounts() {
    let l = parse(SINGLE_HYBRID.as_bytes(), SINGLE_HYBRID_OWN.as_bytes()).unwrap();
    assert_eq!(l.kind, Kind::Hybrid);
    assert_eq!(keys(&l), ["name=systemd", "memory", "cpu"], "cpuacct is not mounted");
    assert_eq!(l.v1_tree("memory").unwrap().own, "/jobs/one");
    assert!(l.v1_tree("cpuacct").is_none() && !l.v2_has("memory"));
}

#[test]
fn legacy_when_the_v2_tree_is_unmounted() {
    let text: String =
        SINGLE_HYBRID.lines().filter(|l| !l.contains("cgroup2")).fold(String::new(), |a, l| a + l + "\n");
    let l = parse(text.as_bytes(), SINGLE_HYBRID_OWN.as_bytes()).unwrap();
    assert_eq!((l.kind, l.v2), (Kind::Legacy, None));
}

/// cgroup2 mounted over the tmpfs hides the v1 mounts below it, though they are still in the table.
#[test]
fn a_mount_on_top_hides_what_is_below() {
    let text = format!("{SINGLE_HYBRID}50 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    let l = parse(text.as_bytes(), SINGLE_HYBRID_OWN.as_bytes()).unwrap();
    assert_eq!((l.kind, keys(&l).len()), (Kind::Unified, 0));
    assert_eq!(l.v2.unwrap().mount, Path::new("/sys/fs/cgroup"));
}

#[test]
fn nested_without_a_cgroup_namespace() {
    let mounts = "\
500 1 0:50 / / rw - overlay overlay rw
510 500 0:22 / /sys ro - sysfs sysfs ro
511 510 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw
";
    for (own, want) in [
        ("0::/docker/abc\n", "/"),
        ("0::/docker/abc/inner\n", "/inner"),
        ("0::/docker/abcdef\n", "/"),
        ("0::/../other\n", "/"),
    ] {
        let l = parse(mounts.as_bytes(), own.as_bytes()).unwrap();
        let v2 = l.v2.unwrap();
        assert_eq!((v2.root.as_str(), v2.own.as_str()), ("/docker/abc", want), "{own}");
    }
}

#[test]
fn odd_lines() {
    // A space in the path, an empty source, a second mount elsewhere, rubbish.
    let mounts = "\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
7 1 0:26 / /srv/other rw - cgroup2  rw
8 1 0:26 / /sys/fs/cgroup/my\\040tree rw master:3 - cgroup2  rw

nonsense
9 1 0:26
";
    let l = parse(mounts.as_bytes(), b"0::/a b\nnonsense\n").unwrap();
    let v2 = l.v2.unwrap();
    assert_eq!((v2.mount.as_path(), v2.own.as_str()), (Path::new("/sys/fs/cgroup/my tree"), "/a b"));
    assert_eq!(unescape(b"a\\134b\\011\\xx\\40"), b"a\\b\t\\xx\\40");
}

#[test]
fn no_cgroups_at_all() {
    let e = parse(b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", b"0::/\n").unwrap_err();
    assert_eq!(e.kind(), Code::Unsupported);
}

#[test]
fn names_are_compared_whole() {
    assert_eq!(below("/a/b", "/a").as_deref(), Some("/b"));
    assert_eq!(below("/a", "/a").as_deref(), Some("/"));
    assert_eq!(below("/ab", "/a"), None);
    assert_eq!(below("/a/../b", "/a"), None);
    assert_eq!(below("/a", "/").as_deref(), Some("/a"));
}

/// The machine that runs the tests: whatever it is, the answer must be usable.
#[test]
fn this_machine() {
    let Ok(l) = Layout::detect() else { return println!("skipped: no cgroup file system is mounted here") };
    for tree in l.v2.iter().chain(&l.v1) {
        assert!(tree.mount.join("cgroup.procs").exists(), "{tree:?}");
    }
    assert!(serde_json::to_string(&l).unwrap().contains("\"kind\""));
}

proptest::proptest! {
    /// No bytes make the parsers panic, and what they find is below its mount.
    #[test]
    fn any_bytes(lines in proptest::collection::vec("[ -~]{0,40}( /[a-z.]{0,3}){0,4} - cgroup2? [a-z,= ]{0,9}", 0..6),
                 own in "([0-9]:[a-z,=]{0,6}:[/a-z.]{0,9}\n){0,4}") {
        let mut text = lines.join("\n").into_bytes();
        for _ in 0..2 {
            if let Ok(l) = parse(&text, own.as_bytes()) {
                for t in l.v2.iter().chain(&l.v1) {
                    proptest::prop_assert!(t.own.starts_with('/') && !t.own.split('/').any(|c| c == ".."));
                }
            }
            text.extend_from_slice(SINGLE_HYBRID.as_bytes());
        }
    }
}
