//! Carries out one case on one runtime and judges it. The order is always the same: note the host,
//! act, compare, look for leftovers, clean by exact name.

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, Refusal};
use crate::oracle::{self, Before};
use crate::trial::{Out, Runtime, Trial, Yard};

/// What became of a case on a runtime.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
    /// Fails, as a list of reviewed differences says; with that list's reason.
    Differs(String),
}

/// An outcome with everything a person needs to understand it.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub outcome: Outcome,
    pub seconds: f64,
    /// Commands, configuration, streams and logs; empty unless it failed.
    pub story: String,
}

/// Runs one case on one runtime.
pub fn run(yard: &Yard, runtime: &Runtime, case: &Case, number: u32) -> Verdict {
    let begun = Instant::now();
    if let Some(need) = yard.host.lacks(&case.needs) {
        return Verdict { outcome: Outcome::Skipped(need.slug()), seconds: 0.0, story: String::new() };
    }
    let (mut result, mut story) = match Trial::new(yard, runtime, number, case.seconds) {
        Ok(mut trial) => {
            let result = guarded(case, &mut trial);
            let story = if result.is_err() { tell(&trial) } else { String::new() };
            let cleaned = oracle::clean(&mut trial);
            (result.and(cleaned.context("cleaning up")), story)
        }
        Err(e) => (Err(e.context("preparing the case")), String::new()),
    };
    if let Err(e) = &result
        && let Some(skip) = e.downcast_ref::<Unavailable>()
    {
        let outcome = Outcome::Skipped(skip.0.clone());
        return Verdict { outcome, seconds: begun.elapsed().as_secs_f64(), story: String::new() };
    }
    let known = runtime.known.iter().find(|(name, _)| *name == case.name);
    let outcome = match (std::mem::replace(&mut result, Ok(())), known) {
        (Ok(()), _) => Outcome::Passed,
        (Err(_), Some((_, why))) => Outcome::Differs(why.clone()),
        (Err(e), None) => Outcome::Failed(format!("{e:#}")),
    };
    if !matches!(outcome, Outcome::Failed(_)) {
        story.clear();
    }
    Verdict { outcome, seconds: begun.elapsed().as_secs_f64(), story }
}

/// A need that shows only while a case runs; it becomes a skip.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not available here: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

fn guarded(case: &Case, trial: &mut Trial<'_>) -> Result<()> {
    for edit in &case.edits {
        edit(&mut trial.spec);
    }
    let before = Before::note(trial)?;
    for step in &case.prepare {
        step(trial).context("preparing the case")?;
    }
    // Mounts that the case made itself are part of the picture while it runs.
    let during = Before::note(trial)?;
    let acted = act(case, trial, &during);
    if acted.is_ok() {
        // What a passing case left on purpose goes the way engines take: delete --force.
        for id in oracle::names(&trial.state_root()) {
            trial.rt(&["delete", "--force", &id]).run()?.ok().context("removing what the case made")?;
        }
        trial.unmount()?;
        let complaints = before.complaints(trial);
        ensure!(complaints.is_empty(), "not as before: {}", complaints.join("; "));
    }
    acted
}

fn act(case: &Case, trial: &mut Trial<'_>, before: &Before) -> Result<()> {
    for control in &case.controls {
        let seen = trial.unprotected(&control.edit, &control.sees)?;
        let turned_down = case.exit != 0 || judge(case, &seen).is_err();
        ensure!(turned_down, "the control: without protection the case would pass too, with {seen:?}");
    }
    if let Some(refusal) = &case.refusal {
        return if case.exec {
            refuse_exec(case, refusal, trial)
        } else {
            refuse(case, refusal, trial, before)
        };
    }
    if let Some(story) = &case.steps {
        return story(trial);
    }
    if case.created.is_some() || case.running.is_some() {
        return watched(case, trial);
    }
    let out = trial.run()?.exits(case.exit)?;
    judge(case, &out.stdout)?;
    match &case.after {
        Some(look) => look(trial),
        None => Ok(()),
    }
}

/// create, look, start, look, wait, delete.
fn watched(case: &Case, trial: &mut Trial<'_>) -> Result<()> {
    trial.create()?;
    if let Some(look) = &case.created {
        look(trial)?;
    }
    let pid = trial.pid()?;
    if let Some(look) = &case.running {
        trial.start()?;
        look(trial)?;
    } else if !case.stdout.is_empty() || case.output.is_some() {
        trial.start()?;
        let code = trial.ended(pid)?;
        ensure!(code == case.exit, "the program exited {code}, want {}", case.exit);
        judge(case, &trial.payload())?;
    }
    trial.remove()?;
    Ok(())
}

fn judge(case: &Case, stdout: &str) -> Result<()> {
    let all: Vec<String> = case.stdout.iter().filter_map(|w| w.against(stdout)).collect();
    ensure!(all.is_empty(), "{}", all.join("; "));
    match &case.output {
        Some(judge) => judge(stdout),
        None => Ok(()),
    }
}

