//! Bundles of runs, made from real directories.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::unit::test_dir::TestDir;

/// Directories of a daemon in memory, with a root file system and a bundle.
struct Place {
    dir: TestDir,
    dirs: Dirs,
    run: RunId,
}

impl Place {
    fn new(name: &str) -> Place {
        Place::at(TestDir::in_memory(name))
    }

    fn at(dir: TestDir) -> Place {
        let dirs = Dirs { services: dir.join("etc"), state: dir.join("state"), run: dir.join("run") };
        std::fs::create_dir_all(dir.join("root")).unwrap();
        std::fs::create_dir_all(dir.join("b/rootfs")).unwrap();
        Place { dir, dirs, run: "web.2.17".parse().unwrap() }
    }

    fn bundle(&self, config: &Value) {
        std::fs::write(self.dir.join("b/config.json"), config.to_string()).unwrap();
    }

    /// `@` stands for the directory of the test.
    fn service(&self, text: &str) -> Service {
        let text = text.replace('@', &self.dir.display().to_string());
        crate::unit::parse(&"web".parse().unwrap(), Path::new("web.toml"), &text).unwrap()
    }

    fn prepare(&self, text: &str) -> Result<(Prepared, Value), Failure> {
        let prepared = prepare(&self.service(text), &self.run, &self.dirs, "/knarrd/payload/web.2.17")?;
        let text = std::fs::read(prepared.bundle.join("config.json")).unwrap();
        Ok((prepared, serde_json::from_slice(&text).unwrap()))
    }

    fn good(&self, text: &str) -> Value {
        self.prepare(text).unwrap().1
    }

    fn code(&self, text: &str) -> (&'static str, String) {
        let failure = self.prepare(text).unwrap_err();
        (failure.code, failure.text)
    }
}

const ROOT: &str = "root = \"@/root\"\ncommand = [\"/bin/serve\", \"80\"]\n";
const BUNDLE: &str = "bundle = \"@/b\"\n";

fn at<'a>(config: &'a Value, pointer: &str) -> &'a Value {
    config.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {config:#}"))
}

fn env(config: &Value) -> Vec<&str> {
    at(config, "/process/env").as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect()
}

fn namespaces(config: &Value) -> String {
    let all = at(config, "/linux/namespaces").as_array().unwrap();
    let mut names: Vec<_> = all.iter().map(|n| n["type"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.join(" ")
}

fn simple_bundle() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "process": {
            "user": { "uid": 5, "gid": 5, "umask": 18, "username": "old" },
            "args": ["/bin/old"], "cwd": "/old",
            "env": ["A=bundle", "B=bundle", "C=bundle"],
            "future": 1
        },
        "mounts": [
            { "destination": "/data/", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/rel", "source": "sub", "options": ["rbind"] }
        ],
        "linux": {
            "namespaces": [{ "type": "mount" }, { "type": "network", "path": "/run/netns/x" }],
            "resources": {
                "memory": { "limit": 1000, "swap": 1500, "reservation": 900 },
                "unified": { "memory.max": "5", "io.max": "x" }
            },
            "seccomp": { "defaultAction": "SCMP_ACT_ALLOW" }
        },
        "vendor": { "kept": true }
    })
}

#[test]
fn a_root_gets_the_default_confinement() {
    let place = Place::new("root");
    let config = place.good(ROOT);
    assert_eq!(at(&config, "/root/path"), &json!(place.dir.join("root")));
    assert_eq!(at(&config, "/process/args"), &json!(["/bin/serve", "80"]));
    assert_eq!(namespaces(&config), "cgroup ipc mount network pid uts");
    assert_eq!(at(&config, "/process/noNewPrivileges"), true);
    assert_eq!(at(&config, "/process/oomScoreAdj"), 0);
    assert_eq!(at(&config, "/process/capabilities/bounding").as_array().unwrap().len(), 14);
    assert_eq!(at(&config, "/process/capabilities/ambient"), &json!([]));
    assert_eq!(at(&config, "/linux/cgroupsPath"), "/knarrd/payload/web.2.17");
    assert_eq!(at(&config, "/linux/resources/pids/limit"), 2048);
    assert_eq!(at(&config, "/linux/resources/devices"), &json!([{ "allow": false, "access": "rwm" }]));
    assert_eq!(at(&config, "/linux/seccomp/defaultAction"), "SCMP_ACT_ERRNO");
    assert_eq!(at(&config, "/hostname"), "web-2");
    let env = env(&config);
    for wanted in ["HOSTNAME=web-2", "KNARR_SERVICE=web", "KNARR_INSTANCE=web.2"] {
        assert!(env.contains(&wanted), "{env:?}");
    }
    assert!(env[0].starts_with("PATH=/"), "{env:?}");
    let nofile = at(&config, "/process/rlimits/0");
    assert_eq!((nofile["type"].as_str(), nofile["soft"].as_u64()), (Some("RLIMIT_NOFILE"), Some(1024)));
    for destination in ["/proc", "/dev", "/dev/shm", "/sys", "/sys/fs/cgroup"] {
        let mounts = at(&config, "/mounts").as_array().unwrap();
        assert!(mounts.iter().any(|m| m["destination"] == destination), "{destination}");
    }
    assert!(config.pointer("/linux/resources/memory").is_none() && config.get("annotations").is_none());
}

