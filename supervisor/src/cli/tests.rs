//! knarrctl: texts, tables, exit codes.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::show::{self, Paper};
use super::table::{Cell, Column, render};
use super::text::{Style, clean, cut, duration, moment, size};
use super::{plans, streams, terminal, top};
use crate::api::model::*;
use crate::api::tests::{Fake, event, instance};

fn paper(width: Option<usize>) -> Paper {
    Paper {
        style: Style::fixed(false),
        width,
        now: "2026-11-21T12:00:30Z".parse().unwrap(),
        zone: TimeZone::UTC,
    }
}

fn some() -> Vec<InstanceStatus> {
    let mut long = instance("a-service-with-a-rather-long-name", 12, "backoff");
    long.detail = "next try in 4 s after the memory limit of 64 MiB was hit by PID 12 (java)".into();
    let mut bare = instance("db", 1, "held");
    (bare.pid, bare.memory, bare.memory_limit, bare.last_exit) = (None, None, None, None);
    bare.detail = "stopped by hand".into();
    vec![bare, instance("web", 1, "running"), long]
}

#[test]
fn tables_fit_the_terminal() {
    for width in [20, 40, 60, 80, 100, 200] {
        let text = show::instances(&some(), &paper(Some(width)));
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line:?}");
            assert_eq!(line, line.trim_end());
        }
        assert_eq!(text.lines().count(), 4);
        assert!(text.starts_with("NAME"), "{text}");
        assert!(width < 40 || text.contains("a-service-with-a-rather-long-name.12"[..20].trim()), "{text}");
    }
    let wide = show::instances(&some(), &paper(Some(200)));
    assert_eq!(wide, show::instances(&some(), &paper(None)));
    assert!(!wide.contains('…'));
    for title in ["NAME", "STATE", "READY", "SINCE", "RESTARTS", "LAST-EXIT", "PID", "MEMORY", "DETAIL"] {
        assert!(wide.lines().next().unwrap().contains(title), "{title}");
    }
    let narrow = show::instances(&some(), &paper(Some(80)));
    assert!(narrow.contains('…') && narrow.contains("backoff"), "{narrow}");
    assert_eq!(
        show::instances(&some()[..2], &paper(Some(90))),
        "NAME   STATE    READY  SINCE  RESTARTS  LAST-EXIT   PID   MEMORY  DETAIL\n\
         db.1   held     -      1m15s         3          -     -        -  stopped by hand\n\
         web.1  running  yes    1m15s         3        137  4711  12M/64M  next try in 4 s\n"
    );
}

#[test]
fn nothing_of_others_reaches_the_terminal_as_a_control() {
    let mut bad = instance("web", 1, "running");
    bad.detail = "a\x1b[2Jb\r\nc\u{9b}d\u{7f}".into();
    let columns = [Column::text("T", 1)];
    for text in [
        show::instances(&[bad.clone()], &paper(None)),
        top::picture(vec![bad], &paper(Some(80)), Some("gone\x07")),
        render(&columns, &[vec![Cell::new("\x08")]], None, Style::fixed(false)),
        streams::event_line(&EventInfo { text: "x\x1b]0;y\x07".into(), ..event(1) }, &paper(None)),
        plans::diff(
            &Plan {
                changes: vec![ServiceChange {
                    service: "w\x1b".into(),
                    action: "add".into(),
                    fields: vec![FieldChange {
                        key: "k\x1b".into(),
                        old: None,
                        new: Some("\x1b[31m".into()),
                        hidden: false,
                    }],
                    rollout: Some("r\x1b".into()),
                    notes: vec!["n\x1b".into()],
                }],
                problems: vec![],
            },
            "to ",
            Style::fixed(false),
        ),
    ] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
    assert_eq!(clean("a\x1bb\n"), "a\\u{1b}b\\n");
}

#[test]
fn colours_only_when_they_are_wanted() {
    let with = Paper { style: Style::fixed(true), ..paper(Some(80)) };
    let colored = show::instances(&some(), &with);
    assert!(colored.contains("\x1b[32mrunning\x1b[0m"), "{colored:?}");
    let mut bare = String::new();
    for part in colored.split('\x1b') {
        bare.push_str(part.strip_prefix('[').and_then(|p| p.split_once('m')).map_or(part, |(_, rest)| rest));
    }
    assert_eq!(bare, show::instances(&some(), &paper(Some(80))));
}

