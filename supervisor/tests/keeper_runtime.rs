//! The real keeper with real runtimes: `$KNARR` or a `knarr` built beside it, and a runc of the host. Needs root and a static
//! busybox; a runtime that is not there is left out. Makes and removes one cgroup of its own name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use knarrd::keeper::record::{End, ExitRecord};
use knarrd::keeper::{Keeper, Launch, Note, Order, Phase, Piece, Stream, attach, spawn};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

/// Those that are there, by path.
fn runtimes() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_knarr-keeper")).with_file_name("knarr");
    let knarr = std::env::var_os("KNARR").map_or(beside, PathBuf::from);
    let others = ["/usr/bin/runc", "/usr/sbin/runc", "/usr/local/sbin/runc"].map(PathBuf::from);
    let runc = others.into_iter().find(|p| p.exists());
    let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let all = [Some(knarr), runc].into_iter().flatten().filter(|p| root && busybox().is_some() && p.exists());
    let all: Vec<PathBuf> = all.collect();
    if all.is_empty() {
        eprintln!("skipped: needs root, a static busybox, and knarr or runc");
    }
    all
}

fn busybox() -> Option<&'static Path> {
    ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|p| p.exists())
}

/// A container made by a real runtime, gone with this value.
struct Container {
    dir: TempDir,
    launch: Launch,
    runtime: PathBuf,
    group: String,
}

impl Container {
    fn new(runtime: &Path, name: &str, script: &str, tty: bool, memory: Option<u64>) -> Container {
        let dir = TempDir::new().unwrap();
        for name in ["d", "exits", "bundle/rootfs/bin", "bundle/rootfs/proc", "bundle/rootfs/dev"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let inside = dir.path().join("bundle/rootfs/bin");
        fs::copy(busybox().unwrap(), inside.join("busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", inside.join("sh")).unwrap();
        let group = format!("/knarr-test-keeper-{}-{name}", std::process::id());
        let config = config(script, tty, memory, &group);
        fs::write(dir.path().join("bundle/config.json"), config.to_string()).unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut create: Vec<std::ffi::OsString> = vec![runtime.into(), "--root".into(), at("root").into()];
        create.extend(["--log".into(), at("d/runtime.log").into(), "--log-format".into(), "json".into()]);
        create.extend(["create".into(), "--bundle".into(), at("bundle").into()]);
        create.extend(["--pid-file".into(), at("d/pid").into()]);
        if tty {
            create.extend(["--console-socket".into(), at("d/console").into()]);
        }
        create.push("web.1.1".into());
        let launch = Launch {
            program: env!("CARGO_BIN_EXE_knarr-keeper").into(),
            run: "web.1.1".parse().unwrap(),
            dir: at("d"),
            exit: at("exits/web.1.1"),
            log: at("log"),
            log_size: 1 << 20,
            log_files: 3,
            log_min_free: 0,
            tty,
            stdin: true,
            journald: false,
            cgroup: None,
            pass: 0,
            sealed: false,
            create,
        };
        Container { dir, launch, runtime: runtime.to_owned(), group }
    }

    /// Calls the runtime as the daemon does.
    fn call(&self, command: &str) -> bool {
        let mut call = Command::new(&self.runtime);
        call.arg("--root").arg(self.dir.path().join("root")).arg(command);
        if command == "delete" {
            call.arg("--force");
        }
        call.arg("web.1.1").status().is_ok_and(|s| s.success())
    }

    /// Creates and starts; what the end was, and what the log says.
    async fn started(&self) -> Keeper {
        spawn(&self.launch).await.unwrap();
        let (mut keeper, hello) = Keeper::connect(&self.launch.dir).await.unwrap();
        if hello.phase == Phase::Creating {
            match timeout(LONG, keeper.next()).await.unwrap().unwrap() {
                Some(Note::Created { .. }) => {}
                other => panic!("{}: {other:?}", self.runtime.display()),
            }
        }
        assert!(self.call("start"));
        keeper
    }

    fn log(&self) -> String {
        fs::read_to_string(self.launch.log.join("00000001.log")).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.call("delete");
        let trees = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
        for tree in trees.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let group = tree.join(self.group.trim_start_matches('/'));
            let start = Instant::now();
            while group.exists()
                && fs::remove_dir(&group).is_err()
                && start.elapsed() < Duration::from_secs(5)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn config(script: &str, tty: bool, memory: Option<u64>, group: &str) -> Value {
    let caps = ["CAP_KILL"];
    let limit = memory.map_or(json!({}), |n| json!({"memory": {"limit": n, "swap": n}}));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": tty, "cwd": "/", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
            "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": "rootfs", "readonly": false},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "cgroupsPath": group, "resources": limit,
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
        },
    })
}

