//! The daemon's program: options, log lines, then [`knarrd::daemon::run`].
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::ArgMatches;
use knarrd::api::web::loopback;
use knarrd::daemon::{Options, WebOptions, command, run};
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
        image_root: match matches.get_one::<String>("image-root") {
            Some(word) => knarrd::image::root::Mode::parse(word)
                .ok_or_else(|| anyhow!("--image-root {word}: want auto, overlay or copy"))?,
            None => knarrd::image::root::Mode::Auto,
        },
        web: match matches.get_one::<String>("web") {
            Some(text) => Some(WebOptions {
                address: loopback(text).map_err(|e| anyhow!("--web: {e}"))?,
                token: matches.contains_id("web-token").then(|| path("web-token")).transpose()?,
            }),
            None => None,
        },
        shutdown_total: match number("shutdown-total").unwrap_or(60) {
            seconds @ 0..=3600 => Duration::from_secs(seconds),
            seconds => return Err(anyhow!("--shutdown-total {seconds}: out of range, want 0 to 3600")),
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