#[test]
fn what_is_made_for_a_root_parses_with_the_reference_types() {
    let place = Place::new("types");
    std::fs::write(place.dir.join("file"), "x").unwrap();
    let text = format!(
        "{ROOT}user = \"7:7\"\nhostname = \"h\"\n[limits]\nmemory = \"64M\"\nswap = 0\ncpus = 0.5\npids = \"unlimited\"\n\
         [security]\ncapabilities_add = [\"ALL\"]\n[[mounts]]\nsource = \"@/root\"\ntarget = \"/x\"\n\
         [[configs]]\nsource = \"@/file\"\ntarget = \"/etc/f\"\n"
    );
    let mut config = place.good(&text);
    // The reference types do not know every action and flag of a profile.
    config["linux"].as_object_mut().unwrap().remove("seccomp");
    let spec: oci_spec::runtime::Spec = serde_json::from_value(config).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!((process.user().uid(), process.oom_score_adj()), (7, Some(0)));
    let ambient = process.capabilities().as_ref().unwrap().ambient().as_ref().unwrap();
    assert_eq!(ambient.len(), 41);
    let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
    assert_eq!(resources.pids().as_ref().unwrap().limit(), -1);
    assert_eq!(resources.memory().as_ref().unwrap().swap(), Some(64 << 20));
}

#[test]
fn a_bundle_keeps_what_the_service_file_does_not_say() {
    let place = Place::new("keep");
    let bundle = simple_bundle();
    place.bundle(&bundle);
    let (prepared, config) = place.prepare(BUNDLE).unwrap();
    assert_eq!((prepared.terminal, prepared.memory), (false, Some(1000)));
    assert_eq!(at(&config, "/root/path"), &json!(place.dir.join("b/rootfs")));
    assert_eq!(at(&config, "/mounts/1/source"), &json!(place.dir.join("b/sub")));
    for kept in [
        "/vendor",
        "/process/future",
        "/process/args",
        "/process/cwd",
        "/process/user",
        "/linux/namespaces",
        "/linux/seccomp",
        "/linux/resources/memory",
        "/linux/resources/unified",
        "/mounts/0",
    ] {
        assert_eq!(at(&config, kept), at(&bundle, kept), "{kept}");
    }
    assert!(config.pointer("/process/noNewPrivileges").is_none());
    assert!(config.pointer("/process/capabilities").is_none());
    assert_eq!(at(&config, "/process/oomScoreAdj"), 0);
}

