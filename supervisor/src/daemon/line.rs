//! The command line of knarrd, as a description that parsing, help, manual page and completions are made from. Pure.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Arg, Command, value_parser};
use tracing::level_filters::LevelFilter;

/// The whole command line.
pub fn command() -> Command {
    let dir = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .default_value(default)
            .help(help)
    };
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("PROGRAM").value_parser(value_parser!(PathBuf)).help(help)
    };
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").value_parser(value_parser!(u64)).help(help)
    };
    Command::new("knarrd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Keeps the services of this host in the state that files in a directory ask for")
        .arg(dir("services", "/etc/knarr/services.d", "Service files, one NAME.toml a service"))
        .arg(dir("state", "/var/lib/knarrd", "What survives a reboot: journal, logs, exit records"))
        .arg(dir("run", "/run/knarrd", "What does not: sockets, bundles, the runtime's state; on tmpfs"))
        .arg(file("runtime", "Any runtime with the command line of runc [default: knarr]"))
        .arg(file("keeper", "The program knarr-keeper [default: the one beside knarrd]"))
        .arg(
            Arg::new("cgroup-parent")
                .long("cgroup-parent")
                .value_name("PATH")
                .help("The cgroup for everything it makes [default: its own under systemd, else /knarrd]"),
        )
        .arg(
            Arg::new("group")
                .long("group")
                .value_name("NAME|GID")
                .help("The group that may use the sockets beside root"),
        )
        .arg(number("start-concurrency", "Starts at a time [default: twice the processors, at most 4]"))
        .arg(
            Arg::new("restart-rate")
                .long("restart-rate")
                .value_name("N")
                .value_parser(value_parser!(f64))
                .help("Restarts in a second for the whole host [default: 1]"),
        )
        .arg(number("restart-burst", "Restarts at once before that rate counts [default: 10]"))
        .arg(number(
            "log-total",
            "Bytes of all logs together [default: 1 GiB, at most a tenth of the file system]",
        ))
        .arg(number(
            "log-min-free",
            "Percent of the file system that logs leave free, 1 GiB at most [default: 10]",
        ))
        .arg(number(
            "memory-reserve",
            "Bytes of memory that requests of services leave for the host [default: a twentieth, at least 128 MiB]",
        ))
        .arg(
            Arg::new("memory-overcommit")
                .long("memory-overcommit")
                .value_name("RATIO")
                .value_parser(value_parser!(f64))
                .help("How many times the rest of the memory may be requested [default: 1]"),
        )
        .arg(number(
            "pressure-available",
            "Bytes of available memory below which services are shed [default: a twentieth, at least 100 MiB, at most a quarter; 0 = never]",
        ))
        .arg(number("pressure-pause", "Seconds from the end of one eviction to the next [default: 15]"))
        .arg(number("pressure-hold", "Seconds for which memory must be enough before it counts as that [default: 30]"))
        .arg(
            Arg::new("endpoints")
                .long("endpoints")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("List ready instances in this file, as JSON, for proxies"),
        )
        .arg(
            Arg::new("image-root")
                .long("image-root")
                .value_name("HOW")
                .value_parser(["auto", "overlay", "copy"])
                .help("How the roots of images are made; auto is an overlay where there can be one [default: auto]"),
        )
        .arg(Arg::new("web").long("web").value_name("ADDRESS").help(
            "Status page and /metrics on this loopback address, such as 127.0.0.1:9464, for who has the token [default: nowhere]",
        ))
        .arg(
            Arg::new("web-token")
                .long("web-token")
                .value_name("FILE")
                .requires("web")
                .value_parser(value_parser!(PathBuf))
                .help("The token of --web, mode 0600 [default: one is made, web-token in the state directory]"),
        )
        .arg(number(
            "shutdown-total",
            "Seconds for all containers to stop when the host goes down; 0 = they are left to the init system [default: 60]",
        ))
        .arg(number("full-pass", "Seconds between two whole readings of the service files [default: 60]"))
        .arg(
            Arg::new("log-level")
                .long("log-level")
                .value_name("LEVEL")
                .value_parser(value_parser!(LevelFilter))
                .help("error, warn, info or debug [default: info]"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_option() {
        let page = include_str!("../../../docs/reference.md");
        let mut count = 0;
        for arg in command().get_arguments() {
            let (name, help) = (arg.get_id(), arg.get_help().map(ToString::to_string).unwrap_or_default());
            let value =
                arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string).unwrap_or_default();
            let (what, default) = match help.strip_suffix(']').and_then(|h| h.split_once(" [default: ")) {
                Some((what, default)) => (what.to_owned(), default.to_owned()),
                None => (help, arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect()),
            };
            let row = format!("| `--{name} <{}>` | {what} | {default} |", value.replace('|', "\\|"));
            assert!(page.lines().any(|l| l == row), "docs/reference.md lacks {row}");
            count += 1;
        }
        let rows = page.lines().filter(|l| l.starts_with("| `--")).count();
        assert_eq!(rows, count, "docs/reference.md has an option that is none");
    }
}
