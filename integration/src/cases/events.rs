//! `events`: statistics in runc's shape, once and in a stream; being out of memory; the end of the stream.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::{Out, Running, Trial, wait_for};

const MIB: i64 = 1 << 20;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = once();
    all.extend(streams());
    all.extend(refusals());
    all
}

fn events(t: &mut Trial<'_>, options: &[&str]) -> Result<Out> {
    let id = t.id.clone();
    let mut all = vec!["events"];
    all.extend(options);
    all.push(&id);
    t.rt(&all).run()
}

/// `events --stats`: the only line, and its data.
fn stats(t: &mut Trial<'_>) -> Result<Value> {
    let out = events(t, &["--stats"])?.ok()?;
    ensure!(out.stdout.ends_with('\n') && out.stdout.lines().count() == 1, "one line: {:?}", out.stdout);
    let event = out.json()?;
    ensure!(event["type"] == "stats" && event["id"] == t.id.as_str(), "{event}");
    Ok(event["data"].clone())
}

/// A stream of events every 100 ms.
fn stream(t: &mut Trial<'_>) -> Result<Running> {
    let id = t.id.clone();
    t.rt(&["events", "--interval", "100ms", &id]).spawn()
}

/// Lines so far, each an object of this container.
fn lines(t: &Trial<'_>, text: &str) -> Result<Vec<Value>> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|l| {
            let v: Value = serde_json::from_str(l).with_context(|| format!("not JSON: {l}"))?;
            ensure!(v["id"] == t.id.as_str(), "{v}");
            Ok(v)
        })
        .collect()
}

fn number(v: &Value, pointer: &str) -> Result<u64> {
    v.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no number at {pointer} of {v}"))
}

