//! Exec probes in real containers: `$KNARR` or a `knarr` built beside the keeper, and a runc of the host. Needs root and a
//! static busybox; a runtime that is not there is left out. Makes and removes cgroups of its own name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use knarrd::dirs::Dirs;
use knarrd::probe::{self, Kind, OUTPUT_MAX, Outcome, Target, Verdict};
use knarrd::runtime::Runtime;
use serde_json::json;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);
/// Leaves a process that is in a session of its own and nobody's child, twice, and goes on.
const DOUBLE_FORK: &str = "setsid sh -c 'sleep 1000 & sleep 1000 &' & setsid sh -c '(sleep 1000; echo a) &'";

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

/// A running container, gone with this value. Its first process does nothing, and reaps nothing either.
struct Container {
    _dir: TempDir,
    target: Target,
    root: PathBuf,
    group: String,
}

impl Container {
    fn new(runtime: &Path, name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Container {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["run/runtime", "bundle/rootfs/bin", "bundle/rootfs/proc", "bundle/rootfs/dev"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::copy(busybox().unwrap(), at("bundle/rootfs/bin/busybox")).unwrap();
        for name in ["sh", "sleep", "setsid", "kill", "echo", "yes", "cat"] {
            std::os::unix::fs::symlink("busybox", at("bundle/rootfs/bin").join(name)).unwrap();
        }
        let dirs = Dirs { run: at("run"), state: at("state"), services: at("services") };
        let run: knarrd::names::RunId = "web.1.1".parse().unwrap();
        // Never used twice: what has ended is in its group until the first process of the host reaps it.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let group = format!("/knarr-test-probe-{}-{nth}-{name}/", std::process::id());
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "cwd": "/", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
                "args": ["sleep", "100000"], "env": ["PATH=/bin", "COLOUR=blue"], "oomScoreAdj": 100,
            },
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "cgroupsPath": format!("{group}payload/{run}"),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
            },
        });
        change(&mut config);
        fs::write(at("bundle/config.json"), config.to_string()).unwrap();
        let root = dirs.runtime_root();
        let status = Command::new(runtime)
            .arg("--root")
            .arg(&root)
            .args(["run", "--detach", "--pid-file"])
            .arg(at("pid"))
            .arg("--bundle")
            .arg(at("bundle"))
            .arg(run.to_string())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{}", runtime.display());
        let pid = fs::read_to_string(at("pid")).unwrap().trim().parse().unwrap();
        let target = Target { run, pid, runtime: Runtime::new(runtime.to_owned(), dirs) };
        probe::use_helper(Path::new(env!("CARGO_BIN_EXE_knarr-keeper")));
        Container { _dir: dir, target, root, group }
    }

    async fn see(&self, command: &[&str], timeout: Duration) -> Outcome {
        let command = command.iter().map(ToString::to_string).collect();
        probe::check(&Kind::Exec { command }, &self.target, timeout).await
    }

    async fn shell(&self, script: &str, timeout: Duration) -> Outcome {
        self.see(&["sh", "-c", script], timeout).await
    }

    /// Processes of the container, zombies included, without its first one.
    fn others(&self) -> BTreeSet<String> {
        let inside = |pid: &str| {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.contains(&self.group)
                || of(pid).is_some_and(|ns| Some(ns) == of(&self.target.pid.to_string()))
        };
        let numbers =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().into_string().ok());
        let others = numbers.filter(|n| n.parse::<u32>().is_ok_and(|n| n != self.target.pid));
        others
            .filter(|n| inside(n))
            .map(|n| fs::read_to_string(format!("/proc/{n}/stat")).unwrap_or_default())
            .filter(|stat| !stat.is_empty())
            .collect()
    }

    fn groups(&self) -> Vec<PathBuf> {
        let mut trees: Vec<_> =
            fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path()).collect();
        trees.push("/sys/fs/cgroup".into());
        let group = |t: PathBuf| t.join(self.group.trim_start_matches('/'));
        trees.into_iter().map(group).filter(|g| g.exists()).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut delete = Command::new(&self.target.runtime.program);
        delete.arg("--root").arg(&self.root).args(["delete", "--force", "web.1.1"]).status().ok();
        for group in self.groups() {
            for dir in [group.join("payload/web.1.1"), group.join("payload"), group] {
                let start = Instant::now();
                while dir.exists()
                    && fs::remove_dir(&dir).is_err()
                    && start.elapsed() < Duration::from_secs(5)
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// Descriptors and children of this process.
fn held() -> (usize, String) {
    let children = fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = children.filter_map(|t| fs::read_to_string(t.path().join("children")).ok()).collect();
    (fs::read_dir("/proc/self/fd").unwrap().count(), children)
}

/// All in one test: it counts what this process holds.
#[tokio::test]
async fn exec_probes() {
    for runtime in runtimes() {
        let container = Container::new(&runtime, "plain", |_| ());
        answers(&container).await;
        identity(&container).await;
        leftovers(&container).await;
        dropped(&container).await;
        hostile(&container).await;
        drop(container);
        as_a_user(&runtime).await;
        cannot(&runtime).await;
    }
}

async fn answers(container: &Container) {
    let seen = container.shell("echo well; echo er >&2", LONG).await;
    assert_eq!((seen.verdict, seen.text.as_str()), (Verdict::Pass, "exit code 0"), "{seen:?}");
    let lines: BTreeSet<_> = seen.output.split(|b| *b == b'\n').collect();
    assert!(lines.contains(&b"well"[..]) && lines.contains(&b"er"[..]), "{seen:?}");
    let seen = container.shell("exit 3", LONG).await;
    assert_eq!((seen.verdict, seen.text.as_str()), (Verdict::Fail, "exit code 3"));
    let seen = container.shell("kill -9 $$", LONG).await;
    assert_eq!((seen.verdict, seen.text.as_str()), (Verdict::Fail, "killed by signal 9"));
    let seen = container.see(&["no-such-program"], LONG).await;
    assert_eq!(seen.verdict, Verdict::Fail);
    assert!(seen.text.starts_with("cannot be executed: No such file"), "{}", seen.text);
    let seen = container.see(&["/bin"], LONG).await;
    assert!(seen.verdict == Verdict::Fail && seen.text.contains("denied"), "{}", seen.text);
    // No shell, and nothing waits for input.
    let seen = container.see(&["echo", "$HOME", "--", "-x"], LONG).await;
    assert_eq!(seen.output, b"$HOME -- -x\n");
    assert_eq!(container.see(&["cat"], LONG).await.verdict, Verdict::Pass);
    let seen = container.see(&["sleep", "100"], SHORT).await;
    assert_eq!((seen.verdict, seen.text.as_str()), (Verdict::TimedOut, "no answer within 200ms"));
    assert!(seen.took >= SHORT && seen.took < LONG);
    // More output than anybody keeps, without an end.
    let seen = container.see(&["yes"], SHORT).await;
    assert_eq!((seen.verdict, seen.output.len()), (Verdict::TimedOut, OUTPUT_MAX));
}

/// It is what every other program in the container is.
async fn identity(container: &Container) {
    let script = "cat /proc/self/oom_score_adj; echo $COLOUR; cat /proc/self/cgroup /proc/self/status";
    let told =
        ["oom", "0::", "Uid", "Gid", "Groups", "Sig", "Shd", "Cap", "NoNew", "Seccomp", "Cpus_", "Mems_"];
    let facts = |output: &[u8]| {
        let text = String::from_utf8_lossy(output).into_owned();
        let of_status = |l: &&str| told.iter().any(|t| l.starts_with(t)) && !l.starts_with("SigQ");
        let mut facts: Vec<String> = text.lines().take(2).map(String::from).collect();
        facts.extend(text.lines().skip(2).filter(of_status).map(String::from));
        facts
    };
    let mut plain = Command::new(&container.target.runtime.program);
    plain.arg("--root").arg(&container.root).args(["exec", "web.1.1", "sh", "-c", script]);
    let want = facts(&plain.output().unwrap().stdout);
    assert!(want.len() > 15 && want[0] == "100" && want[1] == "blue", "{want:?}");
    assert_eq!(facts(&container.shell(script, LONG).await.output), want);
    let seen = container
        .shell("for i in 3 4 5 6 7 8 9; do [ -e /proc/self/fd/$i ] && echo $i; done; true", LONG)
        .await;
    assert_eq!(String::from_utf8(seen.output).unwrap(), "");
}

/// How many probes, `$KNARR_PROBES` or a few.
fn runs() -> usize {
    std::env::var("KNARR_PROBES").ok().and_then(|n| n.parse().ok()).unwrap_or(250)
}

/// Four of five time out, one ends; each has processes that belong to nobody.
async fn leftovers(container: &Container) {
    let before = held();
    let groups = |c: &Container| {
        let below = c.groups().into_iter().map(|g| g.join("payload/web.1.1"));
        below.filter_map(|g| fs::read_dir(g).ok()).flatten().flatten().filter(|e| e.path().is_dir()).count()
    };
    let dirs = groups(container);
    for _ in 0..runs() / 10 {
        let mut all = tokio::task::JoinSet::new();
        for i in 0..10 {
            let ends = i % 5 == 0;
            let rest = if ends { "" } else { "; sleep 1000" };
            let command = ["sh", "-c", &format!("{DOUBLE_FORK}{rest}")].map(str::to_owned).to_vec();
            let target = container.target.clone();
            all.spawn(async move {
                let timeout = if ends { LONG } else { Duration::from_millis(50) };
                (ends, probe::check(&Kind::Exec { command }, &target, timeout).await)
            });
        }
        while let Some(one) = all.join_next().await {
            let (ends, seen) = one.unwrap();
            let want = if ends { Verdict::Pass } else { Verdict::TimedOut };
            assert_eq!(seen.verdict, want, "{seen:?}");
        }
        assert_eq!(container.others(), BTreeSet::new());
    }
    assert_eq!((held(), groups(container)), (before, dirs));
}

async fn hostile(container: &Container) {
    // It stops the process that watches it; its user has changed; it goes on forking for a while.
    let seen = container.shell("kill -STOP $PPID; sleep 1000", SHORT).await;
    assert_eq!(seen.verdict, Verdict::TimedOut, "{seen:?}");
    assert_eq!(container.others(), BTreeSet::new());
    let seen = container.shell(
        "trap '' TERM INT HUP; i=0; while [ $i -lt 50 ]; do i=$((i+1)); sleep 1000 & done; sleep 1000",
        SHORT,
    );
    assert_eq!(seen.await.verdict, Verdict::TimedOut);
    assert_eq!(container.others(), BTreeSet::new());
    // It ends the process that watches it: that is no answer.
    let seen = container.shell("kill -9 $PPID", LONG).await;
    assert_eq!(seen.verdict, Verdict::Error, "{seen:?}");
}

/// Whoever gives up waiting leaves nothing.
async fn dropped(container: &Container) {
    let given_up = tokio::time::timeout(Duration::from_secs(1), container.shell("sleep 1000", LONG)).await;
    assert!(given_up.is_err());
    let until = Instant::now() + LONG;
    while !container.others().is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(container.others(), BTreeSet::new());
}

async fn as_a_user(runtime: &Path) {
    let container =
        Container::new(runtime, "user", |c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let seen = container.shell(&format!("cat /proc/self/status; {DOUBLE_FORK}"), LONG).await;
    assert!(String::from_utf8_lossy(&seen.output).contains("Uid:\t1000\t1000\t1000\t1000"), "{seen:?}");
    assert_eq!(seen.verdict, Verdict::Pass, "{seen:?}");
    assert_eq!(container.others(), BTreeSet::new());
}

async fn cannot(runtime: &Path) {
    // runc makes no container without /proc.
    let has_proc = runtime.ends_with("runc");
    let bare = |c: &mut serde_json::Value| {
        if !has_proc {
            c["mounts"] = json!([]);
        }
    };
    let container = Container::new(runtime, "none", bare);
    let seen = container.shell("true", LONG).await;
    assert_eq!(seen.verdict, if has_proc { Verdict::Pass } else { Verdict::Error }, "{seen:?}");
    assert_eq!(seen.text.contains("exec: "), !has_proc, "{}", seen.text);
    let ended = Target { run: "web.1.2".parse().unwrap(), ..container.target.clone() };
    let seen = probe::check(&Kind::Exec { command: vec!["true".into()] }, &ended, LONG).await;
    assert_eq!(seen.verdict, Verdict::Error);
    assert!(seen.text.contains("does not exist"), "{}", seen.text);
    let missing = Runtime::new("/no/such/runtime".into(), Dirs::default());
    let seen = probe::check(
        &Kind::Exec { command: vec!["true".into()] },
        &Target { runtime: missing, ..ended },
        LONG,
    )
    .await;
    assert!(seen.verdict == Verdict::Error && seen.text.starts_with("/no/such/runtime: "), "{}", seen.text);
}

/// Prints what a probe costs beside a plain exec and beside a program that only joins namespaces: for decision 13.
#[tokio::test]
#[ignore = "figures, not a test"]
async fn figures() {
    for runtime in runtimes() {
        let container = Container::new(&runtime, "figures", |_| ());
        let pid = container.target.pid.to_string();
        let mut exec = Command::new(&runtime);
        exec.arg("--root").arg(&container.root).args(["exec", "web.1.1", "echo"]);
        let mut join = Command::new("nsenter");
        join.args(["-t", &pid, "-a", "/bin/echo"]);
        container.see(&["echo"], LONG).await;
        let name = runtime.display();
        for (what, mut call) in [("exec", exec), ("join", join)] {
            call.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
            let (began, mut times) = (processor_time(), Vec::new());
            for _ in 0..200 {
                let start = Instant::now();
                assert!(call.status().unwrap().success());
                times.push(start.elapsed());
            }
            print(&format!("{name} {what}"), times, began);
        }
        let (began, mut times) = (processor_time(), Vec::new());
        for _ in 0..200 {
            let start = Instant::now();
            assert_eq!(container.see(&["echo"], LONG).await.verdict, Verdict::Pass);
            times.push(start.elapsed());
        }
        print(&format!("{name} probe"), times, began);
    }
}

fn print(what: &str, mut times: Vec<Duration>, began: u64) {
    times.sort();
    let each = (processor_time() - began) * 10_000 / times.len() as u64;
    println!("{what}: median {:?}, {each} us of processor time each", times[times.len() / 2]);
}

/// Of this process and of all that it has awaited, in hundredths of a second.
fn processor_time() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(4).map(|n| n.parse::<u64>().unwrap()).sum()
}
