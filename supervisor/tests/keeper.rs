//! The real keeper with a shell script in the runtime's place, and with a real runtime where there is one. Touches a
//! temporary directory, mount namespaces of its own, and one cgroup of its own name.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use knarrd::keeper::record::{End, ExitRecord};
use knarrd::keeper::{Hello, Keeper, Launch, Note, Order, Phase, Piece, Stream, attach, spawn};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// No step of a test takes longer on the slowest machine.
const LONG: Duration = Duration::from_secs(30);

/// A container of shell commands with its keeper's directories.
struct Bed {
    dir: TempDir,
    launch: Launch,
}

impl Bed {
    /// `create` writes the pid of a shell with this script and exits. The script begins a little later: a real container
    /// waits for its start, and a shell would reap a child that ends before itself.
    fn new(script: &str) -> Bed {
        Bed::with_create("exec 3<&0; setsid sh -c \"sleep 0.1; $2\" <&3 3<&- & echo $! > \"$1\"", script)
    }

    fn with_create(create: &str, script: &str) -> Bed {
        let dir = TempDir::new().unwrap();
        for name in ["d", "exits"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let at = |name: &str| dir.path().join(name);
        executable(&at("runtime"), &format!("#!/bin/sh\n{create}\n"));
        let launch = Launch {
            program: env!("CARGO_BIN_EXE_knarr-keeper").into(),
            run: "web.1.17".parse().unwrap(),
            dir: at("d"),
            exit: at("exits/web.1.17"),
            log: at("log"),
            log_size: 1 << 20,
            log_files: 3,
            log_min_free: 0,
            tty: false,
            stdin: false,
            journald: false,
            cgroup: None,
            pass: 0,
            sealed: false,
            create: vec![at("runtime").into(), at("d/pid").into(), script.into()],
        };
        Bed { dir, launch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the keeper's program in a mount namespace of its own, after these commands.
    fn in_namespace(&mut self, commands: &str) {
        let program = self.path("program");
        let keeper = self.launch.program.display();
        let inner = format!("{commands} && exec {keeper} \"$@\"");
        executable(
            &program,
            &format!("#!/bin/sh\nexec unshare -m --propagation private sh -c '{inner}' sh \"$@\"\n"),
        );
        self.launch.program = program;
    }

    async fn spawn(&self) {
        spawn(&self.launch).await.unwrap();
    }

    async fn connect(&self) -> (Keeper, Hello) {
        Keeper::connect(&self.launch.dir).await.unwrap()
    }

    /// The record, when its file is there.
    async fn record(&self) -> ExitRecord {
        eventually("the record", || Some(parse(&fs::read(&self.launch.exit).ok()?))).await
    }

    /// Waits until nobody listens any more.
    async fn gone(&self) {
        let start = Instant::now();
        while Keeper::connect(&self.launch.dir).await.is_ok() {
            assert!(start.elapsed() < LONG, "the keeper does not go");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// All log lines without their stamps, files in order.
    fn log(&self) -> Vec<String> {
        let files = log_files(&self.launch.log);
        let text: String = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|l| l[31..].to_owned()).collect()
    }
}

fn parse(json: &[u8]) -> ExitRecord {
    serde_json::from_slice(json).unwrap()
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// Bytes of the container's output in these lines.
fn content(lines: &[String]) -> u64 {
    let size = |l: &String| l.len() as u64 - 9 + u64::from(&l[7..8] == "F");
    lines.iter().filter(|l| !l.starts_with("keeper")).map(size).sum()
}

/// Bytes of `seq 1 n`.
fn seq(n: u64) -> u64 {
    (1..=n).map(|n| n.to_string().len() as u64 + 1).sum()
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LONG, "{what} does not come");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn next(keeper: &mut Keeper) -> Option<Note> {
    timeout(LONG, keeper.next()).await.expect("a note").unwrap()
}

/// Waits for the end, whatever comes before.
async fn end(keeper: &mut Keeper) -> ExitRecord {
    loop {
        match next(keeper).await {
            Some(Note::Ended(record)) => return *record,
            Some(_) => {}
            None => panic!("the keeper went without a word"),
        }
    }
}

/// The container's pid, told at once or later.
async fn created(keeper: &mut Keeper, hello: &Hello) -> u32 {
    match hello.phase {
        Phase::Created { pid, .. } => pid,
        Phase::Creating => match next(keeper).await {
            Some(Note::Created { pid, start_time }) => {
                assert!(start_time > 0);
                pid
            }
            other => panic!("{other:?}"),
        },
        Phase::Ended(_) => panic!("{hello:?}"),
    }
}

/// A line of a process' or a task's status.
fn status(pid: u32, task: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}{task}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with(&format!("{name}:"))).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

/// The keeper is the container's parent.
fn keeper_of(pid: u32) -> u32 {
    status(pid, "", "PPid").parse().unwrap()
}

fn is_root() -> bool {
    let root = status(std::process::id(), "", "Uid").starts_with("0\t");
    if !root {
        eprintln!("skipped: needs root for a mount namespace");
    }
    root
}

#[tokio::test]
async fn ends_are_recorded_without_any_daemon() {
    for (script, want) in [
        ("echo out; echo err >&2; exit 0", End::Exited { code: 0 }),
        ("echo out; echo err >&2; exit 3", End::Exited { code: 3 }),
        ("echo out; echo err >&2; kill -9 $$", End::Signaled { signal: 9, core: false }),
    ] {
        let bed = Bed::new(script);
        bed.spawn().await;
        let record = bed.record().await;
        bed.gone().await;
        assert_eq!(record.end, want);
        assert_eq!((record.run.to_string().as_str(), record.log_dropped), ("web.1.17", 0));
        assert_eq!(record.boot_id, knarrd::clock::boot_id().unwrap());
        assert!(record.pid > 0 && record.ended >= record.started);
        let mut log = bed.log();
        log.sort();
        assert_eq!(log, ["stderr F err", "stdout F out"]);
        let left: Vec<_> = fs::read_dir(bed.path("exits")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["web.1.17"], "nothing else is left");
    }
}

#[tokio::test]
async fn a_failed_create_says_why() {
    for (create, code, text) in [
        (
            "echo first >&2; echo 'level=error msg=\"no\tfile\"' >&2; exit 4",
            Some(4),
            "level=error msg=\"no\tfile\"",
        ),
        ("kill -9 $$", None, ""),
        ("true", Some(0), "create succeeded, but"),
        ("echo 1 > $1", Some(0), "no child of the keeper"),
        ("echo x > $1", Some(0), "has no pid"),
    ] {
        let bed = Bed::with_create(create, "");
        bed.spawn().await;
        let record = bed.record().await;
        let End::CreateFailed { code: got, text: said } = record.end else {
            panic!("{create}: {:?}", record.end)
        };
        assert_eq!((got, record.pid), (code, 0), "{create}");
        assert!(said.contains(text), "{create}: {said}");
    }
    let mut bed = Bed::new("");
    bed.launch.create[0] = "/nowhere/runtime".into();
    bed.spawn().await;
    let End::CreateFailed { code: None, text } = bed.record().await.end else { panic!("not failed") };
    assert!(text.contains("/nowhere/runtime") && text.contains("No such file"), "{text}");
}

#[tokio::test]
async fn what_cannot_begin_is_said_to_the_caller() {
    let mut bed = Bed::new("");
    bed.launch.log = bed.path("missing/log");
    let e = spawn(&bed.launch).await.unwrap_err().to_string();
    assert!(e.contains("missing/log") && e.contains("No such file"), "{e}");
    assert!(!bed.launch.dir.join("pid").exists());
    let e = Keeper::connect(&bed.launch.dir).await.map(drop).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_controller_sees_it_all_and_acknowledges() {
    let create = "sleep 0.3; exec 3<&0; setsid sh -c \"sleep 0.1; $2\" <&3 3<&- & echo $! > \"$1\"";
    let bed =
        Bed::with_create(&format!("{{ {create}; }}"), "trap 'exit 9' TERM; echo ready; sleep 100 & wait");
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    assert_eq!((hello.version, hello.run.to_string().as_str()), (1, "web.1.17"));
    assert_eq!(hello.phase, Phase::Creating);
    let pid = created(&mut keeper, &hello).await;
    assert_eq!(fs::read_to_string(bed.launch.dir.join("pid")).unwrap().trim(), pid.to_string());
    eventually("the trap", || (!bed.log().is_empty()).then_some(())).await;
    keeper.send(Order::Signal(15)).unwrap();
    let record = end(&mut keeper).await;
    assert_eq!((&record.end, record.pid), (&End::Exited { code: 9 }, pid));
    assert_eq!(bed.record().await, record);
    // It waits for the acknowledgement.
    sleep(Duration::from_millis(300)).await;
    keeper.send(Order::Ack).unwrap();
    assert_eq!(next(&mut keeper).await, None);
    assert_eq!(fs::read_dir(bed.path("exits")).unwrap().count(), 0);
    bed.gone().await;
}

#[tokio::test]
async fn a_create_that_hangs_is_ended_by_a_signal() {
    let bed = Bed::with_create("sleep 100; echo too late", "");
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    assert_eq!(hello.phase, Phase::Creating);
    keeper.send(Order::Signal(9)).unwrap();
    let record = end(&mut keeper).await;
    assert!(matches!(record.end, End::CreateFailed { code: None, .. }), "{record:?}");
}

#[tokio::test]
async fn the_newest_controller_is_the_only_one() {
    let bed = Bed::new("sleep 100");
    bed.spawn().await;
    let (mut first, hello) = bed.connect().await;
    created(&mut first, &hello).await;
    let (second, hello) = bed.connect().await;
    assert_eq!(next(&mut first).await, None);
    let Phase::Created { pid, .. } = hello.phase else { panic!("{hello:?}") };
    assert!(first.send(Order::Signal(9)).is_err());
    assert_ne!(status(pid, "", "State").chars().next(), Some('Z'));
    // One that dies is forgotten; what it has asked for is done, and the file says what came of it.
    second.send(Order::Signal(9)).unwrap();
    drop(second);
    let record = bed.record().await;
    assert_eq!(record.end, End::Signaled { signal: 9, core: false });
    bed.gone().await;
    assert_eq!(bed.record().await, record);
}

#[tokio::test]
async fn without_acknowledgement_the_record_stays() {
    let bed = Bed::new("sleep 0.3; exit 5");
    bed.spawn().await;
    let (mut keeper, _) = bed.connect().await;
    let told = end(&mut keeper).await;
    assert_eq!(told, bed.record().await);
    // As long as the controller is there, a newer one is told the end, too.
    let (again, hello) = bed.connect().await;
    assert_eq!(hello.phase, Phase::Ended(Box::new(told.clone())));
    drop((keeper, again));
    bed.gone().await;
    assert_eq!(told, bed.record().await);
}

#[tokio::test]
async fn attached_clients_talk_to_the_container() {
    let mut bed = Bed::new("while read l; do echo \"got $l\"; echo \"err $l\" >&2; done; exit 6");
    bed.launch.stdin = true;
    bed.spawn().await;
    let (one, _) = attach(&bed.launch.dir).await.unwrap();
    let (two, _) = attach(&bed.launch.dir).await.unwrap();
    one.send(Order::Stdin(b"from one\n")).await.unwrap();
    two.send(Order::Stdin(b"from two\n")).await.unwrap();
    eventually("both answers", || (bed.log().len() == 4).then_some(())).await;
    two.send(Order::StdinEof).await.unwrap();
    for client in [one, two] {
        let (mut out, mut err) = (String::new(), String::new());
        let record = loop {
            match timeout(LONG, client.recv()).await.unwrap().unwrap().unwrap() {
                Piece::Output(Stream::Stdout, bytes) => out += &String::from_utf8(bytes).unwrap(),
                Piece::Output(Stream::Stderr, bytes) => err += &String::from_utf8(bytes).unwrap(),
                Piece::Ended(record) => break record,
            }
        };
        let mut lines: Vec<&str> = out.lines().chain(err.lines()).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["err from one", "err from two", "got from one", "got from two"]);
        assert_eq!(record.end, End::Exited { code: 6 });
        assert_eq!(client.recv().await.unwrap(), None);
    }
}

#[tokio::test]
async fn input_that_is_not_read_holds_up_only_its_giver() {
    let mut bed = Bed::new("sleep 100");
    bed.launch.stdin = true;
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    created(&mut keeper, &hello).await;
    let (client, _) = attach(&bed.launch.dir).await.unwrap();
    let flood = async {
        loop {
            client.send(Order::Stdin(&[b'x'; 32 * 1024])).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_secs(2), flood).await.is_err(), "all buffers are full at some time");
    keeper.send(Order::Signal(15)).unwrap();
    assert_eq!(end(&mut keeper).await.end, End::Signaled { signal: 15, core: false });
}

#[tokio::test]
async fn clients_beyond_the_limit_and_foreign_orders_are_sent_away() {
    let bed = Bed::new("sleep 100");
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    created(&mut keeper, &hello).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(attach(&bed.launch.dir).await.unwrap());
    }
    let e = attach(&bed.launch.dir).await.map(drop).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
    // An attached client may not signal.
    clients[0].0.send(Order::Signal(9)).await.unwrap();
    assert_eq!(timeout(LONG, clients[0].0.recv()).await.unwrap().unwrap(), None);
    attach(&bed.launch.dir).await.unwrap();
    keeper.send(Order::Signal(15)).unwrap();
    assert_eq!(end(&mut keeper).await.end, End::Signaled { signal: 15, core: false });
}

#[tokio::test]
async fn a_slow_client_is_dropped_and_nobody_waits_for_it() {
    let mut bed = Bed::new("sleep 0.5; seq 1 300000; echo done >&2");
    bed.launch.log_size = 64 << 20;
    bed.spawn().await;
    let (slow, _) = attach(&bed.launch.dir).await.unwrap();
    let record = bed.record().await;
    let log = bed.log();
    // A line that has begun when its rest is dropped is ended in the log, with a line break that nobody wrote.
    let notes = log.iter().filter(|l| l.contains("bytes dropped")).count() as u64;
    let more = (content(&log) + record.log_dropped).checked_sub(seq(300_000) + 5);
    assert!(more.is_some_and(|more| more <= notes), "{more:?} bytes too many, {notes} notes");
    assert!(log.contains(&"stderr F done".into()));
    // What it has is the beginning; then it is over, without the end.
    let mut last = None;
    while let Some(piece) = timeout(LONG, slow.recv()).await.unwrap().unwrap() {
        last = Some(piece);
    }
    assert!(matches!(last, Some(Piece::Output(..))), "{last:?}");
}

#[tokio::test]
async fn logs_rotate_and_the_controller_is_told() {
    let mut bed = Bed::new("sleep 0.3; seq 1 20000; exit 0");
    bed.launch.log_size = 64 * 1024;
    bed.spawn().await;
    let (mut keeper, _) = bed.connect().await;
    let mut told = Vec::new();
    let record = loop {
        match next(&mut keeper).await.unwrap() {
            Note::Rotated(n) if told.last() != Some(&n) => told.push(n),
            Note::Rotated(_) => {}
            Note::Ended(record) => break record,
            Note::Created { .. } => {}
        }
    };
    assert_eq!(record.log_dropped, 0);
    let files = log_files(&bed.launch.log);
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|f| fs::metadata(f).unwrap().len() <= 64 * 1024));
    let current = *told.last().unwrap();
    assert!(files[2].ends_with(format!("{current:08}.log")), "{told:?} {files:?}");
    assert!(told.is_sorted());
    // The files that are left are the end, without a gap.
    let numbers: Vec<u64> = bed.log().iter().map(|l| l[9..].parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&20000));
    assert!(numbers.windows(2).all(|w| w[0] + 1 == w[1]));
    // The next run goes on where this one ended, were it in the middle of a line.
    keeper.send(Order::Ack).unwrap();
    bed.gone().await;
    let file = fs::OpenOptions::new().append(true).open(&files[2]).unwrap();
    std::io::Write::write_all(&mut &file, b"2026-11-21T12:00:00.123456789Z stdout F to").unwrap();
    bed.spawn().await;
    bed.record().await;
    let text: String = log_files(&bed.launch.log).iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    assert!(text.lines().all(|l| l.len() > 38 && &l[30..31] == " " && &l[29..30] == "Z"));
}

