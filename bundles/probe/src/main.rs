//! The program inside every sample bundle and every conformance case: one word says what to look at or
//! what to try, the answer is plain text. Runs as the payload of a container, so it needs no file besides
//! itself; only `sys` talks to the kernel without a safe wrapper.
#![cfg_attr(not(test), no_main)]

mod act;
mod activated;
mod call;
mod errno;
mod files;
mod hostile;
mod load;
mod look;
mod names;
mod newcomers;
mod posture;
mod serve;
mod shell;
mod sys;
mod tour;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

/// Exit status of a command.
pub type Run = Result<u8, Failure>;

/// What a command failed with; printed as one line on standard error, exit status 1 (or 2 for bad usage).
#[derive(Debug)]
pub struct Failure {
    /// Process exit status.
    pub status: u8,
    /// One line for standard error.
    pub text: String,
}

impl Failure {
    /// The command was called wrongly.
    pub fn usage(text: impl fmt::Display) -> Failure {
        Failure { status: 2, text: format!("usage: {text}") }
    }
}

impl From<errno::Errno> for Failure {
    fn from(e: errno::Errno) -> Failure {
        Failure { status: 1, text: e.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        let text = match e.raw_os_error() {
            Some(n) => errno::Errno(n).to_string(),
            None => e.to_string(),
        };
        Failure { status: 1, text }
    }
}

/// One subcommand: the word, its arguments as shown by the help, and what it does.
pub struct Command {
    /// The word, also accepted as the program's own name.
    pub name: &'static str,
    /// Arguments for the help text.
    pub args: &'static str,
    /// Does it: arguments after the word, and where the answer goes.
    pub run: fn(&[String], &mut dyn Write) -> Run,
}

/// Every command, by topic.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    [
        act::COMMANDS,
        files::COMMANDS,
        look::COMMANDS,
        load::COMMANDS,
        call::COMMANDS,
        serve::COMMANDS,
        activated::COMMANDS,
        hostile::COMMANDS,
        newcomers::COMMANDS,
        OWN,
    ]
    .into_iter()
    .flatten()
}

const OWN: &[Command] = &[
    Command { name: "hello", args: "", run: tour::run },
    Command { name: "posture", args: "", run: posture::run },
    Command { name: "shell", args: "", run: shell::run },
    Command { name: "sh", args: "", run: shell::run },
    Command { name: "all", args: "CMD [ARGS] [-- CMD [ARGS]]...", run: all },
    Command { name: "help", args: "", run: help },
];

/// Runs one command line, answer to `out`, complaint to standard error.
pub fn dispatch(line: &[String], out: &mut dyn Write) -> u8 {
    let Some((word, args)) = line.split_first() else {
        eprintln!("probe: no command; try help");
        return 2;
    };
    let Some(command) = commands().find(|c| c.name == word) else {
        eprintln!("probe: no command {word:?}; try help");
        return 2;
    };
    let result = (command.run)(args, out).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    result.unwrap_or_else(|failure| {
        // What was printed before the failure comes out first.
        let _ = out.flush();
        eprintln!("probe: {}: {}", line.join(" "), failure.text);
        failure.status
    })
}

/// `all a -- b -- c`: several commands in one process, answers one after another, the first status that
/// is not 0 wins.
fn all(args: &[String], out: &mut dyn Write) -> Run {
    let mut status = 0;
    for line in args.split(|a| a == "--") {
        let one = dispatch(line, out);
        if status == 0 {
            status = one;
        }
    }
    Ok(status)
}

fn help(_: &[String], out: &mut dyn Write) -> Run {
    for command in commands() {
        writeln!(out, "{} {}", command.name, command.args)?;
    }
    Ok(0)
}

/// The command line proper: under the name of a command (a link called `true`) the program is that command.
fn command_line(argv: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut words: Vec<String> = argv.map(|a| a.to_string_lossy().into_owned()).collect();
    if let Some(first) = words.first_mut() {
        // A login shell is called "-sh".
        let name = first.rsplit('/').next().unwrap_or("").trim_start_matches('-').to_owned();
        if commands().any(|c| c.name == name) {
            *first = name;
        } else {
            words.remove(0);
        }
    }
    words
}

/// The C entry instead of Rust's own: the usual start-up ignores SIGPIPE and opens missing standard
/// descriptors, and a probe must show exactly what the runtime handed over.
#[cfg(not(test))]
// SAFETY: the name is the entry point that the C start-up code calls, and nothing else defines it.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    i32::from(dispatch(&command_line(std::env::args_os()), &mut io::stdout()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a command prints, and its status.
    pub fn answer(line: &[&str]) -> (u8, String) {
        let line: Vec<String> = line.iter().map(|w| (*w).to_owned()).collect();
        let mut out = Vec::new();
        let status = dispatch(&line, &mut out);
        (status, String::from_utf8(out).unwrap())
    }

    fn words(argv: &[&str]) -> Vec<String> {
        command_line(argv.iter().map(OsString::from))
    }

    #[test]
    fn the_own_name_is_a_command_when_there_is_one() {
        assert_eq!(words(&["/probe", "exit", "3"]), ["exit", "3"]);
        assert_eq!(words(&["/bin/exit", "3"]), ["exit", "3"]);
        assert_eq!(words(&["-sh"]), ["sh"]);
        assert_eq!(words(&["/anything", "true"]), ["true"]);
        assert!(words(&[]).is_empty());
    }

    #[test]
    fn no_two_commands_have_one_name() {
        let mut names: Vec<&str> = commands().map(|c| c.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn all_runs_every_part_and_keeps_the_first_bad_status() {
        let (status, text) =
            answer(&["all", "echo", "a", "--", "exit", "4", "--", "exit", "5", "--", "echo", "b"]);
        assert_eq!((status, text.as_str()), (4, "a\nb\n"));
        assert_eq!(answer(&["nonsense"]).0, 2);
        assert_eq!(answer(&["exit", "256"]).0, 2);
    }

    #[test]
    fn numbered_lines_have_the_length_that_was_asked_for() {
        assert_eq!(answer(&["lines", "2"]), (0, "line 1\nline 2\n".to_owned()));
        assert_eq!(answer(&["lines", "2", "10"]), (0, "line 1...\nline 2...\n".to_owned()));
        assert_eq!(answer(&["lines"]).0, 2);
        assert_eq!(answer(&["lines", "x"]).0, 2);
    }

    #[test]
    fn a_refused_call_is_an_answer_and_not_a_failure() {
        assert_eq!(answer(&["open-read", "/dev/null/x"]), (0, "errno 20 ENOTDIR\n".to_owned()));
        assert_eq!(answer(&["syscall", "close", "-1"]), (0, "errno 9 EBADF\n".to_owned()));
        assert_eq!(answer(&["syscall", "no_such_call"]).0, 2);
        assert_eq!(answer(&["stat", "/dev/null"]).1.split(' ').nth(4), Some("1:3"));
    }

    #[test]
    fn posture_is_json_with_a_key_a_line() {
        let (status, text) = answer(&["posture"]);
        assert_eq!(status, 0);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let keys = value.as_object().unwrap().len();
        assert_eq!(text.lines().count(), keys + 2, "the braces have lines of their own");
        assert_eq!(value["capabilities"]["CapEff"].as_str().map(str::len), Some(16));
        assert_eq!(value["rlimits"].as_array().map(Vec::len), Some(16));
    }
}
