//! Whole command lines, as orchestrators write them.

use super::*;

fn parse_line(line: &str) -> Result<Request, Box<Fault>> {
    parse(line.split(' ').filter(|w| !w.is_empty()).map(OsString::from))
}

fn ok(line: &str) -> Request {
    parse_line(line).unwrap_or_else(|f| panic!("{line}: {}", f.error))
}

fn fault(line: &str) -> Box<Fault> {
    match parse_line(line) {
        Ok(r) => panic!("{line}: accepted as {r:?}"),
        Err(f) => f,
    }
}

#[test]
fn every_table_is_one_clap_accepts() {
    verbs::global().debug_assert();
    for verb in &verbs::VERBS {
        verb.table().debug_assert();
        assert!(verb.help().contains(&format!("knarr {}", verb.name)));
    }
}

#[test]
fn lines_of_orchestrators() {
    let r = ok(
        "--root /run/c/k8s --log /b/log.json --log-format json create --bundle /b --pid-file /b/init.pid c1",
    );
    assert_eq!(r.global.root, PathBuf::from("/run/c/k8s"));
    assert!(r.global.root_explicit);
    assert_eq!(r.global.log.file, Some("/b/log.json".into()));
    assert_eq!(r.global.log.format, report::Format::Json);
    let Command::Create(c) = r.command else { panic!() };
    assert_eq!((c.id.as_str(), c.bundle, c.pid_file), ("c1", "/b".into(), Some("/b/init.pid".into())));

    let r = ok("--systemd-cgroup run -d -b /b --no-pivot --no-new-keyring --preserve-fds 2 c1");
    assert_eq!(r.global.cgroup_manager, CgroupManager::Systemd);
    let Command::Run(c) = r.command else { panic!() };
    assert!(c.detach && !c.keep && c.create.no_pivot && c.create.no_new_keyring);
    assert_eq!(c.create.preserve_fds, 2);

    let Command::Exec(e) = ok("exec --process /p.json --detach --pid-file /p --console-socket /s c1").command
    else {
        panic!()
    };
    assert!(e.detach && e.args.is_empty() && e.process.is_some());

    let Command::Exec(e) = ok("exec -t -u 1:2 -e A=b -e C= -g 5 -g 6 -c CAP_KILL c1 ls -l --help").command
    else {
        panic!()
    };
    assert_eq!(e.args, ["ls", "-l", "--help"]);
    assert_eq!(e.env, ["A=b", "C="]);
    assert_eq!(e.user, Some(ExecUser { uid: 1, gid: Some(2) }));
    assert_eq!((e.additional_gids, e.caps), (vec![5, 6], vec!["CAP_KILL".to_string()]));

    for (line, signal, all) in
        [("kill c1", 15, false), ("kill --all c1 9", 9, true), ("kill -a c1 KILL", 9, true)]
    {
        assert_eq!(ok(line).command, Command::Kill(KillArgs { id: "c1".into(), signal, all }), "{line}");
    }
    assert_eq!(ok("delete --force c1").command, Command::Delete(DeleteArgs { id: "c1".into(), force: true }));
    assert_eq!(ok("delete c1 -f").command, Command::Delete(DeleteArgs { id: "c1".into(), force: true }));
    let Command::Ps(p) = ok("ps --format json c1").command else { panic!() };
    assert_eq!(p.format, Format::Json);
    let Command::Ps(p) = ok("ps c1 -f json").command else { panic!() };
    assert_eq!((p.format, p.args.len()), (Format::Table, 2));
    let Command::Events(e) = ok("events --stats c1").command else { panic!() };
    assert_eq!((e.id.as_str(), e.interval.as_secs(), e.stats), ("c1", 5, true));
    let Command::Events(e) = ok("events --interval 100ms c1").command else { panic!() };
    assert_eq!((e.interval.as_millis(), e.stats), (100, false));
    let Command::Spec(s) = ok("spec --rootless").command else { panic!() };
    assert!(s.rootless);
    assert_eq!(ok("--version state x").command, Command::Version);
}

#[test]
fn global_options_on_both_sides_and_the_last_wins() {
    let r = ok("--root /a --debug state --root=/b c1 -debug=false");
    assert_eq!(r.global.root, PathBuf::from("/b"));
    assert_eq!(r.global.log.level, report::Level::Warning);
    assert_eq!(ok("--root a/../b list").global.root, std::env::current_dir().unwrap().join("b"));
    assert_eq!(ok("state --root-less c1".replace("-less", " /x").as_str()).global.root, PathBuf::from("/x"));
}

#[test]
fn usage_errors() {
    for (line, text) in [
        ("state", "\"state\" requires exactly 1 argument(s)"),
        ("state a b", "\"state\" requires exactly 1 argument(s)"),
        ("kill", "\"kill\" requires a minimum of 1 argument(s)"),
        ("kill a 9 b", "\"kill\" requires a maximum of 2 argument(s)"),
        ("list x", "\"list\" requires exactly 0 argument(s)"),
        ("create --foo x", "flag provided but not defined: -foo"),
        ("create --preserve-fds", "flag needs an argument: -preserve-fds"),
        ("create --preserve-fds -1 x", "preserve-fds"),
        ("list -f xml", "invalid format option"),
        ("kill c1 FOO", "unknown signal \"FOO\""),
        ("kill c1 -9", "unknown signal \"-9\""),
        ("--log-format xml list", "invalid log-format"),
        ("--root / list", "--root"),
        ("--root /tmp/.. list", "--root"),
        ("--root= list", "--root"),
        ("--rootless=maybe list", "invalid rootless"),
        ("--cgroup-manager=x list", "invalid cgroup-manager"),
        ("--nope", "flag provided but not defined: -nope"),
    ] {
        let f = fault(line);
        assert!(f.error.to_string().contains(text), "{line}: {}", f.error);
        assert_eq!((f.exit, f.error.kind()), (1, Code::Usage), "{line}");
    }
    let long = format!("--root /{} list", "x".repeat(4097));
    assert!(fault(&long).error.to_string().contains("--root"));
}