#[tokio::test]
async fn those_who_hold_the_pipe_open_delay_the_record_a_little() {
    let bed = Bed::new("sh -c 'sleep 4; echo late' & echo last; exit 0");
    bed.spawn().await;
    let start = Instant::now();
    let record = bed.record().await;
    assert!(start.elapsed() > Duration::from_millis(1500));
    assert_eq!(record.end, End::Exited { code: 0 });
    assert!(record.ended.since(record.started) < Duration::from_millis(1500), "the end is when it was");
    assert_eq!(bed.log(), ["stdout F last"]);
}

#[tokio::test]
async fn a_keeper_that_was_held_up_misses_nothing_of_the_end() {
    let marker = TempDir::new().unwrap();
    let written = marker.path().join("written");
    // Fits the pipe, so that it is written while nobody reads.
    let rest = format!("(sleep 1; seq 1 12000; touch {}; sleep 6) & exit 3", written.display());
    let bed = Bed::new(&rest);
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    let pid = created(&mut keeper, &hello).await;
    let server = keeper_of(pid);
    let kill = |signal: &str| {
        assert!(Command::new("kill").args([signal, &server.to_string()]).status().unwrap().success())
    };
    let proc = PathBuf::from(format!("/proc/{pid}"));
    eventually("the end", || (!proc.exists()).then_some(())).await;
    let ended = Instant::now();
    kill("-STOP");
    eventually("the last output", || written.exists().then_some(())).await;
    sleep(Duration::from_millis(2500).saturating_sub(ended.elapsed())).await;
    kill("-CONT");
    assert_eq!(end(&mut keeper).await.end, End::Exited { code: 3 });
    let log = bed.log();
    assert_eq!((log.len(), log.last().map(String::as_str)), (12000, Some("stdout F 12000")));
}

