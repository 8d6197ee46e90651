//! `--trace`: the time line of a command, and the number of system calls that a start takes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::base::PROBE;
use crate::boundary::{Plan, Scope, Verb, calls_of};
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

/// What a `run` of the suite's base container takes on a machine with cgroup2 alone, its program not counted: 374 on Linux
/// 6.18 with few controllers, and three more for each masked path that another kernel has. A change that needs more says why
/// in decision 16; one that needs fewer lowers it.
const CALLS_OF_RUN: usize = 400;
/// The same on kernels whose memfd_create knows no `MFD_NOEXEC_SEAL` (before 6.3): 402 on 6.1 with every controller.
const CALLS_OF_RUN_BEFORE: usize = 408;

/// The lanes of the picture.
const COMMAND: u64 = 1;
const CHILD: u64 = 2;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let text = "cli: --trace";
    vec![
        case("trace.run").checks(text).steps(|t| {
            let file = asked(t);
            t.run()?.ok()?;
            let line = Line::read(&file)?;
            line.in_order(
                COMMAND,
                &["read and check config.json", "look at the host and plan", "make the cgroup", "clone"],
            )?;
            line.in_order(
                COMMAND,
                &["clone", "wait for the root", "wait for confinement", "remove the cgroup"],
            )?;
            line.in_order(CHILD, &["attach the root", "mount", "device nodes and links", "pivot_root"])?;
            line.in_order(
                CHILD,
                &[
                    "pivot_root",
                    "labels, keyring, ids, capabilities",
                    "find the program",
                    "wait for the start",
                ],
            )?;
            line.is_whole()?;
            let mounts = t.spec["mounts"].as_array().map_or(0, Vec::len);
            let seen = line.steps.iter().filter(|s| s.name == "mount").count();
            ensure!(seen == mounts, "{seen} mounts are in the picture, want {mounts}");
            // Between the clone and the end of what waits for it.
            let (clone, end) =
                (line.find(COMMAND, "clone")?, line.find(COMMAND, "wait for the end of the program")?);
            let apart =
                line.steps.iter().filter(|s| s.lane == CHILD).find(|s| s.from < clone.from || s.to > end.to);
            ensure!(apart.is_none(), "outside of the life of its process: {apart:?}");
            Ok(())
        }),
        case("trace.exec").checks(text).steps(|t| {
            t.resident()?;
            let file = asked(t);
            t.exec(&[PROBE, "true"])?.ok()?;
            let line = Line::read(&file)?;
            line.in_order(
                COMMAND,
                &["read the record and the configuration", "clone", "wait for confinement"],
            )?;
            line.in_order(
                CHILD,
                &["close descriptors", "enter the namespaces", "labels, keyring, ids, capabilities"],
            )?;
            line.is_whole()
        }),
        case("trace.create-and-start").checks(text).steps(|t| {
            let file = asked(t);
            t.create()?;
            let line = Line::read(&file)?;
            line.in_order(COMMAND, &["clone", "write the record of the created container"])?;
            line.in_order(CHILD, &["mount", "find the program"])?;
            line.is_whole()?;
            t.start()?.ok()?;
            let line = Line::read(&file)?;
            line.find(COMMAND, "start the program and wait for its execve")?;
            ensure!(
                line.find(COMMAND, "clone").is_err(),
                "an earlier command's steps are in it: {:?}",
                line.steps
            );
            t.global.clear();
            t.remove()?.ok().map(drop)
        }),
        case("trace.of-a-failure").checks(text).steps(|t| {
            let file = asked(t);
            t.spec["process"]["args"] = serde_json::json!(["/no/such/program"]);
            t.run()?.exits(1)?;
            let line = Line::read(&file)?;
            // Up to the step that failed, in both processes.
            line.in_order(CHILD, &["pivot_root", "labels, keyring, ids, capabilities"])?;
            line.find(COMMAND, "wait for the root")?;
            for name in ["find the program", "wait for the start"] {
                ensure!(line.find(CHILD, name).is_err(), "{name} is in it: {:?}", line.steps);
            }
            line.is_whole()
        }),
        // The twin of the cases above.
        case("trace.not-asked-for").checks(text).steps(|t| {
            let names = |t: &Trial<'_>| -> Result<Vec<_>> {
                Ok(std::fs::read_dir(&t.dir)?
                    .map(|e| e.map(|e| e.file_name()))
                    .collect::<std::io::Result<_>>()?)
            };
            t.run()?.ok()?;
            let before = names(t)?;
            let file = asked(t);
            ensure!(!file.exists(), "a file that nobody asked for");
            t.run()?.ok()?;
            ensure!(file.exists() && names(t)?.len() == before.len() + 1, "{:?}", names(t)?);
            Ok(())
        }),
        case("trace.file-is-not-the-containers")
            .checks(text)
            .prepare(|t| {
                asked(t);
                Ok(())
            })
            .probe(["fds"])
            .output(|out| {
                ensure!(!out.contains("trace"), "the program has it: {out}");
                Ok(())
            }),
        case("calls.run-on-cgroup2")
            .checks("docs/numbers.md: system calls of a start")
            .needs([Need::CgroupV2, Need::NoV1("pids"), Need::X86_64])
            .steps(|t| {
                let plan = Plan {
                    verb: Verb::Run,
                    rich: false,
                    systemd: false,
                    scope: Scope::Tree,
                    victim: None,
                    sample: None,
                    seed: 1,
                    told: false,
                };
                let calls = calls_of(t, &plan)?;
                ensure!(calls.iter().any(|c| c == "clone3" || c == "clone"), "nothing was made: {calls:?}");
                // What others need is theirs to know.
                let most = match t.yard.host.kernel {
                    _ if !t.runtime.strict => usize::MAX,
                    kernel if kernel >= (6, 3) => CALLS_OF_RUN,
                    _ => CALLS_OF_RUN_BEFORE,
                };
                ensure!(
                    calls.len() <= most,
                    "{} calls, want at most {most}: {}",
                    calls.len(),
                    calls.join(" ")
                );
                Ok(())
            }),
    ]
}

