//! The daemon's program: options, log lines, then [`knarrd::daemon::run`].
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Arg, ArgMatches, Command, value_parser};
use knarrd::api::web::loopback;
use knarrd::daemon::{Options, WebOptions, run};
use knarrd::dirs::Dirs;
use knarrd::memory::ladder::Thresholds;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let level = matches.get_one::<LevelFilter>("log-level").copied().unwrap_or(LevelFilter::INFO);
    // journald has its own time stamps.
    let stamped = std::env::var_os("JOURNAL_STREAM").is_none();
    let lines = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false);
    if stamped {
        lines.with_writer(std::io::stderr).init();
    } else {
        lines.without_time().with_writer(std::io::stderr).init();
    }
    match start(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("knarrd: {e:#}");
            // Somebody else is there: nothing that a restart could mend.
            let taken = e.chain().filter_map(|c| c.downcast_ref::<std::io::Error>());
            let taken = taken.map(std::io::Error::kind).any(|k| k == std::io::ErrorKind::WouldBlock);
            ExitCode::from(if taken { 100 } else { 1 })
        }
    }
}

fn start(matches: &ArgMatches) -> Result<()> {
    let options = options(matches)?;
    knarrd::probe::use_helper(&options.keeper);
    // It keeps no file system busy, and its children begin here without a step between fork and exec: where there is none,
    // they are made without a copy of this process (posix_spawn(3)).
    std::env::set_current_dir("/")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(options)).map(drop)
}

fn options(matches: &ArgMatches) -> Result<Options> {
    let path = |name: &str| -> Result<PathBuf> {
        let path = matches.get_one::<PathBuf>(name).ok_or_else(|| anyhow!("--{name} is missing"))?;
        std::path::absolute(path).with_context(|| format!("--{name}"))
    };
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    let beside =
        |name: &str| std::env::current_exe().ok().map(|e| e.with_file_name(name)).filter(|p| p.exists());
    let program = |option: &str, name: &str| -> Result<PathBuf> {
        match matches.get_one::<PathBuf>(option) {
            Some(path) if path.components().count() > 1 => Ok(std::path::absolute(path)?),
            Some(path) => {
                in_path(path).ok_or_else(|| anyhow!("--{option}: there is no program {}", path.display()))
            }
            None => beside(name).or_else(|| in_path(name.as_ref())).ok_or_else(|| {
                anyhow!("there is no program {name}, neither beside knarrd nor in PATH; give --{option}")
            }),
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Options {
        dirs: Dirs { services: path("services")?, state: path("state")?, run: path("run")? },
        runtime: program("runtime", "knarr")?,
        keeper: program("keeper", "knarr-keeper")?,
        cgroup_parent: matches.get_one::<String>("cgroup-parent").cloned(),
        group: matches.get_one::<String>("group").map(|g| group(g)).transpose()?,
        start_concurrency: match number("start-concurrency") {
            Some(n) => u32::try_from(n)?,
            None => u32::try_from(processors.saturating_mul(2).min(4))?,
        },
        restart_rate: matches.get_one::<f64>("restart-rate").copied().unwrap_or(1.0),
        restart_burst: u32::try_from(number("restart-burst").unwrap_or(10))?,
        log_total: number("log-total"),
        log_min_free: u8::try_from(number("log-min-free").unwrap_or(10)).context("--log-min-free")?,
        memory_reserve: number("memory-reserve"),
        memory_overcommit: match matches.get_one::<f64>("memory-overcommit").copied() {
            Some(ratio) if ratio.is_finite() && (0.1..=100.0).contains(&ratio) => ratio,
            Some(ratio) => return Err(anyhow!("--memory-overcommit {ratio}: out of range, want 0.1 to 100")),
            None => 1.0,
        },
        pressure: pressure(matches)?,
        endpoints: matches.contains_id("endpoints").then(|| path("endpoints")).transpose()?,
        web: match matches.get_one::<String>("web") {
            Some(text) => Some(WebOptions {
                address: loopback(text).map_err(|e| anyhow!("--web: {e}"))?,
                token: matches.contains_id("web-token").then(|| path("web-token")).transpose()?,
            }),
            None => None,
        },
        full_pass: Duration::from_secs(number("full-pass").unwrap_or(60).max(1)),
    })
}

fn pressure(matches: &ArgMatches) -> Result<Thresholds> {
    let usual = Thresholds::default();
    let seconds = |name: &str, usual: Duration, range: std::ops::RangeInclusive<u64>| match matches
        .get_one::<u64>(name)
    {
        Some(n) if range.contains(n) => Ok(Duration::from_secs(*n)),
        Some(n) => Err(anyhow!("--{name} {n}: out of range, want {} to {}", range.start(), range.end())),
        None => Ok(usual),
    };
    Ok(Thresholds {
        available: matches.get_one::<u64>("pressure-available").copied(),
        pause: seconds("pressure-pause", usual.pause, 1..=3600)?,
        hold: seconds("pressure-hold", usual.hold, 1..=3600)?,
    })
}

fn in_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file())?;
    std::path::absolute(found).ok()
}

fn group(name: &str) -> Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let found = knarrd::sys::group::id(name).with_context(|| format!("--group {name}"))?;
    found.ok_or_else(|| anyhow!("--group {name}: there is no such group"))
}

fn command() -> Command {
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
        .arg(Arg::new("web").long("web").value_name("ADDRESS").help(
            "Answer /metrics on this loopback address, such as 127.0.0.1:9464, to who has the token [default: nowhere]",
        ))
        .arg(
            Arg::new("web-token")
                .long("web-token")
                .value_name("FILE")
                .requires("web")
                .value_parser(value_parser!(PathBuf))
                .help("The token of --web, mode 0600 [default: one is made, web-token in the state directory]"),
        )
        .arg(number("full-pass", "Seconds between two whole readings of the service files [default: 60]"))
        .arg(
            Arg::new("log-level")
                .long("log-level")
                .value_name("LEVEL")
                .value_parser(value_parser!(LevelFilter))
                .help("error, warn, info or debug [default: info]"),
        )
}
