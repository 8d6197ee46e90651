//! Control groups on the real kernel, in three lanes: the machine as it is, cgroup v2 alone, cgroup v1 alone. Each
//! lane is a private mount namespace, so that the machine's own mounts stay as they are. Needs root.

use knarr::cgroup::{Cgroup, Kind, Layout, plan};
use knarr::error::{Code, Error};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// Runs `body` of this file again in a mount namespace prepared by `setup`.
fn lane(name: &str, setup: &str) {
    if !is_root() {
        return println!("skipped: needs root");
    }
    let me = std::env::current_exe().unwrap();
    let script = format!("{setup}\nexec \"$0\" --ignored --exact body --nocapture --test-threads=1");
    let out = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-ec", &script])
        .arg(me)
        .env("LANE", name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    println!("{text}");
}

#[test]
fn as_the_machine_is() {
    lane("native", "true");
}

#[test]
fn v2_alone() {
    if Layout::detect().is_ok_and(|l| l.kind == Kind::Unified) {
        return println!("skipped: the machine is so already");
    }
    lane("unified", "mount -t cgroup2 cgroup2 /sys/fs/cgroup");
}

#[test]
fn v1_alone() {
    if !Layout::detect().is_ok_and(|l| l.kind == Kind::Hybrid) {
        return println!("skipped: needs a hybrid machine");
    }
    lane("legacy", "umount /sys/fs/cgroup/unified");
}

/// One container's group below a parent of our own, removed when dropped.
struct Group {
    layout: Layout,
    group: Option<Cgroup>,
    children: Vec<Child>,
}

fn parent() -> String {
    format!("knarr-test-{}", std::process::id())
}

fn make(layout: &Layout, name: &str, resources: Value) -> Result<Cgroup, Error> {
    let resources = serde_json::from_value(resources).unwrap();
    let path = format!("/{}/{name}", parent());
    Cgroup::create(layout, &plan(layout, &path, "id", &resources)?, &|| false)
}

impl Group {
    fn new(name: &str, resources: Value) -> Group {
        let layout = Layout::detect().unwrap();
        let group = make(&layout, name, resources).unwrap();
        Group { layout, group: Some(group), children: Vec::new() }
    }
    fn get(&self) -> &Cgroup {
        self.group.as_ref().unwrap()
    }
    /// Directory in the hierarchy of this controller, or of v2.
    fn dir(&self, controller: &str) -> PathBuf {
        let saved = self.get().saved();
        let found = saved.paths.iter().find(|(k, _)| k.split(',').any(|c| c == controller));
        found.or(saved.paths.iter().find(|(k, _)| k.is_empty())).unwrap().1.clone()
    }
    /// Starts a shell script inside, as a fresh child would enter: by writing 0 into every opened file.
    fn spawn(&mut self, script: &str) -> u32 {
        self.spawn_in("", script)
    }
    fn spawn_in(&mut self, below: &str, script: &str) -> u32 {
        let mut enter = String::new();
        for (key, dir) in &self.get().saved().paths {
            let (dir, file) = match key.is_empty() {
                true => (dir.join(below), "cgroup.procs"),
                false => (dir.clone(), "tasks"),
            };
            enter += &format!("echo 0 > '{}'\n", dir.join(file).display());
        }
        let child = Command::new("sh")
            .args(["-ec", &format!("{enter}echo in\n{script}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.children.push(child);
        let child = self.children.last_mut().unwrap();
        let mut word = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"in\n");
        child.id()
    }
    /// What the script printed, and whether it ended well.
    fn run(&mut self, script: &str) -> (String, bool) {
        self.spawn(script);
        let out = self.children.pop().unwrap().wait_with_output().unwrap();
        (String::from_utf8_lossy(&out.stdout).into_owned(), out.status.success())
    }
    fn reap(&mut self) -> Vec<Option<i32>> {
        self.children.drain(..).map(|mut c| c.wait().unwrap().signal()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(g) = self.group.take() else { return };
        let done = g.kill_all(SOON).and_then(|()| g.destroy(SOON));
        self.children.drain(..).for_each(|mut c| drop(c.wait()));
        for dir in g.saved().paths.values() {
            let _ = dir.parent().map(fs::remove_dir);
        }
        if !std::thread::panicking() {
            done.unwrap();
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_string()
}

#[test]
#[ignore = "run by the lanes, each in its own mount namespace"]
fn body() {
    let lane = std::env::var("LANE").unwrap();
    let kind = Layout::detect().unwrap().kind;
    match lane.as_str() {
        "unified" => assert_eq!(kind, Kind::Unified),
        "legacy" => assert_eq!(kind, Kind::Legacy),
        _ => {}
    }
    enters_everywhere_and_keeps_devices();
    limits_are_in_the_kernel(kind);
    if Layout::detect().unwrap().v2_has("io") {
        every_controller_of_v2();
        controllers_that_get_lost_on_the_way();
    }
    if Layout::detect().is_ok_and(|l| l.v1_tree("cpuset").is_some() || l.v2_has("cpuset")) {
        cpus_of_the_parent_only();
    }
    freezes_and_kills();
    kills_a_fork_storm();
    refuses_groups_in_use();
    early_record_removes_what_is_empty();
    failure_leaves_nothing();
    removal_waits_and_names_who_is_left();
    if kind != Kind::Legacy {
        exec_follows_init();
    }
    println!("lane {lane}: {kind:?}");
}

fn enters_everywhere_and_keeps_devices() {
    // 1:11 is the kernel log: writable by the rule, not readable; 1:1 is not allowed, mknod of it is.
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"});
    let mut g = Group::new("enter", json!({"devices": [rule]}));
    let pid = g.spawn("sleep 60");
    let now = read(format!("/proc/{pid}/cgroup"));
    for key in g.get().saved().paths.keys() {
        let line = now.lines().find(|l| l.split(':').nth(1) == Some(key.as_str())).unwrap();
        assert!(line.ends_with(&format!("/{}/enter", parent())), "{line}");
    }
    assert!(g.get().pids().unwrap().contains(&(pid as i32)));
    assert_eq!(g.get().entrances(false).unwrap().len(), g.layout.v1.len());
    assert_eq!(g.get().v2_dir().is_some(), g.layout.v2.is_some());
    assert_eq!(g.get().places().len(), g.get().saved().paths.len());

    // A file system of our own, because the usual places for files may forbid devices.
    let dir = tempfile::tempdir().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(dir.path()).status().unwrap();
    assert!(mount.success());
    let at = |n: &str| dir.path().join(n).display().to_string();
    let (out, _) = g.run(&format!(
        "mknod {log} c 1 11; mknod {mem} c 1 1; mknod {null} c 1 3
         echo > {null} && echo null
         (: >> {log}) 2>&1 && echo log-write
         (: < {log}) 2>&1 && echo log-read
         (: < {mem}) 2>&1 && echo mem-read
         true",
        log = at("log"),
        mem = at("mem"),
        null = at("null")
    ));
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert!(out.contains("null\n") && out.contains("log-write\n"), "{out}");
    assert!(!out.contains("log-read\n") && !out.contains("mem-read\n"), "{out}");
    assert!(out.to_lowercase().contains("operation not permitted"), "{out}");
}

fn limits_are_in_the_kernel(kind: Kind) {
    if kind == Kind::Unified {
        let g = Group::new("limits", json!({"unified": {"cgroup.max.depth": "3"}}));
        assert_eq!(read(g.dir("").join("cgroup.max.depth")), "3");
        if !g.layout.v2_has("memory") {
            let e = make(&g.layout, "none", json!({"memory": {"limit": 1 << 24}})).unwrap_err();
            assert_eq!(
                (e.kind(), e.field_path()),
                (Code::Unsupported, Some("/linux/resources/memory/limit"))
            );
            return;
        }
    }
    let mut g = Group::new(
        "limits",
        json!({
            "memory": {"limit": 16 << 20, "swap": 16 << 20, "reservation": 8 << 20},
            "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 20}
        }),
    );
    let expect: &[(&str, &str, &str)] = match g.layout.v1_tree("memory") {
        Some(_) => &[
            ("memory", "memory.limit_in_bytes", "16777216"),
            ("memory", "memory.memsw.limit_in_bytes", "16777216"),
            ("memory", "memory.soft_limit_in_bytes", "8388608"),
            ("cpu", "cpu.shares", "512"),
            ("cpu", "cpu.cfs_quota_us", "20000"),
            ("cpu", "cpu.cfs_period_us", "50000"),
        ],
        None => &[
            ("memory", "memory.max", "16777216"),
            ("memory", "memory.low", "8388608"),
            ("cpu", "cpu.weight", "59"),
            ("cpu", "cpu.max", "20000 50000"),
        ],
    };
    let both = [("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0"), ("pids", "pids.max", "20")];
    for (controller, file, want) in expect.iter().chain(&both) {
        assert_eq!(read(g.dir(controller).join(file)), *want, "{file}");
    }
    assert_eq!(g.get().memory_limit(), Some(16 << 20));
    assert_eq!(g.get().oom_kills(), Some(0));
    // tail keeps the whole line, which never ends.
    let (_, well) = g.run("head -c 300000000 /dev/zero | tail > /dev/null; exit $?");
    assert!(!well);
    assert!(g.get().oom_kills().unwrap() >= 1);
    assert!(g.get().memory_peak().unwrap() >= 8 << 20);
}

fn every_controller_of_v2() {
    let disk = fs::read_dir("/sys/block").unwrap().flatten().map(|d| read(d.path().join("dev"))).next();
    let mut resources = json!({
        "cpu": {"quota": 50000, "period": 100000, "burst": 20000, "shares": 1024},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "blockIO": {"weight": 500},
        "unified": {"memory.high": "33554432", "cgroup.max.descendants": "7"}
    });
    let mut expect = vec![
        ("cpu.max", "50000 100000".to_string()),
        ("cpu.max.burst", "20000".into()),
        ("cpu.weight", "100".into()),
        ("hugetlb.2MB.max", "4194304".into()),
        ("hugetlb.2MB.rsvd.max", "4194304".into()),
        ("memory.high", "33554432".into()),
        ("cgroup.max.descendants", "7".into()),
    ];
    if let Some(node) = disk {
        let (major, minor) = node.split_once(':').unwrap();
        let device = json!({"major": major.parse::<u32>().unwrap(), "minor": minor.parse::<u32>().unwrap(), "rate": 1048576});
        resources["blockIO"]["throttleReadBpsDevice"] = json!([device]);
        resources["blockIO"]["throttleWriteIOPSDevice"] = json!([device]);
        expect.push(("io.max", format!("{node} rbps=1048576 wbps=max riops=max wiops=1048576")));
    }
    let g = Group::new("all", resources);
    for (file, want) in expect {
        assert_eq!(read(g.dir("").join(file)), want, "{file}");
    }
    // Whichever of the two files the kernel has.
    let weights =
        ["io.bfq.weight", "io.weight"].map(|f| fs::read_to_string(g.dir("").join(f)).unwrap_or_default());
    assert!(weights.iter().any(|w| ["default 500\n", "default 4950\n"].contains(&w.as_str())), "{weights:?}");
    drop(g);
    let g = Group::new("idle", json!({"cpu": {"shares": 2, "idle": 1}}));
    assert_eq!(read(g.dir("").join("cpu.idle")), "1");
    drop(g);
    let e = make(
        &Layout::detect().unwrap(),
        "none",
        json!({"hugepageLimits": [{"pageSize": "16MB", "limit": 1}]}),
    )
    .unwrap_err();
    assert!(e.to_string().contains("does not offer hugetlb.16MB.max"), "{e}");
    let device = json!({"major": 250, "minor": 250, "rate": 1});
    let e = make(&Layout::detect().unwrap(), "none", json!({"blockIO": {"throttleReadBpsDevice": [device]}}))
        .unwrap_err();
    assert!(e.to_string().contains("no such block device"), "{e}");
}

fn cpus_of_the_parent_only() {
    let layout = Layout::detect().unwrap();
    let outer = Group::new("cpus", json!({"cpu": {"cpus": "0"}}));
    let e = make(&layout, "cpus/inner", json!({"cpu": {"cpus": "1"}})).unwrap_err();
    assert_eq!(e.field_path(), Some("/linux/resources/cpu/cpus"));
    assert!(e.to_string().contains("the parent cgroup has 0"), "{e}");
    println!("{e}");
    make(&layout, "cpus/inner", json!({"cpu": {"cpus": "0"}})).unwrap().destroy(SOON).unwrap();
    drop(outer);
}

fn controllers_that_get_lost_on_the_way() {
    let layout = Layout::detect().unwrap();
    let mut g = Group::new("outer", json!({}));
    // A parent with a process of its own hands some controllers on, but lets nobody into its children.
    g.spawn("exec sleep 60");
    let e = make(&layout, "outer/inner", json!({"memory": {"limit": 1 << 24}})).unwrap_err();
    assert_eq!((e.kind(), e.field_path()), (Code::Unsupported, Some("/linux/resources/memory/limit")));
    assert!(
        e.to_string().contains("controller \"memory\"") && e.to_string().contains("processes of its own"),
        "{e}"
    );
    println!("{e}");
    let e = make(&layout, "outer/inner", json!({"pids": {"limit": 5}})).unwrap_err();
    assert_eq!((e.kind(), e.field_path()), (Code::Unsupported, Some("/linux/cgroupsPath")));
    println!("{e}");
    fs::write(g.dir("").join("cgroup.subtree_control"), "-pids -cpu").unwrap();
    // Without a limit it does not matter.
    make(&layout, "outer/inner", json!({})).unwrap().destroy(SOON).unwrap();
    g.get().kill_all(SOON).unwrap();
    // A parent that does not hand a controller on, because it is threaded.
    fs::create_dir(g.dir("").join("t")).unwrap();
    fs::write(g.dir("").join("t/cgroup.type"), "threaded").unwrap();
    let e = make(&layout, "outer/t/inner", json!({"memory": {"limit": 1 << 24}})).unwrap_err();
    assert_eq!((e.kind(), e.field_path()), (Code::Unsupported, Some("/linux/resources/memory/limit")));
    println!("{e}");
}

fn freezes_and_kills() {
    let mut g = Group::new("freeze", json!({}));
    g.spawn("while :; do :; done");
    g.spawn("sleep 60");
    assert!(!g.get().frozen().unwrap());
    g.get().freeze(SOON).unwrap();
    assert!(g.get().frozen().unwrap());
    g.get().thaw(SOON).unwrap();
    assert!(!g.get().frozen().unwrap());
    g.get().freeze(SOON).unwrap();
    let start = Instant::now();
    g.get().kill_all(SOON).unwrap();
    assert!(g.get().pids().unwrap().is_empty());
    assert_eq!(g.reap(), [Some(9), Some(9)]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // A record is enough to find it again.
    let again = Cgroup::open(&g.get().saved()).unwrap();
    assert!(again.exists());
    again.thaw(SOON).unwrap();
    again.destroy(SOON).unwrap();
    assert!(!g.get().exists());
    let gone = Cgroup::open(&g.get().saved()).unwrap();
    assert!(gone.pids().unwrap().is_empty() && !gone.frozen().unwrap() && gone.v2_dir().is_none());
    gone.thaw(SOON).unwrap();
    gone.kill_all(SOON).unwrap();
    gone.destroy(SOON).unwrap();
}

fn kills_a_fork_storm() {
    let layout = Layout::detect().unwrap();
    if layout.v1_tree("pids").is_none() && !layout.v2_has("pids") {
        return println!("no fork storm without a pids controller");
    }
    let mut g = Group::new("storm", json!({"pids": {"limit": 60}}));
    g.spawn("set +e; bomb() { while :; do sleep 0.01 & done; }; bomb & bomb & bomb");
    std::thread::sleep(Duration::from_millis(200));
    g.get().kill_all(SOON).unwrap();
    assert!(g.get().pids().unwrap().is_empty());
    std::thread::sleep(Duration::from_millis(50));
    assert!(g.get().pids().unwrap().is_empty());
    assert!(!g.get().frozen().unwrap());
}

fn refuses_groups_in_use() {
    let mut g = Group::new("used", json!({}));
    g.spawn("exec sleep 60");
    let e = make(&g.layout, "used", json!({})).unwrap_err();
    assert!(e.to_string().contains("container's cgroup is not empty: 1 process(es) found"), "{e}");
    assert_eq!(e.field_path(), Some("/linux/cgroupsPath"));
    assert_eq!(g.get().pids().unwrap().len(), 1, "left alone");
    g.get().kill_all(SOON).unwrap();
    g.get().freeze(SOON).unwrap();
    let e = make(&g.layout, "used", json!({})).unwrap_err();
    assert!(e.to_string().contains("container's cgroup unexpectedly frozen"), "{e}");
    g.get().thaw(SOON).unwrap();
    // A record from before the directories were looked at: nothing of theirs goes as long as it is in use.
    g.spawn("exec sleep 60");
    let resources = serde_json::from_value(json!({})).unwrap();
    let early = plan(&g.layout, &format!("/{}/used", parent()), "id", &resources).unwrap().saved();
    Cgroup::open(&early).unwrap().destroy(SOON).unwrap();
    assert!(g.get().exists() && g.get().pids().unwrap().len() == 1);
    g.get().kill_all(SOON).unwrap();
    // Empty and running: used, and left when the second user goes.
    let second = make(&g.layout, "used", json!({})).unwrap();
    assert!(!second.saved().created);
    second.destroy(SOON).unwrap();
    assert!(g.get().exists());
}

/// Killed right after the directories were made: the record from before is enough to remove them.
fn early_record_removes_what_is_empty() {
    let layout = Layout::detect().unwrap();
    let resources = serde_json::from_value(json!({})).unwrap();
    let plan = plan(&layout, &format!("/{}/early", parent()), "id", &resources).unwrap();
    let group = Cgroup::create(&layout, &plan, &|| false).unwrap();
    drop(group);
    let record = Cgroup::open(&plan.saved()).unwrap();
    assert!(record.exists());
    record.destroy(SOON).unwrap();
    assert!(!record.exists());
    for dir in plan.saved().paths.values() {
        fs::remove_dir(dir.parent().unwrap()).unwrap();
    }
}

fn failure_leaves_nothing() {
    let layout = Layout::detect().unwrap();
    let bad = match layout.v1_tree("cpuset").is_some() || layout.v2_has("cpuset") {
        true => json!({"cpu": {"cpus": "0-9999"}}),
        false => json!({"unified": {"cgroup.max.depth": "many"}}),
    };
    let e = make(&layout, "bad/deep/er", bad).unwrap_err();
    assert!(e.field_path().unwrap().starts_with("/linux/resources/"), "{e}");
    println!("{e}");
    for tree in layout.v2.iter().chain(&layout.v1) {
        assert!(!tree.mount.join(parent()).exists(), "{tree:?}");
    }
}

fn removal_waits_and_names_who_is_left() {
    let mut g = Group::new("busy", json!({}));
    for dir in g.get().saved().paths.values() {
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        fs::create_dir_all(dir.join("d")).unwrap();
    }
    let pid = g.spawn("exec sleep 60");
    let e = g.get().destroy(Duration::from_millis(200)).unwrap_err();
    assert_eq!(e.kind(), Code::Timeout);
    assert!(e.to_string().contains(&format!("process {pid} \"sleep\" state S")), "{e}");
    println!("{e}");
    assert!(g.get().exists());
    // It ends by itself while we wait.
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    });
    g.get().destroy(SOON).unwrap();
    killer.join().unwrap();
    assert!(!g.get().exists());
}

fn exec_follows_init() {
    let mut g = Group::new("exec", json!({}));
    let dir = g.dir("");
    fs::create_dir_all(dir.join("init/deep")).unwrap();
    let pid = g.spawn_in("init/deep", "exec sleep 60") as i32;
    let place = |group: &Cgroup, pid: i32| {
        let target = group.exec_target(pid, &[], false).unwrap();
        assert_eq!(target.entrances.len(), g.layout.v1.len());
        let dir = target.v2.unwrap();
        fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap()
    };
    assert_eq!(place(g.get(), pid), dir.join("init/deep"));
    assert_eq!(g.get().pids().unwrap(), [pid]);
    // A process outside of the group leads to the group itself, never to where that process is.
    assert_eq!(place(g.get(), std::process::id() as i32), dir);
    let record = Cgroup::open(&g.get().saved()).unwrap();
    assert_eq!(place(&record, pid), dir.join("init/deep"));
}
