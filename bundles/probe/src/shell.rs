//! A line shell over the other commands, for the interactive sample and for looking around by hand.
//! Every command runs in a child, so that a killed memory hog does not take the shell along.

use crate::{Run, commands, dispatch, names, sys};
use std::io::{self, Write};

/// `shell`.
pub fn run(_: &[String], out: &mut dyn Write) -> Run {
    // An interrupt ends the command, not the shell.
    sys::ignore(libc::SIGINT, true);
    let prompt = sys::is_terminal(0);
    if prompt {
        writeln!(out, "A shell of few words; try help, posture, caps, mem 100, exit.")?;
    }
    let mut status = 0;
    loop {
        if prompt {
            write!(out, "probe# ")?;
            out.flush()?;
        }
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            return Ok(status);
        }
        let words = split(&line);
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => {}
            ["exit"] => return Ok(status),
            ["exit", n] => return Ok(n.parse().unwrap_or(2)),
            ["cd", dir] => {
                status =
                    u8::from(std::env::set_current_dir(dir).inspect_err(|e| eprintln!("cd: {e}")).is_err())
            }
            _ => status = child(&words, out)?,
        }
    }
}

/// Runs one command in a child and says what killed it, if something did.
fn child(words: &[String], out: &mut dyn Write) -> Run {
    out.flush()?;
    let pid = sys::fork()?;
    if pid == 0 {
        sys::ignore(libc::SIGINT, false);
        sys::exit_now(i32::from(dispatch(words, out)));
    }
    // As process 1 the shell also inherits orphans; those are collected on the way.
    let status = loop {
        let (ended, status) = sys::wait(-1)?;
        if ended == pid {
            break status;
        }
    };
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        writeln!(out, "killed by {}", names::signal_name(signal))?;
        return Ok(u8::try_from(128 + signal).unwrap_or(255));
    }
    Ok(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(255))
}

/// Words of a line; quotes of either kind keep spaces, a command that exists is found by its last name.
fn split(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut inside) = (None, false);
    for c in line.trim_end_matches('\n').chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                if !inside {
                    words.push(String::new());
                }
                inside = true;
            }
            (None, c) if c.is_whitespace() => inside = false,
            (_, c) => {
                if !inside {
                    words.push(String::new());
                }
                inside = true;
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    if let Some(first) = words.first_mut() {
        let name = first.rsplit('/').next().unwrap_or("").to_owned();
        if commands().any(|c| c.name == name) {
            *first = name;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_paths() {
        assert_eq!(split("  echo 'a  b' c\"d e\" \n"), ["echo", "a  b", "cd e"]);
        assert_eq!(split("/bin/true"), ["true"]);
        assert_eq!(split("echo ''"), ["echo", ""]);
        assert!(split(" \n").is_empty());
    }
}