#[tokio::test]
async fn a_keeper_at_rest_is_sealed_reaps_and_sleeps() {
    let bed = Bed::new("for i in 1 2 3 4 5; do (sleep 0.1 &) ; done; sleep 100");
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    let pid = created(&mut keeper, &hello).await;
    let (keeper, hello) = bed.connect().await;
    assert!(hello.sealed, "{hello:?}");
    let its = keeper_of(pid);
    sleep(Duration::from_millis(600)).await;
    // The container's score is never the keeper's own.
    let score =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().to_owned();
    assert_eq!(score(pid), "0");
    assert_eq!(score(its) == "-999", hello.oom_protected);
    let children = fs::read_to_string(format!("/proc/{its}/task/{its}/children")).unwrap();
    assert_eq!(children.trim(), pid.to_string(), "orphans are reaped");
    let tasks: Vec<String> = fs::read_dir(format!("/proc/{its}/task"))
        .unwrap()
        .map(|e| format!("/task/{}", e.unwrap().file_name().display()))
        .collect();
    assert_eq!(tasks.len(), 2, "one answers, one writes");
    let mut before = Vec::new();
    for task in &tasks {
        assert_eq!(status(its, task, "Seccomp"), "2");
        assert_eq!(status(its, task, "NoNewPrivs"), "1");
        let caps = u64::from_str_radix(&status(its, task, "CapPrm"), 16).unwrap();
        assert_eq!(caps & !(1 << 5), 0, "CAP_KILL at most");
        before.push(status(its, task, "voluntary_ctxt_switches"));
    }
    sleep(Duration::from_secs(2)).await;
    for (task, before) in tasks.iter().zip(before) {
        assert_eq!(status(its, task, "voluntary_ctxt_switches"), before, "it woke up");
    }
    // Nothing of the caller is left open.
    for fd in fs::read_dir(format!("/proc/{its}/fd")).unwrap() {
        let target = fs::read_link(fd.unwrap().path()).unwrap().display().to_string();
        let known = ["/dev/null", "socket:", "pipe:", "anon_inode:", "/sys/fs/cgroup"];
        let own = target.starts_with(bed.dir.path().to_str().unwrap());
        assert!(own || known.iter().any(|k| target.starts_with(k)), "{target}");
    }
    keeper.send(Order::Signal(9)).unwrap();
    bed.record().await;
}

