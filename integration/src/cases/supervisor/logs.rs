//! What containers write: kept with stream and time, rotated, followed, never in the way of the writer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::oracle;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = kept();
    all.extend(shown());
    all.extend(pressure());
    all
}

const ONCE: &str = "[restart]\npolicy = 'no'\n";

/// Runs a shell script to its end.
fn script(d: &Daemon<'_, '_>, text: &str, keys: &str) -> Result<()> {
    let root = d.t.rootfs().display().to_string();
    let command = serde_json::json!(["/bin/sh", "-c", text]);
    d.write("a", &format!("root = {root:?}\ncommand = {command}\n{keys}\n{ONCE}"))?;
    d.apply()?;
    let now = d.until("a.1", "exited|failed")?;
    ensure!(now["state"] == "exited", "the script failed: {now}, it printed {:?}", d.log("a.1"));
    Ok(())
}

fn kept() -> Vec<Case> {
    vec![
        sup("logs.streams-in-order", "logs").needs([Need::Busybox]).daemon(|d| {
            script(
                d,
                "for i in 1 2 3 4 5; do echo out $i; usleep 30000; echo err $i >&2; usleep 30000; done",
                "",
            )?;
            let lines = d.log_lines("a.1")?;
            let got: Vec<String> = lines.iter().map(|l| format!("{} {}", l.stream, l.text)).collect();
            let want: Vec<String> =
                (1..=5).flat_map(|i| [format!("stdout out {i}"), format!("stderr err {i}")]).collect();
            ensure!(got == want, "kept: {got:?}");
            let stamps: Vec<&String> = lines.iter().map(|l| &l.stamp).collect();
            ensure!(stamps.is_sorted(), "time goes back: {stamps:?}");
            Ok(())
        }),
        sup("logs.every-line-once", "logs").daemon(|d| {
            d.service("a", &["lines", "20000"], ONCE)?;
            d.until("a.1", "exited")?;
            numbered(&d.log("a.1")?, 20_000)
        }),
        sup("logs.rotation-keeps-the-newest", "logs: max_size, max_files").daemon(|d| {
            d.service(
                "a",
                &["lines", "20000", "100"],
                &format!("[logs]\nmax_size = '256KiB'\nmax_files = 3\n{ONCE}"),
            )?;
            d.until("a.1", "exited")?;
            let names = oracle::names(&d.state.join("logs/a.1"));
            ensure!((2..=3).contains(&names.len()), "files: {names:?}");
            ensure!(names.iter().all(|n| n.len() == 12 && n.ends_with(".log")), "files: {names:?}");
            let lines = d.log("a.1")?;
            let last: Vec<String> = (20_001 - lines.len()..=20_000).map(|n| padded(n, 99)).collect();
            ensure!(
                lines == last && lines.len() > 2000,
                "{} lines, not the newest without a gap",
                lines.len()
            );
            Ok(())
        }),
        sup("logs.long-lines", "logs: lines of more than 16 KiB").daemon(|d| {
            d.service("a", &["lines", "2", "50001"], ONCE)?;
            d.until("a.1", "exited")?;
            let lines = d.log_lines("a.1")?;
            let tags: Vec<bool> = lines.iter().map(|l| l.partial).collect();
            ensure!(tags == [true, true, true, false, true, true, true, false], "partial: {tags:?}");
            let whole: String = lines[..4].iter().map(|l| l.text.as_str()).collect();
            ensure!(whole == padded(1, 50_000), "the parts do not make up the line of {} bytes", whole.len());
            Ok(())
        }),
        sup("logs.any-bytes", "logs").needs([Need::Busybox]).daemon(|d| {
            script(d, "printf 'a\\377b\\001c\\n\\n'; printf 'no line feed'", "")?;
            let dir = d.state.join("logs/a.1");
            let name = oracle::names(&dir).pop().context("no log")?;
            let bytes = std::fs::read(dir.join(name))?;
            let texts: Vec<&[u8]> = bytes
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .map(|l| l.splitn(4, |b| *b == b' ').nth(3).unwrap_or(b""))
                .collect();
            ensure!(texts == [&b"a\xffb\x01c"[..], b"", b"no line feed"], "kept: {texts:?}");
            d.ctl(&["logs", "a"])?.ok()?;
            d.request("GET", "/v1/logs/a", None)?.is(200)?;
            Ok(())
        }),
        sup("logs.over-runs", "logs over restarts").daemon(|d| {
            let keys = format!("{}policy = 'on-failure:2'\n", super::SOON);
            d.service("a", &["all", "echo", "hello", "--", "exit", "1"], &keys)?;
            d.until("a.1", "failed")?;
            ensure!(d.log("a.1")? == ["hello"; 3], "kept: {:?}", d.log("a.1")?);
            Ok(())
        }),
    ]
}

