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
