//! A chain of three tiers, db ready -> app ready -> proxy, through everything that moves it: no tier is ever started while the
//! one below it is not there.

use anyhow::{Context, Result, ensure};

use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::Daemon;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("tiers.boot", "dependencies: a chain at boot and after a reboot").seconds(40).daemon(|d| {
            tiers(d)?;
            in_order(d)?;
            // What this looks for is what a failed start says.
            d.service("control", &["stat", "/nothing-up"], "[restart]\npolicy = 'no'\n")?;
            d.until("control.1", "failed")?;
            ensure!(
                no_failed_start_of(d, "control.1").is_err(),
                "a failed start is not seen: {:?}",
                d.log("control.1")
            );
            d.ctl(&["rm", "control"])?.ok()?;
            d.reboot()?;
            // What a tier holds while it lives is gone with the host.
            forget(d)?;
            d.start()?;
            all_ready(d)?;
            in_order(d)?;
            no_failed_start(d)
        }),
        sup("tiers.kill", "dependencies: a chain whose first tier is killed").seconds(40).daemon(|d| {
            tiers(d)?;
            let app = d.pid_of("app.1")?;
            crate::os::kill(d.pid_of("db.1")?, libc::SIGKILL);
            d.until_it("db.1", "restarted", |i| i["restarts"] == 1 && i["ready"] == true)?;
            ensure!(d.pid_of("app.1")? == app, "what depends on it was restarted, too");
            // Both: the second one waits until the first one is ready again, whose end is known first.
            let (db, app) = (d.pid_of("db.1")?, d.pid_of("app.1")?);
            crate::os::kill(db, libc::SIGKILL);
            d.until_it("db.1", "not ready any more", |i| i["ready"] == false)?;
            crate::os::kill(app, libc::SIGKILL);
            d.until_it("app.1", "back", |i| i["restarts"] == 1 && i["ready"] == true)?;
            let waited = d.events()?;
            let waited =
                waited.iter().any(|e| e["instance"] == "app.1" && e["text"] == "waits for db: ready");
            ensure!(waited, "app did not wait for db");
            no_failed_start(d)
        }),
        sup("tiers.update", "dependencies: a chain whose second tier changes").seconds(40).daemon(|d| {
            tiers(d)?;
            let before = ["db.1", "app.1", "proxy.1"].map(|i| d.pid_of(i));
            let [db, app, proxy] = before;
            let (db, app, proxy) = (db?, app?, proxy?);
            d.write("app", &app_text(d, "env = { VERSION = '2' }\n"))?;
            d.apply()?;
            d.until_it("app.1", "the new version", |i| i["ready"] == true && i["pid"] != app)?;
            d.until_it("proxy.1", "restarted with it", |i| i["ready"] == true && i["pid"] != proxy)?;
            ensure!(d.pid_of("db.1")? == db, "what it depends on was restarted");
            in_order(d)?;
            no_failed_start(d)
        }),
        // All of it in one life: what one part leaves behind is there for the next.
        sup("tiers.whole-life", "dependencies: boot, a killed first tier, an update, a reboot")
            .seconds(60)
            .daemon(|d| {
                tiers(d)?;
                in_order(d)?;
                crate::os::kill(d.pid_of("db.1")?, libc::SIGKILL);
                d.until_it("db.1", "restarted", |i| i["restarts"] == 1 && i["ready"] == true)?;
                let (app, proxy) = (d.pid_of("app.1")?, d.pid_of("proxy.1")?);
                d.write("app", &app_text(d, "env = { VERSION = '2' }\n"))?;
                d.apply()?;
                d.until_it("app.1", "the new version", |i| i["ready"] == true && i["pid"] != app)?;
                d.until_it("proxy.1", "restarted with it", |i| i["ready"] == true && i["pid"] != proxy)?;
                in_order(d)?;
                let runs = d.log("app.1")?.iter().filter(|l| *l == "ready").count();
                d.reboot()?;
                forget(d)?;
                d.start()?;
                all_ready(d)?;
                in_order(d)?;
                // Its log has all of its lives, and no failed start.
                let again = d.log("app.1")?.iter().filter(|l| *l == "ready").count();
                ensure!(
                    (runs, again) == (2, 3),
                    "app was ready {runs} times before the reboot, {again} after it"
                );
                no_failed_start(d)
            }),
        // The same, and the daemon dies at every point of it.
        sup("tiers.restart-survives", "dependencies: a chain restarted under a dying daemon")
            .seconds(60)
            .daemon(|d| {
                tiers(d)?;
                for pause in [0, 50, 150, 400] {
                    let proxy = d.pid_of("proxy.1")?;
                    d.request("POST", "/v1/orders", Some(r#"{"verb":"restart","targets":["db"]}"#))?
                        .is(200)?;
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                    d.crash_and_start()?;
                    d.until_it("proxy.1", "restarted", |i| i["ready"] == true && i["pid"] != proxy)?;
                    all_ready(d)?;
                }
                no_failed_start(d)
            }),
    ]
}

