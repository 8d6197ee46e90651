//! `knarr-bundles`: writes the sample bundles into a directory, so that containers can be run without an
//! image and without a network. Writes below the directory it is given, reads the probe and busybox.
#![forbid(unsafe_code)]

mod config;
mod rootfs;
mod sample;
mod services;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use sample::{Kind, SAMPLES, Sample};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn command() -> Command {
    let samples = Arg::new("sample").num_args(0..).value_name("SAMPLE");
    let host_network = Arg::new("host-network")
        .long("host-network")
        .action(ArgAction::SetTrue)
        .help("No network namespace of its own");
    let path = |name: &'static str, value, help| Arg::new(name).long(name).value_name(value).help(help);
    Command::new("knarr-bundles")
        .about("Makes sample bundles from the workspace's own probe program or from busybox")
        .subcommand_required(true)
        .subcommand(Command::new("list").about("Names the samples"))
        .subcommand(
            Command::new("show")
                .about("Prints the config.json of a sample")
                .arg(Arg::new("sample").required(true).value_name("SAMPLE"))
                .arg(host_network.clone())
                .arg(
                    Arg::new("short")
                        .long("short")
                        .action(ArgAction::SetTrue)
                        .help("Names the seccomp profile instead of printing it, as in bundles/samples"),
                ),
        )
        .subcommand(
            Command::new("build")
                .about("Writes bundles: OUT/SAMPLE/config.json and OUT/SAMPLE/rootfs")
                .arg(path("out", "DIR", "Where the bundles go").required(true))
                .arg(path("probe", "PATH", "The probe program [default: beside this program]"))
                .arg(path("busybox", "PATH", "A static busybox [default: the system's, if static]"))
                .arg(host_network)
                .arg(samples.help("Which ones [default: all that can be made here]")),
        )
        .subcommand(
            Command::new("services")
                .about("Writes sample service files for the supervisor: OUT/NAME.toml")
                .arg(path("bundles", "DIR", "Where build has put the bundles").required(true))
                .arg(path("out", "DIR", "Where the service files go").required(true)),
        )
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.subcommand() {
        Some(("list", _)) => {
            list();
            Ok(())
        }
        Some(("show", m)) => show(m),
        Some(("build", m)) => build(m),
        Some(("services", m)) => services(m),
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("knarr-bundles: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for sample in SAMPLES {
        println!("{:<12} {}", sample.name, sample.about);
    }
}

fn find(name: &str) -> Result<&'static Sample> {
    SAMPLES.iter().find(|s| s.name == name).with_context(|| format!("no sample {name:?}; list names them"))
}

fn show(matches: &ArgMatches) -> Result<()> {
    let sample = find(matches.get_one::<String>("sample").map_or("", String::as_str))?;
    let mut config = config::config(sample, matches.get_flag("host-network"))?;
    if matches.get_flag("short") {
        config::shorten(&mut config);
    }
    println!("{}", serde_json::to_string_pretty(&config)?);
    Ok(())
}

fn services(matches: &ArgMatches) -> Result<()> {
    let path = |name: &str| {
        matches.get_one::<String>(name).map(Path::new).with_context(|| format!("--{name} is missing"))
    };
    services::write(path("bundles")?, path("out")?)
}

/// The probe next to this program, where one build puts both.
fn default_probe() -> Result<PathBuf> {
    let probe = std::env::current_exe()?.with_file_name("probe");
    if !probe.is_file() {
        bail!("no probe at {}; build it (cargo build -p probe) or name one with --probe", probe.display());
    }
    Ok(probe)
}

fn build(matches: &ArgMatches) -> Result<()> {
    let path = |name: &str| matches.get_one::<String>(name).map(PathBuf::from);
    let out = path("out").context("--out is missing")?;
    let probe = path("probe").map_or_else(default_probe, Ok)?;
    let busybox = match path("busybox") {
        Some(named) if !rootfs::is_static(&named)? => bail!("{} is not a static program", named.display()),
        Some(named) => Some(named),
        None => rootfs::system_busybox(),
    };
    let named: Vec<&str> =
        matches.get_many::<String>("sample").into_iter().flatten().map(String::as_str).collect();
    let chosen = if named.is_empty() {
        SAMPLES.iter().collect()
    } else {
        named.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?
    };
    for sample in chosen {
        let program = match (sample.kind, &busybox) {
            (Kind::Probe, _) => &probe,
            (Kind::Busybox, Some(busybox)) => busybox,
            (Kind::Busybox, None) if named.is_empty() => {
                eprintln!(
                    "knarr-bundles: {} left out: no static busybox here (package busybox-static)",
                    sample.name
                );
                continue;
            }
            (Kind::Busybox, None) => {
                bail!("{}: no static busybox here (package busybox-static)", sample.name)
            }
        };
        let bundle = out.join(sample.name);
        write_bundle(sample, &bundle, program, matches.get_flag("host-network"))
            .with_context(|| format!("sample {}", sample.name))?;
        println!("{}", bundle.display());
    }
    Ok(())
}

fn write_bundle(sample: &Sample, bundle: &Path, program: &Path, host_network: bool) -> Result<()> {
    let config = config::config(sample, host_network)?;
    rootfs::make(sample, bundle, program)?;
    let path = bundle.join("config.json");
    std::fs::write(&path, serde_json::to_string_pretty(&config)? + "\n")
        .with_context(|| path.display().to_string())
}