#[test]
fn figures_are_short() {
    for (seconds, text) in [
        (0.4, "0s"),
        (59.9, "59s"),
        (60.0, "1m"),
        (75.5, "1m15s"),
        (3600.0, "1h"),
        (12_000.0, "3h20m"),
        (86_400.0, "1d"),
        (352_800.0, "4d2h"),
        (-1.0, "0s"),
        (f64::NAN, "0s"),
    ] {
        assert_eq!(duration(seconds), text);
    }
    for (bytes, text) in [
        (0, "0"),
        (1023, "1023"),
        (1024, "1K"),
        (1536, "1.5K"),
        (64 << 20, "64M"),
        (150 << 20, "150M"),
        (5 << 30, "5G"),
        (u64::MAX, "16384P"),
    ] {
        assert_eq!(size(bytes), text);
    }
    let now: Timestamp = "2026-11-21T12:00:30Z".parse().unwrap();
    assert_eq!(moment("2026-11-21T01:02:03.9Z", now, &TimeZone::UTC), "01:02:03");
    assert_eq!(moment("2026-11-20T23:59:59Z", now, &TimeZone::UTC), "2026-11-20 23:59:59");
    assert_eq!(moment("soon", now, &TimeZone::UTC), "soon");
    assert_eq!((cut("abcdef", 4), cut("abcd", 4), cut("abc", 0)), ("abc…".into(), "abcd".into(), "".into()));
}

#[test]
fn a_chain_of_causes_reads_from_top_to_bottom() {
    let mut restart = event(2);
    restart.kind = "restart-scheduled".into();
    restart.text = "restart 3 in 8 s".into();
    let mut other = event(9);
    (other.cause, other.instance) = (None, Some("db.1".into()));
    let why = Explanation {
        name: "web.1".into(),
        summary: "waits before the next try".into(),
        chain: vec![event(1), restart, other],
        next: Some("starts again in 4 s".into()),
    };
    assert_eq!(
        show::chain(&why, &paper(None)),
        "web.1: waits before the next try\n\
         \u{20}\u{20}12:00:01  exited 137: the memory limit of 64 MiB was hit\n\
         \u{20}\u{20}12:00:01  restart 3 in 8 s\n\
         \u{20}\u{20}12:00:01  db.1: exited 137: the memory limit of 64 MiB was hit\n\
         next: starts again in 4 s\n"
    );
}

