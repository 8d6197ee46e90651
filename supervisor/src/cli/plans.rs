//! plan and apply: service files against what is in force, as a diff.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::Value;

use super::client::segment;
use super::failure::{CHANGES, FAILED, Failure, Result};
use super::text::{Color, Style, clean};
use super::validate::{complaint, name_of};
use super::{Ctx, out, out_json};
use crate::api::model::{FieldChange, Plan, PlanRequest, Problem, ServiceFile, SetRequest};

/// `plan`.
pub(super) async fn plan(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let plan = ask(ctx, m, "/v1/plan").await?;
    show(ctx, m, &plan, "to ")?;
    Ok(match (plan.problems.is_empty(), plan.changes.is_empty()) {
        (false, _) => FAILED,
        (true, false) if m.get_flag("exit-code") => CHANGES,
        _ => 0,
    })
}

/// `apply`.
pub(super) async fn apply(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let plan = ask(ctx, m, "/v1/apply").await?;
    show(ctx, m, &plan, "")?;
    Ok(if plan.problems.is_empty() { 0 } else { FAILED })
}

/// `set`.
pub(super) async fn set(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let name = m.get_one::<String>("name").map_or("", String::as_str);
    let given = m.get_many::<String>("value").into_iter().flatten();
    let limits = given.map(|text| pair(text)).collect::<Result<_>>()?;
    let path = format!("/v1/services/{}/set", segment(name));
    let plan = ctx.client.post::<Plan>(&path, &SetRequest { limits }).await?;
    show(ctx, m, &plan, "")?;
    Ok(if plan.problems.is_empty() { 0 } else { FAILED })
}

/// `memory=64MiB`; numbers and truth values are such, everything else is text.
fn pair(text: &str) -> Result<(String, Value)> {
    let wrong = || Failure::usage(format!("{text:?} is not KEY=VALUE"));
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(wrong)?;
    let key = key.strip_prefix("limits.").unwrap_or(key).to_owned();
    if value.is_empty() {
        return Ok((key, Value::Null));
    }
    let plain = serde_json::from_str::<Value>(value).ok().filter(|v| v.is_number() || v.is_boolean());
    Ok((key, plain.unwrap_or_else(|| value.into())))
}

/// The daemon names its own copies in its complaints; people know the files they gave.
async fn ask(ctx: &Ctx, m: &ArgMatches, path: &str) -> Result<Plan> {
    let given: Vec<&PathBuf> = m.get_many::<PathBuf>("file").into_iter().flatten().collect();
    let own = |problems: &mut Vec<Problem>| {
        for problem in problems {
            let name = Path::new(&problem.file).file_name();
            if let Some(file) = given.iter().find(|f| f.file_name() == name) {
                problem.file = file.display().to_string();
            }
        }
    };
    match ctx.client.post::<Plan>(path, &request(m)?).await {
        Ok(mut plan) => {
            own(&mut plan.problems);
            Ok(plan)
        }
        Err(mut failure) => {
            own(&mut failure.problems);
            Err(failure)
        }
    }
}

fn request(m: &ArgMatches) -> Result<PlanRequest> {
    let mut files = Vec::new();
    for path in m.get_many::<PathBuf>("file").into_iter().flatten() {
        let name = name_of(path)?.to_string();
        let text = crate::unit::read_file(path)
            .map_err(|e| Failure::new(FAILED, format!("{}: {e}", path.display())))?;
        files.push(ServiceFile { name, text });
    }
    Ok(PlanRequest { files })
}

fn show(ctx: &Ctx, m: &ArgMatches, plan: &Plan, to: &str) -> Result<()> {
    if m.get_flag("json") {
        return out_json(plan);
    }
    for problem in &plan.problems {
        eprint!("{}", complaint(problem, ctx.style.for_stderr()));
    }
    out(&diff(plan, to, ctx.style))
}

/// The changes, one line a key, and their number.
pub(super) fn diff(plan: &Plan, to: &str, style: Style) -> String {
    let mut out = String::new();
    for change in &plan.changes {
        let (sign, color) = sign(&change.action);
        let note = match change.action.as_str() {
            "restart" => " (running instances are replaced)",
            "update" => " (nothing restarts)",
            _ => "",
        };
        let head = format!("{sign} {}", clean(&change.service));
        out.push_str(&format!("{}{note}\n", style.paint(color, &head)));
        if let Some(rollout) = &change.rollout {
            out.push_str(&format!("    rollout: {}\n", clean(rollout)));
        }
        for note in &change.notes {
            out.push_str(&format!("    {}: {}\n", style.paint(Color::Yellow, "warning"), clean(note)));
        }
        for field in &change.fields {
            out.push_str(&format!("    {}\n", line(field, style)));
        }
    }
    let count =
        |actions: &[&str]| plan.changes.iter().filter(|c| actions.contains(&c.action.as_str())).count();
    let parts =
        [(count(&["add"]), "add"), (count(&["restart", "update"]), "change"), (count(&["remove"]), "remove")];
    if plan.changes.is_empty() && plan.problems.is_empty() {
        out.push_str("nothing to do\n");
    } else if !plan.changes.is_empty() {
        let did = |n: usize, word: &str| match to {
            "" => format!("{n} {}", word.trim_end_matches('e').to_owned() + "ed"),
            to => format!("{n} {to}{word}"),
        };
        let parts: Vec<String> = parts.into_iter().map(|(n, word)| did(n, word)).collect();
        out.push_str(&format!("{}\n", parts.join(", ")));
    }
    if !plan.problems.is_empty() {
        let n = plan.problems.len();
        out.push_str(&format!(
            "{n} problem{}: the last good versions go on\n",
            if n == 1 { "" } else { "s" }
        ));
    }
    out
}

fn sign(action: &str) -> (char, Color) {
    match action {
        "add" => ('+', Color::Green),
        "remove" => ('-', Color::Red),
        _ => ('~', Color::Yellow),
    }
}

fn line(field: &FieldChange, style: Style) -> String {
    let key = clean(&field.key);
    if field.hidden {
        let (color, sign, what) = match (&field.old, &field.new) {
            (None, _) => (Color::Green, '+', "value"),
            (_, None) => (Color::Red, '-', "value"),
            _ => (Color::Yellow, '~', "changed, value"),
        };
        return style.paint(color, &format!("{sign} {key}: {what} not shown on this socket"));
    }
    match (&field.old, &field.new) {
        (None, Some(new)) => style.paint(Color::Green, &format!("+ {key}: {}", clean(new))),
        (Some(old), None) => style.paint(Color::Red, &format!("- {key}: {}", clean(old))),
        (Some(old), Some(new)) => {
            style.paint(Color::Yellow, &format!("~ {key}: {} -> {}", clean(old), clean(new)))
        }
        (None, None) => style.paint(Color::Yellow, &format!("~ {key}")),
    }
}
