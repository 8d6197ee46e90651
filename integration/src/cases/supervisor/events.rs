//! The stream of events as something to rely on: a reader that comes back misses nothing and gets nothing twice, whatever
//! became of the daemon, and is told where something is gone.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::Daemon;
use crate::os;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("events.over-kills", "events over kill -9 of the daemon").seconds(60).daemon(over_kills),
        sup("events.filters", "events: filters").daemon(filters),
        sup("events.begin-anew", "events of a new journal").daemon(begin_anew),
        sup("events.of-the-daemon", "docs/events.md: start and end of the daemon").daemon(of_the_daemon),
        sup("events.restart-budget", "docs/events.md: a restart that waits")
            .seconds(40)
            .daemon(restart_budget),
    ]
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|l| serde_json::from_str(l).with_context(|| format!("not JSON: {l:?}"))).collect()
}

/// The whole lines that have come.
fn whole(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |at| at + 1)]
}

/// One that ends again and again, so that events come all the time, also while the daemon is killed.
fn over_kills(d: &mut Daemon<'_, '_>) -> Result<()> {
    let follower = d.ctl_running(&["events", "--follow", "--json"])?;
    d.service("noisy", &["exit", "1"], SOON)?;
    for _ in 0..3 {
        let before = d.events()?.len();
        wait_for(d.t.seconds(), || Ok((d.events()?.len() > before + 5).then_some(())))
            .context("no events come")?;
        d.crash_and_start()?;
    }
    d.post("/v1/services/noisy/stop?wait=true")?;
    // Nothing happens any more: what is kept now is all there ever was.
    let kept = d.events()?;
    let last = kept.last().context("no event")?["seq"].to_string();
    wait_for(d.t.seconds(), || {
        Ok(whole(&follower.so_far().0).contains(&format!("\"seq\":{last},")).then_some(()))
    })
    .context("the follower does not come to the last event")?;
    let got = lines(whole(&follower.so_far().0))?;
    os::kill(follower.pid() as i32, libc::SIGTERM);
    follower.wait()?;
    let numbers = |all: &[Value]| all.iter().map(|e| e["seq"].as_u64()).collect::<Vec<_>>();
    // It began before the first of these, so it has seen each of them, once, and in order.
    ensure!(numbers(&got) == numbers(&kept), "got {:?}, kept {:?}", numbers(&got), numbers(&kept));
    ensure!(got == kept, "the same numbers with other words");
    // One that comes back with the number of any event gets just what follows.
    for at in [0, kept.len() / 2, kept.len() - 1] {
        let since = kept[at]["seq"].to_string();
        let rest = lines(&d.ctl(&["events", "--json", "--since", &since])?.ok()?.stdout)?;
        ensure!(rest == kept[at + 1..], "since {since}: {:?}", numbers(&rest));
    }
    Ok(())
}

fn filters(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("good", "")?;
    d.service("bad", &["exit", "3"], "[restart]\npolicy = 'no'\n")?;
    d.until("bad.1", "failed")?;
    let mut ask = |args: &[&str]| -> Result<Vec<Value>> {
        lines(&d.ctl(&[&["events", "--json"], args].concat())?.ok()?.stdout)
    };
    let all = ask(&[])?;
    let of = |name: &str| all.iter().filter(|e| e["service"] == name).cloned().collect::<Vec<_>>();
    ensure!(!of("good").is_empty() && ask(&["good"])? == of("good"), "of one service");
    ensure!(ask(&["bad.1"])? == of("bad"), "of one instance");
    let kinds = ask(&["--kind", "started", "--kind", "exited"])?;
    let want: Vec<_> =
        all.iter().filter(|e| e["kind"] == "started" || e["kind"] == "exited").cloned().collect();
    ensure!(want.len() >= 3 && kinds == want, "kinds: {kinds:?}");
    let errors = ask(&["--severity", "error"])?;
    ensure!(errors.iter().any(|e| e["kind"] == "failed" && e["instance"] == "bad.1"), "{errors:?}");
    ensure!(errors.iter().all(|e| e["severity"] == "error" && e["service"] != "good"), "{errors:?}");
    ensure!(ask(&["good", "--severity", "error"])?.is_empty(), "errors of what is well");
    Ok(())
}

/// The state directory is lost while a reader is away: its number means nothing any more, and it is told so.
fn begin_anew(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("a", "")?;
    let text = d.request("GET", "/v1/events?since=99999", None)?.is(200)?.body;
    let got = lines(&text)?;
    let (first, rest) = got.split_first().context("nothing")?;
    ensure!(first["reason"] == "numbers-began-anew" && first["oldest"] == 1, "{first}");
    ensure!(rest == d.events()?, "not all that is kept: {rest:?}");
    // The twin: the number of an event that was.
    let last = rest.last().context("no event")?["seq"].to_string();
    let text = d.request("GET", &format!("/v1/events?since={last}"), None)?.is(200)?.body;
    ensure!(text.is_empty(), "{text}");
    Ok(())
}

/// The events about the daemon itself.
fn own(d: &Daemon<'_, '_>) -> Result<Vec<Value>> {
    Ok(d.events()?
        .into_iter()
        .filter(|e| e["kind"].as_str().is_some_and(|k| k.starts_with("daemon-")))
        .collect())
}

