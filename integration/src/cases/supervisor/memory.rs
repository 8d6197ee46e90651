//! Memory: limits that change while a service runs, who broke which limit, and starts that wait for room.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::config::kernel;
use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::{Daemon, texts};
use crate::host::Need;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = limits();
    all.extend(layouts());
    all.extend(evidence());
    all.extend(admission());
    all
}

const MEMORY: [Need; 1] = [Need::CgroupAny("memory")];

/// The limit of memory that the kernel has.
fn limit(d: &Daemon<'_, '_>, instance: &str) -> Result<String> {
    kernel(d, instance, "memory", "memory.limit_in_bytes", "memory.max")
}

/// Waits until the kernel has this limit.
fn limited(d: &Daemon<'_, '_>, instance: &str, bytes: &str) -> Result<()> {
    wait_for(d.t.seconds(), || Ok((limit(d, instance)? == bytes).then_some(())))
        .with_context(|| format!("{instance} has {:?}, want {bytes}", limit(d, instance)))
}

/// Waits for an event and gives its text.
fn event(d: &Daemon<'_, '_>, kind: &str) -> Result<String> {
    let found = wait_for(d.t.seconds(), || {
        Ok(d.events()?.iter().find(|e| e["kind"] == kind).and_then(|e| e["text"].as_str()).map(String::from))
    });
    found.with_context(|| {
        format!("no event {kind}; there are {:?}", d.events().map(|e| texts(&Value::from(e), "kind")))
    })
}

fn limits() -> Vec<Case> {
    vec![
        sup("memory.edit-is-live", "limits of what runs").needs(MEMORY).daemon(|d| {
            d.resident("a", "[limits]\nmemory = '64MiB'\npids = 50\n")?;
            let pid = d.pid_of("a.1")?;
            for (mib, pids) in [(96u64, 40), (48, 60)] {
                d.service(
                    "a",
                    &["trap", "TERM"],
                    &format!("[limits]\nmemory = '{mib}MiB'\npids = {pids}\n"),
                )?;
                limited(d, "a.1", &(mib << 20).to_string())?;
                let got = kernel(d, "a.1", "pids", "pids.max", "pids.max")?;
                ensure!(got == pids.to_string(), "pids {got}, want {pids}");
            }
            ensure!(event(d, "resized")?.contains("memory.limit 100663296"), "{}", event(d, "resized")?);
            ensure!(d.pid_of("a.1")? == pid, "restarted for a limit");
            // What is taken away again is what the kernel had without it.
            d.service("a", &["trap", "TERM"], "")?;
            wait_for(d.t.seconds(), || Ok(d.instance("a.1")?["memory_limit"].is_null().then_some(())))
                .context("the limit is not gone")?;
            ensure!(d.pid_of("a.1")? == pid, "restarted for a limit that is gone");
            Ok(())
        }),
        sup("memory.set", "knarrctl set").needs(MEMORY).daemon(|d| {
            d.resident("a", "# the shop's\n[limits]\nmemory = '64MiB' # tight\n")?;
            let pid = d.pid_of("a.1")?;
            let out = d.ctl(&["set", "a", "memory=96MiB", "pids=77"])?.ok()?;
            ensure!(
                out.stdout.contains("limits.memory") && out.stdout.contains("nothing restarts"),
                "{}",
                out.stdout
            );
            limited(d, "a.1", "100663296")?;
            let text = fs::read_to_string(d.services.join("a.toml"))?;
            ensure!(text.contains("# the shop's") && text.contains("\"96MiB\" # tight"), "{text}");
            let wrong = d.ctl(&["set", "a", "memory=96MB"])?;
            ensure!(wrong.code == Some(1) && wrong.stderr.contains("limits.memory"), "{wrong:?}");
            ensure!(fs::read_to_string(d.services.join("a.toml"))? == text, "a refused value was written");
            let nobody = d.ctl(&["set", "b", "memory=1MiB"])?;
            ensure!(nobody.code == Some(3), "{nobody:?}");
            ensure!(d.pid_of("a.1")? == pid, "restarted by set");
            Ok(())
        }),
        sup("memory.lower-than-use", "limits of what runs").needs(MEMORY).daemon(|d| {
            d.service(
                "hog",
                &["mem", "40", "hold"],
                "[limits]\nmemory = '64MiB'\nswap = 0\n[restart]\npolicy = 'no'\n",
            )?;
            d.says("hog.1", "40 MiB")?;
            let pid = d.pid_of("hog.1")?;
            d.ctl(&["set", "hog", "memory=24MiB"])?.ok()?;
            let why = event(d, "resize-refused")?;
            ensure!(why.contains("new limit of 24 MiB"), "{why}");
            d.explains("hog", &["new limits are not in force", "24 MiB"])?;
            ensure!(limit(d, "hog.1")? == "67108864", "limit {}", limit(d, "hog.1")?);
            // One that has room is taken, and nobody was killed on the way.
            d.ctl(&["set", "hog", "memory=56MiB"])?.ok()?;
            limited(d, "hog.1", "58720256")?;
            ensure!(d.pid_of("hog.1")? == pid, "the hog was restarted");
            Ok(())
        }),
        sup("memory.changed-without-daemon", "limits of what runs").needs(MEMORY).daemon(|d| {
            d.resident("a", "[limits]\nmemory = '64MiB'\n")?;
            let pid = d.pid_of("a.1")?;
            d.kill9()?;
            d.write("a", &d.text(&["trap", "TERM"], "[limits]\nmemory = '80MiB'\n"))?;
            d.start()?;
            limited(d, "a.1", "83886080")?;
            ensure!(d.pid_of("a.1")? == pid, "restarted for a limit");
            Ok(())
        }),
    ]
}

