//! The memory ladder: who pays when memory runs short, in which order, and who never does. The host of these cases is the
//! group of all containers with a limit on it: nobody else on the machine is short of anything.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sup;
use crate::case::Case;
use crate::daemon::{Daemon, alive};
use crate::host::Need;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = shedding();
    all.extend(killed());
    all.extend(told());
    all.extend(layouts());
    all
}

const MEMORY: [Need; 1] = [Need::CgroupAny("memory")];
/// Bytes that all containers of a case have: services are shed when less than a quarter is available.
pub const HOST: u64 = 200 << 20;
const NO: &str = "[restart]\npolicy = 'no'\n";

/// The group of all containers in the memory hierarchy, and the name of its limit.
pub fn payload(d: &Daemon<'_, '_>) -> Result<(PathBuf, &'static str)> {
    let (top, unified) = d.t.yard.host.controller("memory").context("memory")?;
    let dir = top.join(d.parent.trim_start_matches('/')).join("payload");
    Ok((dir, if unified { "memory.max" } else { "memory.limit_in_bytes" }))
}

/// A daemon on a small host with a service that is protected, whose pid comes back.
fn small_host(d: &mut Daemon<'_, '_>, hold: &str) -> Result<i32> {
    d.options = ["--pressure-hold", hold, "--pressure-pause", "1"].map(String::from).to_vec();
    d.start()?;
    // The groups above are made with the first container.
    d.resident("vip", "[pressure]\npriority = 'protected'\n")?;
    let (dir, name) = payload(d)?;
    fs::write(dir.join(name), HOST.to_string()).context("the limit of all containers")?;
    d.pid_of("vip.1")
}

/// A story on a small host; the one that is protected runs to its end.
fn story(name: &str, what: &str, tell: impl Fn(&mut Daemon<'_, '_>) -> Result<()> + 'static) -> Case {
    slow_story(name, what, "2", tell)
}

/// The same where it takes so many seconds until memory counts as enough again.
fn slow_story(
    name: &str,
    what: &str,
    hold: &'static str,
    tell: impl Fn(&mut Daemon<'_, '_>) -> Result<()> + 'static,
) -> Case {
    sup(name, what).needs(MEMORY).seconds(60).steps(move |t| {
        let mut d = Daemon::new(t)?;
        let told = small_host(&mut d, hold).and_then(|pid| {
            tell(&mut d)?;
            ensure!(alive(pid) && d.pid_of("vip.1")? == pid, "what is protected has paid");
            Ok(())
        });
        let told = told.and_then(|()| d.finish().context("taking everything down"));
        if told.is_err() {
            d.testify();
        }
        told
    })
}

/// Events of one kind about an instance, or about the host: number and text.
fn events(d: &Daemon<'_, '_>, kind: &str, instance: Option<&str>) -> Result<Vec<(u64, String)>> {
    let of = |e: &&Value| e["kind"] == kind && e["instance"].as_str() == instance;
    let all = d.events()?;
    Ok(all
        .iter()
        .filter(of)
        .map(|e| (e["seq"].as_u64().unwrap_or(0), e["text"].as_str().unwrap_or("").to_owned()))
        .collect())
}

/// Waits for the nth event of one kind.
fn nth(d: &Daemon<'_, '_>, kind: &str, instance: Option<&str>, n: usize) -> Result<(u64, String)> {
    wait_for(d.t.seconds(), || Ok(events(d, kind, instance)?.get(n).cloned())).with_context(|| {
        format!("no event {kind} of {instance:?}; there are {:?}", d.events().map(Value::from))
    })
}

/// Waits until memory of the host is not called short.
fn calm(d: &Daemon<'_, '_>) -> Result<()> {
    let last = |kind| Ok::<_, anyhow::Error>(events(d, kind, None)?.last().map_or(0, |(seq, _)| *seq));
    wait_for(d.t.seconds(), || {
        let short = last("pressure-warn")?.max(last("pressure-act")?);
        Ok((short <= last("pressure-over")?).then_some(()))
    })
    .context("memory stays short")
}

