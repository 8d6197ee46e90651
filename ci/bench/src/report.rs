//! Results as JSON, and JSON as the page people read.
//! Reads facts about this machine and the binaries; changes nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bundle::Yard;
use crate::call::Cost;
use crate::figures::{All, Runtime, Series};

/// Everything of one lane in a form for later programs.
pub fn to_json(lane: &str, yard: &Yard, runtimes: &[Runtime], all: &All) -> Value {
    let by_name = |values: Vec<Value>| -> Value {
        runtimes.iter().map(|r| r.name.clone()).zip(values).collect::<serde_json::Map<_, _>>().into()
    };
    let timed: Vec<Value> = all
        .timed
        .iter()
        .map(|m| {
            json!({
                "figure": m.figure.title(), "filter": m.filter, "idle": m.idle,
                "runtimes": by_name(m.series.iter().map(times).collect()),
            })
        })
        .collect();
    let peak = |i: usize| by_name(all.peaks.iter().map(|p| peaks(&p[i])).collect());
    let traces = all.traces.iter().map(|t| match t {
        Ok(t) => json!({"calls": t.calls, "slow": t.slow}),
        Err(e) => json!({"invalid": e}),
    });
    let sizes = runtimes.iter().map(|r| json!({"binary": size(&r.path), "libraries": libraries(&r.path)}));
    json!({
        "lane": lane,
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "filter_names": yard.filter_names(),
        "runtimes": runtimes.iter().map(|r| json!({"name": r.name, "version": r.version})).collect::<Vec<_>>(),
        "timed": timed,
        "peak_kib": {"plain": peak(0), "filtered": peak(1)},
        "traces": by_name(traces.collect()),
        "bytes": by_name(sizes.collect()),
    })
}

fn times(series: &Series) -> Value {
    match series {
        Err(e) => json!({"invalid": e}),
        Ok(costs) => {
            let of = |part: fn(&Cost) -> f64| -> Value {
                let mut all: Vec<f64> = costs.iter().map(part).collect();
                all.sort_by(f64::total_cmp);
                json!({"p10": rank(&all, 10), "median": rank(&all, 50), "p90": rank(&all, 90)})
            };
            json!({
                "count": costs.len(),
                "wall_ms": of(|c| c.wall.as_secs_f64() * 1000.0),
                "cpu_ms": of(|c| c.cpu.as_secs_f64() * 1000.0),
            })
        }
    }
}

fn peaks(series: &Series) -> Value {
    match series {
        Err(e) => json!({"invalid": e}),
        Ok(costs) => {
            let mut all: Vec<i64> = costs.iter().map(|c| c.peak).collect();
            all.sort_unstable();
            json!({"median": all.get(all.len() / 2)})
        }
    }
}