/// The twin without the fault must pass; with it the runtime must refuse, say why and leave nothing.
fn refuse(case: &Case, refusal: &Refusal, trial: &mut Trial<'_>, before: &Before) -> Result<()> {
    let fault = case.fault.as_ref().context("a refusal needs a fault")?;
    let twin = trial.run()?;
    twin.exits(case.exit).context("the twin without the fault must pass")?;
    let complaints = before.complaints(trial);
    ensure!(complaints.is_empty(), "the twin without the fault left: {}", complaints.join("; "));
    trial.id = format!("{}-f", trial.id);
    fault(trial)?;
    if trial.raw.is_none() {
        trial.write_config()?;
    }
    let files = oracle::listing(&trial.bundle);
    let out = refused_command(trial)?;
    let left = before.complaints(trial);
    let refused = out.fails().context("the fault must be refused");
    let out = refused?;
    ensure!(left.is_empty(), "after the refusal: {}", left.join("; "));
    let now = oracle::listing(&trial.bundle);
    let new: Vec<String> = now
        .keys()
        .filter(|p| !files.contains_key(*p) && !p.ends_with("config.json"))
        .map(|p| p.display().to_string())
        .collect();
    ensure!(new.is_empty(), "after the refusal these files are new: {}", new.join(", "));
    explain(trial, refusal, &out, 1)
}

/// Runs the faulty container: `raw` beats `spec`, an empty `raw` means "leave the bundle as it is".
fn refused_command(trial: &mut Trial<'_>) -> Result<Out> {
    if trial.raw.as_ref().is_some_and(Vec::is_empty) {
        let mut args = vec!["run".to_string(), "--bundle".into(), trial.bundle.display().to_string()];
        args.extend(trial.flags.iter().cloned());
        args.push(trial.id.clone());
        return trial.rt(&args).run();
    }
    trial.run()
}

/// The same for `exec`: the container is there and stays as it was.
fn refuse_exec(case: &Case, refusal: &Refusal, trial: &mut Trial<'_>) -> Result<()> {
    let fault = case.fault.as_ref().context("a refusal needs a fault")?;
    let pid = trial.resident()?;
    trial.process = process_json(&trial.spec, &[PROBE, "true"]);
    trial.exec_process()?.ok().context("the twin without the fault must pass")?;
    fault(trial)?;
    let out = trial.exec_process()?.fails().context("the fault must be refused")?;
    explain(trial, refusal, &out, 255)?;
    trial.is("running").context("the container after a refused exec")?;
    let procs = trial.ps()?;
    ensure!(procs == json!([pid]), "processes after a refused exec: {procs}, want only {pid}");
    trial.remove()?;
    Ok(())
}

/// A process.json like the container's own process, with other arguments.
pub fn process_json(spec: &Value, args: &[&str]) -> Value {
    let mut process = spec["process"].clone();
    process["args"] = json!(args);
    process
}

/// Only a strict runtime is held to code, pointer, text, one line and the log record.
fn explain(trial: &Trial<'_>, refusal: &Refusal, out: &Out, code: i32) -> Result<()> {
    if !trial.runtime.strict {
        return Ok(());
    }
    ensure!(out.code == Some(code), "refused with exit {:?}, want {code}", out.code);
    let lines: Vec<&str> = out.stderr.lines().collect();
    let [line] = lines[..] else { bail!("want one line of error, got {:?}", out.stderr) };
    ensure!(line.contains(&refusal.pointer), "the error names no {:?}: {line}", refusal.pointer);
    ensure!(line.contains(&refusal.text), "the error says no {:?}: {line}", refusal.text);
    // What an image or a hook prints must not fill a caller's log.
    ensure!(line.len() <= 8192, "the error has {} bytes", line.len());
    let records = out.log_errors();
    let record = records.last().with_context(|| format!("no error record in the log: {:?}", out.log))?;
    for part in [&refusal.pointer, &refusal.text] {
        ensure!(record.contains(part.as_str()), "the log record says no {part:?}: {record}");
    }
    ensure!(!record.contains('\n'), "the log record has several lines: {record:?}");
    Ok(())
}

/// Everything about a failed trial: commands with their streams and logs, and the configuration.
fn tell(trial: &Trial<'_>) -> String {
    let mut text = String::new();
    for out in &trial.history {
        let code = out.code.map_or("no exit".to_string(), |c| format!("exit {c}"));
        text += &format!("$ {}\n  {code}\n", out.line);
        for (name, stream) in [("stdout", &out.stdout), ("stderr", &out.stderr), ("log", &out.log)] {
            for line in stream.lines().take(40) {
                text += &format!("  {name}: {line}\n");
            }
        }
    }
    let payload = trial.payload();
    for line in payload.lines().take(40) {
        text += &format!("  program: {line}\n");
    }
    match &trial.raw {
        Some(raw) => {
            text += &format!(
                "config.json: {} bytes given as they are: {:.200}\n",
                raw.len(),
                String::from_utf8_lossy(raw)
            );
        }
        None => {
            text += "config.json against the base:\n";
            for line in base::difference(&trial.base, &trial.spec).iter().take(60) {
                text += &format!("  {:.300}\n", line);
            }
        }
    }
    text
}

/// Makes a skip out of a condition that only the case itself can see.
pub fn unavailable(reason: &str) -> anyhow::Error {
    anyhow!(Unavailable(reason.to_string()))
}