#[test]
fn the_service_file_wins_over_the_bundle() {
    let place = Place::new("wins");
    place.bundle(&simple_bundle());
    std::fs::write(place.dir.join("env"), "B=file\nC=file\n").unwrap();
    let config = place.good(
        "bundle = \"@/b\"\ncommand = [\"/bin/new\"]\nworkdir = \"/new\"\nuser = \"1000:1001\"\ngroups = [7]\n\
         tty = true\nhostname = \"new\"\nnetwork = \"none\"\nenv = { C = \"service\" }\nenv_files = [\"@/env\"]\n\
         [limits]\nmemory = \"1MiB\"\ncpus = 1.5\ncpuset = \"0\"\npids = 7\nnofile = 99\noom_score_adj = -5\n\
         [security]\nseccomp = \"unconfined\"\nno_new_privileges = true\n\
         capabilities_drop = [\"ALL\"]\ncapabilities_add = [\"NET_ADMIN\"]\n\
         [[mounts]]\ntype = \"tmpfs\"\ntarget = \"/data\"\nsize = \"1M\"\nread_only = true\n",
    );
    for (pointer, value) in [
        ("/process/args", json!(["/bin/new"])),
        ("/process/cwd", json!("/new")),
        ("/process/user", json!({ "uid": 1000, "gid": 1001, "umask": 18, "additionalGids": [7] })),
        ("/process/terminal", json!(true)),
        ("/process/oomScoreAdj", json!(-5)),
        ("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 99, "hard": 99 }])),
        ("/process/noNewPrivileges", json!(true)),
        ("/process/capabilities/bounding", json!(["CAP_NET_ADMIN"])),
        ("/process/capabilities/ambient", json!(["CAP_NET_ADMIN"])),
        ("/hostname", json!("new")),
        ("/linux/namespaces", json!([{ "type": "mount" }, { "type": "network" }, { "type": "uts" }])),
        // The bundle gave 500 bytes of swap, and its reservation would be below the limit anyway.
        ("/linux/resources/memory", json!({ "limit": 1 << 20, "swap": (1 << 20) + 500, "reservation": 900 })),
        ("/linux/resources/unified", json!({ "io.max": "x" })),
        ("/linux/resources/pids", json!({ "limit": 7 })),
        ("/linux/resources/cpu", json!({ "period": 100_000, "quota": 150_000, "cpus": "0" })),
        ("/mounts/1/options", json!(["ro", "nosuid", "nodev", "mode=1777", "size=1048576"])),
    ] {
        assert_eq!(at(&config, pointer), &value, "{pointer}");
    }
    assert_eq!(at(&config, "/mounts").as_array().unwrap().len(), 2);
    let env = env(&config);
    let mut wanted =
        vec!["A=bundle", "B=file", "C=service", "HOSTNAME=new", "KNARR_SERVICE=web", "KNARR_INSTANCE=web.2"];
    wanted.extend([root::PATH, "TERM=xterm"]);
    assert_eq!(env, wanted);
}

#[test]
fn host_network_has_no_network_namespace() {
    let place = Place::new("net");
    place.bundle(&simple_bundle());
    assert_eq!(namespaces(&place.good(&format!("{BUNDLE}network = \"host\""))), "mount");
    assert_eq!(namespaces(&place.good(&format!("{ROOT}network = \"host\""))), "cgroup ipc mount pid uts");
    assert_eq!(
        namespaces(&place.good(&format!("{ROOT}network = {{ cni = [\"x\"] }}"))),
        "cgroup ipc mount network pid uts"
    );
}

#[test]
fn parents_are_mounted_before_children() {
    let place = Place::new("order");
    let config = place.good(&format!(
        "{ROOT}[[mounts]]\nsource = \"@/root\"\ntarget = \"/a/b/c\"\n[[mounts]]\nsource = \"@/root\"\ntarget = \"/a\"\n"
    ));
    let mounts = at(&config, "/mounts").as_array().unwrap();
    let places: Vec<_> = mounts.iter().rev().take(2).map(|m| m["destination"].as_str().unwrap()).collect();
    assert_eq!(places, ["/a/b/c", "/a"]);
}

#[test]
fn failures_have_their_codes() {
    let place = Place::new("codes");
    let file = |name: &str, text: &[u8]| std::fs::write(place.dir.join(name), text).unwrap();
    let bundle = |text: &str| std::fs::write(place.dir.join("b/config.json"), text).unwrap();
    let check = |text: &str, code: &str, why: &str| {
        let (got, said) = place.code(text);
        assert!(got == code && said.contains(why), "{text}: {got}: {said}");
    };
    check("bundle = \"/nowhere/x\"", "bundle-missing", "/nowhere/x");
    check(BUNDLE, "bundle-missing", "config.json");
    for (config, why) in [
        ("{", "EOF"),
        ("[]", "not a JSON object"),
        ("{}", "root.path"),
        (r#"{"root":{"path":"rootfs"}}"#, "no process"),
        (r#"{"root":{"path":"rootfs"},"process":[]}"#, "process is not an object"),
        (r#"{"root":{"path":"rootfs"},"process":{"env":3}}"#, "env is not a list"),
        (r#"{"root":{"path":"rootfs"},"process":{},"linux":1}"#, "linux is not an object"),
        (r#"{"root":{"path":"rootfs"},"process":{},"mounts":{}}"#, "mounts is not a list"),
    ] {
        bundle(config);
        check(BUNDLE, "bundle-invalid", why);
    }
    bundle(r#"{"root":{"path":"gone"},"process":{}}"#);
    check(BUNDLE, "root-missing", "gone");
    bundle(r#"{"root":{"path":"rootfs"},"process":{}}"#);
    check(&format!("{BUNDLE}limits.swap = 5"), "bundle-invalid", "limit of memory");
    check("root = \"@/file-not-there\"\ncommand = [\"x\"]", "root-missing", "No such file");
    file("plain", b"x");
    check("root = \"@/plain\"\ncommand = [\"x\"]", "root-missing", "not a directory");
    let more = |text: &str| format!("{ROOT}{text}");
    check(
        &more("mounts = [{ source = \"@/gone\", target = \"/m\" }]"),
        "mount-missing",
        "@/gone".trim_start_matches('@'),
    );
    check(&more("env_files = [\"@/gone\"]"), "env-file", "No such file");
    check(&more("env_files = [\"@/plain\"]"), "env-file", "line 1");
    check(&more("env_files = [\"@/root\"]"), "env-file", "a directory");
    check(&more("secrets = [{ source = \"@/gone\", target = \"/s\" }]"), "secret-missing", "for /s");
    check(&more("configs = [{ source = \"@/gone\", target = \"/s\" }]"), "config-missing", "for /s");
    file("docker.json", br#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[]}"#);
    check(&more("security.seccomp = \"@/docker.json\""), "seccomp-file", "archMap");
    check(&more("security.seccomp = \"@/plain\""), "seccomp-file", "expected value");
    file("profile.json", br#"{"defaultAction":"SCMP_ACT_LOG"}"#);
    let config = place.good(&more("security.seccomp = \"@/profile.json\""));
    assert_eq!(at(&config, "/linux/seccomp"), &json!({ "defaultAction": "SCMP_ACT_LOG" }));
}

#[test]
fn a_full_disk_has_its_own_code() {
    let full = io::Error::from(ErrorKind::StorageFull);
    assert_eq!(Failure::write(Path::new("/x"), &full).code, "disk-full");
    assert_eq!(Failure::write(Path::new("/x"), &ErrorKind::PermissionDenied.into()).code, "internal");
}

#[test]
fn files_are_copied_with_mode_and_owner_and_cleaned() {
    let place = Place::new("files");
    std::fs::write(place.dir.join("key"), "swordfish").unwrap();
    let text =
        format!("{ROOT}user = \"1000:1001\"\nsecrets = [{{ source = \"@/key\", target = \"/run/key\" }}]");
    let config = place.good(&text);
    let mount = at(&config, "/mounts").as_array().unwrap().last().unwrap();
    assert_eq!(mount["options"], json!(["bind", "ro", "nosuid", "nodev", "noexec", "private"]));
    let copy = std::fs::metadata(mount["source"].as_str().unwrap()).unwrap();
    assert_eq!((copy.mode() & 0o7777, copy.uid(), copy.gid()), (0o400, 1000, 1001));
    assert_eq!(std::fs::metadata(place.dirs.files(&place.run)).unwrap().mode() & 0o777, 0o700);
    // A second time, as after a kill in between.
    place.good(&text);
    assert!(!config.to_string().contains("swordfish"), "the content is not in the configuration");
    for _ in 0..2 {
        clean(&place.run, &place.dirs).unwrap();
        assert!(!place.dirs.files(&place.run).exists() && !place.dirs.bundle(&place.run).exists());
    }
}

#[test]
fn owners_are_translated_into_a_user_namespace() {
    let place = Place::new("userns");
    std::fs::write(place.dir.join("key"), "x").unwrap();
    let mut bundle = simple_bundle();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    bundle["linux"]["namespaces"] = json!([{ "type": "user" }]);
    bundle["linux"]["uidMappings"] = map.clone();
    bundle["linux"]["gidMappings"] = map;
    place.bundle(&bundle);
    let text =
        |uid: u32| format!("{BUNDLE}secrets = [{{ source = \"@/key\", target = \"/k\", uid = {uid} }}]");
    let config = place.good(&text(7));
    let source = at(&config, "/mounts").as_array().unwrap().last().unwrap()["source"].clone();
    let copy = std::fs::metadata(source.as_str().unwrap()).unwrap();
    assert_eq!((copy.uid(), copy.gid()), (100_007, 100_000));
    let (code, why) = place.code(&text(1000));
    assert!(code == "bundle-invalid" && why.contains("uidMappings has no id on the host for 1000"), "{why}");
}

#[test]
fn changed_sources_are_told_until_dealt_with() {
    let place = Place::new("refresh");
    for name in ["hup", "again", "quiet"] {
        std::fs::write(place.dir.join(name), "old content").unwrap();
    }
    let service = place.service(&format!(
        "{ROOT}[[configs]]\nsource = \"@/hup\"\ntarget = \"/hup\"\non_change = {{ signal = \"HUP\" }}\n\
         [[configs]]\nsource = \"@/again\"\ntarget = \"/again\"\non_change = \"restart\"\n\
         [[configs]]\nsource = \"@/quiet\"\ntarget = \"/quiet\"\n"
    ));
    let look = || refresh_files(&service, &place.run, &place.dirs);
    assert_eq!(look(), Refreshed::default(), "nothing runs yet");
    let prepared = prepare(&service, &place.run, &place.dirs, "/x").unwrap();
    let config: Value =
        serde_json::from_slice(&std::fs::read(prepared.bundle.join("config.json")).unwrap()).unwrap();
    let copy = |target: &str| {
        let mounts = at(&config, "/mounts").as_array().unwrap();
        PathBuf::from(mounts.iter().find(|m| m["destination"] == target).unwrap()["source"].as_str().unwrap())
    };
    let inode = std::fs::metadata(copy("/hup")).unwrap().ino();
    assert_eq!(look(), Refreshed::default());
    for name in ["hup", "again", "quiet"] {
        std::fs::write(place.dir.join(name), "new").unwrap();
    }
    let targets = |found: &Refreshed| found.changed.iter().map(|c| c.target.clone()).collect::<Vec<_>>();
    assert_eq!(targets(&look()), ["/hup", "/again"]);
    assert_eq!(std::fs::read(copy("/hup")).unwrap(), b"new");
    assert_eq!(std::fs::metadata(copy("/hup")).unwrap().ino(), inode, "the container has this inode");
    assert_eq!(std::fs::read(copy("/again")).unwrap(), b"old content");
    assert_eq!(targets(&look()), ["/hup", "/again"], "the signal was not sent yet");
    refreshed(&place.run, &place.dirs).unwrap();
    assert_eq!(targets(&look()), ["/again"]);
    std::fs::remove_file(place.dir.join("hup")).unwrap();
    let found = look();
    assert_eq!((targets(&found), found.failed.len()), (vec!["/again".to_owned()], 1));
    assert_eq!(found.failed[0].code, "config-missing");
    assert_eq!(std::fs::read(copy("/hup")).unwrap(), b"new");
}

#[test]
fn weights_follow_the_layout_of_the_host() {
    let place = Place::new("weight");
    let service = place.service(&format!("{ROOT}limits.cpu_weight = 200\nlimits.memory = \"8M\""));
    let resources = |unified: bool, swap: bool| {
        let mut config = base(&service, &place.run, &place.dirs).unwrap();
        let host = Host { unified, swap, nofile: 512 };
        apply::apply(&mut config, &service, &place.run, "/x", None, host).unwrap();
        config
    };
    let v1 = resources(false, false);
    assert_eq!(at(&v1, "/linux/resources/cpu/shares"), 2048);
    assert_eq!(at(&v1, "/linux/resources/memory"), &json!({ "limit": 8 << 20 }), "swap is not counted here");
    assert_eq!(at(&v1, "/process/rlimits/0/hard"), 512, "no more than the daemon itself may give");
    let v2 = resources(true, true);
    assert_eq!(at(&v2, "/linux/resources/unified"), &json!({ "cpu.weight": "200", "memory.oom.group": "1" }));
    assert_eq!(at(&v2, "/linux/resources/memory"), &json!({ "limit": 8 << 20, "swap": 8 << 20 }));
}

#[test]
fn limits_of_v2_are_files_there_and_refused_elsewhere() {
    let place = Place::new("v2");
    let resources = |keys: &str, unified: bool| {
        let service = place.service(&format!("{ROOT}[limits]\n{keys}"));
        let mut config = base(&service, &place.run, &place.dirs).unwrap();
        let host = Host { unified, swap: false, nofile: 512 };
        apply::apply(&mut config, &service, &place.run, "/x", None, host)
            .map(|()| config["linux"]["resources"].take())
    };
    let request = "memory = \"100MiB\"\nmemory_request = \"50MiB\"\n";
    let v2 = resources(request, true).unwrap();
    let want = json!({
        "memory.high": (95 << 20).to_string(),
        "memory.low": (50 << 20).to_string(),
        "memory.oom.group": "1",
    });
    assert_eq!((&v2["unified"], &v2["memory"]), (&want, &json!({ "limit": 100 << 20 })));
    let v1 = resources(request, false).unwrap();
    assert_eq!(
        (v1.get("unified"), &v1["memory"]),
        (None, &json!({ "limit": 100 << 20, "reservation": 50 << 20 }))
    );
    for key in [
        "memory_high = 5000000",
        "memory_min = 1",
        "memory_low = 1",
        "zswap = 0",
        "oom_group = true",
        "io_weight = 5",
    ] {
        let refused = resources(key, false).unwrap_err();
        let name = key.split(' ').next().unwrap();
        assert_eq!(refused.code, "needs-cgroup-v2", "{key}");
        assert!(refused.text.contains(&format!("limits.{name}")), "{}", refused.text);
        assert!(resources(key, true).unwrap()["unified"].is_object(), "{key}");
    }
    let burst = resources("cpus = 0.5\ncpu_burst = \"20ms\"", true).unwrap();
    assert_eq!(burst["cpu"], json!({ "period": 100_000, "quota": 50_000, "burst": 20_000 }));
    let disk = |device: &str| {
        resources(&format!("io_max = [{{ device = \"{device}\", read_bps = \"1MiB\" }}]"), false)
    };
    assert_eq!(disk("/dev/null").unwrap_err().code, "device-missing");
    assert!(disk("/dev/null").unwrap_err().text.contains("not a block device"));
    // Some block device, where this machine shows one.
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    if let Some(found) = disks.map(|d| std::path::Path::new("/dev").join(d.file_name())).find(|d| d.exists())
    {
        let got = disk(found.to_str().unwrap()).unwrap();
        assert_eq!(got["blockIO"]["throttleReadBpsDevice"][0]["rate"], 1 << 20, "{got}");
    }
}

/// The runtime's own check, where it has been built: `knarr check` says what `create` would refuse, without privilege.
#[test]
fn the_runtime_would_take_what_is_made_for_a_root() {
    let place = Place::new("check");
    std::fs::create_dir_all(place.dir.join("root/bin")).unwrap();
    std::fs::copy("/bin/true", place.dir.join("root/bin/serve")).unwrap();
    std::fs::write(place.dir.join("file"), "x").unwrap();
    let (prepared, _) = place
        .prepare(&format!(
            "{ROOT}[limits]\nmemory = \"64M\"\ncpus = 0.5\ncpu_weight = 50\n\
             [[configs]]\nsource = \"@/file\"\ntarget = \"/etc/f\"\n"
        ))
        .unwrap();
    // target/TRIPLE/debug/deps/THIS
    let program = std::env::current_exe().unwrap();
    let built = program.parent().and_then(Path::parent).map(|d| d.join("knarr"));
    let Some(knarr) = built.filter(|k| k.exists()) else {
        eprintln!("skipped: no knarr beside the tests; cargo build -p knarr makes it");
        return;
    };
    let output = std::process::Command::new(knarr).arg("check").arg(&prepared.bundle).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
}

const INSIDE: &str = "KNARR_TEST_INSIDE";

#[test]
fn a_run_directory_on_a_disk_gets_files_in_memory() {
    let on_disk = TestDir::new("disk");
    if crate::sys::file::in_memory(&on_disk).unwrap() {
        return eprintln!("skipped: the directory for temporary files is in memory");
    }
    if std::env::var_os(INSIDE).is_none() {
        // What is mounted stays in a mount namespace of this test.
        let output = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "unit::bundle::tests::a_run_directory_on_a_disk_gets_files_in_memory"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("unshare failed") {
            return eprintln!("skipped: {said}");
        }
        return assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    }
    let place = Place::at(on_disk);
    std::fs::write(place.dir.join("key"), "swordfish").unwrap();
    let text = format!("{ROOT}secrets = [{{ source = \"@/key\", target = \"/run/key\" }}]");
    for _ in 0..2 {
        place.good(&text);
        let all = place.dirs.run.join("files");
        assert!(crate::sys::file::in_memory(&all).unwrap());
        assert_eq!(std::fs::metadata(&all).unwrap().mode() & 0o7777, 0o700);
    }
    let mounted = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().matches("/run/files ").count();
    assert_eq!(mounted(), 1, "not one over the other");
    for _ in 0..2 {
        release(&place.dirs).unwrap();
        assert_eq!(mounted(), 0);
    }
    assert_eq!(
        std::fs::read_dir(place.dirs.run.join("files")).unwrap().count(),
        0,
        "nothing was written to the disk"
    );
}

#[test]
fn what_lasts_beyond_a_run_is_seen() {
    let place = Place::new("apart");
    assert!(!is_apart(&place.run, &place.dirs), "not there");
    place.good(ROOT);
    assert!(is_apart(&place.run, &place.dirs));
    let own = json!([{ "type": "pid" }, { "type": "mount" }]);
    let good = json!({ "linux": { "namespaces": own } });
    assert!(leaves_nothing(&good));
    for bad in [
        json!({ "linux": { "namespaces": [{ "type": "mount" }] } }),
        json!({ "linux": { "namespaces": [{ "type": "pid" }] } }),
        json!({ "linux": { "namespaces": [{ "type": "pid", "path": "/proc/1/ns/pid" }, { "type": "mount" }] } }),
        json!({ "linux": { "namespaces": own, "rootfsPropagation": "rshared" } }),
        json!({ "linux": { "namespaces": own, "intelRdt": { "closID": "one" } } }),
        json!({ "linux": { "namespaces": own, "netDevices": { "eth0": {} } } }),
        json!({ "linux": { "namespaces": own }, "hooks": { "poststop": [{ "path": "/bin/true" }] } }),
        json!({ "linux": { "namespaces": own }, "mounts": [{ "options": ["rbind", "rshared"] }] }),
        json!({ "linux": { "namespaces": own, "resources": { "cpu": { "realtimeRuntime": 5000 } } } }),
        json!({ "linux": { "namespaces": own, "resources": { "unified": { "cpuset.cpus.partition": "root" } } } }),
        json!({}),
    ] {
        assert!(!leaves_nothing(&bad), "{bad}");
    }
}

#[test]
fn sockets_that_are_passed_are_told_to_number_one() {
    let place = Place::new("listen");
    let config = place.good(&format!(
        "{ROOT}env = {{ LISTEN_PID = \"7\" }}\nlisten = [\"tcp:80\", {{ address = \"unix:/run/x\", name = \"admin\" }}]"
    ));
    for want in ["LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=web:admin"] {
        assert!(env(&config).contains(&want), "{want}: {:?}", env(&config));
    }
    assert!(!env(&place.good(ROOT)).iter().any(|e| e.starts_with("LISTEN_")));
    let mut bundle = simple_bundle();
    bundle["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid", "path": "/proc/1/ns/pid" }]);
    place.bundle(&bundle);
    place.good(BUNDLE);
    let (code, text) = place.code(&format!("{BUNDLE}listen = [\"tcp:80\"]"));
    assert!(code == "bundle-invalid" && text.contains("LISTEN_PID"), "{code}: {text}");
    bundle["linux"]["namespaces"] = json!([{ "type": "pid" }]);
    place.bundle(&bundle);
    place.good(&format!("{BUNDLE}listen = [\"tcp:80\"]"));
}

#[test]
fn who_tells_gets_a_socket() {
    let place = Place::new("notify");
    let told = "probes.startup.push = true\nprobes.liveness = { push = true, period = \"1500ms\" }";
    let config = place.good(&format!("{ROOT}{told}"));
    for want in ["NOTIFY_SOCKET=/run/knarr-notify/socket", "WATCHDOG_USEC=1500000"] {
        assert!(env(&config).contains(&want), "{want}: {:?}", env(&config));
    }
    let mounts = at(&config, "/mounts").as_array().unwrap();
    let mount = mounts.iter().find(|m| m["destination"] == "/run/knarr-notify").unwrap();
    assert!(mount["source"].as_str().unwrap().ends_with("run/notify/web.2.17"), "{mount}");
    let config = place.good(&format!("{ROOT}probes.readiness.push = true"));
    assert!(!env(&config).iter().any(|e| e.starts_with("WATCHDOG")));
    let config = place.good(&format!("{ROOT}probes.liveness.tcp.port = 1"));
    assert!(!config.to_string().contains("NOTIFY_SOCKET") && !config.to_string().contains("knarr-notify"));
}