/// The last events about the daemon: their kinds, and each the cause of the next.
fn last(d: &Daemon<'_, '_>, kinds: &[&str]) -> Result<Vec<Value>> {
    let all = own(d)?;
    let tail = all[all.len().saturating_sub(kinds.len())..].to_vec();
    let got: Vec<_> = tail.iter().map(|e| e["kind"].as_str().unwrap_or("")).collect();
    ensure!(got == kinds, "{got:?}, want {kinds:?}: {all:?}");
    for pair in tail.windows(2) {
        ensure!(pair[1]["cause"] == pair[0]["seq"], "{} is not the cause of {}", pair[0], pair[1]);
    }
    Ok(tail)
}

fn says(event: &Value, words: &[&str]) -> Result<()> {
    let text = event["text"].as_str().context("no text")?;
    ensure!(words.iter().all(|w| text.contains(w)), "{event} does not say {words:?}");
    Ok(())
}

/// Each daemon says that it began and, if it can, why it ends; the next one says how it ended.
fn of_the_daemon(d: &mut Daemon<'_, '_>) -> Result<()> {
    let version = d.get("/v1/version")?["version"].as_str().context("no version")?.to_owned();
    let first = last(d, &["daemon-started"])?.remove(0);
    ensure!(own(d)?.len() == 1 && first["cause"].is_null(), "something came before: {first}");
    says(&first, &[&version, &format!("process {}", d.pid()?), "the first since the host was booted"])?;
    d.resident("web", "")?;
    d.end()?;
    d.start()?;
    let tail = last(d, &["daemon-started", "daemon-ended", "daemon-started"])?;
    says(&tail[1], &["ends by SIGTERM", &version, &format!("process {}", tail_pid(&tail[0])?)])?;
    says(&tail[2], &[&format!("process {}", d.pid()?)])?;
    ensure!(!tail[2]["text"].to_string().contains("booted"), "{}", tail[2]);
    d.crash_and_start()?;
    let tail = last(d, &["daemon-killed", "daemon-started"])?;
    says(&tail[0], &["did not end by itself", "it was killed"])?;
    ensure!(tail[0]["severity"] == "warning", "{}", tail[0]);
    // One that cannot go on with its start says so, and is not taken for one that was killed.
    d.end()?;
    d.options = ["--web", "127.0.0.1:0", "--web-token", "/nonexistent"].map(str::to_owned).to_vec();
    d.spawn()?.wait()?.exits(1)?;
    d.options.clear();
    d.start()?;
    let tail = last(d, &["daemon-ended", "daemon-started", "daemon-failed", "daemon-started"])?;
    says(&tail[2], &["the token of --web", "/nonexistent"])?;
    // The host goes down with everything on it.
    d.reboot()?;
    d.start()?;
    let tail = last(d, &["daemon-killed", "daemon-started"])?;
    says(&tail[0], &["the host went down"])?;
    says(&tail[1], &["the first since the host was booted"])
}

/// The process that an event of a start names.
fn tail_pid(event: &Value) -> Result<&str> {
    let text = event["text"].as_str().context("no text")?;
    let rest = text.split("process ").nth(1).context("no process")?;
    Ok(rest.split(',').next().unwrap_or(rest))
}

/// A restart that waits because the host makes only so many: said once, with its cause and how long.
fn restart_budget(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.end()?;
    d.options = ["--restart-rate", "0.2", "--restart-burst", "1"].map(str::to_owned).to_vec();
    d.start()?;
    d.service("dies", &["exit", "3"], SOON)?;
    let find = |all: &[Value], kind: &str| all.iter().find(|e| e["kind"] == kind).cloned();
    let waits =
        wait_for(d.t.seconds(), || Ok(find(&d.events()?, "restart-waits"))).context("nothing waits")?;
    // The first restart took what there was at once.
    says(&waits, &["restart 2 waits for the restart budget of the host (0.2 a second, 1 at once), about "])?;
    ensure!(waits["instance"] == "dies.1" && waits["severity"] == "warning", "{waits}");
    let all = d.events()?;
    let cause = all.iter().find(|e| e["seq"] == waits["cause"]).context("its cause is not there")?;
    ensure!(cause["kind"] == "restart-scheduled" || cause["kind"] == "crash-loop", "{cause}");
    let budget = "the restart budget of the host";
    d.until_it("dies.1", "waiting for the budget", |i| {
        i["state"] == "waiting" && i["detail"].as_str().is_some_and(|t| t.contains(budget))
    })?;
    d.explains("dies.1", &[budget])?;
    // It is not forgotten: the start that follows names it as its cause.
    let next = wait_for(d.t.seconds(), || {
        let all = d.events()?;
        Ok(all.into_iter().find(|e| e["cause"] == waits["seq"]))
    })
    .context("no start after it")?;
    ensure!(next["kind"] == "creating", "{next}");
    // The twin: without such a budget nothing waits.
    d.end()?;
    d.options.clear();
    d.start()?;
    let since = d.events()?.last().context("no event")?["seq"].to_string();
    d.service("twin", &["exit", "3"], SOON)?;
    d.until_it("twin.1", "restarted", |i| i["restarts"].as_u64() >= Some(2))?;
    let text = d.request("GET", &format!("/v1/events?since={since}&target=twin&kind=restart-waits"), None)?;
    ensure!(text.is(200)?.body.is_empty(), "it waited although there is a budget");
    Ok(())
}