#[tokio::test]
async fn a_disk_that_hangs_holds_nobody_up() {
    let mut bed = Bed::new("");
    let mark = bed.path("written");
    let script = format!("seq 1 600000; touch {}; sleep 0.5; exit 8", mark.display());
    bed.launch.create[2] = script.into();
    bed.launch.log_size = 64 << 20;
    // A pipe that nobody reads: each write to it hangs as on a dead disk.
    fs::create_dir(&bed.launch.log).unwrap();
    let file = bed.launch.log.join("00000001.log");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    bed.spawn().await;
    let (mut keeper, _) = bed.connect().await;
    eventually("the end of writing", || mark.exists().then_some(())).await;
    // It answers, and knows the end.
    let (client, _) = attach(&bed.launch.dir).await.unwrap();
    let record = end(&mut keeper).await;
    assert_eq!(record.end, End::Exited { code: 8 });
    assert!(record.log_dropped > 1 << 20, "{record:?}");
    assert!(!bed.launch.exit.exists());
    assert!(timeout(LONG, client.recv()).await.unwrap().unwrap().is_some());
    // And goes when it is told to, though its disk still hangs.
    keeper.send(Order::Ack).unwrap();
    assert_eq!(next(&mut keeper).await, None);
    bed.gone().await;
}

#[tokio::test]
async fn a_disk_that_comes_back_has_a_note_in_the_gap() {
    let mut bed = Bed::new("seq 1 600000; sleep 100");
    bed.launch.log_size = 64 << 20;
    fs::create_dir(&bed.launch.log).unwrap();
    let file = bed.launch.log.join("00000001.log");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    created(&mut keeper, &hello).await;
    sleep(Duration::from_secs(2)).await;
    // The disk is back: the beginning, the note, the end.
    let lines = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in std::io::BufRead::lines(std::io::BufReader::new(fs::File::open(file).unwrap())) {
            lines.push(line.unwrap()[31..].to_owned());
            if lines.last().is_some_and(|l| l == "stdout F 600000") {
                break;
            }
        }
        lines
    });
    let lines = lines.join().unwrap();
    assert_eq!(lines.first().map(String::as_str), Some("stdout F 1"));
    let gaps: Vec<&String> = lines.iter().filter(|l| l.starts_with("keeper F ")).collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let bytes = gaps[0]
        .strip_prefix("keeper F ")
        .unwrap()
        .strip_suffix(" bytes dropped: stdout: the disk is too slow");
    let dropped: u64 = bytes.unwrap().parse().unwrap();
    // A line that was cut in two by the gap counts one line break too much.
    let cut = content(&lines) + dropped - seq(600_000);
    assert!(cut <= 1, "{cut}");
    keeper.send(Order::Signal(9)).unwrap();
    let record = end(&mut keeper).await;
    assert_eq!(record.log_dropped, dropped);
}

