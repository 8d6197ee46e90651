//! Orders about several services at once, and what a person is told while one takes its time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::order::{chain, first};
use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::Daemon;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = several();
    all.extend(waiting());
    all
}

fn several() -> Vec<Case> {
    vec![
        sup("orders.stop-several", "knarrctl stop: dependency order").daemon(|d| {
            slow_chain(d)?;
            d.ctl(&["stop", "db", "web", "app"])?.ok()?.prints("stopped db\nstopped web\nstopped app\n")?;
            let ended = first(d, "stopped", &["web.1", "app.1", "db.1"])?;
            ensure!(ended.is_sorted(), "web depends on app depends on db, ended in the order {ended:?}");
            let told = first(d, "stopping", &["web.1", "app.1", "db.1"])?;
            ensure!(ended[0] < told[1] && ended[1] < told[2], "not one after the other: {told:?}, {ended:?}");
            d.ctl(&["start", "web", "db", "app"])?.ok()?;
            let at = first(d, "started", &["db.1", "app.1", "web.1"])?;
            ensure!(at.is_sorted(), "started in the order {at:?}");
            Ok(())
        }),
        // What is between them is not in the order, and goes on.
        sup("orders.restart-several", "knarrctl restart: dependency order").daemon(|d| {
            slow_chain(d)?;
            let app = d.pid_of("app.1")?;
            d.ctl(&["restart", "db", "web"])?.ok()?;
            let stopped = first(d, "stopped", &["web.1", "db.1"])?;
            let started = first(d, "started", &["db.1", "web.1"])?;
            let order = [stopped[0], stopped[1], started[0], started[1]];
            ensure!(order.is_sorted(), "stopped {stopped:?} (web, db), started {started:?} (db, web)");
            ensure!(d.pid_of("app.1")? == app, "app was not to be restarted");
            Ok(())
        }),
        sup("orders.start-several", "knarrctl start: dependency order").daemon(|d| {
            slow_chain(d)?;
            d.ctl(&["stop", "web", "db"])?.ok()?;
            d.ctl(&["start", "web", "db"])?.ok()?;
            let at = first(d, "started", &["db.1", "web.1"])?;
            ensure!(at.is_sorted(), "started in the order {at:?}, db comes first");
            Ok(())
        }),
        sup("orders.remove-several", "knarrctl rm: dependency order").daemon(|d| {
            slow_chain(d)?;
            d.ctl(&["rm", "db", "app", "web"])?.ok()?;
            let at = first(d, "stopped", &["web.1", "app.1", "db.1"])?;
            ensure!(at.is_sorted(), "ended in the order {at:?}");
            ensure!(d.get("/v1/instances")? == serde_json::json!([]), "something is left");
            Ok(())
        }),
        // The one that waits its turn is still restarted when the daemon dies meanwhile.
        sup("orders.restart-survives", "knarrctl restart: a killed daemon").daemon(|d| {
            slow_chain(d)?;
            let before = [d.pid_of("db.1")?, d.pid_of("web.1")?];
            d.request("POST", "/v1/orders", Some(r#"{"verb":"restart","targets":["db","web"]}"#))?.is(200)?;
            ensure!(
                d.instance("db.1")?["detail"] == "restarts after what depends on it",
                "{}",
                d.instance("db.1")?
            );
            d.crash_and_start()?;
            for (instance, pid) in [("db.1", before[0]), ("web.1", before[1])] {
                d.until_it(instance, "a new run", |i| i["state"] == "running" && i["pid"] != pid)?;
            }
            Ok(())
        }),
        sup("orders.one-is-unknown", "API: orders about several").daemon(|d| {
            d.resident("a", "")?;
            let out = d.ctl(&["stop", "nosuch", "a", "B!", "--json"])?.exits(3)?;
            let all: Value = serde_json::from_str(&out.stdout)?;
            ensure!(all[1]["done"] == true && all[0]["done"] == false && all[2]["done"] == false, "{all}");
            d.is("a.1", "held")?;
            let outcomes =
                d.request("POST", "/v1/orders", Some(r#"{"verb":"start","targets":["nosuch"]}"#))?;
            ensure!(outcomes.is(200)?.json()?[0]["error"]["code"] == "not-found", "no code for a program");
            for body in [
                r#"{"verb":"start","targets":[]}"#,
                r#"{"verb":"burn","targets":["a"]}"#,
                r#"{"verb":"start"}"#,
                r#"{"verb":"start","targets":["a"],"more":1}"#,
                r#"["start","a"]"#,
            ] {
                d.request("POST", "/v1/orders", Some(body))?.is(400).context(body)?;
            }
            let read_only = d.run.join("knarrd-ro.sock");
            let body = r#"{"verb":"start","targets":["a"]}"#;
            crate::daemon::http(&read_only, "POST", "/v1/orders", Some(body))?.is(403)?;
            d.is("a.1", "held").map(|_| ())
        }),
    ]
}

/// web depends on app depends on db; each takes a moment to end, so that an order between their ends shows.
fn slow_chain(d: &Daemon<'_, '_>) -> Result<()> {
    chain(d)?;
    for name in ["web", "app", "db"] {
        let text = std::fs::read_to_string(d.services.join(format!("{name}.toml")))?;
        let slow = text
            .replace(SOON, &format!("{SOON}[hooks]\npre_stop = [{{ command = ['/bin/sleep', '0.3'] }}]\n"));
        ensure!(slow != text, "{name} is not as expected: {text}");
        d.write(name, &slow)?;
    }
    d.apply()?;
    for i in ["db.1", "app.1", "web.1"] {
        d.until(i, "running")?;
    }
    Ok(())
}

fn waiting() -> Vec<Case> {
    vec![
        sup("orders.start-says-what-it-waits-for", "knarrctl start: a held dependency").daemon(|d| {
            let after = "depends_on = [{ service = 'db', timeout = '30s' }]\n";
            d.resident("db", "")?;
            d.ctl(&["stop", "db"])?.ok()?;
            d.write("app", &d.text(&["trap", "TERM"], after))?;
            d.apply()?;
            d.until("app.1", "waiting")?;
            let waiting = d.ctl_running(&["start", "app", "--json"])?;
            let said = "app.1 waits for db: started (stopped by hand), at most ";
            wait_for(d.t.seconds(), || Ok(waiting.so_far().1.contains(said).then_some(())))
                .with_context(|| format!("it said {:?}", waiting.so_far()))?;
            std::thread::sleep(Duration::from_millis(1800));
            d.ctl(&["start", "db"])?.ok()?;
            let out = waiting.wait()?.ok()?;
            ensure!(out.stderr.lines().count() == 1, "not said once: {}", out.stderr);
            let all: Value = serde_json::from_str(&out.stdout)?;
            let what = &all[0]["waited_for"]["app.1"];
            ensure!(what.as_str().is_some_and(|w| w.starts_with("db: started")), "{all}");
            Ok(())
        }),
        sup("orders.start-keeps-the-limit", "knarrctl start: a dependency that never comes").daemon(|d| {
            d.resident("db", "")?;
            d.ctl(&["stop", "db"])?.ok()?;
            let after = "depends_on = [{ service = 'db', timeout = '2s' }]\n[restart]\npolicy = 'no'\n";
            d.write("app", &d.text(&["trap", "TERM"], after))?;
            d.apply()?;
            let out = d.ctl(&["start", "app"])?.exits(6)?;
            ensure!(
                out.stderr.contains("app.1 waits for db") && out.stderr.contains("waited too long"),
                "{}",
                out.stderr
            );
            Ok(())
        }),
    ]
}