fn hog(d: &Daemon<'_, '_>, name: &str, mib: u32, keys: &str) -> Result<()> {
    d.service(name, &["mem", &mib.to_string(), "hold"], &format!("[stop]\ngrace = '1s'\n{keys}"))
}

/// One of 120 MiB with a low priority, then one of 55 MiB with the usual one: too much for a host of 200 MiB.
fn two_hogs(d: &Daemon<'_, '_>, keys: &str) -> Result<()> {
    hog(d, "low", 120, keys)?;
    d.says("low.1", "120 MiB")?;
    hog(d, "usual", 55, "")?;
    d.says("usual.1", "55 MiB")
}

fn shedding() -> Vec<Case> {
    vec![
        story("ladder.evicts", "who pays when memory runs short", |d| {
            two_hogs(d, "[pressure]\npriority = 100\ngrace = '200ms'\n")?;
            let usual = d.pid_of("usual.1")?;
            let (evicted, why) = nth(d, "evicted", Some("low.1"), 0)?;
            for word in ["available, less than 50 MiB", "priority 100", "requested none"] {
                ensure!(why.contains(word), "{word} is not in {why}");
            }
            let (act, _) = nth(d, "pressure-act", None, 0)?;
            ensure!(act < evicted, "evicted before memory was called short");
            // It waits, and says so, and its end was nobody's failure.
            d.explains("low", &["it was evicted, and there is not yet enough again"])?;
            let exits = d.get("/v1/services/low")?["exits"].to_string();
            ensure!(exits.contains("evicted because memory is short"), "{exits}");
            // It comes back when memory is not short any more, however little is left for it: that is tried, but later and later.
            let (back, _) = nth(d, "returns", Some("low.1"), 0)?;
            let over = events(d, "pressure-warn", None)?;
            let over = [over, events(d, "pressure-over", None)?].concat();
            ensure!(over.iter().any(|(seq, _)| (evicted..back).contains(seq)), "back while memory was short");
            let started = events(d, "started", Some("low.1"))?;
            ensure!(
                !started.iter().any(|(seq, _)| (evicted..back).contains(seq)),
                "started before its return"
            );
            nth(d, "evicted", Some("low.1"), 1)?;
            ensure!(d.pid_of("usual.1")? == usual, "one of a higher priority has paid");
            // With the other one gone there is room for it.
            d.ctl(&["stop", "usual"])?.ok()?;
            let (_, why) = nth(d, "returns", Some("low.1"), 1)?;
            ensure!(why.contains("available"), "{why}");
            d.until("low.1", "running")?;
            ensure!(events(d, "crash-loop", Some("low.1"))?.is_empty(), "evictions count as failures");
            Ok(())
        }),
        story("ladder.kill9", "a daemon that dies in an eviction", |d| {
            // It does not listen to SIGTERM, so that its eviction takes its time.
            two_hogs(d, "[pressure]\npriority = 100\ngrace = '1m'\n")?;
            let low = d.pid_of("low.1")?;
            let (evicted, _) = nth(d, "evicted", Some("low.1"), 0)?;
            d.until("low.1", "stopping")?;
            d.crash_and_start()?;
            wait_for(d.t.seconds(), || Ok((!alive(low)).then_some(())))
                .context("the eviction was not gone on with")?;
            let (back, _) = nth(d, "returns", Some("low.1"), 0)?;
            let started = events(d, "started", Some("low.1"))?;
            ensure!(
                !started.iter().any(|(seq, _)| (evicted..back).contains(seq)),
                "started before its return"
            );
            Ok(())
        }),
        story("ladder.kill9-waiting", "a daemon that dies while victims wait", |d| {
            two_hogs(d, "[pressure]\npriority = 100\ngrace = '0s'\n")?;
            let (evicted, _) = nth(d, "evicted", Some("low.1"), 0)?;
            d.until("low.1", "waiting")?;
            d.crash_and_start()?;
            let (back, _) = nth(d, "returns", Some("low.1"), 0)?;
            let started = events(d, "started", Some("low.1"))?;
            ensure!(
                !started.iter().any(|(seq, _)| (evicted..back).contains(seq)),
                "started before its return"
            );
            // Whoever is stopped by hand waits for no memory.
            d.ctl(&["stop", "low"])?.ok()?;
            d.is("low.1", "held").map(|_| ())
        }),
        story("ladder.off", "services without rungs", |d| {
            two_hogs(d, "[pressure]\nrungs = []\n")?;
            nth(d, "pressure-act", None, 0)?;
            // The other one is as anybody.
            nth(d, "evicted", Some("usual.1"), 0)?;
            ensure!(events(d, "evicted", Some("low.1"))?.is_empty(), "evicted against its file");
            d.is("low.1", "running").map(|_| ())
        }),
    ]
}

