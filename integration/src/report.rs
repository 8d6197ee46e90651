//! Results in four forms: a table with runtimes side by side, TAP, JUnit XML and JSON.
//! Results of several runs (lanes) can be read back from JSON and shown in one table.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::run::{Outcome, Verdict};

/// One column: a runtime in a lane.
#[derive(Clone, PartialEq, Eq)]
pub struct Column {
    pub runtime: String,
    pub version: String,
    pub lane: String,
}

/// One row: a case with a verdict for each column; a case can be absent from a column.
pub struct Row {
    pub name: String,
    pub checks: String,
    pub verdicts: Vec<Option<Verdict>>,
}

/// All results.
#[derive(Default)]
pub struct Results {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

/// Numbers of one column or of all.
#[derive(Default, Clone, Copy)]
pub struct Totals {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
    pub differs: u32,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(_) => self.failed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
            Outcome::Differs(_) => self.differs += 1,
        }
    }
}

impl Outcome {
    /// The word in a table cell.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Passed => "pass",
            Outcome::Failed(_) => "FAIL",
            Outcome::Skipped(_) => "skip",
            Outcome::Differs(_) => "dev",
        }
    }

    /// Its reason; empty for a pass.
    pub fn reason(&self) -> &str {
        match self {
            Outcome::Passed => "",
            Outcome::Failed(s) | Outcome::Skipped(s) | Outcome::Differs(s) => s,
        }
    }
}

impl Results {
    /// Numbers of one column.
    pub fn totals(&self, column: usize) -> Totals {
        let mut t = Totals::default();
        self.rows.iter().filter_map(|r| r.verdicts.get(column)?.as_ref()).for_each(|v| t.add(&v.outcome));
        t
    }

    /// Numbers of everything.
    pub fn sum(&self) -> Totals {
        let mut t = Totals::default();
        self.rows.iter().flat_map(|r| r.verdicts.iter().flatten()).for_each(|v| t.add(&v.outcome));
        t
    }

    /// Skip reasons with their numbers.
    pub fn skips(&self) -> Vec<(String, u32)> {
        let mut all: std::collections::BTreeMap<String, u32> = Default::default();
        for v in self.rows.iter().flat_map(|r| r.verdicts.iter().flatten()) {
            if let Outcome::Skipped(reason) = &v.outcome {
                *all.entry(reason.clone()).or_default() += 1;
            }
        }
        all.into_iter().collect()
    }

    /// The closing line that scripts read.
    pub fn closing(&self) -> String {
        let t = self.sum();
        format!("{} passed, {} failed, {} skipped", t.passed, t.failed, t.skipped)
    }

    /// Width of the name column.
    pub fn width(&self) -> usize {
        self.rows.iter().map(|r| r.name.len()).max().unwrap_or(4).max(4)
    }

    /// Joins the results of another run: as further columns, or in the same column where the same runtime did other rows.
    pub fn join(&mut self, other: Results) {
        let mine = self.columns.len();
        let mut places = Vec::new();
        for (theirs, column) in other.columns.iter().enumerate() {
            let same =
                (0..mine).find(|at| self.columns[*at] == *column && !self.overlaps(*at, &other, theirs));
            places.push(same.unwrap_or(self.columns.len()));
            if same.is_none() {
                self.columns.push(column.clone());
            }
        }
        for row in &mut self.rows {
            row.verdicts.resize(self.columns.len(), None);
        }
        for row in other.rows {
            let at = self.rows.iter().position(|r| r.name == row.name).unwrap_or_else(|| {
                let verdicts = vec![None; self.columns.len()];
                self.rows.push(Row { name: row.name.clone(), checks: row.checks.clone(), verdicts });
                self.rows.len() - 1
            });
            for (place, verdict) in places.iter().zip(row.verdicts).filter(|(_, v)| v.is_some()) {
                self.rows[at].verdicts[*place] = verdict;
            }
        }
    }

    /// Whether both have a verdict of the same row in these columns.
    fn overlaps(&self, mine: usize, other: &Results, theirs: usize) -> bool {
        let has = |r: &Row, column: usize| r.verdicts.get(column).is_some_and(Option::is_some);
        let twice = |r: &Row| other.rows.iter().any(|o| o.name == r.name && has(o, theirs));
        self.rows.iter().filter(|r| has(r, mine)).any(twice)
    }
}

/// Head of a table: one line a column, then the column names.
pub fn table_head(r: &Results, width: usize) -> String {
    let mut text = String::new();
    for c in &r.columns {
        let _ = writeln!(text, "{} = {}{}", label(c), c.version, lane(c));
    }
    let _ = write!(text, "\n{:width$}", "case");
    for c in &r.columns {
        let _ = write!(text, "  {:>w$}", label(c), w = cell(c));
    }
    text.push('\n');
    text
}

