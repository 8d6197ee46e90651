//! The command line of knarrctl, as a description that parsing, help and shell completions are made from. Pure.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};
use clap_complete::Shell;

pub(super) fn flag(name: &'static str, short: Option<char>, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    short.into_iter().fold(arg, Arg::short)
}

pub(super) fn value(name: &'static str, short: Option<char>, word: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).value_name(word).help(help);
    short.into_iter().fold(arg, Arg::short)
}

pub(super) fn json() -> Arg {
    flag("json", None, "JSON instead of text: one document, or one a line for what goes on")
}

fn names(required: bool, help: &'static str) -> Arg {
    Arg::new("name").value_name("NAME").action(ArgAction::Append).num_args(1..).required(required).help(help)
}

fn files(required: bool, help: &'static str) -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .action(ArgAction::Append)
        .num_args(1..)
        .required(required)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .help(help)
}

fn no_wait() -> Arg {
    flag("no-wait", None, "Return when it is begun, not when it is done")
}

const TARGETS: &str = "Services, or single instances such as web.1";

/// The whole command line.
pub fn command() -> Command {
    Command::new("knarrctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Looks at the services of this host and tells knarrd what to do with them")
        .after_help(
            "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 no daemon, 5 not allowed, 6 conflict, \
             7 plan --exit-code found changes; exec and attach give the program's own code, or 125.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(
            value("socket", None, "PATH", "The daemon's socket [env: KNARR_SOCKET]")
                .global(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath),
        )
        .arg(flag("no-color", None, "No colours, as with NO_COLOR in the environment").global(true))
        .subcommands(looking())
        .subcommands(orders())
        .subcommand(rollout())
        .subcommand(super::images::command())
        .subcommand(super::import::command())
        .subcommands(following())
        .subcommand(super::graph::command())
        .subcommands(inside())
        .subcommands(others())
        .subcommand(
            Command::new("doctor")
                .about("What of this host keeps services from running or being safe, and the fix; works without a daemon")
                .arg(json()),
        )
}

fn looking() -> [Command; 3] {
    [
        Command::new("ps")
            .about("All instances and how they are")
            .arg(
                value(
                    "filter",
                    Some('f'),
                    "KEY=VALUE",
                    "Only state=STATE or service=NAME; the same key again = or",
                )
                .action(ArgAction::Append),
            )
            .arg(json()),
        Command::new("status")
            .about("Everything about services: file, goal, dependencies, instances, last exits")
            .arg(names(false, "Services; none = all that have instances"))
            .arg(json()),
        Command::new("explain")
            .about("Why something is as it is: the chain of causes with times, and what comes next")
            .arg(
                Arg::new("name")
                    .value_name("NAME")
                    .required(true)
                    .help("A service, or an instance such as web.1"),
            )
            .arg(json()),
    ]
}

fn orders() -> [Command; 9] {
    [
        Command::new("plan")
            .about("What applying would change; changes nothing itself")
            .arg(files(false, "Service files, NAME.toml; none = what lies in the services directory"))
            .arg(flag("exit-code", None, "Exit with 7 when there is something to do"))
            .arg(json()),
        Command::new("apply")
            .about("Puts service files in force")
            .arg(files(
                false,
                "Service files that are written to the services directory; none = what lies there",
            ))
            .arg(json()),
        Command::new("set")
            .about(
                "Changes limits of a service in its file; what runs gets them without a restart where it can",
            )
            .arg(Arg::new("name").value_name("NAME").required(true).help("A service"))
            .arg(
                Arg::new("value")
                    .value_name("KEY=VALUE")
                    .action(ArgAction::Append)
                    .num_args(1..)
                    .required(true)
                    .help("A key of [limits], such as memory=128MiB; without a value it is taken away"),
            )
            .arg(json()),
        Command::new("start")
            .about("Wants services up again")
            .arg(names(true, TARGETS))
            .arg(no_wait())
            .arg(json()),
        Command::new("stop")
            .about("Stops services until somebody starts them, over reboots as well")
            .arg(names(true, TARGETS))
            .arg(no_wait())
            .arg(json()),
        Command::new("restart")
            .about("Stops and starts services")
            .arg(names(true, TARGETS))
            .arg(no_wait())
            .arg(json()),
        Command::new("wait")
            .about("Returns when services are ready, healthy or stopped")
            .arg(
                value("for", None, "WHAT", "What is waited for: ready, healthy or stopped")
                    .value_parser(["ready", "healthy", "stopped"])
                    .default_value("ready"),
            )
            .arg(value("timeout", None, "TIME", "Fail after this time, such as 30s or 5m; without it never"))
            .arg(names(true, TARGETS))
            .arg(json()),
        Command::new("kill")
            .about("Sends a signal to the first process of each instance")
            .arg(
                value("signal", Some('s'), "SIGNAL", "A name such as HUP, or a number").default_value("TERM"),
            )
            .arg(names(true, TARGETS))
            .arg(json()),
        Command::new("rm")
            .about("Stops services and removes their files, logs and history")
            .arg(names(true, "Services"))
            .arg(no_wait())
            .arg(json()),
    ]
}