#[test]
fn a_plan_is_a_diff() {
    let field = |key: &str, old: Option<&str>, new: Option<&str>| FieldChange {
        key: key.into(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
        hidden: key == "env.B",
    };
    let change = |service: &str, action: &str, fields| ServiceChange {
        service: service.into(),
        action: action.into(),
        fields,
        rollout: (action == "restart").then(|| "stop-first, 1 at a time".into()),
        notes: if action == "restart" { vec!["not here".into()] } else { vec![] },
    };
    let plan = Plan {
        changes: vec![
            change("db", "add", vec![field("replicas", None, Some("1"))]),
            change("old", "remove", vec![]),
            change(
                "web",
                "restart",
                vec![
                    field("limits.memory", Some("64"), Some("128")),
                    field("env.A", Some("\"x\""), None),
                    field("env.B", Some("\"hidden\""), Some("\"hidden\"")),
                ],
            ),
        ],
        problems: vec![],
    };
    assert_eq!(
        plans::diff(&plan, "to ", Style::fixed(false)),
        "+ db\n    + replicas: 1\n- old\n~ web (running instances are replaced)\n    \
         rollout: stop-first, 1 at a time\n    warning: not here\n    ~ limits.memory: 64 -> 128\n    \
         - env.A: \"x\"\n    ~ env.B: changed, value not shown on this socket\n1 to add, 1 to change, 1 to remove\n"
    );
    assert!(plans::diff(&plan, "", Style::fixed(false)).ends_with("1 added, 1 changed, 1 removed\n"));
    assert_eq!(plans::diff(&Plan::default(), "to ", Style::fixed(false)), "nothing to do\n");
}

#[test]
fn a_problem_shows_its_line_and_its_column() {
    let d = Fake::start();
    let file = d.dirs.run.join("web.toml");
    std::fs::write(&file, "bundle = \"/x\"\n\treplicas = \"two\"\n").unwrap();
    let problem = Problem {
        file: file.display().to_string(),
        line: 2,
        column: 13,
        key: "replicas".into(),
        message: "want a number".into(),
    };
    let text = super::validate::complaint(&problem, Style::fixed(false));
    let expected = format!(
        "{}:2:13: replicas: want a number\n2 |  replicas = \"two\"\n  |             ^\n",
        file.display()
    );
    assert_eq!(text, expected);
    let gone = Problem { file: "/nowhere/x.toml".into(), line: 0, ..problem };
    assert_eq!(
        super::validate::complaint(&gone, Style::fixed(false)),
        "/nowhere/x.toml: replicas: want a number\n"
    );
}

#[test]
fn a_follower_sees_each_line_once() {
    let line = |instance: &str, at: &str, text: &str| LogLine {
        instance: instance.into(),
        at: Some(format!("2026-11-21T12:00:0{at}.000000000Z")),
        stream: "stdout".into(),
        text: text.into(),
        partial: false,
    };
    let mut seen = streams::Seen::default();
    assert_eq!(seen.restart(), None);
    for l in [line("a.1", "1", "x"), line("a.1", "2", "y"), line("a.1", "2", "y"), line("a.2", "3", "z")] {
        assert!(seen.is_new(&l));
    }
    assert_eq!(seen.restart().unwrap().to_string(), "2026-11-21T12:00:02Z");
    let again = [
        (line("a.1", "2", "y"), false),
        (line("a.1", "2", "y"), false),
        (line("a.1", "2", "new, of the same time"), true),
        (line("a.2", "2", "before"), false),
        (line("a.2", "3", "z"), false),
        (line("a.2", "4", "new"), true),
        (line("a.3", "1", "another"), true),
        (line("a.1", "1", "the clock was set back"), true),
    ];
    for (l, new) in again {
        assert_eq!(seen.is_new(&l), new, "{l:?}");
    }
}

#[test]
fn since_takes_times_and_ages() {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    for (text, at) in [
        ("10m", "2026-11-21T11:50:00Z"),
        ("1h30m", "2026-11-21T10:30:00Z"),
        ("1h 30m ago", "2026-11-21T10:30:00Z"),
        ("2026-11-21T13:00:00+01:00", "2026-11-21T12:00:00Z"),
    ] {
        assert_eq!(streams::moment_of(text, now).unwrap().to_string(), at, "{text}");
    }
    for text in ["", "yesterday", "10", "2026-11-21"] {
        assert_eq!(streams::moment_of(text, now).unwrap_err().code, 2, "{text}");
    }
}

#[test]
fn two_keys_leave_and_all_others_go_on() {
    let mut keys = terminal::Keys::default();
    assert_eq!(keys.take(b"ab\x10"), (b"ab".to_vec(), false));
    assert_eq!(keys.take(b"c"), (b"\x10c".to_vec(), false));
    assert_eq!(keys.take(b"\x10\x10x"), (b"\x10\x10x".to_vec(), false));
    assert_eq!(keys.take(b"q\x10\x11rest"), (b"q".to_vec(), true));
}

#[test]
fn top_without_a_screen() {
    let text = top::picture(some(), &paper(Some(80)), None);
    assert!(text.starts_with("12:00:30  3 instances: 1 backoff, 1 held, 1 running; memory 24M"), "{text}");
    let names: Vec<&str> = text.lines().skip(2).map(|l| &l[..2]).collect();
    assert_eq!(names, ["a-", "we", "db"]);
    assert!(top::picture(vec![], &paper(None), None).contains("no instances"));
}

#[test]
fn the_command_line_is_sound_and_completions_know_all_of_it() {
    super::command().debug_assert();
    let verbs: Vec<String> = super::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for verb in
        "apply plan set start stop restart ps status logs exec attach events explain kill rm top validate version"
            .split(' ')
    {
        assert!(verbs.iter().any(|v| v == verb), "{verb}");
    }
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut super::command(), "knarrctl", &mut script);
        let script = String::from_utf8(script).unwrap();
        for verb in &verbs {
            assert!(script.contains(verb.as_str()), "{shell}: {verb}");
        }
    }
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let d = Fake::start();
    let socket = d.dirs.socket().display().to_string();
    let read_only = d.dirs.socket_read_only().display().to_string();
    let file = d.dirs.run.join("web.toml");
    std::fs::write(&file, "replicas = 1\n").unwrap();
    let file = file.display().to_string();
    let bad = d.dirs.run.join("bad.toml");
    std::fs::write(&bad, "nonsense = 1\n").unwrap();
    let bad = bad.display().to_string();
    let run = |socket: &str, args: &str| {
        let args = ["knarrctl", "--socket", socket].into_iter().chain(args.split_whitespace());
        super::run(args.map(Into::into))
    };
    for (args, code) in [
        ("ps", 0),
        ("ps --json", 0),
        ("ps --filter state=running", 0),
        ("ps --filter color=red", 2),
        ("status web db", 0),
        ("status --json", 0),
        ("status nope", 3),
        ("explain web.1", 0),
        ("explain --json web", 0),
        ("explain nope", 3),
        ("version", 0),
        ("version --json", 0),
        ("events --since 3", 0),
        ("events --json", 0),
        ("events web --kind exited --severity info", 0),
        ("events --severity bad", 2),
        ("events --since x", 2),
        ("logs web", 0),
        ("logs web.1 db --tail 3 --timestamps", 0),
        ("logs nope", 3),
        ("logs --since nonsense web", 2),
        ("start web db", 0),
        ("stop --json web", 0),
        ("restart --no-wait web.1", 0),
        ("start nope", 3),
        ("start web stuck", 6),
        ("kill web", 0),
        ("rollout status web", 0),
        ("rollout history --json web", 0),
        ("rollout undo --to 1 web", 0),
        ("rollout resume nope", 3),
        ("rollout pause web", 6),
        ("rollout undo --to x web", 2),
        ("kill -s HUP web", 0),
        ("kill -s NONE web", 1),
        ("rm db", 0),
        ("stop", 2),
        ("stop a%2Fb", 1),
        ("graph web.1", 0),
        ("graph web --ascii", 0),
        ("graph web --json", 0),
        ("graph nope", 3),
        ("graph", 2),
        ("graph web --svg /nowhere/web.svg", 1),
        ("graph web --svg a.svg --png a.png", 2),
        ("top --once", 0),
        ("top --once --json", 0),
        ("plan", 0),
        ("plan --exit-code", 7),
        ("plan --json", 0),
        ("apply", 0),
        ("set web memory=64MiB pids=", 0),
        ("set web --json memory=64MiB", 0),
        ("set web memory", 2),
        ("set web", 2),
        ("set web.1 memory=1", 1),
        ("set nope memory=1", 3),
        ("nonsense", 2),
        ("", 2),
        ("--help", 0),
        ("completions bash", 0),
        ("completions cmd", 2),
        ("openapi", 0),
        ("exec web.1", 2),
        ("exec nope true", 125),
        ("exec db true", 125),
        ("attach db", 125),
    ] {
        assert_eq!(run(&socket, args), code, "{args}");
    }
    assert_eq!(run(&socket, &format!("apply {file}")), 0);
    assert_eq!(run(&socket, &format!("apply {bad}")), 1);
    assert_eq!(run(&socket, "apply /nowhere/web.toml"), 1);
    assert_eq!(run(&socket, "apply /nowhere/web"), 1);
    assert_eq!(run("/nowhere/x.sock", &format!("validate {bad}")), 1);
    assert_eq!(run(&read_only, "ps"), 0);
    assert_eq!(run(&read_only, "plan"), 0);
    assert_eq!(run(&read_only, "stop web"), 5);
    for args in ["ps", "stop web", "events -f", "logs -f web", "version", "top"] {
        assert_eq!(run("/nowhere/x.sock", args), 4, "{args}");
    }
    assert_eq!(run("/nowhere/x.sock", "exec web true"), 125);
    crate::api::exec_tests::runtime(&d);
    for (args, code) in [
        ("exec web.1 true", 0),
        ("exec -e A=1 -w /tmp -u 5:6 web.1 test -d .", 0),
        ("exec web.1 false", 1),
        ("exec web.1 missing", 127),
        ("exec -t web.1 test -t 1", 0),
        ("exec web.1 test -t 1", 1),
    ] {
        assert_eq!(run(&socket, args), code, "{args}");
    }
}