/// One line of a table.
pub fn table_row(r: &Results, row: &Row, width: usize) -> String {
    let mut text = format!("{:width$}", row.name);
    for (c, v) in r.columns.iter().zip(&row.verdicts) {
        let word = v.as_ref().map_or("-", |v| v.outcome.word());
        let _ = write!(text, "  {word:>w$}", w = cell(c));
    }
    text
}

/// What follows the rows: failures with their story, reasons, totals.
pub fn table_foot(r: &Results) -> String {
    let mut text = String::new();
    for (i, c) in r.columns.iter().enumerate() {
        for row in &r.rows {
            let Some(Some(v)) = row.verdicts.get(i) else { continue };
            if let Outcome::Failed(why) = &v.outcome {
                let _ = writeln!(text, "\nFAIL {} on {}  [{}]\n  {why}", row.name, label(c), row.checks);
                v.story.lines().for_each(|l| {
                    let _ = writeln!(text, "  | {l}");
                });
            }
        }
    }
    let known: Vec<String> = r
        .columns
        .iter()
        .enumerate()
        .flat_map(|(i, c)| {
            r.rows.iter().filter_map(move |row| match &row.verdicts.get(i)?.as_ref()?.outcome {
                Outcome::Differs(why) => Some(format!("  {} {}: {why}", label(c), row.name)),
                _ => None,
            })
        })
        .collect();
    if !known.is_empty() {
        let _ = writeln!(text, "\nknown differences (dev):\n{}", known.join("\n"));
    }
    let skips: Vec<String> = r.skips().iter().map(|(why, n)| format!("{why} ({n})")).collect();
    if !skips.is_empty() {
        let _ = writeln!(text, "\nskipped for: {}", skips.join(", "));
    }
    text.push('\n');
    for (i, c) in r.columns.iter().enumerate() {
        let t = r.totals(i);
        let _ = writeln!(
            text,
            "{}: {} passed, {} failed, {} skipped, {} known differences",
            label(c),
            t.passed,
            t.failed,
            t.skipped,
            t.differs
        );
    }
    text
}

fn label(c: &Column) -> String {
    if c.lane.is_empty() { c.runtime.clone() } else { format!("{}@{}", c.runtime, c.lane) }
}

fn lane(c: &Column) -> String {
    if c.lane.is_empty() { String::new() } else { format!(", lane {}", c.lane) }
}

fn cell(c: &Column) -> usize {
    label(c).len().max(4)
}

/// Test Anything Protocol, version 13: one test for each case and column.
pub fn tap(r: &Results) -> String {
    let mut lines = Vec::new();
    for row in &r.rows {
        for (c, v) in r.columns.iter().zip(&row.verdicts) {
            let Some(v) = v else { continue };
            let n = lines.len() + 1;
            let name = format!("{} {}", label(c), row.name);
            lines.push(match &v.outcome {
                Outcome::Passed => format!("ok {n} - {name}"),
                Outcome::Skipped(why) => format!("ok {n} - {name} # SKIP {why}"),
                Outcome::Differs(why) => format!("not ok {n} - {name} # TODO known: {why}"),
                Outcome::Failed(why) => {
                    let comments: String =
                        why.lines().chain(v.story.lines()).map(|l| format!("\n# {l}")).collect();
                    format!("not ok {n} - {name}{comments}")
                }
            });
        }
    }
    format!("TAP version 13\n1..{}\n{}\n", lines.len(), lines.join("\n"))
}