#[tokio::test]
async fn a_full_disk_stops_the_log_and_nothing_else() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::new("");
    let mark = bed.path("written");
    let script = format!("seq 1 400000; touch {}; sleep 100", mark.display());
    bed.launch.create[2] = script.into();
    fs::create_dir(&bed.launch.log).unwrap();
    bed.in_namespace(&format!("mount -t tmpfs -o size=128k none {}", bed.launch.log.display()));
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    let pid = created(&mut keeper, &hello).await;
    let its = keeper_of(pid);
    eventually("the end of writing", || mark.exists().then_some(())).await;
    // Room again: what is missing is told in its place.
    let inside = PathBuf::from(format!("/proc/{its}/root{}", bed.launch.log.display()));
    let file = log_files(&inside).pop().unwrap();
    assert!(fs::metadata(&file).unwrap().len() > 100 * 1024);
    let note = eventually("the note", || {
        let text = String::from_utf8(fs::read(&file).ok()?).ok()?;
        let note = text.lines().find(|l| l.contains(" keeper F ")).map(str::to_owned);
        if note.is_none() {
            // A page for the note and what follows it, again and again.
            fs::File::options().write(true).open(&file).unwrap().set_len(0).unwrap();
        }
        note
    })
    .await;
    assert!(note.contains("bytes dropped: stdout: No space left on device"), "{note}");
    keeper.send(Order::Signal(9)).unwrap();
    let record = end(&mut keeper).await;
    assert!(record.log_dropped > 1 << 20, "{record:?}");
    assert_eq!(bed.record().await, record);
}