fn layouts() -> Vec<Case> {
    vec![
        sup("memory.v2-only", "limits on other hosts").needs([Need::V1("memory")]).daemon(|d| {
            d.service("a", &["trap", "TERM"], &format!("[limits]\nmemory = '64MiB'\nmemory_high = '48MiB'\n{SOON}"))?;
            d.explains("a", &["needs-cgroup-v2", "limits.memory_high"])?;
            d.resident("a", "[limits]\nmemory = '64MiB'\nmemory_request = '16MiB'\n")?;
            let soft = kernel(d, "a.1", "memory", "memory.soft_limit_in_bytes", "")?;
            ensure!(soft == "16777216", "soft limit {soft}");
            Ok(())
        }),
        sup("memory.v2-files", "limits").needs([Need::CgroupV2Controller("memory")]).daemon(|d| {
            let file = |d: &Daemon<'_, '_>, name: &str| kernel(d, "a.1", "memory", "", name);
            let keys = "[limits]\nmemory = '64MiB'\nmemory_request = '16MiB'\nmemory_high = '48MiB'\nmemory_min = '4MiB'\n";
            d.resident("a", keys)?;
            let pid = d.pid_of("a.1")?;
            for (name, want) in [
                ("memory.low", "16777216"),
                ("memory.high", "50331648"),
                ("memory.min", "4194304"),
                ("memory.oom.group", "1"),
            ] {
                ensure!(file(d, name)? == want, "{name}: {}", file(d, name)?);
            }
            d.ctl(&["set", "a", "memory_high=", "oom_group=false", "memory_request=8MiB"])?.ok()?;
            wait_for(d.t.seconds(), || Ok((file(d, "memory.oom.group")? == "0").then_some(()))).context("oom.group")?;
            // Nine tenths of the way from what it asks for to what it may have, in whole pages of 4 KiB or larger ones.
            let between = (8u64 << 20) + (56 << 20) / 10 * 9;
            let high: u64 = file(d, "memory.high")?.parse()?;
            ensure!(high <= between && between - high < 64 << 10 && file(d, "memory.low")? == "8388608", "high {high}");
            d.ctl(&["set", "a", "memory_high=none"])?.ok()?;
            wait_for(d.t.seconds(), || Ok((file(d, "memory.high")? == "max").then_some(()))).context("memory.high")?;
            ensure!(d.pid_of("a.1")? == pid, "restarted for a limit");
            Ok(())
        }),
    ]
}

/// Whether the kernel's log may be read here: only that says of which limit a kill was.
fn log_is_readable() -> bool {
    fs::File::open("/dev/kmsg").is_ok()
}