#[test]
fn the_pages_are_about_this_program() {
    let page = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let knarrctl = page("knarrctl.md");
    for verb in super::command().get_subcommands() {
        assert!(knarrctl.contains(&format!("`{}", verb.get_name())), "{}", verb.get_name());
        for long in verb.get_arguments().filter_map(|a| a.get_long()) {
            let short = verb.get_arguments().find(|a| a.get_long() == Some(long)).and_then(|a| a.get_short());
            let short = short.map_or_else(|| format!("--{long}"), |s| format!("-{s}"));
            assert!(knarrctl.contains(&format!("--{long}")) || knarrctl.contains(&short), "{long}");
        }
    }
    use super::failure::*;
    for code in [0, FAILED, USAGE, NOT_FOUND, UNREACHABLE, FORBIDDEN, CONFLICT, CHANGES, NO_EXEC, PIPE] {
        assert!(knarrctl.contains(&format!("\n| {code} | ")), "{code}");
    }
    let api = page("api.md");
    let document: serde_json::Value = serde_json::from_str(&crate::api::document()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let part = path.rsplit('/').next().unwrap_or_default();
        for method in methods.as_object().unwrap().keys() {
            let whole = format!("{} {path}", method.to_uppercase());
            assert!(api.contains(&whole) || api.contains(&format!("`/{part}`")), "{whole}");
        }
    }
}
