//! The built program as its callers see it: exit codes, streams, log records, files. Needs no privilege and no
//! container; records of dead containers stand in where one is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Root {
    dir: tempfile::TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Root {
    fn new() -> Root {
        Root { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_knarr"));
        c.arg("--root").arg(self.path("root")).args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        c
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().expect("the program starts"))
    }

    /// A container whose processes belong to another boot.
    fn dead(&self, id: &str) -> PathBuf {
        self.record(id, &record(id, "creating", 2))
    }

    fn record(&self, id: &str, text: &str) -> PathBuf {
        let dir = self.path("root").join(id);
        fs::create_dir_all(&dir).expect("mkdir");
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(self.path("root"), mode).expect("chmod");
        fs::write(dir.join("state.json"), text).expect("write");
        dir
    }
}

fn record(id: &str, boot: &str, pid: i32) -> String {
    format!(
        r#"{{"version":1,"id":"{id}","oci_version":"1.2.0","bundle":"/b","rootfs":"/b/rootfs",
        "created":"2026-11-21T09:05:50.2Z","owner":0,"annotations":{{"a":"b"}},"boot_id":"{boot}",
        "phase":"created","creator":{{"pid":{pid},"start_time":1}},"init":{{"pid":{pid},"start_time":1}},
        "cgroup":{{"paths":{{}},"created":true}},"shared_pidns":false}}"#
    )
}

fn ran(o: Output) -> Ran {
    Ran {
        code: o.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&o.stdout).into_owned(),
        err: String::from_utf8_lossy(&o.stderr).into_owned(),
    }
}

impl Ran {
    /// Failed with this code and one line on stderr that holds `text`.
    #[track_caller]
    fn fails(&self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.contains(text), "want {text:?} in {}", self.err);
    }
}

#[test]
fn version_lines() {
    let root = Root::new();
    for args in [&["--version"][..], &["-v"], &["version"], &["-version"]] {
        let r = root.run(args);
        let lines: Vec<&str> = r.out.lines().collect();
        assert_eq!((r.code, lines.len(), r.err.as_str()), (0, 3, ""));
        assert!(lines[0].starts_with("knarr version "));
        assert!(lines[1].starts_with("commit: ") && lines[2].starts_with("spec: "));
    }
}

#[test]
fn usage_and_its_exit_codes() {
    let root = Root::new();
    root.run(&["foo"]).fails(3, "No help topic for 'foo'");
    root.run(&["help", "foo"]).fails(3, "No help topic for 'foo'");
    for (args, text) in [
        (&["state"][..], "knarr: \\\"state\\\" requires exactly 1 argument(s)"),
        (&["state", "--nope", "x"], "flag provided but not defined: -nope"),
        (&["create", "--bundle"], "flag needs an argument: -bundle"),
        (&["exec"], "requires a minimum of 1 argument(s)"),
    ] {
        let r = root.run(args);
        r.fails(1, text);
        assert!(r.out.starts_with("Incorrect Usage: ") && r.out.contains("USAGE:\n   knarr "), "{}", r.out);
    }
    // What a word says is wrong: the page would not help.
    for (args, text) in
        [(&["list", "-f", "xml"][..], "invalid format option"), (&["kill", "x", "FOO"], "unknown signal")]
    {
        let r = root.run(args);
        r.fails(1, text);
        assert_eq!(r.out, "");
    }
    root.run(&["exec", "-u", "1:", "x", "ls"]).fails(255, "--user");
    root.run(&["checkpoint", "--help"]).fails(1, "not supported");
    root.run(&["update", "--resources=-", "x"]).fails(1, "does not exist");
    let r = root.run(&["--root", "/", "list"]);
    r.fails(1, "--root");
}

#[test]
fn help_goes_to_stdout() {
    let root = Root::new();
    let r = root.run(&["--help"]);
    assert_eq!((r.code, r.err.as_str()), (0, ""));
    assert!(r.out.starts_with("NAME:\n   knarr - Open Container Initiative runtime\n"));
    for verb in ["create", "run", "exec", "kill", "delete", "list", "state", "ps", "pause", "resume", "spec"]
    {
        assert!(r.out.contains(&format!("\n   {verb} ")), "{verb}");
        let r = root.run(&[verb, "--help"]);
        assert_eq!(r.code, 0);
        assert!(r.out.lines().nth(1).is_some_and(|l| l.contains(&format!("knarr {verb} - "))), "{}", r.out);
    }
}