/// From now on commands are asked for a time line in this file.
fn asked(t: &mut Trial<'_>) -> PathBuf {
    let file = t.dir.join("trace.json");
    t.global = vec!["--trace".into(), file.display().to_string()];
    file
}

/// A step of a time line; times in microseconds.
#[derive(Debug)]
struct Step {
    lane: u64,
    name: String,
    from: f64,
    to: f64,
}

/// A time line.
struct Line {
    steps: Vec<Step>,
    lost: Option<u64>,
}

impl Line {
    fn read(file: &Path) -> Result<Line> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let all: Value = serde_json::from_slice(&text).context("the time line is not JSON")?;
        let events = all["traceEvents"].as_array().context("no traceEvents")?;
        let one = |e: &Value| -> Option<Step> {
            let from = e["ts"].as_f64()?;
            let to = from + e["dur"].as_f64()?;
            Some(Step { lane: e["tid"].as_u64()?, name: e["name"].as_str()?.to_owned(), from, to })
        };
        let steps = events.iter().filter(|e| e["ph"] == "X").map(one).collect::<Option<_>>();
        Ok(Line {
            steps: steps.context("a step lacks its time")?,
            lost: all["otherData"]["stepsLost"].as_u64(),
        })
    }

    fn find(&self, lane: u64, name: &str) -> Result<&Step> {
        let found = self.steps.iter().find(|s| s.lane == lane && s.name == name);
        found.with_context(|| format!("no step {name:?} of {lane}: {:?}", self.steps))
    }

    /// The first steps of these names follow each other.
    fn in_order(&self, lane: u64, names: &[&str]) -> Result<()> {
        let mut last = f64::MIN;
        for name in names {
            let step = self.find(lane, name)?;
            ensure!(step.to >= last, "{name:?} ended before the step that comes first: {:?}", self.steps);
            last = step.to;
        }
        Ok(())
    }

    /// Of each process every step begins where the one before it ended, and none was lost.
    fn is_whole(&self) -> Result<()> {
        ensure!(self.lost == Some(0), "{:?} steps were lost", self.lost);
        for lane in [COMMAND, CHILD] {
            let steps: Vec<&Step> = self.steps.iter().filter(|s| s.lane == lane).collect();
            for pair in steps.windows(2) {
                // Both are sums of two rounded numbers.
                let gap = (pair[1].from - pair[0].to).abs();
                ensure!(gap < 0.01, "{gap} us between {:?} and {:?}", pair[0], pair[1]);
            }
        }
        Ok(())
    }
}
