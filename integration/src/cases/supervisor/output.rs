//! What the command line prints for programs: JSON of every command, and logs followed from a place in the middle.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::oracle;
use crate::os;
use crate::trial::wait_for;

/// Commands that have no answer of their own: the container's bytes, a script, a document that is JSON anyhow.
const WITHOUT: [&str; 5] = ["attach", "completions", "exec", "help", "openapi"];
/// Every other one, in an order in which all succeed, and whether it prints one document or one a line.
const JSON: [(&[&str], bool); 17] = [
    (&["version"], true),
    (&["validate", "FILE"], true),
    (&["plan"], true),
    (&["apply"], true),
    (&["ps"], true),
    (&["status", "a"], true),
    (&["explain", "a"], true),
    (&["wait", "a"], true),
    (&["kill", "-s", "WINCH", "a"], true),
    (&["logs", "a"], false),
    (&["events"], false),
    (&["top", "--once"], false),
    (&["graph", "a"], true),
    (&["restart", "a"], true),
    (&["stop", "a"], true),
    (&["start", "a"], true),
    (&["rm", "a"], true),
];

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("output.json-everywhere", "knarrctl --json").seconds(40).daemon(|d| {
            d.resident("a", "")?;
            let file = d.services.join("a.toml").display().to_string();
            for (command, one) in JSON {
                let mut line: Vec<&str> =
                    command.iter().map(|w| if *w == "FILE" { file.as_str() } else { *w }).collect();
                line.push("--json");
                let out = d.ctl(&line)?.ok()?.stdout;
                let what = || format!("{line:?} printed {out:?}");
                if one {
                    let _: Value = serde_json::from_str(&out).with_context(what)?;
                } else {
                    ensure!(!out.is_empty(), "{}", what());
                    for line in out.lines() {
                        let _: Value = serde_json::from_str(line).with_context(what)?;
                    }
                }
                ensure!(!out.contains('\u{1b}'), "colours in JSON: {}", what());
            }
            let known: BTreeSet<&str> = JSON.iter().map(|(c, _)| c[0]).chain(WITHOUT).collect();
            let all = commands(d)?;
            ensure!(
                all.len() > 15 && known.iter().filter(|k| **k != "help").all(|k| all.iter().any(|c| c == k)),
                "the help has {all:?}"
            );
            for new in all.iter().filter(|c| !known.contains(c.as_str())) {
                let below = subcommands(&d.ctl(&[new, "--help"])?.ok()?.stdout);
                let lines: Vec<Vec<&str>> = match below.as_slice() {
                    [] => vec![vec![new, "--help"]],
                    some => some.iter().map(|sub| vec![new, sub, "--help"]).collect(),
                };
                for line in lines {
                    let help = d.ctl(&line)?.ok()?.stdout;
                    // `image inspect` says nothing else.
                    ensure!(
                        help.contains("--json") || help.contains("as JSON"),
                        "{line:?} does not know --json"
                    );
                }
            }
            Ok(())
        }),
        sup("logs.follow-from-the-middle", "logs --follow with --tail and --since, over rotations")
            .seconds(60)
            .daemon(|d| {
                let keys = "[logs]\nmax_size = '64KiB'\nmax_files = 40\n[restart]\npolicy = 'no'\n";
                d.service("a", &["lines", "4000", "200", "1"], keys)?;
                let written = |n: usize| wait_for(d.t.seconds(), || Ok(d.log("a.1")?.into_iter().nth(n)));
                written(1600).context("1,600 lines")?;
                let stamp = d.log_lines("a.1")?[899].stamp.clone();
                let before = d.log("a.1")?.len();
                let tail = d.ctl_running(&["logs", "a", "-f", "--tail", "700"])?;
                let first = wait_for(d.t.seconds(), || Ok(numbers(&tail.so_far().0)?.first().copied()))
                    .context("no line of --tail")?;
                let after = d.log("a.1")?.len();
                let since = d.ctl_running(&["logs", "a", "-f", "--since", &stamp])?;
                d.until("a.1", "exited")?;
                ensure!(
                    first + 699 >= before && first + 699 <= after,
                    "--tail 700 begins with line {first}; {before} to {after} were written"
                );
                // Lines that were written in one moment have one stamp.
                let stamps: Vec<String> = d.log_lines("a.1")?.into_iter().map(|l| l.stamp).collect();
                let since_first = 1 + stamps.iter().position(|s| *s == stamp).context("the stamp is gone")?;
                for (follower, first) in [(tail, first), (since, since_first)] {
                    let seen = wait_for(d.t.seconds(), || {
                        let all = numbers(&follower.so_far().0)?;
                        Ok(all.contains(&4000).then_some(all))
                    });
                    let seen = seen.context("the follower does not come to the end")?;
                    os::kill(follower.pid() as i32, libc::SIGTERM);
                    follower.wait()?;
                    ensure!(
                        seen.iter().copied().eq(first..=4000),
                        "not each line from {first} on once: {seen:?}"
                    );
                }
                let files = oracle::names(&d.state.join("logs/a.1")).len();
                ensure!(files > 6, "the log was not rotated: {files} files");
                Ok(())
            }),
    ]
}

/// The numbers of whole lines `line N...`.
fn numbers(text: &str) -> Result<Vec<usize>> {
    let mut all = Vec::new();
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let Some((_, rest)) = line.split_once("line ") else { bail!("not a numbered line: {line:?}") };
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        all.push(digits.parse()?);
    }
    Ok(all)
}

/// The commands that the help names.
fn commands(d: &mut Daemon<'_, '_>) -> Result<Vec<String>> {
    Ok(subcommands(&d.ctl(&["--help"])?.ok()?.stdout))
}

/// The commands that a help page lists, but `help` itself.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    list.filter(|l| !l.starts_with("    "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}
