//! runc's option grammar, turned into the one shape clap needs (`--long=value`, flags bare). One and two dashes
//! are alike, values come after `=` or a blank, flags take `=true` and `=false`, the last one wins, a dash
//! before anything but a letter starts an argument. Touches nothing but the words it is given.

use super::values::{boolean, usage};
use crate::error::{Result, printable, quoted};
use clap::{Arg, ArgAction, Command};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Words of a command line, sorted.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Options of the global table.
    pub(super) global: Vec<OsString>,
    /// Options of the command's own table.
    pub(super) own: Vec<OsString>,
    /// Arguments in their order.
    pub(super) arguments: Vec<OsString>,
    /// `--help` was met; what follows it was not looked at.
    pub(super) help: bool,
    /// `--version` was met before a command.
    pub(super) version: bool,
}

/// Which options may come, and when they end.
pub(super) struct Grammar<'a> {
    pub(super) global: &'a Command,
    /// The command's own options, which win over global ones of the same name. None: the command is still to
    /// come, and is the first argument.
    pub(super) own: Option<&'a Command>,
    /// Options end at the first argument: the rest belongs to the payload.
    pub(super) stop: bool,
}

/// An option as written.
struct Written {
    name: String,
    value: Option<OsString>,
}

/// Splits `-name`, `--name`, `-name=value`; `None` for what runc takes as an argument.
fn written(word: &OsStr) -> Option<Written> {
    let bytes = word.as_bytes();
    let name = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    if !name.first()?.is_ascii_alphabetic() {
        return None;
    }
    let (name, value) = match name.iter().position(|b| *b == b'=') {
        Some(at) => (&name[..at], Some(OsStr::from_bytes(&name[at + 1..]).to_os_string())),
        None => (name, None),
    };
    Some(Written { name: String::from_utf8_lossy(name).into_owned(), value })
}

fn find<'a>(table: &'a Command, name: &str) -> Option<&'a Arg> {
    let mut chars = name.chars();
    let letter = chars.next().filter(|_| chars.next().is_none());
    table
        .get_arguments()
        .find(|a| a.get_long() == Some(name) || (letter.is_some() && a.get_short() == letter))
}

/// Takes words from the front of `rest` until they end, or until the first argument where that ends them.
/// Options met before an error are in `words`, so that the error can go where `--log` says.
pub(super) fn walk(rest: &mut VecDeque<OsString>, grammar: &Grammar<'_>, words: &mut Words) -> Result<()> {
    while let Some(word) = rest.pop_front() {
        if word == "--" {
            words.arguments.extend(rest.drain(..));
            return Ok(());
        }
        let Some(option) = written(&word) else {
            words.arguments.push(word);
            if grammar.own.is_none() {
                return Ok(());
            }
            if grammar.stop {
                words.arguments.extend(rest.drain(..));
                return Ok(());
            }
            continue;
        };
        let own = grammar.own.and_then(|table| find(table, &option.name));
        let (table, arg) = match (own, find(grammar.global, &option.name)) {
            (Some(arg), _) => (&mut words.own, arg),
            (None, Some(arg)) => (&mut words.global, arg),
            (None, None) => {
                match option.name.as_str() {
                    "help" | "h" => words.help = truth(&option)?,
                    "version" | "v" if grammar.own.is_none() => words.version = truth(&option)?,
                    name => {
                        return Err(usage(format!("flag provided but not defined: -{}", printable(name))));
                    }
                }
                if words.help || words.version {
                    return Ok(());
                }
                continue;
            }
        };
        put(table, arg, option, rest)?;
    }
    Ok(())
}

fn truth(option: &Written) -> Result<bool> {
    let Some(value) = &option.value else { return Ok(true) };
    let text = value.to_string_lossy();
    boolean(&text).ok_or_else(|| {
        usage(format!("invalid boolean value {} for -{}: parse error", quoted(&text), option.name))
    })
}