fn keys(v: &Value) -> BTreeSet<&str> {
    v.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Who waits for `start` counts with its threads: knarr's has one, that of a runtime in Go some.
fn waiting(t: &mut Trial<'_>) -> Result<()> {
    let count = stats(t)?["pids"]["current"].as_u64().context("pids.current")?;
    ensure!(if t.runtime.strict { count == 1 } else { count > 0 }, "{count} are counted");
    Ok(())
}

fn once() -> Vec<Case> {
    let text = "cli: events --stats";
    let memory = [Need::CgroupAny("memory"), Need::CgroupAny("pids"), Need::CgroupAny("cpu")];
    vec![
        case("events.stats-shape").checks(text).steps(|t| {
            t.resident()?;
            let data = stats(t)?;
            let want =
                ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"];
            ensure!(keys(&data) == want.into(), "{:?}", keys(&data));
            ensure!(data["network_interfaces"].is_null(), "{data}");
            ensure!(keys(&data["cpu"]).is_superset(&["throttling", "usage"].into()), "{data}");
            ensure!(keys(&data["cpu"]["usage"]).is_superset(&["kernel", "user"].into()), "{data}");
            for kind in ["usage", "swap", "kernel", "kernelTCP"] {
                ensure!(
                    keys(&data["memory"][kind]).is_superset(&["failcnt", "limit"].into()),
                    "{kind}: {data}"
                );
            }
            let sets = [
                "cpu_exclusive",
                "mem_exclusive",
                "mem_hardwall",
                "memory_migrate",
                "memory_pressure",
                "memory_spread_page",
                "memory_spread_slab",
                "sched_load_balance",
                "sched_relax_domain_level",
            ];
            ensure!(keys(&data["cpuset"]).is_superset(&sets.into()), "{data}");
            Ok(())
        }),
        case("events.stats-limits")
            .checks(text)
            .needs(memory)
            .spec(|s| {
                s["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB});
                s["linux"]["resources"]["pids"] = json!({"limit": 21});
            })
            .steps(|t| {
                t.resident()?;
                let data = stats(t)?;
                ensure!(number(&data, "/memory/usage/limit")? == 64 << 20, "{data}");
                ensure!(data["pids"] == json!({"current": 1, "limit": 21}), "{}", data["pids"]);
                let id = t.id.clone();
                t.rt(&["update", "--pids-limit", "-1", "--memory", "80m", &id]).run()?.ok()?;
                let data = stats(t)?;
                // No limit is left out.
                ensure!(data["pids"] == json!({"current": 1}), "{}", data["pids"]);
                ensure!(number(&data, "/memory/usage/limit")? == 80 << 20, "{data}");
                Ok(())
            }),
        case("events.stats-memory")
            .checks(text)
            .needs([Need::CgroupAny("memory")])
            .spec(|s| s["process"]["args"] = json!([PROBE, "mem", "24", "hold"]))
            .steps(|t| {
                t.run_detached()?;
                t.payload_says("24 MiB")?;
                let data = stats(t)?;
                let usage = number(&data, "/memory/usage/usage")?;
                ensure!((24 << 20..64 << 20).contains(&usage), "24 MiB are held, {usage} bytes are told");
                let kind = if t.cgroup("memory")?.v2 { "anon" } else { "rss" };
                ensure!(number(&data, &format!("/memory/raw/{kind}"))? >= 20 << 20, "{data}");
                let limit = number(&data, "/memory/usage/limit")?;
                ensure!(limit >= 9_223_372_036_854_771_712, "no limit is a great number, got {limit}");
                Ok(())
            }),
        case("events.stats-cpu")
            .checks(text)
            .needs([Need::CgroupAny("cpu"), Need::Busybox])
            .spec(|s| {
                s["process"]["args"] = json!(["/bin/sh", "-c", "while :; do :; done"]);
                s["linux"]["resources"]["cpu"] = json!({"quota": 10000, "period": 100000});
            })
            .steps(|t| {
                t.run_detached()?;
                let seconds = t.seconds();
                // Used, and held back by its quota.
                let data = wait_for(seconds, || {
                    let data = stats(t)?;
                    let held = number(&data, "/cpu/throttling/throttledTime").unwrap_or(0);
                    Ok(Some(data).filter(|_| held > 50_000_000))
                })?;
                let total = number(&data, "/cpu/usage/total")?;
                ensure!(total > 1_000_000, "nanoseconds: {data}");
                ensure!(number(&data, "/cpu/throttling/periods")? > 0, "{data}");
                ensure!(number(&data, "/cpu/throttling/throttledPeriods")? > 0, "{data}");
                let later = wait_for(seconds, || {
                    let now = number(&stats(t)?, "/cpu/usage/total")?;
                    Ok(Some(now).filter(|now| *now > total))
                });
                later.map(|_| ())
            }),
        case("events.stats-psi")
            .checks("cli: events, pressure")
            .needs([Need::NoV1("memory"), Need::CgroupV2])
            .steps(|t| {
                t.resident()?;
                let data = stats(t)?;
                for kind in ["cpu", "memory", "blkio"] {
                    let psi = &data[kind]["psi"];
                    for half in ["some", "full"] {
                        let want = ["avg10", "avg300", "avg60", "total"];
                        ensure!(keys(&psi[half]) == want.into(), "{kind}/psi/{half}: {data}");
                    }
                }
                Ok(())
            }),
        case("events.stats-created").checks(text).needs([Need::CgroupAny("pids")]).probe(["true"]).steps(
            |t| {
                t.create()?;
                waiting(t)?;
                t.verb("pause", &[])?.ok()?;
                waiting(t)
            },
        ),
        case("events.stats-hugetlb")
            .checks(text)
            .needs([Need::CgroupAny("hugetlb")])
            .spec(|s| {
                s["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4 * MIB}]);
            })
            .steps(|t| {
                t.resident()?;
                let data = stats(t)?;
                ensure!(data["hugetlb"]["2MB"]["failcnt"] == 0, "{}", data["hugetlb"]);
                Ok(())
            }),
    ]
}

fn streams() -> Vec<Case> {
    let text = "cli: events";
    vec![
        case("events.stream").checks(text).steps(|t| {
            let pid = t.resident()?;
            let running = stream(t)?;
            let seconds = t.seconds();
            wait_for(seconds, || Ok(Some(()).filter(|()| running.so_far().0.lines().count() >= 3)))?;
            for event in lines(t, &running.so_far().0)? {
                ensure!(event["type"] == "stats" && event["data"]["cpu"].is_object(), "{event}");
            }
            // The stream ends with the container.
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            t.remove()?;
            let out = running.wait()?.ok()?;
            lines(t, &out.stdout)?;
            Ok(())
        }),
        case("events.interval-is-kept").checks("cli: events --interval").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            let slow = t.rt(&["events", "--interval", "1h", &id]).spawn()?;
            let fast = t.rt(&["events", "--interval=50ms", &id]).spawn()?;
            let seconds = t.seconds();
            wait_for(seconds, || Ok(Some(()).filter(|()| fast.so_far().0.lines().count() >= 4)))?;
            ensure!(slow.so_far().0.is_empty(), "nothing before the first hour: {:?}", slow.so_far().0);
            t.remove()?;
            for running in [slow, fast] {
                running.wait()?.ok()?;
            }
            Ok(())
        }),
        case("events.oom")
            .checks("cli: events, oom")
            .needs([Need::CgroupAny("memory"), Need::Busybox])
            .spec(|s| {
                s["linux"]["resources"]["memory"] = json!({"limit": 16 * MIB, "swap": 16 * MIB});
                // The first process stays when another one is killed.
                let script =
                    "while [ ! -e /go ]; do sleep 0.05; done; /probe mem 64; echo killed; sleep 1000";
                s["process"]["args"] = json!(["/bin/sh", "-c", script]);
            })
            .steps(|t| {
                t.run_detached()?;
                let running = stream(t)?;
                let seconds = t.seconds();
                wait_for(seconds, || Ok(Some(()).filter(|()| !running.so_far().0.is_empty())))?;
                t.put("/go", "", 0o644)?;
                t.payload_says("killed")?;
                let oom = wait_for(seconds, || {
                    Ok(lines(t, &running.so_far().0)?.into_iter().find(|e| e["type"] == "oom"))
                })?;
                ensure!(keys(&oom) == ["id", "type"].into(), "{oom}");
                t.is("running")?;
                t.remove()?;
                running.wait()?.ok()?;
                Ok(())
            }),
        case("events.oom-of-the-last")
            .checks("cli: events, oom")
            .needs([Need::CgroupAny("memory"), Need::Busybox])
            .spec(|s| {
                s["linux"]["resources"]["memory"] = json!({"limit": 16 * MIB, "swap": 16 * MIB});
                let script = "while [ ! -e /go ]; do sleep 0.05; done; exec /probe mem 64";
                s["process"]["args"] = json!(["/bin/sh", "-c", script]);
            })
            .steps(|t| {
                t.run_detached()?;
                let pid = t.pid()?;
                let running = stream(t)?;
                let seconds = t.seconds();
                wait_for(seconds, || Ok(Some(()).filter(|()| !running.so_far().0.is_empty())))?;
                t.put("/go", "", 0o644)?;
                ensure!(t.ended(pid)? == 137);
                let out = wait_for(seconds, || {
                    Ok(Some(running.so_far().0).filter(|o| o.contains("\"type\":\"oom\"")))
                });
                t.remove()?;
                out?;
                running.wait()?.ok()?;
                Ok(())
            }),
    ]
}

fn refusals() -> Vec<Case> {
    let text = "cli: events, refusals";
    vec![
        case("events.of-the-stopped").checks(text).steps(|t| {
            let pid = t.resident()?;
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            t.is("stopped")?;
            for options in [vec!["--stats"], vec![]] {
                events(t, &options)?.exits(1)?.fails()?.says("is not running")?;
            }
            Ok(())
        }),
        case("events.of-nobody").checks(text).steps(|t| {
            t.works()?;
            events(t, &["--stats"])?.exits(1)?.fails()?.says("does not exist")?;
            Ok(())
        }),
        case("events.interval-wrong").checks(text).steps(|t| {
            t.resident()?;
            for bad in ["0s", "-1s"] {
                events(t, &["--interval", bad])?.exits(1)?.fails()?.says("must be greater than 0")?;
            }
            for bad in ["5", "soon", ""] {
                events(t, &[&format!("--interval={bad}")])?.exits(1)?.fails()?;
            }
            Ok(())
        }),
    ]
}
