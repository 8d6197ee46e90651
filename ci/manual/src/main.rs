//! `knarr-manual DIR`: manual pages and shell completions of the four programs, below DIR as they are below `share`. Everything
//! comes from the descriptions that the programs themselves are made of.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// All of it is for those who run a system.
const SECTION: &str = "8";

fn main() -> Result<()> {
    let out: OsString = std::env::args_os().nth(1).context("usage: knarr-manual DIR")?;
    write_all(Path::new(&out))
}

fn write_all(out: &Path) -> Result<()> {
    let pages = out.join("man").join(format!("man{SECTION}"));
    fs::create_dir_all(&pages).with_context(|| pages.display().to_string())?;
    for program in programs() {
        write_pages(&program, &pages)?;
        // Nobody types the keeper's name.
        if program.get_name() != "knarr-keeper" {
            write_completions(program, out)?;
        }
    }
    Ok(())
}

fn programs() -> [Command; 4] {
    [knarr::cli::described(), knarrd::daemon::command(), knarrd::cli::command(), keeper()]
}

/// The keeper has no table for clap: the daemon writes its command line.
fn keeper() -> Command {
    let arg = |(name, value, help): (&'static str, &'static str, &'static str)| match (name, value) {
        ("", value) => Arg::new("create").value_name(value).last(true).num_args(1..).help(help),
        (name, "") => Arg::new(name).long(name).action(ArgAction::SetTrue).help(help),
        (name, value) => Arg::new(name).long(name).value_name(value).help(help),
    };
    Command::new("knarr-keeper")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Holds the streams of one container, waits for its end and outlives the daemon")
        .long_about("One is started by knarrd for each container. Nobody has to call it by hand.")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(knarrd::keeper::described::OPTIONS.map(arg))
}

/// A page for the program and one for each of its commands.
fn write_pages(program: &Command, dir: &Path) -> Result<()> {
    let mut program = program.clone().disable_help_subcommand(true);
    program.build();
    let name = program.get_name().to_owned();
    page(&program, &see_also(&name), dir)
}

fn page(command: &Command, see: &str, dir: &Path) -> Result<()> {
    for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        page(below, see, dir)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = dir.join(format!("{name}.{SECTION}"));
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    // Options of the program above are on its page.
    let own = command
        .clone()
        .mut_args(|arg| if arg.is_global_set() && name.contains('-') { arg.hide(true) } else { arg });
    Man::new(own).section(SECTION).manual("knarr").render(&mut file)?;
    writeln!(file, ".SH \"SEE ALSO\"\n{see}")?;
    Ok(())
}

fn see_also(name: &str) -> String {
    let all = ["knarr", "knarrd", "knarrctl", "knarr-keeper"];
    let others: Vec<_> = all
        .iter()
        .filter(|n| **n != name)
        .map(|n| format!("\\fB{}\\fR({SECTION})", n.replace('-', "\\-")))
        .collect();
    format!(
        "{}\n.PP\nThe guides and the reference of service files are in the documentation directory of the package.",
        others.join(", ")
    )
}

/// Where each shell looks for what a package brings.
fn write_completions(program: Command, out: &Path) -> Result<()> {
    let name = program.get_name().to_owned();
    let places: [(Shell, PathBuf); 3] = [
        (Shell::Bash, format!("bash-completion/completions/{name}").into()),
        (Shell::Zsh, format!("zsh/vendor-completions/_{name}").into()),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish").into()),
    ];
    for (shell, place) in places {
        let path = out.join(place);
        fs::create_dir_all(path.parent().context("a file below the directory")?)?;
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        clap_complete::generate(shell, &mut program.clone(), &name, &mut file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_option_is_on_it() {
        let dir = std::env::temp_dir().join(format!("knarr-manual-{}", std::process::id()));
        write_all(&dir).unwrap();
        for mut program in programs() {
            program.build();
            let name = program.get_name().to_owned();
            let commands = program.get_subcommands().filter(|c| c.get_name() != "help");
            for (command, file) in
                commands.map(|c| (c, format!("{name}-{}", c.get_name()))).chain([(&program, name.clone())])
            {
                let text = fs::read_to_string(dir.join(format!("man/man8/{file}.8")))
                    .unwrap_or_else(|e| panic!("{file}: {e}"));
                for long in command
                    .get_arguments()
                    .filter(|a| !a.is_hide_set() && !a.is_global_set())
                    .filter_map(Arg::get_long)
                {
                    assert!(text.contains(&long.replace('-', "\\-")), "{file}: {long}");
                }
                assert!(text.contains("SEE ALSO"), "{file}");
            }
        }
        let bash = fs::read_to_string(dir.join("bash-completion/completions/knarr")).unwrap();
        assert!(bash.contains("--console-socket") && bash.contains("update"), "{bash}");
        fs::remove_dir_all(dir).unwrap();
    }
}