/// Adds one option in the form clap takes.
fn put(table: &mut Vec<OsString>, arg: &Arg, option: Written, rest: &mut VecDeque<OsString>) -> Result<()> {
    let mut token = OsString::from("--");
    token.push(arg.get_long().unwrap_or_default());
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        let on = truth(&option)?;
        table.retain(|t| *t != token);
        if on {
            table.push(token);
        }
        return Ok(());
    }
    let value = match option.value {
        Some(value) => value,
        None => rest
            .pop_front()
            .ok_or_else(|| usage(format!("flag needs an argument: -{}", printable(&option.name))))?,
    };
    token.push("=");
    token.push(value);
    table.push(token);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global() -> Command {
        Command::new("t")
            .disable_help_flag(true)
            .arg(Arg::new("root").long("root"))
            .arg(Arg::new("rootless").long("rootless"))
            .arg(Arg::new("debug").long("debug").action(ArgAction::SetTrue))
    }

    fn own() -> Command {
        Command::new("t")
            .disable_help_flag(true)
            .arg(Arg::new("bundle").long("bundle").short('b'))
            .arg(Arg::new("env").long("env").short('e').action(ArgAction::Append))
            .arg(Arg::new("detach").long("detach").short('d').action(ArgAction::SetTrue))
            .arg(Arg::new("rootless").long("rootless").action(ArgAction::SetTrue))
    }

    fn run(line: &[&str], stop: bool) -> (Words, Result<()>) {
        let (global, own) = (global(), own());
        let mut words = Words::default();
        let mut rest: VecDeque<OsString> = line.iter().map(OsString::from).collect();
        let done = walk(&mut rest, &Grammar { global: &global, own: Some(&own), stop }, &mut words);
        (words, done)
    }

    #[test]
    fn shapes_of_one_option() {
        for line in [
            vec!["-bundle", "x"],
            vec!["--bundle", "x"],
            vec!["-bundle=x"],
            vec!["--bundle=x"],
            vec!["-b", "x"],
            vec!["--b", "x"],
            vec!["-b=x"],
        ] {
            let (words, done) = run(&line, false);
            done.unwrap();
            assert_eq!(words.own, ["--bundle=x"], "{line:?}");
            assert!(words.arguments.is_empty());
        }
    }

    #[test]
    fn values_are_never_options() {
        let (words, done) = run(&["-e", "-d", "-e=", "-b", "--"], false);
        done.unwrap();
        assert_eq!(words.own, ["--env=-d", "--env=", "--bundle=--"]);
    }

    #[test]
    fn flags_take_truth_and_the_last_wins() {
        for (line, want) in [
            (vec!["-d"], true),
            (vec!["--detach=true"], true),
            (vec!["--detach=1", "-d=f"], false),
            (vec!["--detach=false", "-detach=T"], true),
            (vec!["-d", "-d"], true),
        ] {
            let (words, done) = run(&line, false);
            done.unwrap();
            assert_eq!(words.own.len(), usize::from(want), "{line:?}");
        }
        let e = run(&["--detach=maybe"], false).1.unwrap_err();
        assert_eq!(e.to_string(), "invalid boolean value \"maybe\" for -detach: parse error");
    }

    #[test]
    fn where_options_end() {
        let line = ["c1", "-d", "-9", "-", "--", "-b"];
        let (words, done) = run(&line, false);
        done.unwrap();
        assert_eq!(words.arguments, ["c1", "-9", "-", "-b"]);
        assert_eq!(words.own, ["--detach"]);
        let (words, done) = run(&["-d", "c1", "ls", "-l", "--", "-b"], true);
        done.unwrap();
        assert_eq!(words.arguments, ["c1", "ls", "-l", "--", "-b"]);
        assert_eq!(words.own, ["--detach"]);
    }

    #[test]
    fn global_options_after_the_command_but_own_names_win() {
        let (words, done) = run(&["--root", "/r", "c1", "-debug", "--rootless"], false);
        done.unwrap();
        assert_eq!(words.global, ["--root=/r", "--debug"]);
        assert_eq!(words.own, ["--rootless"]);
    }

    #[test]
    fn what_is_refused_and_what_was_seen_before() {
        let (words, done) = run(&["--root=/r", "--nope"], false);
        assert_eq!(done.unwrap_err().to_string(), "flag provided but not defined: -nope");
        assert_eq!(words.global, ["--root=/r"]);
        assert_eq!(run(&["-b"], false).1.unwrap_err().to_string(), "flag needs an argument: -b");
        assert!(run(&["-db", "x"], false).1.is_err(), "short options do not combine");
        assert!(run(&["--v"], false).1.is_err(), "--version is only for the start of the line");
        assert!(run(&["--a\n\x1b[m"], false).1.unwrap_err().to_string().contains("\\n\\u{1b}"));
    }

    #[test]
    fn help_anywhere_but_behind_the_payload() {
        assert!(run(&["-b", "x", "-h", "--nope"], false).0.help);
        let (words, done) = run(&["--help=false", "c1"], false);
        done.unwrap();
        assert!(!words.help && words.arguments == ["c1"]);
        assert!(!run(&["c1", "ls", "--help"], true).0.help);
    }
}