async fn end(keeper: &mut Keeper) -> ExitRecord {
    loop {
        match timeout(LONG, keeper.next()).await.expect("the end").unwrap() {
            Some(Note::Ended(record)) => return *record,
            Some(_) => {}
            None => panic!("the keeper went without a word"),
        }
    }
}

#[tokio::test]
async fn output_and_code_of_a_container() {
    for runtime in runtimes() {
        let c = Container::new(&runtime, "plain", "echo out; echo err >&2; exit 7", false, None);
        let mut keeper = c.started().await;
        let record = end(&mut keeper).await;
        assert_eq!(record.end, End::Exited { code: 7 }, "{}", runtime.display());
        // The word is given at once, the record is written beside it.
        let start = Instant::now();
        while !c.launch.exit.exists() {
            assert!(start.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(serde_json::from_slice::<ExitRecord>(&fs::read(&c.launch.exit).unwrap()).unwrap(), record);
        let log = c.log();
        assert!(log.contains(" stdout F out\n") && log.contains(" stderr F err\n"), "{log}");
        keeper.send(Order::Ack).unwrap();
        assert_eq!(timeout(LONG, keeper.next()).await.unwrap().unwrap(), None);
        assert!(!c.launch.exit.exists());
    }
}

#[tokio::test]
async fn a_terminal_is_sized_read_and_written() {
    for runtime in runtimes() {
        let script = "read a; busybox stty size; busybox tty; echo got $a; exit 3";
        let c = Container::new(&runtime, "tty", script, true, None);
        let mut keeper = c.started().await;
        let (client, _) = attach(&c.launch.dir).await.unwrap();
        client.send(Order::Resize { rows: 33, cols: 77 }).await.unwrap();
        client.send(Order::Stdin(b"word\n")).await.unwrap();
        let mut out = String::new();
        let record = loop {
            match timeout(LONG, client.recv()).await.unwrap().unwrap().unwrap() {
                Piece::Output(Stream::Stdout, bytes) => out += &String::from_utf8_lossy(&bytes),
                Piece::Output(Stream::Stderr, bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
                Piece::Ended(record) => break record,
            }
        };
        assert_eq!(record.end, End::Exited { code: 3 }, "{}: {out}", runtime.display());
        assert!(out.contains("33 77") && out.contains("/dev/") && out.contains("got word"), "{out}");
        assert_eq!(end(&mut keeper).await, *record);
        assert!(c.log().contains(" stdout F got word"), "{}", c.log());
    }
}

#[tokio::test]
async fn a_death_for_memory_has_its_evidence() {
    for runtime in runtimes() {
        let limit = 32 << 20;
        let c = Container::new(&runtime, "oom", "exec busybox tail /dev/zero", false, Some(limit));
        let mut keeper = c.started().await;
        let record = end(&mut keeper).await;
        assert_eq!(record.end, End::Signaled { signal: 9, core: false }, "{}", runtime.display());
        assert_eq!((record.memory.oom_kills, record.memory.limit), (Some(1), Some(limit)), "{record:?}");
        // v2 has it since Linux 5.19.
        assert!(record.memory.peak.is_none_or(|p| p > limit / 2 && p <= limit), "{record:?}");
    }
}

#[tokio::test]
async fn a_create_that_fails_says_the_runtime_s_reason() {
    for runtime in runtimes() {
        let c = Container::new(&runtime, "bad", "true", false, None);
        let path = c.dir.path().join("bundle/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["args"] = json!(["/no/such/program"]);
        fs::write(&path, config.to_string()).unwrap();
        spawn(&c.launch).await.unwrap();
        let start = Instant::now();
        while !c.launch.exit.exists() {
            assert!(start.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let record: ExitRecord = serde_json::from_slice(&fs::read(&c.launch.exit).unwrap()).unwrap();
        let End::CreateFailed { code: Some(code), text } = record.end else { panic!("{record:?}") };
        assert!(code != 0 && text.contains("/no/such/program"), "{}: {text}", runtime.display());
    }
}

#[tokio::test]
async fn the_container_s_user_is_signalled_by_a_sealed_keeper() {
    for runtime in runtimes() {
        let c = Container::new(&runtime, "user", "sleep 100; exit 1", false, None);
        let path = c.dir.path().join("bundle/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["user"] = json!({"uid": 4711, "gid": 4711});
        fs::write(&path, config.to_string()).unwrap();
        let mut keeper = c.started().await;
        keeper.send(Order::Signal(9)).unwrap();
        assert_eq!(
            end(&mut keeper).await.end,
            End::Signaled { signal: 9, core: false },
            "{}",
            runtime.display()
        );
    }
}