#[test]
fn unknown_containers() {
    let root = Root::new();
    for args in [
        &["state", "nope"][..],
        &["start", "nope"],
        &["kill", "nope", "9"],
        &["kill", "--all", "nope", "9"],
        &["delete", "nope"],
        &["pause", "nope"],
        &["resume", "nope"],
        &["ps", "nope"],
        &["ps", "--format", "json", "nope"],
    ] {
        root.run(args).fails(1, "container does not exist");
    }
    let r = root.run(&["delete", "--force", "nope"]);
    assert_eq!((r.code, r.out.as_str(), r.err.as_str()), (0, "", ""));
    assert!(!root.path("root").exists(), "asking makes nothing");
}

#[test]
fn ids_that_are_none() {
    let root = Root::new();
    for id in ["", ".", "..", ".x", "a/b", "a b", "ä", "a\n", &"x".repeat(256)] {
        let r = root.run(&["state", id]);
        assert_eq!(r.code, 1);
        let text = if id.is_empty() { "id cannot be empty" } else { "invalid container ID format" };
        r.fails(1, text);
        root.run(&["delete", "-f", id]).fails(1, text);
    }
}

#[test]
fn json_log_records() {
    let root = Root::new();
    let log = root.path("log.json");
    fs::write(&log, "kept\n").unwrap();
    let log_arg = format!("--log={}", log.display());
    for _ in 0..2 {
        let r = root.run(&[&log_arg, "--log-format", "json", "state", "nope"]);
        assert_eq!(r.err, "container does not exist: \"nope\"\n");
    }
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "kept"));
    let v: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(v["level"], "error");
    assert_eq!(v["msg"], "container does not exist: \"nope\"");
    assert_eq!(v["code"], "not_found");
    let time = v["time"].as_str().unwrap();
    assert!(time.len() > 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");

    // A usage error is logged where the line said, too, with the flag behind the command.
    root.run(&["state", &log_arg, "--log-format=json", "--nope"]);
    let text = fs::read_to_string(&log).unwrap();
    let v: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((v["code"].as_str(), v["msg"].as_str().unwrap().contains("-nope")), (Some("usage"), true));

    // Facts of a failed call have keys of their own.
    fs::write(root.path("file"), "").unwrap();
    let file = root.path("file").display().to_string();
    root.run(&[&log_arg, "--log-format=json", "--root", &file, "list"]).fails(1, "not a directory");
    let text = fs::read_to_string(&log).unwrap();
    let v: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((v["errno"].as_i64(), v["syscall"].as_str()), (Some(20), Some("openat")));
    assert_eq!(v["path"].as_str(), Some(file.as_str()));
}

#[test]
fn text_records_and_bad_logs() {
    let root = Root::new();
    let r = root.run(&["state", "nope"]);
    assert!(r.err.starts_with("time=\"20"), "{}", r.err);
    assert!(r.err.contains("Z\" level=error msg=\"container does not exist: \\\"nope\\\"\""), "{}", r.err);
    root.run(&["--log", "/proc/none/log", "state", "nope"]).fails(1, "--log");
    root.run(&["--log-format", "xml", "state", "nope"]).fails(1, "invalid log-format");
    let r = root.run(&["--log-format", "json", "state", "nope"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&r.err).unwrap()["level"], "error");
}

