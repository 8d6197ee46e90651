//! validate: service files checked without a daemon, and problems printed as compilers print them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::failure::{FAILED, Failure, Result};
use super::text::{Color, Style, clean};
use super::{Ctx, out, out_json};
use crate::api::model::Problem;
use crate::names::ServiceName;
use crate::unit;

/// `validate`.
pub(super) fn validate(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let mut problems = Vec::new();
    let mut good = 0;
    for path in m.get_many::<PathBuf>("file").into_iter().flatten() {
        let (n, found) = if path.is_dir() { directory(path) } else { file(path) };
        good += n;
        problems.extend(found);
    }
    if m.get_flag("json") {
        out_json(&problems)?;
    } else {
        for problem in &problems {
            eprint!("{}", complaint(problem, ctx.style.for_stderr()));
        }
        if problems.is_empty() {
            out(&format!("{good} service {}\n", if good == 1 { "file is good" } else { "files are good" }))?;
        }
    }
    Ok(if problems.is_empty() { 0 } else { FAILED })
}

/// One file by itself: what it depends on may be elsewhere.
fn file(path: &Path) -> (usize, Vec<Problem>) {
    let whole = |message: String| {
        let file = path.display().to_string();
        vec![Problem { file, line: 0, column: 0, key: String::new(), message }]
    };
    let checked = name_of(path)
        .map_err(|e| whole(e.text))
        .and_then(|name| Ok((name, unit::read_file(path).map_err(whole)?)))
        .and_then(|(name, text)| unit::parse(&name, path, &text));
    match checked {
        Ok(_) => (1, Vec::new()),
        Err(problems) => (0, problems),
    }
}

/// All files of a directory, and what only shows when they are seen together.
fn directory(path: &Path) -> (usize, Vec<Problem>) {
    let loaded = unit::load_dir(path);
    let (mut services, mut texts) = (BTreeMap::new(), BTreeMap::new());
    for (name, (service, text)) in loaded.services {
        texts.insert(name.clone(), text);
        services.insert(name, service);
    }
    let mut problems = loaded.problems;
    for mut problem in unit::check_set(&services) {
        let text = unit::service_of(&problem).and_then(|name| texts.get(&name));
        if let Some((line, column)) = text.and_then(|text| unit::locate(text, &problem.key)) {
            (problem.line, problem.column) = (line, column);
        }
        problem.file = path.join(&problem.file).display().to_string();
        problems.push(problem);
    }
    (services.len(), problems)
}

/// The service that a file is about.
pub(super) fn name_of(path: &Path) -> Result<ServiceName> {
    let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let stem = file.strip_suffix(".toml").ok_or_else(|| {
        Failure::new(FAILED, format!("{}: a service file is named NAME.toml", path.display()))
    })?;
    stem.parse().map_err(|e| Failure::new(FAILED, format!("{}: {e}", path.display())))
}

/// `file:line:col: key: message`, then the line and a caret, when the file can be read here.
pub(super) fn complaint(p: &Problem, style: Style) -> String {
    let place = match (p.line, p.column) {
        (0, _) => p.file.clone(),
        (line, 0) => format!("{}:{line}", p.file),
        (line, column) => format!("{}:{line}:{column}", p.file),
    };
    let key = if p.key.is_empty() { String::new() } else { format!("{}: ", p.key) };
    let mut out = format!(
        "{}: {}{}\n",
        style.paint(Color::Bold, &clean(&place)),
        clean(&key),
        style.paint(Color::Red, &clean(&p.message))
    );
    let line = usize::try_from(p.line).ok().and_then(|n| n.checked_sub(1));
    let text = line.and_then(|_| unit::read_file(Path::new(&p.file)).ok());
    if let (Some(line), Some(text)) = (line, text)
        && let Some(line) = text.lines().nth(line)
    {
        out.push_str(&snippet(line, p.line, p.column, style));
    }
    out
}

/// A line of a file with a caret below the column (in characters, from 1).
fn snippet(line: &str, number: u32, column: u32, style: Style) -> String {
    let margin = number.to_string();
    // A tab stays one column wide, so that the caret stands right.
    let line: String = line.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
    let mut out = format!("{} | {}\n", style.paint(Color::Blue, &margin), clean(&line));
    if column > 0 {
        let before: String = line.chars().take(column as usize - 1).collect();
        let indent = " ".repeat(clean(&before).chars().count());
        out.push_str(&format!("{} | {indent}{}\n", " ".repeat(margin.len()), style.paint(Color::Red, "^")));
    }
    out
}
