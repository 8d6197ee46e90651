//! Every option of every command with a value that it cannot have: one line that names the option or what is wrong with its
//! value, the exit code of the command, nothing made and nothing changed. The tables are complete: they are held against what
//! the runtime's own help lists.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::trial::{Out, Trial};

/// A command, its option, a wrong value, and what the line says. The option is written with two dashes; a `?` for the value is
/// that of an option without one.
type Row = (&'static str, &'static str, &'static str, &'static str);

const GLOBAL: [Row; 9] = [
    ("", "debug", "?", "-debug"),
    ("", "log", "/no/such/directory/log", "/no/such/directory"),
    ("", "log-format", "xml", "invalid log-format"),
    ("", "log-level", "loud", "log-level"),
    ("", "root", "/", "--root"),
    ("", "systemd-cgroup", "?", "-systemd-cgroup"),
    ("", "cgroup-manager", "nobody", "invalid cgroup-manager"),
    ("", "rootless", "perhaps", "invalid rootless"),
    ("", "trace", "/no/such/directory/trace", "/no/such/directory"),
];

const MAKING: [Row; 17] = [
    ("create", "bundle", "/no/such/bundle", "/no/such/bundle"),
    ("create", "console-socket", "/no/such/socket", "console"),
    ("create", "pidfd-socket", "/no/such/socket", "/no/such/socket"),
    ("create", "pid-file", "/no/such/directory/pid", "/no/such/directory"),
    ("create", "no-pivot", "?", "-no-pivot"),
    ("create", "no-new-keyring", "?", "-no-new-keyring"),
    ("create", "preserve-fds", "-1", "preserve-fds"),
    ("run", "bundle", "/no/such/bundle", "/no/such/bundle"),
    ("run", "console-socket", "/no/such/socket", "console"),
    ("run", "pidfd-socket", "/no/such/socket", "/no/such/socket"),
    ("run", "pid-file", "/no/such/directory/pid", "/no/such/directory"),
    ("run", "no-pivot", "?", "-no-pivot"),
    ("run", "no-new-keyring", "?", "-no-new-keyring"),
    ("run", "preserve-fds", "many", "preserve-fds"),
    ("run", "detach", "?", "-detach"),
    ("run", "keep", "?", "-keep"),
    ("run", "no-subreaper", "?", "-no-subreaper"),
];

const EXEC: [Row; 17] = [
    ("exec", "console-socket", "/no/such/socket", "console"),
    ("exec", "pidfd-socket", "/no/such/socket", "/no/such/socket"),
    ("exec", "pid-file", "/no/such/directory/pid", "/no/such/directory"),
    ("exec", "cwd", "not/absolute", "cwd"),
    ("exec", "env", "=value", "env"),
    ("exec", "tty", "?", "-tty"),
    ("exec", "user", "root", "--user"),
    ("exec", "additional-gids", "-1", "additional-gids"),
    ("exec", "process", "/no/such/file", "/no/such/file"),
    ("exec", "detach", "?", "-detach"),
    ("exec", "process-label", "two\nlines", "/process/selinuxLabel"),
    ("exec", "apparmor", "two\nlines", "/process/apparmorProfile"),
    ("exec", "no-new-privs", "?", "-no-new-privs"),
    ("exec", "cap", "CAP_EVERYTHING", "CAP_EVERYTHING"),
    ("exec", "preserve-fds", "1000000000", "preserve-fds"),
    ("exec", "cgroup", "../beside", "sub cgroup"),
    ("exec", "ignore-paused", "?", "-ignore-paused"),
];

const LIMITS: [Row; 17] = [
    ("update", "resources", "/no/such/file", "/no/such/file"),
    ("update", "blkio-weight", "5", "blkio-weight"),
    ("update", "cpu-period", "ten", "cpu-period"),
    ("update", "cpu-quota", "1.5", "cpu-quota"),
    ("update", "cpu-burst", "-1", "cpu-burst"),
    ("update", "cpu-share", "0x10", "cpu-share"),
    ("update", "cpu-rt-period", "soon", "cpu-rt-period"),
    ("update", "cpu-rt-runtime", "1s", "cpu-rt-runtime"),
    ("update", "cpu-idle", "yes", "cpu-idle"),
    ("update", "cpuset-cpus", "0-", "/cpu/cpus"),
    ("update", "cpuset-mems", "zero", "/cpu/mems"),
    ("update", "memory", "50x", "memory"),
    ("update", "memory-reservation", "m", "memory-reservation"),
    ("update", "memory-swap", "-2", "memory-swap"),
    ("update", "pids-limit", "9999999999999999999", "pids-limit"),
    ("update", "l3-cache-schema", "no schema", "Intel RDT"),
    ("update", "mem-bw-schema", "no schema", "Intel RDT"),
];

