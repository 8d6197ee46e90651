//! Init steps and sidecars: parts of another service, whose life is bound to it.

use anyhow::{Context, Result, ensure};

use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = orders();
    all.extend(ends());
    all
}

fn orders() -> Vec<Case> {
    vec![
        sup("parts.start-and-stop", "parts: before and after their service").seconds(40).daemon(|d| {
            pod(d)?;
            in_order(d)?;
            d.ctl(&["stop", "web"])?.ok()?;
            d.is("side.1", "held")?;
            let (web, side) = (last(d, "stopped", "web.1")?, last(d, "stopping", "side.1")?);
            ensure!(web < side, "web ended at {web}, its sidecar was told to at {side}");
            d.ctl(&["start", "web"])?.ok()?;
            until_ready(d)?;
            in_order(d)?;
            steps_ran(d, 2)
        }),
        sup("parts.restart", "parts: with the restart of their service").seconds(40).daemon(|d| {
            pod(d)?;
            let side = d.pid_of("side.1")?;
            d.ctl(&["restart", "web"])?.ok()?;
            until_ready(d)?;
            ensure!(d.pid_of("side.1")? != side, "its sidecar goes on");
            in_order(d)?;
            steps_ran(d, 2)
        }),
        sup("parts.restart-survives", "parts: a restart under a dying daemon").seconds(60).daemon(|d| {
            pod(d)?;
            for (nth, pause) in [(2, 0), (3, 150), (4, 450)] {
                let web = d.pid_of("web.1")?;
                d.request("POST", "/v1/orders", Some(r#"{"verb":"restart","targets":["web"]}"#))?.is(200)?;
                std::thread::sleep(std::time::Duration::from_millis(pause));
                d.crash_and_start()?;
                d.until_it("web.1", "restarted", |i| i["ready"] == true && i["pid"] != web)?;
                until_ready(d)?;
                let ran = d.log("second.1")?.len();
                ensure!(ran >= nth, "the init steps ran {ran} times, want at least {nth}");
            }
            in_order(d)
        }),
        sup("parts.update", "parts: with a change of their service").seconds(40).daemon(|d| {
            pod(d)?;
            let (web, side) = (d.pid_of("web.1")?, d.pid_of("side.1")?);
            d.service("web", &["trap", "TERM"], &format!("env = {{ V = '2' }}\n{SOON}"))?;
            d.until_it("web.1", "the new version", |i| i["ready"] == true && i["pid"] != web)?;
            ensure!(d.pid_of("side.1")? != side, "its sidecar goes on");
            in_order(d)?;
            steps_ran(d, 2)?;
            // A change of a part is about the part.
            let web = d.pid_of("web.1")?;
            d.write(
                "second",
                &step(
                    d,
                    "second",
                    "env = { V = '2' }\ndepends_on = [{ service = 'first', condition = 'succeeded' }]\n",
                ),
            )?;
            d.apply()?;
            wait_for(d.t.seconds(), || Ok((d.log("second.1")?.len() == 3).then_some(())))?;
            ensure!(d.pid_of("web.1")? == web, "it was restarted");
            Ok(())
        }),
        sup("parts.boot", "parts: at boot").seconds(40).daemon(|d| {
            pod(d)?;
            d.crash_and_start()?;
            steps_ran(d, 1)?;
            d.reboot()?;
            d.start()?;
            until_ready(d)?;
            in_order(d)?;
            steps_ran(d, 2)
        }),
    ]
}

fn ends() -> Vec<Case> {
    vec![
        sup("parts.crash", "parts: a crash of one leaves the others").seconds(40).daemon(|d| {
            pod(d)?;
            let (web, side) = (d.pid_of("web.1")?, d.pid_of("side.1")?);
            crate::os::kill(web, libc::SIGKILL);
            d.until_it("web.1", "back", |i| i["restarts"] == 1 && i["ready"] == true)?;
            ensure!(d.pid_of("side.1")? == side, "its sidecar was restarted");
            steps_ran(d, 1)?;
            let web = d.pid_of("web.1")?;
            crate::os::kill(side, libc::SIGKILL);
            d.until_it("side.1", "back", |i| i["restarts"] == 1 && i["ready"] == true)?;
            ensure!(d.pid_of("web.1")? == web, "it was restarted with its sidecar");
            Ok(())
        }),
        sup("parts.failed-step", "parts: an init step that fails").daemon(|d| {
            let step = "part_of = 'web'\n[restart]\ndelay = '10ms'\n[job]\nattempts = 2\n";
            d.write("broken", &d.text(&["exit", "3"], step))?;
            d.write("web", &d.text(&["trap", "TERM"], ""))?;
            d.apply()?;
            d.until("broken.1", "failed")?;
            d.until_it("web.1", "waiting", |i| i["detail"] == "waits for broken: succeeded")?;
            ensure!(d.instance("web.1")?["run"].is_null(), "started although its init step failed");
            d.write("broken", &d.text(&["exit", "0"], step))?;
            d.apply()?;
            d.until("web.1", "running").map(|_| ())
        }),
        sup("parts.removed", "parts: their service is removed").seconds(40).daemon(|d| {
            pod(d)?;
            d.ctl(&["rm", "web"])?.ok()?;
            d.until("side.1", "held")?;
            let (web, side) = (last(d, "stopped", "web.1")?, last(d, "stopping", "side.1")?);
            ensure!(web < side, "web ended at {web}, its sidecar was told to at {side}");
            Ok(())
        }),
        sup("parts.refused", "parts: of what is not there, of themselves, in a circle").daemon(|d| {
            d.resident("web", "")?;
            for (keys, said) in [
                ("part_of = 'wbe'\n", "did you mean \\\"web\\\"?"),
                ("part_of = 'side'\n", "part of itself"),
                ("part_of = 'web'\ndepends_on = ['web']\n", "in a circle: web -> side -> web"),
                ("part_of = 'web'\n[job]\nschedule = '@daily'\n", "a schedule of its own"),
            ] {
                d.write("side", &d.text(&["trap", "TERM"], keys))?;
                let problems = d.try_apply()?["problems"].clone();
                ensure!(problems[0]["line"].as_u64() > Some(0), "{keys:?} has no place: {problems}");
                ensure!(problems.to_string().contains(said), "{keys:?}: {problems}");
                ensure!(d.find("side.1")?.is_none(), "{keys:?} is in force");
            }
            d.write("side", &d.text(&["trap", "TERM"], "part_of = 'web'\n"))?;
            d.apply()?;
            d.until("side.1", "running")?;
            d.is("web.1", "running").map(|_| ())
        }),
    ]
}

/// An init step that says its name once a run.
fn step(d: &Daemon<'_, '_>, name: &str, keys: &str) -> String {
    d.text(&["all", "sleep", "100", "--", "echo", name], &format!("part_of = 'web'\n{keys}[job]\n"))
}

/// A service with two init steps, the second after the first, and a sidecar that is ready late.
fn pod(d: &Daemon<'_, '_>) -> Result<()> {
    let side = format!(
        "part_of = 'web'\n{SOON}[probes.readiness]\nexec = ['{PROBE}', 'true']\ninitial_delay = '300ms'\nperiod = '100ms'\n"
    );
    d.write("web", &d.text(&["trap", "TERM"], SOON))?;
    d.write("side", &d.text(&["trap", "TERM"], &side))?;
    d.write("first", &step(d, "first", ""))?;
    d.write("second", &step(d, "second", "depends_on = [{ service = 'first', condition = 'succeeded' }]\n"))?;
    d.apply()?;
    until_ready(d)
}

fn until_ready(d: &Daemon<'_, '_>) -> Result<()> {
    for i in ["side.1", "web.1"] {
        d.until_it(i, "ready", |i| i["ready"] == true)?;
    }
    Ok(())
}

/// The number of the last event of a kind.
fn last(d: &Daemon<'_, '_>, kind: &str, instance: &str) -> Result<u64> {
    let events = d.events()?;
    let found = events.iter().rev().find(|e| e["kind"] == kind && e["instance"] == instance);
    found.and_then(|e| e["seq"].as_u64()).with_context(|| format!("no event {kind} of {instance}"))
}

/// The last start of the service came after that of everything that is part of it.
fn in_order(d: &Daemon<'_, '_>) -> Result<()> {
    let first = last(d, "completed", "first.1")?;
    let second = [last(d, "creating", "second.1")?, last(d, "completed", "second.1")?];
    let side = last(d, "ready", "side.1")?;
    let web = last(d, "creating", "web.1")?;
    ensure!(first < second[0] && second[1] < web, "steps {first}, {second:?}, service {web}");
    ensure!(side < web, "sidecar ready at {side}, service made at {web}");
    Ok(())
}

fn steps_ran(d: &Daemon<'_, '_>, times: usize) -> Result<()> {
    for name in ["first", "second"] {
        let log = d.log(&format!("{name}.1"))?;
        ensure!(log == vec![name; times], "{name} ran {log:?}, want {times} times");
    }
    Ok(())
}