const BY_KERNEL: &str = "the kernel killed it for want of it";

/// It waits, and only its return lets it start again.
fn waits_for_return(d: &Daemon<'_, '_>, name: &str) -> Result<()> {
    let instance = format!("{name}.1");
    d.explains(name, &[BY_KERNEL, "there is not yet enough again"])?;
    let (back, _) = nth(d, "returns", Some(&instance), 0)?;
    let started = events(d, "started", Some(&instance))?;
    ensure!(
        started.iter().filter(|(seq, _)| *seq < back).count() == 1,
        "started before its return: {started:?}"
    );
    wait_for(d.t.seconds(), || {
        Ok(events(d, "started", Some(&instance))?.into_iter().find(|(seq, _)| *seq > back))
    })
    .map(drop)
    .context("it returned and did not start")
}

/// The kernel is faster than the ladder, which leaves these alone.
fn killed() -> Vec<Case> {
    let greedy = format!("[pressure]\nrungs = []\n[stop]\ngrace = '0s'\n{}", super::SOON);
    let soon = greedy.clone();
    vec![
        slow_story(
            "ladder.kernel-kill9",
            "a daemon that dies while whom the kernel killed waits",
            "6",
            move |d| {
                // The twin: whom its own limit has killed waits for nobody, also over a daemon that dies.
                let keys = format!("[limits]\nmemory = '24MiB'\nswap = 0\n{}", super::SOON);
                d.service("own", &["mem", "100", "hold"], &keys)?;
                d.explains("own", &["the memory limit of 24 MiB was hit"])?;
                d.crash_and_start()?;
                let after = d.instance("own.1")?["restarts"].as_u64().unwrap_or(0);
                d.until_it("own.1", "restarted", |i| i["restarts"].as_u64().is_some_and(|n| n > after))?;
                let why = d.why("own")?.to_string();
                ensure!(!why.contains(BY_KERNEL) && events(d, "returns", Some("own.1"))?.is_empty(), "{why}");
                d.ctl(&["stop", "own"])?.ok()?;
                d.service("greedy", &["mem", "300", "hold"], &greedy)?;
                d.explains("greedy", &[BY_KERNEL])?;
                d.crash_and_start()?;
                waits_for_return(d, "greedy")
            },
        ),
        slow_story("ladder.kernel-unseen", "a kill by the kernel while no daemon is there", "6", move |d| {
            d.service("greedy", &["mem", "300", "hold", "15"], &soon)?;
            d.says("greedy.1", "20 MiB")?;
            let pid = d.pid_of("greedy.1")?;
            d.kill9()?;
            wait_for(d.t.seconds(), || Ok((!alive(pid)).then_some(())))
                .context("the kernel did not kill it")?;
            d.start()?;
            d.explains("greedy", &[BY_KERNEL])?;
            // Without the kernel's log nobody knows which of the two it was.
            let why = d.why("greedy")?.to_string();
            ensure!(
                why.contains("a memory limit above its own was hit") || why.contains("of the host ran out"),
                "{why}"
            );
            waits_for_return(d, "greedy")
        }),
    ]
}

