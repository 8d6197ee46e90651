//! Results as JSON, and JSON as the page people read.
//! Reads facts about this machine; changes nothing.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bundle::Yard;
use crate::row::Row;
use crate::runtime::Runtime;

/// Everything of one lane in a form for later programs.
pub fn to_json(lane: &str, yard: &Yard, runtimes: &[Runtime], rows: &[Row], filters: Option<Value>) -> Value {
    let names: Vec<String> = runtimes.iter().map(|r| r.name.clone()).collect();
    json!({
        "lane": lane,
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "filter_names": yard.filter_names(),
        "runtimes": runtimes.iter().map(|r| json!({"name": r.name, "version": r.version})).collect::<Vec<_>>(),
        "figures": rows.iter().map(|r| r.to_json(&names)).collect::<Vec<_>>(),
        "filters": filters,
    })
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
turn in rotating order. Median [10th percentile]; **in bold the ratio of the medians to the peer named in the head**, below 1
is less. A machine with other processors gives other milliseconds; the ratios are what this page is for. The supervisor
has [a page of its own](numbers-supervisor.md).

The column *floor* is no runtime: it is `ci/bench/floor`, which makes the kernel calls of `run` for this one bundle with
everything hard-wired. It reads and checks no configuration, keeps no state, explains no failure, protects no binary, looks for
no race. What stands under *knarr* above it is the price of being a runtime.

*Burst*: each start directly after the one before. *Idle*: 200 ms pause before each; then calls that wait for a grace period
of the kernel show. *Filtered*: with a seccomp profile of as many names as the head says. *hybrid-bare* is a machine with
v1 controllers and a cgroup2 tree that looks as if it had none, because some peers refuse it otherwise. A runtime that failed,
hung or left something behind is *invalid*, with its reason below the table; `-` was not measured.

| figure | what is measured |
|---|---|
| run true | one `run`, from before the start of the runtime until its end is collected. State lies on a tmpfs. The bundle is what `runc spec` writes (namespaces pid, network, ipc, uts, mount; seven mounts, ten masked paths), no terminal, a static program that ends at once; after the last one nothing may be left |
| processor ms | user and system time of the runtime and of what it waited for, of the same calls |
| p90 / median | of the same calls: how far the slower ones are from the usual one |
| create, start, delete | each of the three commands; `delete` when the program has ended. Their sum is the line before. The pause of *idle* is before `create` |
| exec true, exec -t true | one `exec` of the same program into a container that sleeps; `-t` on a new pseudo-terminal |
| state, list of 1, kill | on a container that sleeps; the signal is one that its program ignores |
| run true, 40 mounts | as `run true`, with 33 bind mounts more, 30 variables, 20 annotations, 14 capabilities, a cgroup namespace, a root that can be written to |
| N at a time | N callers that start one container after the other, 48 in all: starts per second |
| N alive | the same calls while N containers of the same runtime sleep; one runtime after the other, so the machine may have changed between columns, not between lines |
| peak memory | largest resident memory of the command or of a process that it waited for, with a small parent |
| private memory | pages that nobody else has (`Private_*` of smaps_rollup): of the process that waits for `start`; of `run` while the program sleeps |
| smallest memory limit | by halving, to 16 KiB: four runs in a row succeed. Only where the lane has the memory controller |
| system calls | by `strace -f`, of all processes until the command ends; with `run` and `exec` the container's program is one of them (14 calls of its own); median of five |
| processes made, programs started | successful calls of fork and execve kind of the same trace |
| calls over 3 ms | of the trace with the fewest, after a pause, but for calls whose purpose is to wait |
| instructions | of `run true` and all its processes, the container's program among them: by perf where the processor can be asked, else those outside the kernel, counted by executing them one at a time |
| filter | the profile built and installed once in a new process: by knarr's compiler and by libseccomp as runtimes use it (names resolved, rules added, program generated) |
";

/// How the cells of a row are shown.
struct Look<'a> {
    names: &'a [&'a str],
    base: Option<&'a str>,
}

impl Look<'_> {
    /// A line of the table. `of` takes a cell apart: the number to compare, and the text.
    fn row(
        &self,
        title: &str,
        cells: &Value,
        notes: &mut Notes,
        of: &dyn Fn(&Value) -> (f64, String),
    ) -> String {
        let valid = |v: &&Value| v.get("invalid").is_none() && !v.is_null();
        let other = self.base.map(|b| &cells[b]).filter(valid).map(|v| of(v).0);
        let mut line = format!("| {title} |");
        for name in self.names {
            let cell = &cells[*name];
            let text = match cell.get("invalid").and_then(Value::as_str) {
                _ if cell.is_null() => "-".to_owned(),
                Some(why) => {
                    notes.add(name, why, title);
                    "invalid".to_owned()
                }
                None => {
                    let (number, text) = of(cell);
                    match other {
                        Some(other) if Some(*name) != self.base && other > 0.0 => {
                            format!("{text} **{:.2}**", number / other)
                        }
                        _ => text,
                    }
                }
            };
            let _ = write!(line, " {text} |");
        }
        line + "\n"
    }
}