const OTHERS: [Row; 12] = [
    ("delete", "force", "?", "-force"),
    ("kill", "all", "?", "-all"),
    ("list", "format", "xml", "invalid format option"),
    ("list", "quiet", "?", "-quiet"),
    ("ps", "format", "yaml", "invalid format option"),
    ("events", "interval", "soon", "interval"),
    ("events", "interval", "-5s", "interval"),
    ("events", "stats", "?", "-stats"),
    ("spec", "bundle", "/no/such/bundle", "/no/such/bundle"),
    ("spec", "rootless", "?", "-rootless"),
    ("check", "plan", "?", "-plan"),
    ("doctor", "json", "?", "-json"),
];

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let text = "cli: every option with a wrong value";
    vec![
        case("flags.wrong-global").checks(text).steps(|t| tried(t, &GLOBAL)),
        case("flags.wrong-making").checks(text).steps(|t| tried(t, &MAKING)),
        case("flags.wrong-exec").checks(text).steps(|t| tried(t, &EXEC)),
        case("flags.wrong-limits").checks(text).steps(|t| tried(t, &LIMITS)),
        case("flags.wrong-others").checks(text).steps(|t| tried(t, &OTHERS)),
        case("flags.none-is-left-out").checks("cli: the tables of this subject are complete").steps(|t| {
            t.works()?;
            let tables = [&GLOBAL[..], &MAKING, &EXEC, &LIMITS, &OTHERS];
            let known: BTreeSet<(&str, String)> =
                tables.into_iter().flatten().map(|row| (row.0, row.1.to_string())).collect();
            for verb in [
                "", "check", "create", "delete", "doctor", "events", "exec", "features", "kill", "list",
                "pause", "ps", "resume", "run", "spec", "start", "state", "update",
            ] {
                let words = [verb, "--help"].into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>();
                let out = t.bare(&words).run()?;
                // Another runtime may have fewer commands, and options that are not looked at here.
                if out.code != Some(0) && !t.runtime.strict {
                    continue;
                }
                let listed = options(&out.ok()?.stdout);
                ensure!(
                    listed.is_empty() == known.iter().all(|k| k.0 != verb) || verb == "kill",
                    "{verb}: {listed:?}"
                );
                let more: Vec<_> = listed.iter().filter(|o| !known.contains(&(verb, (*o).clone()))).collect();
                ensure!(
                    more.is_empty() || !t.runtime.strict,
                    "{verb} has options that no row is about: {more:?}"
                );
            }
            Ok(())
        }),
    ]
}

/// The long options of a help page, but for those that only ask for one.
fn options(help: &str) -> Vec<String> {
    let long = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix('-')?;
        let at = line.find("--").map_or(line, |at| &line[at + 1..]).strip_prefix('-')?;
        let end = at.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(at.len());
        Some(at[..end].to_string())
    };
    help.lines().filter_map(long).filter(|name| name != "help" && name != "version").collect()
}

fn tried(t: &mut Trial<'_>, rows: &[Row]) -> Result<()> {
    // With a terminal, so that a console socket is called for; the record of the container that is there must not change.
    t.resident()?;
    let id = t.id.clone();
    let record = t.state_root().join(&id).join("state.json");
    let before = std::fs::read(&record).unwrap_or_default();
    let twin = t.twin("terminal", |s| s["process"]["terminal"] = true.into())?;
    for (verb, option, value, says) in rows {
        let written = match *value {
            "?" => vec![format!("--{option}=maybe")],
            value => vec![format!("--{option}"), value.to_string()],
        };
        let mut words: Vec<String> = if verb.is_empty() { Vec::new() } else { vec![(*verb).to_string()] };
        words.extend(written);
        match *verb {
            "" => words.extend(["state".to_string(), id.clone()]),
            "create" | "run" => {
                if *option != "bundle" {
                    let bundle = if *option == "console-socket" {
                        twin.bundle.clone()
                    } else {
                        t.bundle.display().to_string()
                    };
                    words.extend(["--bundle".to_string(), bundle]);
                }
                // What comes back at once, with a socket or without.
                if *verb == "run" && *option != "detach" {
                    words.push("--detach".to_string());
                }
                words.push("another".to_string());
            }
            "exec" if *option == "console-socket" => {
                words.extend(["--tty", "--detach", &id, PROBE, "true"].map(String::from));
            }
            "exec" if *option == "process" => words.push(id.clone()),
            "exec" => words.extend([id.as_str(), PROBE, "true"].map(String::from)),
            "list" | "spec" | "check" | "doctor" => {}
            _ => words.push(id.clone()),
        }
        refused(t, verb, &words, says)?;
        ensure!(!t.state_root().join("another").exists(), "{words:?} made something");
    }
    t.is("running")?;
    ensure!(
        std::fs::read(&record).unwrap_or_default() == before,
        "the record of the container is another one"
    );
    ensure!(t.ps()?.as_array().is_some_and(|list| list.len() == 1), "a process was added: {}", t.ps()?);
    Ok(())
}

fn refused(t: &mut Trial<'_>, verb: &str, words: &[String], says: &str) -> Result<Out> {
    let out = t.rt(words).run()?.fails()?;
    // What the parser of the command line finds is not yet a failed exec.
    let early =
        words.iter().any(|w| w.ends_with("=maybe") || w == "--preserve-fds" || w == "--additional-gids");
    let want = match verb {
        "exec" if t.runtime.strict && !early => 255,
        _ if t.runtime.strict => 1,
        _ => out.code.unwrap_or(0),
    };
    ensure!(out.code == Some(want), "{words:?} exits {:?}, want {want}", out.code);
    if t.runtime.strict {
        let said = out.stderr.lines().rfind(|l| !l.is_empty()).unwrap_or("");
        ensure!(said.contains(says), "{words:?} says {said:?}, want {says:?} in it");
    }
    Ok(out)
}