fn evidence() -> Vec<Case> {
    const NO: &str = "[restart]\npolicy = 'no'\n";
    vec![
        sup("memory.own-limit", "who broke which limit").needs(MEMORY).daemon(|d| {
            d.service(
                "hog",
                &["mem", "200", "hold"],
                &format!("[limits]\nmemory = '24MiB'\nswap = 0\n{NO}"),
            )?;
            d.until("hog.1", "failed")?;
            d.explains("hog", &["the memory limit of 24 MiB was hit", "peak 2"])?;
            d.explains("hog", &["memory-verdict", "culprit: it hit its own limit"])
        }),
        sup("memory.limit-above", "who broke which limit").needs(MEMORY).daemon(|d| {
            // The groups above are made with the first container.
            d.resident("calm", "")?;
            let (top, unified) = d.t.yard.host.controller("memory").context("memory")?;
            let above = top.join(d.parent.trim_start_matches('/')).join("payload");
            let (name, none) = if unified { ("memory.max", "max") } else { ("memory.limit_in_bytes", "-1") };
            fs::write(above.join(name), (96u64 << 20).to_string()).context("the limit above")?;
            // The kernel is to find it, and not the ladder.
            let keys = format!("[limits]\nmemory_request = '16MiB'\n[pressure]\nrungs = []\n{NO}");
            let told =
                d.service("hog", &["mem", "300", "hold"], &keys).and_then(|()| d.until("hog.1", "failed"));
            fs::write(above.join(name), none).context("the limit above")?;
            told?;
            let why = d.why("hog")?.to_string();
            let want =
                if log_is_readable() { "a memory limit above its own was hit" } else { "the kernel killed" };
            ensure!(why.contains(want) && !why.contains("the memory limit of"), "{why}");
            if log_is_readable() {
                let verdict = event(d, "memory-verdict")?;
                ensure!(
                    verdict.starts_with("culprit: it used up to") && verdict.ends_with("request of 16 MiB"),
                    "{verdict}"
                );
            }
            d.is("calm.1", "running").map(|_| ())
        }),
        sup("memory.child-killed", "kills of single processes").needs(MEMORY).daemon(|d| {
            d.resident("a", "[limits]\nmemory = '32MiB'\nswap = 0\noom_group = false\n")?;
            let pid = d.pid_of("a.1")?;
            let out = d.ctl(&["exec", "a.1", PROBE, "mem", "200"])?;
            ensure!(out.code == Some(137), "the command was to be killed: {out:?}");
            if log_is_readable() {
                let text = event(d, "oom-child-killed")?;
                ensure!(
                    text.contains("(probe)") && text.contains("the memory limit of 32 MiB was hit"),
                    "{text}"
                );
                d.explains("a", &["runs since", "killed for memory inside it once"])?;
            }
            ensure!(d.pid_of("a.1")? == pid, "the first process was to go on");
            Ok(())
        }),
        sup("memory.no-oom", "exit 137 alone").needs(MEMORY).daemon(|d| {
            let keys = format!("[limits]\nmemory = '64MiB'\n{NO}");
            d.service("exits", &["exit", "137"], &keys)?;
            d.resident("killed", &keys)?;
            d.ctl(&["kill", "-s", "KILL", "killed"])?.ok()?;
            for name in ["exits", "killed"] {
                let now = d.until(&format!("{name}.1"), "failed")?;
                ensure!(now["last_exit"] == 137, "{now}");
                let why = d.why(name)?["summary"].to_string();
                ensure!(!why.contains("memory") && !why.contains("kernel"), "{why}");
            }
            let events = Value::from(d.events()?);
            ensure!(!texts(&events, "kind").iter().any(|k| k.starts_with("oom")), "{events}");
            Ok(())
        }),
    ]
}

fn admission() -> Vec<Case> {
    vec![sup("memory.admission", "starts that wait for memory").steps(|t| {
        let mut d = Daemon::new(t)?;
        let info = fs::read_to_string("/proc/meminfo")?;
        let total = info
            .lines()
            .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let total = total.context("MemTotal")? << 10;
        // 100 MiB are left for requests, and may be promised twice.
        d.options = ["--memory-reserve", &(total - (100 << 20)).to_string(), "--memory-overcommit", "2"]
            .map(String::from)
            .to_vec();
        d.start()?;
        let asks = |mib: u32| format!("[limits]\nmemory_request = '{mib}MiB'\n");
        d.resident("a", &asks(120))?;
        d.resident("free", "")?;
        d.service("b", &["trap", "TERM"], &asks(90))?;
        let waits = d.until_it("b.1", "waiting for memory", |i| {
            i["detail"].as_str().is_some_and(|t| t.contains("memory"))
        })?;
        let detail = waits["detail"].as_str().unwrap_or("");
        for word in ["90 MiB requested", "80 MiB of 200 MiB left", "held by a.1 (120 MiB)"] {
            ensure!(detail.contains(word), "{detail}");
        }
        ensure!(waits["state"] == "waiting", "{waits}");
        d.explains("b", &["starts when there is memory", "a.1 (120 MiB)"])?;
        std::thread::sleep(Duration::from_millis(500));
        let refused = d.events()?.iter().filter(|e| e["kind"] == "admission-refused").count();
        ensure!(refused == 1, "told {refused} times");
        // Another one that fits does not wait behind it, and what frees memory lets it go on.
        d.resident("c", &asks(10))?;
        d.ctl(&["stop", "a"])?.ok()?;
        d.ready("b.1")?;
        d.ctl(&["start", "--no-wait", "a"])?.ok()?;
        d.explains("a", &["b.1 (90 MiB)"])?;
        // Lower requests are as good, without a restart.
        let pid = d.pid_of("b.1")?;
        d.ctl(&["set", "b", "memory_request=50MiB"])?.ok()?;
        d.until("a.1", "running")?;
        ensure!(d.pid_of("b.1")? == pid, "restarted for a request");
        d.finish()
    })]
}