/// A line of the probe's `lines`, filled to a length.
fn padded(n: usize, length: usize) -> String {
    format!("{:.<length$}", format!("line {n}"))
}

/// Requires the lines 1 to `count`, each once and in order; padding does not matter.
pub fn numbered(lines: &[String], count: usize) -> Result<()> {
    for (at, line) in lines.iter().enumerate() {
        let want = format!("line {}", at + 1);
        ensure!(line.trim_end_matches('.') == want, "line {} of the log is {line:?}, want {want:?}", at + 1);
    }
    ensure!(lines.len() == count, "{} lines, want {count}", lines.len());
    Ok(())
}

fn shown() -> Vec<Case> {
    vec![
        sup("logs.tail", "logs --tail").daemon(|d| {
            d.service("a", &["lines", "100"], ONCE)?;
            d.until("a.1", "exited")?;
            let out = d.ctl(&["logs", "a", "--tail", "2"])?.ok()?.stdout;
            ensure!(
                out.lines().count() == 2 && out.contains("line 99\n") && out.ends_with("line 100\n"),
                "{out:?}"
            );
            let out = d.ctl(&["logs", "a"])?.ok()?.stdout;
            ensure!(out.lines().count() == 100, "{} lines", out.lines().count());
            Ok(())
        }),
        sup("logs.since", "logs --since").needs([Need::Busybox]).daemon(|d| {
            script(d, "echo old; sleep 2; echo new", "")?;
            let stamp = d.log_lines("a.1")?.get(1).context("no second line")?.stamp.clone();
            let out = d.ctl(&["logs", "a", "--since", &stamp])?.ok()?.stdout;
            ensure!(out.contains("new") && !out.contains("old"), "since {stamp}: {out:?}");
            Ok(())
        }),
        sup("logs.json", "logs --json").needs([Need::Busybox]).daemon(|d| {
            script(d, "echo out; usleep 50000; echo err >&2", "")?;
            let out = d.ctl(&["logs", "a", "--json"])?.ok()?.stdout;
            let all: Vec<Value> = out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            ensure!(all.len() == 2 && all[0]["stream"] == "stdout" && all[1]["stream"] == "stderr", "{out}");
            Ok(())
        }),
        sup("logs.follow-over-rotation", "logs --follow").daemon(|d| {
            d.service(
                "a",
                &["lines", "3000", "200", "1"],
                &format!("[logs]\nmax_size = '64KiB'\nmax_files = 20\n{ONCE}"),
            )?;
            d.says("a.1", &padded(1, 199))?;
            let follower = d.ctl_running(&["logs", "a", "-f"])?;
            d.until("a.1", "exited")?;
            let seen = wait_for(d.t.seconds(), || {
                let text = follower.so_far().0;
                Ok(text.contains("line 3000").then_some(text))
            });
            let seen = seen.with_context(|| format!("followed: {:?}", follower.so_far()))?;
            crate::os::kill(follower.pid() as i32, libc::SIGTERM);
            follower.wait()?;
            let texts: Vec<String> =
                seen.lines().map(|l| l[l.find("line ").unwrap_or(0)..].to_string()).collect();
            ensure!(oracle::names(&d.state.join("logs/a.1")).len() > 3, "the log was not rotated");
            numbered(&texts, 3000)
        }),
        sup("logs.of-all-replicas", "logs").daemon(|d| {
            d.service("a", &["echo", "hello"], &format!("replicas = 2\n{ONCE}"))?;
            d.until("a.1", "exited")?;
            d.until("a.2", "exited")?;
            let out = d.ctl(&["logs", "a"])?.ok()?.stdout;
            ensure!(out.matches("hello").count() == 2, "{out:?}");
            Ok(())
        }),
    ]
}