/// The value below which a percentage of a sorted list lies, rounded to microseconds.
fn rank(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let value = sorted.get((last * percent + 50) / 100).copied().unwrap_or(0.0);
    (value * 1000.0).round() / 1000.0
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Bytes of the shared libraries that a program loads; 0 for a static one.
fn libraries(path: &Path) -> u64 {
    let said = Command::new("ldd").arg(path).output();
    let text = said.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let files = text.split_whitespace().filter(|w| w.starts_with('/') && w.contains(".so"));
    let mut files: Vec<&str> = files.collect();
    files.sort_unstable();
    files.dedup();
    files.into_iter().map(|f| size(Path::new(f))).sum()
}

/// One page of Markdown from the files of several lanes.
pub fn page(files: &[&String], bases: &str) -> Result<String> {
    let mut page = String::from(INTRODUCTION);
    for file in files {
        let text = fs::read(file).with_context(|| (*file).clone())?;
        lane(&mut page, &serde_json::from_slice(&text).with_context(|| (*file).clone())?, bases)?;
    }
    Ok(page)
}

const INTRODUCTION: &str = "# Numbers

Written by `ci/bench/run --write`; do not edit. All runtimes of a table were measured in one run on one machine, turn by
turn in rotating order. Milliseconds on the clock: median [10th percentile]; **in bold the ratio of the medians to the
peer named in the head**, below 1 is faster. A machine with other processors gives other milliseconds; the ratios are
what this page is for. The supervisor has [a page of its own](numbers-supervisor.md).

*Burst*: each start directly after the one before. *Idle*: 200 ms pause before each; then calls that wait for a grace period
of the kernel show. The bundle is what `runc spec` writes (namespaces pid, network, ipc, uts, mount; seven mounts, ten masked
paths), no terminal, a static program that ends at once. *Filtered*: with a seccomp profile of as many names as the head says.
*hybrid-bare* is a machine with v1 controllers and a cgroup2 tree that looks as if it had none, because some peers refuse
it otherwise. A runtime that failed, hung or left something behind is *invalid*, with its reason below the table.
";

fn lane(page: &mut String, data: &Value, bases: &str) -> Result<()> {
    let names: Vec<&str> =
        data["runtimes"].as_array().into_iter().flatten().filter_map(|r| r["name"].as_str()).collect();
    let base = base(data, &names, bases);
    writeln!(
        page,
        "\n## {}\n\nLinux {}, {} processors, profile of {} names, base of the ratios: {}.\n",
        data["lane"].as_str().unwrap_or("?"),
        data["kernel"].as_str().unwrap_or("?"),
        data["processors"],
        data["filter_names"],
        base.unwrap_or("none")
    )?;
    for r in data["runtimes"].as_array().into_iter().flatten() {
        writeln!(page, "- {}: {}", r["name"].as_str().unwrap_or("?"), r["version"].as_str().unwrap_or("?"))?;
    }
    writeln!(page, "\n| figure | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()))?;
    let mut notes = Notes::default();
    let mut row = |title: String, values: &Value, show: &dyn Fn(&Value) -> (f64, String)| {
        let other = base
            .map(|b| &values[b])
            .filter(|v| v.get("invalid").is_none() && !v.is_null())
            .map(|v| show(v).0);
        let cells = names.iter().map(|n| match values[*n].get("invalid").and_then(Value::as_str) {
            Some(why) => {
                notes.add(n, why, &title);
                "invalid".to_owned()
            }
            None => {
                let (number, text) = show(&values[*n]);
                match other {
                    Some(other) if Some(*n) != base && other > 0.0 => {
                        format!("{text} **{:.2}**", number / other)
                    }
                    _ => text,
                }
            }
        });
        format!("| {title} | {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut table = String::new();
    let milliseconds = |part: &'static str| {
        move |v: &Value| {
            let (median, low) =
                (v[part]["median"].as_f64().unwrap_or(0.0), v[part]["p10"].as_f64().unwrap_or(0.0));
            (median, format!("{median:.2} [{low:.2}]"))
        }
    };
    for m in data["timed"].as_array().into_iter().flatten() {
        let filtered = if m["filter"] == true { ", filtered" } else { "" };
        let pause = if m["idle"] == true { "idle" } else { "burst" };
        let title = format!("{}{filtered}, {pause}", m["figure"].as_str().unwrap_or("?"));
        table += &row(format!("{title}, ms"), &m["runtimes"], &milliseconds("wall_ms"));
        if m["figure"] == "run true" && m["idle"] == false {
            table += &row(format!("{title}, processor ms"), &m["runtimes"], &milliseconds("cpu_ms"));
        }
    }
    let whole = |v: &Value| (v.as_f64().unwrap_or(0.0), v.to_string());
    for (key, title) in
        [("plain", "peak memory of create, KiB"), ("filtered", "peak memory of create, filtered, KiB")]
    {
        table += &row(title.into(), &data["peak_kib"][key], &|v| whole(&v["median"]));
    }
    table += &row("system calls of run true".into(), &data["traces"], &|v| whole(&v["calls"]));
    table += &row("calls over 3 ms after a pause".into(), &data["traces"], &|v| {
        let slow: Vec<(String, u64)> = v["slow"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, n)| (k.clone(), n.as_u64().unwrap_or(0)))
            .collect();
        let names: Vec<&str> = slow.iter().map(|(k, _)| k.as_str()).collect();
        let total: u64 = slow.iter().map(|(_, n)| n).sum();
        // No ratio: the goal is none at all.
        (0.0, if total == 0 { "0".into() } else { format!("{total} ({})", names.join(", ")) })
    });
    table += &row("binary, KiB".into(), &data["bytes"], &|v| kib(v["binary"].as_u64()));
    table += &row("binary and libraries, KiB".into(), &data["bytes"], &|v| {
        kib(Some(v["binary"].as_u64().unwrap_or(0) + v["libraries"].as_u64().unwrap_or(0)))
    });
    page.push_str(&table);
    page.push_str(&notes.text());
    Ok(())
}

/// Why results are invalid, each reason of a runtime once.
#[derive(Default)]
struct Notes(Vec<(String, String, String, usize)>);

impl Notes {
    fn add(&mut self, runtime: &str, why: &str, title: &str) {
        // Times and ids differ between two failures of one reason.
        let kind: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
        match self.0.iter_mut().find(|(r, k, ..)| r == runtime && *k == kind) {
            Some((.., count)) => *count += 1,
            None => self.0.push((runtime.into(), kind, format!("{runtime}, {title}: {why}"), 1)),
        }
    }

    fn text(&self) -> String {
        let more = |count: usize| if count > 1 { format!(" ({count} rows)") } else { String::new() };
        self.0.iter().map(|(_, _, text, count)| format!("\nInvalid: {text}{}.\n", more(*count))).collect()
    }
}

fn kib(bytes: Option<u64>) -> (f64, String) {
    let kib = bytes.unwrap_or(0) / 1024;
    (kib as f64, kib.to_string())
}

/// The first of the wanted bases that can run a container in this lane.
fn base<'a>(data: &Value, names: &[&'a str], bases: &str) -> Option<&'a str> {
    let valid = |n: &str| data["timed"][0]["runtimes"][n]["wall_ms"].is_object();
    bases.split(',').find_map(|b| names.iter().copied().find(|n| *n == b && valid(n)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ranks_are_taken_from_the_sorted_list() {
        let list: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!((rank(&list, 10), rank(&list, 50), rank(&list, 90)), (1.0, 5.0, 9.0));
        assert_eq!(rank(&[], 50), 0.0);
    }

    #[test]
    fn the_page_shows_ratios_and_names_the_invalid() {
        let cost = |ms| Cost { wall: Duration::from_millis(ms), cpu: Duration::from_millis(ms), peak: 100 };
        let series = |ms: u64| times(&Ok(vec![cost(ms); 3]));
        let one = |a: Value, b: Value| json!({"ours": a, "crun": b});
        let data = json!({
            "lane": "unified", "kernel": "6.1", "processors": 2, "filter_names": 3,
            "runtimes": [{"name": "ours", "version": "v1"}, {"name": "crun", "version": "v2"}],
            "timed": [{"figure": "run true", "filter": false, "idle": false, "runtimes": one(series(3), series(6))}],
            "peak_kib": {"plain": one(json!({"median": 50}), json!({"median": 100})), "filtered": one(json!({"invalid": "it hung"}), json!({"median": 1}))},
            "traces": one(json!({"calls": 10, "slow": {}}), json!({"calls": 20, "slow": {"mount": 2}})),
            "bytes": one(json!({"binary": 2048, "libraries": 0}), json!({"binary": 1024, "libraries": 1024})),
        });
        let mut page = String::new();
        lane(&mut page, &data, "runc,crun").unwrap();
        assert!(page.contains("| run true, burst, ms | 3.00 [3.00] **0.50** | 6.00 [6.00] |"), "{page}");
        assert!(page.contains("| calls over 3 ms after a pause | 0 | 2 (mount) |"), "{page}");
        assert!(page.contains("Invalid: ours, peak memory of create, filtered, KiB: it hung."), "{page}");
        assert!(page.contains("| binary, KiB | 2 **2.00** | 1 |"), "{page}");
    }
}