/// JUnit XML: one suite for each column.
pub fn junit(r: &Results) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (i, c) in r.columns.iter().enumerate() {
        let t = r.totals(i);
        let _ = writeln!(
            text,
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
            xml(&label(c)),
            t.passed + t.failed + t.skipped + t.differs,
            t.failed,
            t.skipped + t.differs
        );
        for row in &r.rows {
            let Some(Some(v)) = row.verdicts.get(i) else { continue };
            let _ = write!(
                text,
                "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">",
                xml(row.name.split('.').next().unwrap_or("")),
                xml(&row.name),
                v.seconds
            );
            let why = xml(v.outcome.reason());
            let _ = match &v.outcome {
                Outcome::Passed => Ok(()),
                Outcome::Failed(_) => write!(text, "<failure message=\"{why}\">{}</failure>", xml(&v.story)),
                Outcome::Skipped(_) => write!(text, "<skipped message=\"{why}\"/>"),
                Outcome::Differs(_) => write!(text, "<skipped message=\"known difference: {why}\"/>"),
            };
            text.push_str("</testcase>\n");
        }
        text.push_str("</testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn xml(text: &str) -> String {
    let clean = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars()
        .map(clean)
        .map(|c| match c {
            '<' => "&lt;".to_string(),
            '>' => "&gt;".to_string(),
            '&' => "&amp;".to_string(),
            '"' => "&quot;".to_string(),
            c => c.to_string(),
        })
        .collect()
}

/// Everything as JSON, to be read back by `conformance report`.
pub fn to_json(r: &Results) -> Value {
    let columns: Vec<Value> = r
        .columns
        .iter()
        .map(|c| json!({"runtime": c.runtime, "version": c.version, "lane": c.lane}))
        .collect();
    let verdict = |v: &Verdict| {
        json!({"outcome": v.outcome.word().to_lowercase(), "reason": v.outcome.reason(),
               "seconds": v.seconds, "story": v.story})
    };
    let rows: Vec<Value> = r
        .rows
        .iter()
        .map(|row| {
            let verdicts: Vec<Value> =
                row.verdicts.iter().map(|v| v.as_ref().map_or(Value::Null, verdict)).collect();
            json!({"name": row.name, "checks": row.checks, "verdicts": verdicts})
        })
        .collect();
    json!({"columns": columns, "cases": rows})
}

/// Reads back what `to_json` wrote.
pub fn from_json(v: &Value) -> Result<Results> {
    let text = |v: &Value| v.as_str().unwrap_or("").to_string();
    let columns = v["columns"].as_array().context("no columns")?;
    let rows = v["cases"].as_array().context("no cases")?;
    let verdict = |v: &Value| {
        let reason = text(&v["reason"]);
        let outcome = match v["outcome"].as_str()? {
            "pass" => Outcome::Passed,
            "skip" => Outcome::Skipped(reason),
            "dev" => Outcome::Differs(reason),
            _ => Outcome::Failed(reason),
        };
        Some(Verdict { outcome, seconds: v["seconds"].as_f64().unwrap_or(0.0), story: text(&v["story"]) })
    };
    Ok(Results {
        columns: columns
            .iter()
            .map(|c| Column {
                runtime: text(&c["runtime"]),
                version: text(&c["version"]),
                lane: text(&c["lane"]),
            })
            .collect(),
        rows: rows
            .iter()
            .map(|r| Row {
                name: text(&r["name"]),
                checks: text(&r["checks"]),
                verdicts: r["verdicts"].as_array().into_iter().flatten().map(verdict).collect(),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Results {
        let column = |n: &str| Column { runtime: n.into(), version: "1".into(), lane: "l".into() };
        let verdict = |o| Some(Verdict { outcome: o, seconds: 0.5, story: "<s>".into() });
        Results {
            columns: vec![column("a"), column("b")],
            rows: vec![
                Row {
                    name: "x.one".into(),
                    checks: "s".into(),
                    verdicts: vec![verdict(Outcome::Passed), verdict(Outcome::Failed("no & \"why\"".into()))],
                },
                Row {
                    name: "x.two".into(),
                    checks: "s".into(),
                    verdicts: vec![
                        verdict(Outcome::Skipped("root".into())),
                        verdict(Outcome::Differs("d".into())),
                    ],
                },
            ],
        }
    }

    #[test]
    fn totals_and_closing_line() {
        let r = sample();
        assert_eq!(r.closing(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(r.totals(1).differs, 1);
        assert_eq!(r.skips(), [("root".to_string(), 1)]);
    }

    #[test]
    fn json_comes_back() {
        let again = from_json(&to_json(&sample())).unwrap();
        assert_eq!(to_json(&again), to_json(&sample()));
    }

    #[test]
    fn joined_lanes_stand_side_by_side() {
        let mut r = sample();
        let mut other = sample();
        other.rows.remove(0);
        r.join(other);
        assert_eq!(r.columns.len(), 4);
        assert!(r.rows[0].verdicts[2].is_none());
        assert!(r.rows[1].verdicts[3].is_some());
        assert!(table_row(&r, &r.rows[0], 10).ends_with('-'));
    }

    #[test]
    fn other_rows_of_the_same_runtime_stand_in_its_column() {
        let (mut r, mut other) = (sample(), sample());
        r.rows.truncate(1);
        other.rows.remove(0);
        r.join(other);
        assert_eq!(r.columns.len(), 2);
        assert_eq!(r.rows.len(), sample().rows.len());
        assert!(r.rows.iter().all(|row| row.verdicts.len() == 2 && row.verdicts[0].is_some()));
    }

    #[test]
    fn xml_and_tap_are_escaped() {
        assert!(junit(&sample()).contains("no &amp; &quot;why&quot;"));
        assert!(junit(&sample()).contains("&lt;s&gt;"));
        assert!(tap(&sample()).contains("not ok 2 - b@l x.one\n# no & \"why\""));
    }
}