/// Those that want to be warned are told of their own stalls, and nobody else of theirs.
fn own_stalls(d: &mut Daemon<'_, '_>) -> Result<()> {
    let keys = |pressure: &str| {
        let limits = "[limits]\nmemory = '256MiB'\nmemory_high = '16MiB'\nswap = 0\n";
        format!("{limits}[pressure]\nat_high = 'leave'\n{pressure}\n{NO}")
    };
    let warned = keys("signal = 'USR1'\nrungs = ['warn']");
    for (name, keys) in [("told", &warned), ("calm", &warned), ("silent", &keys("rungs = ['evict']"))] {
        d.service(name, &["trap", "USR1"], keys)?;
        d.ready(&format!("{name}.1"))?;
    }
    // Both come to a standstill at memory_high.
    let hog = |d: &mut Daemon<'_, '_>, name: &str| {
        d.ctl_running(&["exec", name, crate::base::PROBE, "mem", "100", "hold"])
    };
    let _silent = hog(d, "silent.1")?;
    d.explains("silent", &["slowed down"])?;
    let _told = hog(d, "told.1")?;
    let (_, text) = nth(d, "pressure-warned", Some("told.1"), 0)?;
    ensure!(text == "told by SIGUSR1; it stalls for memory", "{text}");
    d.says("told.1", "SIGUSR1")?;
    for name in ["calm.1", "silent.1"] {
        d.is(name, "running")?;
        ensure!(events(d, "pressure-warned", Some(name))?.is_empty(), "{name} was told");
    }
    ensure!(events(d, "pressure-warn", None)?.is_empty(), "the host counts though there is no ladder");
    Ok(())
}