#[test]
fn stopped_containers() {
    let root = Root::new();
    let dir = root.dead("c1");
    let r = root.run(&["state", "c1"]);
    assert_eq!(
        r.out,
        "{\n  \"ociVersion\": \"1.2.0\",\n  \"id\": \"c1\",\n  \"pid\": 0,\n  \"status\": \"stopped\",\n  \
         \"bundle\": \"/b\",\n  \"rootfs\": \"/b/rootfs\",\n  \"created\": \"2026-11-21T09:05:50.2Z\",\n  \
         \"annotations\": {\n    \"a\": \"b\"\n  },\n  \"owner\": \"\"\n}"
    );
    root.run(&["kill", "c1"]).fails(1, "container not running");
    assert_eq!(root.run(&["kill", "-a", "c1", "KILL"]).code, 0);
    root.run(&["start", "c1"]).fails(1, "cannot start a container that has stopped");
    root.run(&["pause", "c1"]).fails(1, "container not running");
    root.run(&["resume", "c1"]).fails(1, "container not paused");
    assert_eq!(root.run(&["ps", "-f", "json", "c1"]).out, "null\n");
    assert_eq!(root.run(&["list", "-q"]).out, "c1\n");
    let v: serde_json::Value = serde_json::from_str(&root.run(&["list", "-f", "json"]).out).unwrap();
    assert_eq!((v[0]["id"].as_str(), v[0]["owner"].as_str()), (Some("c1"), Some("root")));
    let table = root.run(&["list"]).out;
    assert!(
        table.lines().nth(1).unwrap().starts_with("c1          0           stopped     /b          2026")
    );
    let r = root.run(&["create", "--bundle", "/", "c1"]);
    assert_eq!(r.code, 1);
    assert!(dir.exists());
    assert_eq!(root.run(&["delete", "c1"]).code, 0);
    assert!(!dir.exists());
    root.run(&["delete", "c1"]).fails(1, "does not exist");
}

/// A process that nobody may touch; it does not outlive the test.
struct Bystander(std::process::Child);

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// B103 to B105: a record may say anything, and nobody is signalled for it.
#[test]
fn damaged_and_forged_records() {
    let root = Root::new();
    root.record("cut", "{\"version\":1,\"id\":\"cu");
    root.record("empty", "");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut bystander = Bystander(Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap());
    root.record("forged", &record("forged", boot.trim(), bystander.0.id() as i32));
    root.record("init", &record("init", boot.trim(), 1));
    root.record("zero", &record("zero", boot.trim(), 0));
    for id in ["forged", "init", "zero"] {
        let state: serde_json::Value = serde_json::from_str(&root.run(&["state", id]).out).unwrap();
        assert_eq!((state["status"].as_str(), state["pid"].as_i64()), (Some("stopped"), Some(0)));
        root.run(&["kill", id, "KILL"]).fails(1, "container not running");
        let r = root.run(&["delete", "--force", id]);
        assert_eq!(r.code, 0, "{}", r.err);
    }
    assert!(bystander.0.try_wait().unwrap().is_none(), "still alive");

    root.run(&["state", "cut"]).fails(1, "state damaged");
    root.run(&["delete", "cut"]).fails(1, "delete --force");
    let r = root.run(&["list"]);
    assert_eq!(r.code, 0);
    assert_eq!(r.out.matches("damaged").count(), 2, "{}", r.out);
    for id in ["cut", "empty"] {
        let r = root.run(&["delete", "--force", id]);
        assert_eq!(r.code, 0, "{}", r.err);
    }
    assert_eq!(root.run(&["list", "--format=json"]).out, "null\n");
}

/// S43 and B106.
#[test]
fn names_in_the_root_that_are_no_containers() {
    let root = Root::new();
    root.dead("c1");
    fs::create_dir(root.path("root/alien")).unwrap();
    fs::write(root.path("root/alien/data"), "x").unwrap();
    fs::write(root.path("root/file"), "x").unwrap();
    std::os::unix::fs::symlink(root.dir.path(), root.path("root/link")).unwrap();
    let r = root.run(&["list", "-q"]);
    assert_eq!((r.code, r.out.as_str()), (0, "c1\n"));
    assert_eq!(r.err.lines().count(), 1, "{}", r.err);
    for id in ["alien", "file", "link"] {
        assert!(r.err.contains(id));
        root.run(&["delete", id]).fails(1, "does not exist");
        assert_eq!(root.run(&["delete", "--force", id]).code, 0);
    }
    assert!(root.path("root/alien/data").exists() && root.path("root/file").exists());
    assert!(root.path("root/link").symlink_metadata().unwrap().is_symlink());
}