/// A tier takes a while until it is ready; then `/NAME-up` is there, which is gone with it. The next tier fails without it.
fn tier(d: &Daemon<'_, '_>, name: &str, needs: Option<&str>, keys: &str) -> String {
    let (up, below) = (format!("/{name}-up"), needs.map(|n| format!("/{n}-up")));
    let mut command = vec!["all"];
    if let Some(below) = &below {
        command.extend(["stat", below, "--"]);
    }
    command.extend(["sleep", "300", "--", "write", &up, "yes", "--", "trap", "TERM"]);
    let gone = d.t.rootfs().join(&up[1..]).display().to_string();
    let after = needs.map_or(String::new(), |n| {
        format!("depends_on = [{{ service = '{n}', condition = 'ready', restart = true }}]\n")
    });
    let tables = format!(
        "{SOON}[probes.readiness]\nexec = ['{PROBE}', 'stat', '{up}']\nperiod = '100ms'\n\
         [hooks]\npost_stop = [{{ command = ['/bin/rm', '-f', '{gone}'] }}]\n"
    );
    d.text(&command, &format!("{after}{keys}{tables}"))
}

fn app_text(d: &Daemon<'_, '_>, keys: &str) -> String {
    tier(d, "app", Some("db"), keys)
}

fn tiers(d: &Daemon<'_, '_>) -> Result<()> {
    d.write("proxy", &tier(d, "proxy", Some("app"), ""))?;
    d.write("app", &app_text(d, ""))?;
    d.write("db", &tier(d, "db", None, ""))?;
    d.apply()?;
    all_ready(d)
}

fn all_ready(d: &Daemon<'_, '_>) -> Result<()> {
    for i in ["db.1", "app.1", "proxy.1"] {
        d.until_it(i, "ready", |i| i["ready"] == true)?;
    }
    Ok(())
}

fn forget(d: &Daemon<'_, '_>) -> Result<()> {
    for name in ["db", "app", "proxy"] {
        std::fs::remove_file(d.t.rootfs().join(format!("{name}-up"))).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// Each tier's last start is after the last `ready` of the one below.
fn in_order(d: &Daemon<'_, '_>) -> Result<()> {
    let events = d.events()?;
    let last = |kind: &str, i: &str| {
        events.iter().rev().find(|e| e["kind"] == kind && e["instance"] == i).and_then(|e| e["seq"].as_u64())
    };
    for (below, above) in [("db.1", "app.1"), ("app.1", "proxy.1")] {
        let (ready, creating) = (last("ready", below), last("creating", above));
        ensure!(ready.is_some() && ready < creating, "{below} ready {ready:?}, {above} made {creating:?}");
    }
    Ok(())
}

/// `stat` of what is not there is a failed start, and says so.
fn no_failed_start(d: &Daemon<'_, '_>) -> Result<()> {
    ["app.1", "proxy.1"].iter().try_for_each(|i| no_failed_start_of(d, i))
}

fn no_failed_start_of(d: &Daemon<'_, '_>, instance: &str) -> Result<()> {
    let log = d.log(instance)?;
    let wrong: Vec<_> = log.iter().filter(|l| l.contains("ENOENT")).collect();
    ensure!(wrong.is_empty(), "{instance} had a failed start: {wrong:?}");
    Ok(())
}