#[tokio::test]
async fn what_little_space_is_left_is_left_alone() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::new("seq 1 100; exit 0");
    fs::create_dir(&bed.launch.log).unwrap();
    let log = bed.launch.log.display().to_string();
    bed.in_namespace(&format!(
        "mount -t tmpfs -o size=1m none {log} && head -c 100000 /dev/zero > {log}/other"
    ));
    bed.launch.log_min_free = 99;
    bed.spawn().await;
    let record = bed.record().await;
    assert_eq!((record.end, record.log_dropped), (End::Exited { code: 0 }, seq(100)));
}

#[tokio::test]
async fn a_record_that_cannot_be_written_is_kept_and_served() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::new("sleep 0.5; exit 4");
    let exits = bed.path("exits").display().to_string();
    bed.in_namespace(&format!("mount -t tmpfs -o size=64k,ro none {exits}"));
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    let its = keeper_of(created(&mut keeper, &hello).await);
    let record = end(&mut keeper).await;
    assert_eq!(record.end, End::Exited { code: 4 });
    drop(keeper);
    // It stays, though its controller has gone.
    sleep(Duration::from_millis(1500)).await;
    let (keeper, hello) = bed.connect().await;
    assert_eq!(hello.phase, Phase::Ended(Box::new(record.clone())));
    // The directory as the keeper sees it, open before the namespace goes.
    let seen = fs::File::open(format!("/proc/{its}/root{exits}")).unwrap();
    let remount = Command::new("nsenter")
        .args(["-m", "-t", &its.to_string(), "mount", "-o", "remount,rw", &exits])
        .status();
    assert!(remount.unwrap().success());
    drop(keeper);
    bed.gone().await;
    let file = format!("/proc/self/fd/{}/web.1.17", seen.as_raw_fd());
    assert_eq!(parse(&fs::read(file).unwrap()), record);
}