fn lane(page: &mut String, data: &Value, bases: &str) -> Result<()> {
    let names: Vec<&str> =
        data["runtimes"].as_array().into_iter().flatten().filter_map(|r| r["name"].as_str()).collect();
    let look = Look { names: &names, base: base(data, &names, bases) };
    writeln!(
        page,
        "\n## {}\n\nLinux {}, {} processors, profile of {} names, base of the ratios: {}.\n",
        data["lane"].as_str().unwrap_or("?"),
        data["kernel"].as_str().unwrap_or("?"),
        data["processors"],
        data["filter_names"],
        look.base.unwrap_or("none")
    )?;
    for r in data["runtimes"].as_array().into_iter().flatten() {
        writeln!(page, "- {}: {}", r["name"].as_str().unwrap_or("?"), r["version"].as_str().unwrap_or("?"))?;
    }
    writeln!(page, "\n| figure | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()))?;
    let mut notes = Notes::default();
    for figure in data["figures"].as_array().into_iter().flatten() {
        page.push_str(&lines(figure, &look, &mut notes));
    }
    filters(page, &data["filters"])?;
    page.push_str(&notes.text());
    Ok(())
}

/// One figure: a line, and for what makes containers some more about the same calls.
fn lines(figure: &Value, look: &Look<'_>, notes: &mut Notes) -> String {
    let title = figure["figure"].as_str().unwrap_or("?");
    let unit = figure["unit"].as_str().unwrap_or("");
    let cells = &figure["runtimes"];
    let full = if unit.is_empty() { title.to_owned() } else { format!("{title}, {unit}") };
    let median = |v: &Value| v["median"].as_f64().unwrap_or(0.0);
    let mut out = match unit {
        "ms" => look.row(&full, cells, notes, &|v| {
            (median(v), format!("{:.2} [{:.2}]", median(v), v["p10"].as_f64().unwrap_or(0.0)))
        }),
        _ => look.row(&full, cells, notes, &|v| {
            let kinds: Vec<&str> =
                v["kinds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let names = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
            (median(v), format!("{}{names}", median(v).round()))
        }),
    };
    if unit == "ms" && title.starts_with("run true") && title.ends_with("burst") {
        let cpu = |v: &Value| v["cpu"]["median"].as_f64().unwrap_or(0.0);
        out += &look
            .row(&format!("{title}, processor ms"), cells, notes, &|v| (cpu(v), format!("{:.2}", cpu(v))));
        let tail = |v: &Value| v["p90"].as_f64().unwrap_or(0.0) / median(v).max(f64::MIN_POSITIVE);
        // No ratio of ratios.
        let alone = Look { names: look.names, base: None };
        out += &alone
            .row(&format!("{title}, p90 / median"), cells, notes, &|v| (tail(v), format!("{:.2}", tail(v))));
    }
    out
}

fn filters(page: &mut String, data: &Value) -> Result<()> {
    let Some(all) = data.as_array() else { return Ok(()) };
    writeln!(page, "\n| filter | build, us | install, us | both | instructions |\n|---|---|---|---|---|")?;
    let both = |f: &Value| f["build_us"].as_f64().unwrap_or(0.0) + f["install_us"].as_f64().unwrap_or(0.0);
    let other = all.iter().find(|f| f["name"] == "libseccomp").map(both);
    for f in all {
        let ratio = match other {
            Some(other) if f["name"] != "libseccomp" && other > 0.0 => format!(" **{:.3}**", both(f) / other),
            _ => String::new(),
        };
        writeln!(
            page,
            "| {} | {} | {} | {:.0}{ratio} | {} |",
            f["name"].as_str().unwrap_or("?"),
            f["build_us"],
            f["install_us"],
            both(f),
            f["instructions"]
        )?;
    }
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

/// The first of the wanted bases that can run a container in this lane.
fn base<'a>(data: &Value, names: &[&'a str], bases: &str) -> Option<&'a str> {
    let valid = |n: &str| data["figures"][0]["runtimes"][n]["median"].is_number();
    bases.split(',').find_map(|b| names.iter().copied().find(|n| *n == b && valid(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_ratios_and_names_the_invalid() {
        let ms = |ms: f64| json!({"median": ms, "p10": ms, "p90": 2.0 * ms, "cpu": {"median": ms}});
        let one = |a: Value, b: Value| json!({"ours": a, "crun": b});
        let figure =
            |title: &str, unit: &str, cells: Value| json!({"figure": title, "unit": unit, "runtimes": cells});
        let data = json!({
            "lane": "unified", "kernel": "6.1", "processors": 2, "filter_names": 3,
            "runtimes": [{"name": "ours", "version": "v1"}, {"name": "crun", "version": "v2"}],
            "figures": [
                figure("run true, burst", "ms", one(ms(3.0), ms(6.0))),
                figure("peak memory of create", "KiB", one(json!({"invalid": "it hung"}), json!({"median": 1}))),
                figure("calls over 3 ms", "calls", one(json!({"median": 0}), json!({"median": 2, "kinds": ["mount"]}))),
                figure("starts", "per second", one(Value::Null, json!({"median": 9}))),
            ],
            "filters": [{"name": "knarr", "build_us": 50.0, "install_us": 50.0, "instructions": 3},
                {"name": "libseccomp", "build_us": 900.0, "install_us": 100.0, "instructions": 9}],
        });
        let mut page = String::new();
        lane(&mut page, &data, "runc,crun").unwrap();
        for want in [
            "| run true, burst, ms | 3.00 [3.00] **0.50** | 6.00 [6.00] |",
            "| run true, burst, p90 / median | 2.00 | 2.00 |",
            "| calls over 3 ms, calls | 0 **0.00** | 2 (mount) |",
            "| starts, per second | - | 9 |",
            "| knarr | 50.0 | 50.0 | 100 **0.100** | 3 |",
            "Invalid: ours, peak memory of create, KiB: it hung.",
        ] {
            assert!(page.contains(want), "{want}: {page}");
        }
    }
}
