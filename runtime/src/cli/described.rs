//! The command line as one description, from which manual pages and completions are made. Parsing does not go this way: it builds
//! the table of one command only. Pure.

use super::verbs::{self, Verb};
use clap::{Arg, ArgAction, Command};

/// Every command with its options, global options at the top.
pub fn described() -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::SetTrue).help("show help");
    let version =
        Arg::new("version").short('v').long("version").action(ArgAction::SetTrue).help("print the version");
    verbs::global()
        .version(crate::VERSION)
        .about("Open Container Initiative runtime")
        .long_about(
            "knarr makes, runs and removes containers as the OCI runtime specification describes them. It has the command line, \
             the exit codes and the texts of runc, so that engines can call it in its place. A container is configured by a \
             bundle: a directory with a specification file named config.json and a root file system.",
        )
        .args([help.clone(), version])
        .disable_help_subcommand(true)
        .subcommands(verbs::VERBS.iter().map(|verb| of(verb).arg(help.clone())))
}

fn of(verb: &Verb) -> Command {
    let mut command = verb.table().about(verb.about);
    if !verb.notes().is_empty() {
        command = command.long_about(format!("{}\n\n{}", verb.about, verb.notes().replace('\n', " ")));
    }
    // `exec` says a second way to call it, which is no list of words.
    let words = verb.arguments.split("  ||").next().unwrap_or_default();
    command.args(arguments(words))
}

/// `<container-id> [signal]`: a name in angle brackets has to be there, one in square brackets may be.
fn arguments(words: &'static str) -> Vec<Arg> {
    let mut out = Vec::new();
    let mut rest = words.trim();
    while let Some(open) = rest.chars().next() {
        let close = if open == '<' { '>' } else { ']' };
        let Some(end) = rest.find(close) else { break };
        let name = &rest[1..end];
        out.push(Arg::new(name).value_name(name).required(open == '<'));
        rest = rest[end + 1..].trim_start();
    }
    // What follows a whole command line is any number of words.
    match out.pop() {
        Some(last) if last.get_id().as_str().ends_with("options") => out.push(last.num_args(0..)),
        last => out.extend(last),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_and_sound() {
        let mut all = described();
        // clap's own check of the whole description: no name twice, no option that hides another.
        all.build();
        for verb in &verbs::VERBS {
            let command = all.find_subcommand(verb.name).unwrap();
            let mut options: Vec<_> = verb.table().get_arguments().map(|a| a.get_id().to_string()).collect();
            options.retain(|o| !command.get_arguments().any(|a| a.get_id() == o.as_str()));
            assert!(options.is_empty(), "{}: {options:?}", verb.name);
            let required = command.get_positionals().filter(|a| a.is_required_set()).count();
            assert_eq!(required.max(verb.count.0), required, "{}", verb.name);
        }
        let exec: Vec<_> =
            all.find_subcommand("exec").unwrap().get_positionals().map(|a| a.get_id().as_str()).collect();
        assert_eq!(exec, ["container-id", "command", "command options"]);
        assert_eq!(arguments("[bundle]").len(), 1);
        assert!(arguments("").is_empty());
    }
}