/// Whether the container of an instance is frozen.
fn is_frozen(d: &Daemon<'_, '_>, run: &str) -> Result<bool> {
    let top = d.t.yard.host.v2.clone().context("no v2 tree")?;
    let dir = top.join(d.parent.trim_start_matches('/')).join("payload").join(run);
    // It may not be made yet.
    Ok(fs::read_to_string(dir.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1"))
}

fn frozen(d: &Daemon<'_, '_>, want: bool) -> Result<()> {
    wait_for(d.t.seconds(), || Ok((is_frozen(d, "low.1.1")? == want).then_some(())))
        .with_context(|| format!("frozen is not {want}; {:?}", d.events().map(Value::from)))
}

fn told() -> Vec<Case> {
    vec![
        story("ladder.warns", "services that are told", |d| {
            let keys = format!("[pressure]\nsignal = 'USR1'\nrungs = ['warn']\n{NO}");
            d.service("told", &["trap", "USR1"], &keys)?;
            d.ready("told.1")?;
            let keys = "[pressure]\nwatch = true\nrungs = ['warn']\n[stop]\ngrace = '100ms'\n";
            d.service("watches", &["all", "env", "--", "cat", "/run/knarr-pressure/watch"], keys)?;
            d.says("watches.1", "MEMORY_PRESSURE_WATCH=/run/knarr-pressure/watch")?;
            // On a slow machine memory can be short while they start: who comes up meanwhile is told the next time.
            calm(d)?;
            let before = events(d, "pressure-warn", None)?.len();
            hog(d, "low", 120, "[pressure]\nrungs = []\n")?;
            nth(d, "pressure-warn", None, before)?;
            d.says("told.1", "SIGUSR1")?;
            let (_, text) = nth(d, "pressure-warned", Some("told.1"), 0)?;
            ensure!(text.contains("told by SIGUSR1"), "{text}");
            let (_, text) = nth(d, "pressure-warned", Some("watches.1"), 0)?;
            ensure!(text.contains("told by MEMORY_PRESSURE_WATCH;"), "{text}");
            // What comes out of the FIFO is one line.
            d.says("watches.1", "")
        }),
        sup("ladder.own-stalls", "a service that stalls by itself is told")
            .needs([Need::CgroupV2Controller("memory"), Need::Psi])
            .seconds(60)
            .steps(|t| {
                let mut d = Daemon::new(t)?;
                // Without the ladder nobody is told for the host's sake.
                d.options = ["--pressure-available", "0"].map(String::from).to_vec();
                let told = d.start().and_then(|()| own_stalls(&mut d));
                let told = told.and_then(|()| d.finish().context("taking everything down"));
                if told.is_err() {
                    d.testify();
                }
                told
            }),
        story("ladder.freezes", "a service that is frozen for a time", |d| {
            // Nothing else helps: it would be thawed after a minute.
            hog(d, "usual", 55, "[pressure]\nrungs = []\n")?;
            d.says("usual.1", "55 MiB")?;
            let keys = "[pressure]\npriority = 100\nrungs = ['freeze']\nfreeze_for = '1m'\n";
            hog(d, "low", 120, keys)?;
            frozen(d, true)?;
            let pid = d.pid_of("low.1")?;
            d.explains("low", &["frozen for", "because memory is short"])?;
            // It stays so over a daemon that dies, and goes on when memory is there.
            d.crash_and_start()?;
            d.explains("low", &["frozen for"])?;
            ensure!(is_frozen(d, "low.1.1")?, "thawed by the death of the daemon");
            d.ctl(&["stop", "usual"])?.ok()?;
            frozen(d, false)?;
            let (_, why) = nth(d, "thawed", Some("low.1"), 0)?;
            ensure!(why.contains("not short any more"), "{why}");
            // Nobody would thaw it when the daemon has ended.
            d.ctl(&["start", "--no-wait", "usual"])?.ok()?;
            frozen(d, true)?;
            d.end()?;
            ensure!(!is_frozen(d, "low.1.1")?, "left frozen by a daemon that has ended");
            d.start()?;
            ensure!(d.pid_of("low.1")? == pid, "restarted");
            Ok(())
        })
        .needs([Need::CgroupV2]),
        story("ladder.frozen-in-time", "the limit of a freeze", |d| {
            hog(d, "usual", 55, "[pressure]\nrungs = []\n")?;
            d.says("usual.1", "55 MiB")?;
            hog(d, "low", 120, "[pressure]\npriority = 100\nrungs = ['freeze']\nfreeze_for = '1s'\n")?;
            nth(d, "frozen", Some("low.1"), 0)?;
            let (_, why) = nth(d, "thawed", Some("low.1"), 0)?;
            ensure!(why.contains("as long as it may be"), "{why}");
            // A stop reaches one that is frozen.
            nth(d, "frozen", Some("low.1"), 1)?;
            d.ctl(&["stop", "low"])?.ok()?;
            d.is("low.1", "held").map(|_| ())
        })
        .needs([Need::CgroupV2]),
    ]
}

/// What `plan` and then `apply` print about a new file of a service.
fn planned_and_applied(d: &mut Daemon<'_, '_>, name: &str, keys: &str) -> Result<[String; 2]> {
    let file = d.t.dir.join(format!("{name}.toml"));
    fs::write(&file, d.text(&["trap", "TERM"], keys))?;
    let file = file.display().to_string();
    Ok([d.ctl(&["plan", &file])?.ok()?.stdout, d.ctl(&["apply", &file])?.ok()?.stdout])
}

/// A live change of the rungs of a service that runs, which this host can do: nothing is said about it.
fn nobody_misses(d: &mut Daemon<'_, '_>, name: &str, keys: &str) -> Result<()> {
    let instance = format!("{name}.1");
    let before = events(d, "rungs-left-out", Some(&instance))?.len();
    for shown in planned_and_applied(d, name, keys)? {
        ensure!(shown.contains("pressure.rungs") && !shown.contains("warning"), "{shown}");
    }
    let now = d.is(&instance, "running")?;
    ensure!(now["detail"] == "", "{now}");
    let after = events(d, "rungs-left-out", Some(&instance))?.len();
    ensure!(after == before, "{after} events, had {before}");
    Ok(())
}

fn layouts() -> Vec<Case> {
    vec![
        sup("ladder.restart-above", "a leak that is restarted in time").needs(MEMORY).daemon(|d| {
            let keys = "[limits]\nmemory = '64MiB'\nswap = 0\n[stop]\ngrace = '100ms'\n";
            d.service(
                "leaks",
                &["mem", "40", "hold"],
                &format!("{keys}[pressure]\nrestart_above = '50% for 2s'\n"),
            )?;
            d.service(
                "full",
                &["mem", "40", "hold"],
                &format!("{keys}[pressure]\nrestart_above = '90% for 1s'\n"),
            )?;
            d.says("full.1", "40 MiB")?;
            let full = d.pid_of("full.1")?;
            let (_, why) = nth(d, "restart-above", Some("leaks.1"), 0)?;
            ensure!(why.contains("of 64 MiB, more than 50 % for"), "{why}");
            d.until_it("leaks.1", "another run", |i| i["run"] == "leaks.1.2" && i["state"] == "running")?;
            ensure!(d.pid_of("full.1")? == full, "restarted below its share");
            Ok(())
        }),
        sup("ladder.v2-only", "rungs on other hosts").needs([Need::V1("memory")]).daemon(|d| {
            for rung in ["throttle", "reclaim"] {
                d.service(
                    "a",
                    &["trap", "TERM"],
                    &format!("[pressure]\nrungs = ['{rung}']\n{}", super::SOON),
                )?;
                d.explains("a", &["needs-cgroup-v2", &format!("pressure.rungs: \\\"{rung}\\\"")])?;
            }
            d.resident("b", "[pressure]\nrungs = ['warn', 'evict']\n")
        }),
        sup("ladder.left-out", "rungs that a live change asks for and this host lacks")
            .needs([Need::V1("memory")])
            .daemon(|d| {
                let rungs = |list: &str| format!("[pressure]\nrungs = [{list}]\n");
                d.resident("a", &rungs("'warn'"))?;
                let pid = d.pid_of("a.1")?;
                // The twin: one that every host has.
                nobody_misses(d, "a", &rungs("'warn', 'evict'"))?;
                let lacks = "pressure.rungs: \"throttle\" needs the controllers of cgroup v2";
                for shown in planned_and_applied(d, "a", &rungs("'warn', 'throttle'"))? {
                    ensure!(shown.contains(&format!("warning: {lacks}")), "{shown}");
                }
                let (_, text) = nth(d, "rungs-left-out", Some("a.1"), 0)?;
                ensure!(text.starts_with(lacks) && text.contains("does not start again with it"), "{text}");
                d.until_it("a.1", "its status", |i| i["detail"].as_str().is_some_and(|t| t.contains(lacks)))?;
                ensure!(d.pid_of("a.1")? == pid, "restarted for a rung");
                // What was said is what comes.
                d.ctl(&["restart", "--no-wait", "a"])?.ok()?;
                d.explains("a", &["needs-cgroup-v2"])?;
                d.service("a", &["trap", "TERM"], &format!("{}{}", rungs("'warn'"), super::SOON))?;
                d.until("a.1", "running")?;
                nobody_misses(d, "a", &rungs("'evict'"))
            }),
        sup("ladder.left-out-v2", "rungs that a live change asks for and this host has")
            .needs([Need::CgroupV2Controller("memory")])
            .daemon(|d| {
                d.resident("a", "[pressure]\nrungs = ['warn']\n")?;
                let all = "[pressure]\nrungs = ['warn', 'reclaim', 'throttle', 'freeze', 'evict']\n";
                nobody_misses(d, "a", all)
            }),
        story("ladder.v2-rungs", "throttle and reclaim", |d| {
            hog(d, "usual", 90, "[pressure]\nrungs = []\n")?;
            d.says("usual.1", "90 MiB")?;
            // It grows while memory is short, and with the other one gone there is enough for it.
            let keys = "[stop]\ngrace = '1s'\n[pressure]\npriority = 100\nrungs = ['throttle', 'reclaim']\n";
            d.service("low", &["mem", "55", "hold", "50"], keys)?;
            nth(d, "throttled", Some("low.1"), 0)?;
            let high = |d: &Daemon<'_, '_>| super::config::kernel(d, "low.1", "memory", "", "memory.high");
            ensure!(high(d)? != "max", "memory.high is not set");
            d.explains("low", &["slowed down for"])?;
            nth(d, "reclaimed", Some("low.1"), 0)?;
            d.ctl(&["stop", "usual"])?.ok()?;
            nth(d, "unthrottled", Some("low.1"), 0)?;
            ensure!(high(d)? == "max", "memory.high is {}", high(d)?);
            Ok(())
        })
        .needs([Need::CgroupV2Controller("memory")]),
    ]
}