#[tokio::test]
async fn a_keeper_that_nobody_can_find_goes() {
    let bed = Bed::new("sleep 0.5");
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    let its = keeper_of(created(&mut keeper, &hello).await);
    drop(keeper);
    drop(bed);
    eventually("the keeper's end", || (!Path::new(&format!("/proc/{its}")).exists()).then_some(())).await;
}

#[tokio::test]
async fn the_record_survives_a_full_disk() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::new("sleep 1; exit 4");
    let exits = bed.path("exits").display().to_string();
    bed.in_namespace(&format!("mount -t tmpfs -o size=64k none {exits}"));
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    let its = keeper_of(created(&mut keeper, &hello).await);
    let inside = format!("/proc/{its}/root{exits}");
    let seen = fs::File::open(&inside).unwrap();
    let full = fs::write(format!("{inside}/filler"), vec![1; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let record = end(&mut keeper).await;
    drop(keeper);
    bed.gone().await;
    let file = format!("/proc/self/fd/{}/web.1.17", seen.as_raw_fd());
    assert_eq!(parse(&fs::read(file).unwrap()), record);
}

#[tokio::test]
async fn journald_gets_a_copy() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::new("echo early; sleep 1; echo \"to both\"; exit 0");
    let journal = bed.path("journal");
    fs::create_dir(&journal).unwrap();
    let at = "/run/systemd/journal";
    let bind = format!("mount --bind {} {at}", journal.display());
    bed.in_namespace(&format!("mount -t tmpfs none /run && mkdir -p {at} && {bind}"));
    bed.launch.journald = true;
    bed.spawn().await;
    eventually("a line", || (!bed.log().is_empty()).then_some(())).await;
    // Begins to listen late: what was before is dropped, counted and told.
    let socket = std::os::unix::net::UnixDatagram::bind(journal.join("socket")).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let mut got = [0; 4096];
    let n = socket.recv(&mut got).unwrap();
    let text = String::from_utf8_lossy(&got[..n]);
    assert!(text.contains("\nKNARR_RUN=web.1.17\nPRIORITY=6\nKNARR_STREAM=stdout\nMESSAGE\n"), "{text}");
    assert!(text.ends_with("to both\n"), "{text}");
    bed.record().await;
    let want =
        ["stdout F early", "keeper F 1 lines dropped: journald does not take them", "stdout F to both"];
    assert_eq!(bed.log(), want);
}

#[tokio::test]
async fn a_keeper_has_its_own_cgroup() {
    let trees = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let v2 = trees.into_iter().find(|p| Path::new(p).join("cgroup.procs").exists());
    let Some(v2) = v2.filter(|_| is_root()) else { return };
    let parent = Path::new(v2).join(format!("knarr-test-keeper-{}", std::process::id()));
    let mut bed = Bed::new("sleep 100");
    bed.launch.cgroup = Some(parent.join("web.1.17"));
    bed.spawn().await;
    let (mut keeper, hello) = bed.connect().await;
    let pid = created(&mut keeper, &hello).await;
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", keeper_of(pid))).unwrap();
    keeper.send(Order::Signal(9)).unwrap();
    end(&mut keeper).await;
    keeper.send(Order::Ack).unwrap();
    assert_eq!(next(&mut keeper).await, None);
    bed.gone().await;
    eventually("the cgroup's end", || fs::remove_dir(parent.join("web.1.17")).ok()).await;
    fs::remove_dir(&parent).unwrap();
    assert!(hello.own_cgroup);
    let want = format!("0::/{}/web.1.17", parent.file_name().unwrap().display());
    assert!(groups.lines().any(|l| l == want), "{groups}");
}