fn pressure() -> Vec<Case> {
    vec![
        sup("logs.full-disk-never-blocks", "logs: a full disk").seconds(60).daemon(|d| {
            d.end()?;
            let logs = d.state.join("logs");
            d.tmpfs(&logs, "size=2m")?;
            d.log_min_free = 10;
            d.start()?;
            // 50 MB in lines of 5000 bytes; the program ends only when all of it was taken.
            d.service("a", &["all", "lines", "10000", "5000", "--", "exit", "7"], ONCE)?;
            let now = d.until("a.1", "failed")?;
            ensure!(now["last_exit"] == 7, "last exit: {now}");
            d.post("/v1/services/a/stop")?;
            let dropped = dropped(d, "a.1")?;
            let lines = d.log("a.1")?;
            ensure!(
                !dropped.is_empty() || lines.len() < 1000,
                "2 MB hold {} lines of 5000 bytes",
                lines.len()
            );
            ensure!(!dropped.is_empty(), "dropped output is not told of");
            // The supervisor itself goes on.
            d.service("b", &["trap", "TERM"], "")?;
            d.until("b.1", "running").map(|_| ())
        }),
        sup("logs.stopped-keeper-does-not-lose", "logs: a slow reader").daemon(|d| {
            // A stopped keeper is the slowest reader; the pipe holds 64 KiB, then the program waits and goes on later.
            d.service("a", &["all", "trap", "USR1", "--", "lines", "20000", "--", "trap", "TERM"], ONCE)?;
            d.says("a.1", "ready")?;
            let (pid, keeper) = (d.pid_of("a.1")?, d.keeper_of("a.1")?);
            crate::os::kill(keeper, libc::SIGSTOP);
            crate::os::kill(pid, libc::SIGUSR1);
            std::thread::sleep(Duration::from_millis(300));
            crate::os::kill(keeper, libc::SIGCONT);
            d.says("a.1", "line 20000")?;
            let lines: Vec<String> = d.log("a.1")?.into_iter().filter(|l| l.starts_with("line")).collect();
            numbered(&lines, 20_000)
        }),
        sup("logs.slow-client-stalls-nobody", "logs: slow clients").daemon(|d| {
            d.service("a", &["lines", "200000", "100"], ONCE)?;
            // Asks for everything and reads nothing.
            let mut client = std::os::unix::net::UnixStream::connect(d.socket())?;
            std::io::Write::write_all(
                &mut client,
                b"GET /v1/logs/a?follow=true HTTP/1.1\r\nHost: x\r\n\r\n",
            )?;
            d.until("a.1", "exited")?;
            d.resident("b", "")?;
            drop(client);
            Ok(())
        }),
    ]
}

/// The keeper's own words about output that it dropped.
fn dropped(d: &Daemon<'_, '_>, instance: &str) -> Result<Vec<String>> {
    let own = d.log_lines(instance)?.into_iter().filter(|l| l.stream == "keeper");
    let mut all: Vec<String> = own.map(|l| l.text).filter(|t| t.contains("dropped")).collect();
    let of_this =
        |e: &&Value| e["instance"] == instance && e["text"].as_str().is_some_and(|t| t.contains("dropped"));
    all.extend(d.events()?.iter().filter(of_this).map(|e| e["text"].to_string()));
    Ok(all)
}