/// B102.
#[test]
fn roots_that_are_refused() {
    let root = Root::new();
    root.dead("c1");
    fs::set_permissions(root.path("root"), fs::Permissions::from_mode(0o777)).unwrap();
    root.run(&["state", "c1"]).fails(1, "writable for everybody");
    fs::set_permissions(root.path("root"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(root.path("root"), root.path("other")).unwrap();
    root.run(&["--root", "other", "state", "c1"]).fails(1, "state root");
    root.run(&["--root", "missing", "list"]).fails(1, "no such file or directory");
}

/// B116.
#[test]
fn streams_that_do_not_take_anything() {
    let root = Root::new();
    root.dead("c1");
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let r = ran(root.command(&["state", "c1"]).stdout(full()).output().unwrap());
    r.fails(1, "no space left on device");
    let status = root.command(&["state", "nope"]).stderr(full()).stdout(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let r = ran(root.command(&["features"]).stdout(writer).output().unwrap());
    r.fails(1, "broken pipe");
}

#[test]
fn spec_writes_one_file() {
    let root = Root::new();
    let bundle = root.path("b");
    fs::create_dir(&bundle).unwrap();
    let dir = bundle.display().to_string();
    assert_eq!(root.run(&["spec", "-b", &dir]).code, 0);
    let read = |p: &Path| serde_json::from_slice::<serde_json::Value>(&fs::read(p).unwrap()).unwrap();
    assert_eq!(read(&bundle.join("config.json"))["process"]["args"][0], "sh");
    root.run(&["spec", "-b", &dir]).fails(1, "File config.json exists. Remove it first");
    fs::remove_file(bundle.join("config.json")).unwrap();
    assert_eq!(root.run(&["spec", "--rootless", "--bundle", &dir]).code, 0);
    assert_eq!(read(&bundle.join("config.json"))["linux"]["uidMappings"][0]["size"], 1);
}

#[test]
fn features_is_a_document() {
    let r = Root::new().run(&["features"]);
    let v: serde_json::Value = serde_json::from_str(&r.out).unwrap();
    assert_eq!(r.code, 0);
    assert!(v["linux"]["namespaces"].as_array().unwrap().iter().any(|n| n == "pid"));
    assert_eq!(v["linux"]["cgroup"]["systemd"], true);
}

#[test]
fn the_cgroup_manager_is_one_of_three() {
    let root = Root::new();
    root.run(&["--cgroup-manager=other", "list"]).fails(1, "cgroupfs, systemd or disabled");
    root.dead("c1");
    for manager in ["cgroupfs", "systemd", "disabled"] {
        assert_eq!(root.run(&["--cgroup-manager", manager, "state", "c1"]).code, 0, "{manager}");
    }
    assert_eq!(root.run(&["--systemd-cgroup", "state", "c1"]).code, 0);
}

/// A directory in the cgroup2 tree with a process in it; both go at the end.
struct Group {
    dir: PathBuf,
    inside: Bystander,
}

impl Group {
    /// None where this user cannot make groups.
    fn new() -> Option<Group> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let tree = mounts.lines().find_map(|l| {
            let mut words = l.split(' ').skip(1);
            let (dir, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(dir))
        })?;
        let dir = tree.join(format!("knarr-contract-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let inside = Bystander(Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().ok()?);
        let group = Group { dir, inside };
        fs::write(group.dir.join("cgroup.procs"), group.inside.0.id().to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.inside.0.kill();
        let _ = self.inside.0.wait();
        let _ = fs::remove_dir(&self.dir);
    }
}

/// `create` writes down the group before it looks at it. If it dies in between, the group is not its own.
#[test]
fn a_forced_delete_spares_groups_of_others() {
    let Some(mut group) = Group::new() else {
        eprintln!("skipped: cannot make a cgroup here");
        return;
    };
    let root = Root::new();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    // A creator that is gone and started after everybody in the group, or before.
    let text = |start: u64| {
        record("c1", boot.trim(), 999_999_999)
            .replace("\"phase\":\"created\"", "\"phase\":\"creating\"")
            .replace("\"start_time\":1", &format!("\"start_time\":{start}"))
            .replace("\"paths\":{}", &format!("\"paths\":{{\"\":\"{}\"}}", group.dir.display()))
    };
    let (younger, older) = (text(u64::MAX), text(1));
    root.record("c1", &younger);
    let r = root.run(&["delete", "--force", "c1"]);
    assert_eq!(r.code, 0, "{}", r.err);
    assert!(r.err.contains("it stays"), "{}", r.err);
    assert!(group.inside.0.try_wait().unwrap().is_none(), "a stranger was killed");
    assert!(group.dir.exists() && !root.path("root/c1").exists());

    root.record("c1", &older);
    let r = root.run(&["delete", "--force", "c1"]);
    assert_eq!((r.code, r.err.as_str()), (0, ""));
    let died = group.inside.0.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&died), Some(9));
    assert!(!group.dir.exists(), "its own group goes");
}
