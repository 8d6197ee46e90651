//! `knarr-bench`: measures OCI runtimes side by side in one interleaved run, and prints ratios.
//! Starts the runtimes it is given, writes below a directory of its own; never part of the tests.

mod bundle;
mod call;
mod crowd;
mod figures;
mod filters;
mod floor;
mod memory;
mod operations;
mod profile;
mod report;
mod row;
mod runtime;
mod steps;
mod trace;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command as Cli};

fn main() -> ExitCode {
    // Before anything else is touched: the peak memory of a program is at least that of the one that started it.
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some((first, rest)) = words.split_first()
        && first == "peak"
        && let Some((program, arguments)) = rest.split_first()
    {
        return call::peak(Command::new(program).args(arguments));
    }
    match go(&cli().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("knarr-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn cli() -> Cli {
    let one = |name: &'static str, value| Arg::new(name).long(name).value_name(value);
    let count = |name, default: &'static str| {
        one(name, "N").value_parser(clap::value_parser!(usize)).default_value(default)
    };
    Cli::new("knarr-bench")
        .about("Measures OCI runtimes side by side")
        .subcommand_required(true)
        .subcommand(
            Cli::new("measure")
                .about("Runs every figure on every runtime, interleaved, and writes the results as JSON")
                .arg(one("runtime", "NAME=PATH").action(ArgAction::Append).required(true))
                .arg(one("probe", "PATH").required(true).help("The static program that containers run"))
                .arg(one("lane", "NAME").required(true).help("What this environment is called in the tables"))
                .arg(one("seccomp", "FILE").help("Profile of the filtered figures, in the form of a config.json or of containers-common"))
                .arg(one("out", "FILE").required(true))
                .arg(count("rounds", "60").help("Rounds without a pause"))
                .arg(count("idle-rounds", "25").help("Rounds with a pause of 200 ms before each start"))
                .arg(one("floor", "PATH").help("The floor program; it is told its paths by the runtime named knarr"))
                .arg(one("libseccomp", "PATH").help("The program of libseccomp.c"))
                .arg(
                    Arg::new("alive").long("alive").value_name("N").action(ArgAction::Append).value_parser(
                        clap::value_parser!(usize),
                    ).help("Containers that live while others are measured; the counts must grow"),
                )
                .arg(one("only", "GROUP").action(ArgAction::Append).value_parser(
                    clap::builder::PossibleValuesParser::new(figures::GROUPS.map(|(name, _)| name)),
                ).help("Measure these groups of figures only, see `figures`")),
        )
        .subcommand(
            Cli::new("report")
                .about("Prints files written by `measure` as one page; ratios are to the runtime named first with --base")
                .arg(one("base", "NAMES").default_value("crun-1.21,crun,runc-1.1.15,runc"))
                .arg(Arg::new("file").required(true).num_args(1..)),
        )
        .subcommand(Cli::new("figures").about("Lists what --only can name"))
        .subcommand(
            Cli::new("filter")
                .about("Builds and installs a profile once; prints microseconds of both, and the instructions")
                .arg(Arg::new("file").required(true)),
        )
        .subcommand(Cli::new("peak").about("Runs a command from a small parent and prints its peak memory in KiB"))
}

fn go(m: &ArgMatches) -> Result<()> {
    match m.subcommand() {
        Some(("measure", m)) => measure(m),
        Some(("report", m)) => {
            let files: Vec<&String> = m.get_many("file").into_iter().flatten().collect();
            print!("{}", report::page(&files, text(m, "base")?)?);
            Ok(())
        }
        Some(("figures", _)) => {
            for (name, what) in figures::GROUPS {
                println!("{name:13} {what}");
            }
            Ok(())
        }
        Some(("filter", m)) => {
            println!("{}", filters::once(Path::new(text(m, "file")?))?);
            Ok(())
        }
        _ => bail!("peak COMMAND [ARGUMENTS]"),
    }
}

fn text<'a>(m: &'a ArgMatches, name: &str) -> Result<&'a str> {
    m.get_one::<String>(name).map(String::as_str).with_context(|| format!("--{name} is missing"))
}

fn number(m: &ArgMatches, name: &str) -> usize {
    m.get_one(name).copied().unwrap_or(1)
}

fn measure(m: &ArgMatches) -> Result<()> {
    let yard =
        bundle::Yard::new(Path::new(text(m, "probe")?), m.get_one::<String>("seccomp").map(Path::new))?;
    let mut runtimes = Vec::new();
    let mut planner = None;
    for pair in m.get_many::<String>("runtime").into_iter().flatten() {
        let (name, path) =
            pair.split_once('=').with_context(|| format!("--runtime {pair}: want NAME=PATH"))?;
        if name == "knarr" {
            planner = Some(PathBuf::from(path));
        }
        runtimes.push(runtime::Runtime::new(name, PathBuf::from(path), None, &yard)?);
    }
    if let Some(path) = m.get_one::<String>("floor") {
        let planner = planner.context("--floor needs a runtime named knarr")?;
        runtimes.push(runtime::Runtime::new(floor::NAME, PathBuf::from(path), Some(planner), &yard)?);
    }
    let wish = figures::Wish {
        burst: number(m, "rounds"),
        idle: number(m, "idle-rounds"),
        crowds: m.get_many("alive").into_iter().flatten().copied().collect(),
        only: m.get_many::<String>("only").into_iter().flatten().cloned().collect(),
    };
    let rows = figures::all(&mut runtimes, &yard, &wish)?;
    let helper = m.get_one::<String>("libseccomp").map(Path::new);
    let filters =
        if wish.wants("seccomp") { filters::measure(yard.profile(), helper, &yard.dir)? } else { None };
    let page = report::to_json(text(m, "lane")?, &yard, &runtimes, &rows, filters);
    let out = text(m, "out")?;
    std::fs::write(out, format!("{page:#}\n")).with_context(|| out.to_owned())?;
    yard.remove()
}
