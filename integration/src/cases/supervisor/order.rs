//! Dependencies: who starts after whom, who stops before whom, what happens when one never comes.

use anyhow::{Context, Result, ensure};

use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::Daemon;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("order.start", "dependency order at start").daemon(|d| {
            chain(d)?;
            let at = first(d, "started", &["db.1", "app.1", "web.1"])?;
            ensure!(at.is_sorted(), "web depends on app depends on db, started in the order {at:?}");
            Ok(())
        }),
        sup("order.stop", "dependency order at stop").daemon(|d| {
            chain(d)?;
            for name in ["db", "app", "web"] {
                std::fs::remove_file(d.services.join(format!("{name}.toml")))?;
            }
            d.apply()?;
            crate::trial::wait_for(d.t.seconds(), || {
                Ok(d.get("/v1/instances")?.as_array().is_some_and(Vec::is_empty).then_some(()))
            })
            .context("all are removed")?;
            let at = first(d, "stopped", &["web.1", "app.1", "db.1"])?;
            ensure!(at.is_sorted(), "web depends on app depends on db, ended in the order {at:?}");
            Ok(())
        }),
        sup("order.waits", "dependency conditions").daemon(|d| {
            d.resident("db", "")?;
            d.post("/v1/services/db/stop?wait=true")?;
            d.service("app", &["trap", "TERM"], &after("db", "started", ""))?;
            d.until("app.1", "waiting")?;
            d.explains("app", &["db"])?;
            d.post("/v1/services/db/start")?;
            d.until("app.1", "running").map(|_| ())
        }),
        sup("order.completed", "dependency condition completed").daemon(|d| {
            d.write(
                "init",
                &d.text(&["all", "sleep", "700", "--", "exit", "0"], "[restart]\npolicy = 'no'\n"),
            )?;
            d.write("app", &d.text(&["trap", "TERM"], &after("init", "completed", "")))?;
            d.write("strict", &d.text(&["trap", "TERM"], &after("init", "succeeded", "")))?;
            d.apply()?;
            d.until("app.1", "waiting")?;
            d.until("app.1", "running")?;
            d.until("strict.1", "running")?;
            d.is("init.1", "exited").map(|_| ())
        }),
        sup("order.completed-with-a-failure", "dependency condition completed").daemon(|d| {
            d.write(
                "init",
                &d.text(&["all", "sleep", "700", "--", "exit", "4"], "[restart]\npolicy = 'no'\n"),
            )?;
            d.write("app", &d.text(&["trap", "TERM"], &after("init", "completed", "")))?;
            d.apply()?;
            d.until("app.1", "waiting")?;
            d.until("app.1", "running")?;
            d.is("init.1", "failed").map(|_| ())
        }),
        sup("order.succeeded-not-failed", "dependency condition succeeded").daemon(|d| {
            d.write("init", &d.text(&["exit", "4"], "[restart]\npolicy = 'no'\n"))?;
            d.write("app", &d.text(&["trap", "TERM"], &after("init", "succeeded", "")))?;
            d.apply()?;
            d.until("init.1", "failed")?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            let now = d.instance("app.1")?;
            ensure!(now["run"].is_null(), "started although what it waits for failed: {now}");
            d.explains("app", &["init"])
        }),
        sup("order.timeout", "dependency timeout").daemon(|d| {
            d.write("init", &d.text(&["trap", "TERM"], ""))?;
            let keys =
                format!("{}[restart]\npolicy = 'no'\n", after("init", "completed", ", timeout = '500ms'"));
            d.write("app", &d.text(&["trap", "TERM"], &keys))?;
            d.apply()?;
            d.until("app.1", "failed")?;
            d.explains("app", &["init"])
        }),
        sup("order.dependency-dies", "dependency after its start").daemon(|d| {
            chain(d)?;
            let app = d.pid_of("app.1")?;
            crate::os::kill(d.pid_of("db.1")?, libc::SIGKILL);
            d.until_it("db.1", "restarted", |i| i["restarts"] == 1 && i["state"] == "running")?;
            ensure!(d.pid_of("app.1")? == app, "what depends on it was restarted too");
            Ok(())
        }),
        sup("order.cycle", "dependency cycles").daemon(|d| {
            d.resident("other", "")?;
            d.write("a", &d.text(&["trap", "TERM"], &after("b", "started", "")))?;
            d.write("b", &d.text(&["trap", "TERM"], &after("a", "started", "")))?;
            let plan = d.try_apply()?;
            let said = plan["problems"].to_string();
            ensure!(said.contains("depends_on"), "a cycle was not refused: {plan}");
            ensure!(d.find("a.1")?.is_none_or(|i| i["run"].is_null()), "a part of a cycle was started");
            d.is("other.1", "running").map(|_| ())
        }),
    ]
}

/// The key that waits for another service.
fn after(name: &str, condition: &str, more: &str) -> String {
    format!("depends_on = [{{ service = '{name}', condition = '{condition}'{more} }}]\n")
}

/// web depends on app depends on db; all run.
pub fn chain(d: &Daemon<'_, '_>) -> Result<()> {
    d.write("web", &d.text(&["trap", "TERM"], &format!("{}{SOON}", after("app", "started", ""))))?;
    d.write("app", &d.text(&["trap", "TERM"], &format!("{}{SOON}", after("db", "healthy", ""))))?;
    d.write("db", &d.text(&["trap", "TERM"], SOON))?;
    d.apply()?;
    for i in ["db.1", "app.1", "web.1"] {
        d.until(i, "running")?;
    }
    Ok(())
}

/// The numbers of the last events of a kind, one an instance.
pub fn first(d: &Daemon<'_, '_>, kind: &str, instances: &[&str]) -> Result<Vec<u64>> {
    let events = d.events()?;
    let number = |i: &&str| {
        let e = events.iter().rev().find(|e| e["kind"] == kind && e["instance"] == **i);
        e.and_then(|e| e["seq"].as_u64()).with_context(|| format!("no event {kind} of {i}"))
    };
    instances.iter().map(number).collect()
}