#[test]
fn no_such_command() {
    for line in ["foo", "foo -h", "help foo", "--log-format json foo"] {
        let f = fault(line);
        assert_eq!((f.exit, f.error.kind()), (3, Code::Usage), "{line}");
        assert!(f.error.to_string().starts_with("No help topic for 'foo'") && f.usage.is_none(), "{line}");
    }
}

#[test]
fn exec_fails_with_255() {
    for line in ["exec c1", "exec -u x c1 ls", "exec --cgroup ../x c1 ls"] {
        let f = fault(line);
        assert_eq!((f.exit, f.usage), (255, None), "{line}");
    }
    // But not with a line that no command can be read from.
    for line in
        ["exec", "exec --nope c1 ls", "exec -d=maybe c1 ls", "exec -g x c1 ls", "exec --preserve-fds x c1 ls"]
    {
        let f = fault(line);
        assert_eq!(f.exit, 1, "{line}");
        assert!(f.usage.unwrap().contains("knarr exec"), "{line}");
    }
}

#[test]
fn limits_of_update() {
    let update = |line: &str| {
        let Command::Update(u) = ok(line).command else { panic!("{line}") };
        *u
    };
    for line in ["update --resources=- c1", "update -r - c1", "update c1 -resources -"] {
        let u = update(line);
        assert_eq!((u.id.as_str(), u.resources), ("c1", Some(Source::Stdin)), "{line}");
    }
    assert_eq!(update("update -r /f c1").resources, Some(Source::File("/f".into())));
    let u = update(
        "update --memory 64m --memory-swap -1 --memory-reservation=1k --cpu-quota -1 --cpu-period 100000 --cpu-burst 5 \
         --cpu-share 7 --cpu-idle 1 --cpuset-cpus 0-1 --cpuset-mems 0 --pids-limit -1 --blkio-weight 100 \
         --cpu-rt-period 1 --cpu-rt-runtime 2 c1",
    );
    let want = Limits {
        blkio_weight: Some(100),
        cpu_period: Some(100_000),
        cpu_quota: Some(-1),
        cpu_burst: Some(5),
        cpu_share: Some(7),
        cpu_rt_period: Some(1),
        cpu_rt_runtime: Some(2),
        cpu_idle: Some(1),
        cpuset_cpus: Some("0-1".into()),
        cpuset_mems: Some("0".into()),
        memory: Some(64 << 20),
        memory_reservation: Some(1024),
        memory_swap: Some(-1),
        pids_limit: Some(-1),
        l3_cache_schema: None,
        mem_bw_schema: None,
    };
    assert_eq!(u, UpdateArgs { id: "c1".into(), limits: want, ..Default::default() });
    assert_eq!(update("update --memory= c1").limits, Limits::default(), "empty is not given");
    let u = update("update --kernel-memory 5 --memory 6 -r - c1");
    assert!(
        u.ignored[0].contains("--kernel-memory") && u.ignored[1].contains("--resources"),
        "{:?}",
        u.ignored
    );
    for line in ["--memory 5x", "--cpu-period x", "--cpu-quota 1.5", "--pids-limit many", "--blkio-weight 5"]
    {
        assert!(
            fault(&format!("update {line} c1")).error.to_string().contains("invalid value for"),
            "{line}"
        );
    }
}

#[test]
fn commands_that_are_refused() {
    for line in ["checkpoint --help", "restore --lsm-mount-context", "restore --bundle b x", "help restore"] {
        let f = fault(line);
        assert_eq!((f.exit, f.error.kind()), (1, Code::Unsupported), "{line}");
        assert!(!f.error.to_string().contains("flag needs"), "{line}");
    }
}

#[test]
fn a_fault_goes_where_log_said() {
    let f = fault("--log /l --log-format json state --nope");
    assert_eq!(f.log.file, Some("/l".into()));
    assert_eq!(f.log.format, report::Format::Json);
}

#[test]
fn help_is_asked_for_in_many_ways() {
    for line in ["", "help", "h", "-h", "--help", "-help"] {
        let Command::Help(text) = ok(line).command else { panic!("{line}") };
        assert!(text.starts_with("NAME:\n   knarr - Open Container Initiative runtime"), "{line}");
        assert!(text.contains("--systemd-cgroup"));
        assert!(!text.contains("checkpoint"));
    }
    for line in ["help exec", "exec -h", "exec --help", "exec -d --help x"] {
        let Command::Help(text) = ok(line).command else { panic!("{line}") };
        assert!(text.contains("knarr exec - ") && text.contains("--ignore-paused"), "{line}");
    }
    let Command::Help(text) = ok("kill -h").command else { panic!() };
    assert!(!text.contains("--all"), "hidden");
}

#[test]
fn version_has_the_three_lines() {
    let text = version_text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("knarr version ") && lines[1].starts_with("commit: "));
    assert!(lines[2].starts_with("spec: ") && lines.len() == 3);
}