fn rollout() -> Command {
    let of = |name: &'static str, about: &'static str| {
        let service = Arg::new("name").value_name("NAME").required(true).help("A service");
        Command::new(name).about(about).arg(service).arg(json())
    };
    let to =
        value("to", None, "N", "The number of a generation, as history has it; without it the last good one");
    Command::new("rollout")
        .about("How a changed file comes to what runs, and what to do about it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([
            of("status", "How far it is"),
            of("pause", "Replaces nothing more until somebody goes on"),
            of("resume", "Goes on; tries a file that was rolled back again"),
            of(
                "undo",
                "Back to an earlier version, whatever the file says, until it changes or somebody resumes",
            )
            .arg(to.value_parser(value_parser!(u64))),
            of("history", "The last versions, and what became of them"),
        ])
}

fn following() -> [Command; 3] {
    [
        Command::new("logs")
            .about("What instances wrote")
            .arg(names(true, TARGETS))
            .arg(flag("follow", Some('f'), "Go on with what comes, also over restarts of the daemon"))
            .arg(value("since", None, "WHEN", "From a time on: 10m, 1h30m ago, or 2026-11-21T12:00:00Z"))
            .arg(
                value("tail", Some('n'), "N", "Only the last N lines of each instance")
                    .value_parser(value_parser!(usize)),
            )
            .arg(flag("timestamps", Some('t'), "With the time of each line"))
            .arg(json()),
        Command::new("events")
            .about("What happened, each with its number")
            .arg(flag("follow", Some('f'), "Go on with what comes, also over restarts of the daemon"))
            .arg(
                value(
                    "since",
                    None,
                    "SEQ",
                    "Only events with a greater number: the last that was seen; 0 = all that are kept",
                )
                .value_parser(value_parser!(u64))
                .default_value("0"),
            )
            .arg(names(false, "Only those about these services or instances"))
            .arg(
                value("kind", Some('k'), "KIND", "Only those of this kind, such as exited; may be repeated")
                    .action(ArgAction::Append),
            )
            .arg(
                value("severity", None, "LEAST", "Only those that matter so much: warning or error")
                    .value_parser(["info", "warning", "error"]),
            )
            .arg(json()),
        Command::new("top")
            .about("All instances and what they use, every two seconds; a screen on a terminal")
            .arg(flag("once", None, "Once and not again"))
            .arg(json()),
    ]
}

fn inside() -> [Command; 2] {
    [
        Command::new("exec")
            .about("Runs a command in a running container; exits as the command does, with 125 when it could not be run")
            .arg(flag("interactive", Some('i'), "Pass standard input on"))
            .arg(flag("tty", Some('t'), "With a terminal"))
            .arg(
                value("env", Some('e'), "NAME=VALUE", "Further environment; may be repeated")
                    .action(ArgAction::Append),
            )
            .arg(value("workdir", Some('w'), "DIR", "Working directory inside"))
            .arg(value("user", Some('u'), "UID[:GID]", "User and group, as numbers"))
            .arg(Arg::new("name").value_name("NAME").required(true).help("An instance; of a service the first one that runs"))
            .arg(
                Arg::new("command")
                    .value_name("COMMAND")
                    .required(true)
                    .num_args(1..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .value_hint(ValueHint::CommandWithArguments)
                    .help("Program and arguments"),
            ),
        Command::new("attach")
            .about("Connects to the streams of a container; Ctrl-P Ctrl-Q leaves one with a terminal")
            .arg(flag("no-stdin", None, "Only look: standard input is not passed on"))
            .arg(Arg::new("name").value_name("NAME").required(true).help("An instance; of a service the first one that runs")),
    ]
}

fn others() -> [Command; 5] {
    [
        Command::new("replay-pressure")
            .about("What the memory ladder would have decided, from a trace of figures; without a daemon")
            .arg(
                Arg::new("file")
                    .value_name("FILE")
                    .required(true)
                    .value_parser(value_parser!(PathBuf))
                    .value_hint(ValueHint::FilePath)
                    .help("A trace, JSON lines as docs/memory.md has them"),
            )
            .arg(json()),
        Command::new("validate")
            .about("Checks service files without a daemon")
            .arg(files(true, "Service files NAME.toml, or directories of them"))
            .arg(json()),
        Command::new("version").about("Versions of knarrctl and of the daemon").arg(json()),
        Command::new("completions").about("A completion script for a shell").arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("Which shell"),
        ),
        Command::new("openapi").about("The description of the API, OpenAPI 3.1 as JSON"),
    ]
}
