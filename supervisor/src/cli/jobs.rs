//! What `status` says of a job: how it runs, and its last results. Pure.
#![forbid(unsafe_code)]

use super::show::Paper;
use super::table::{Cell, Column, render};
use super::text::{Color, clean, duration};
use crate::api::model::{JobInfo, JobResultInfo};

/// Results in a table.
const RESULTS: [Column; 6] = [
    Column::word("FOR"),
    Column::word("ENDED"),
    Column::figure("ATTEMPTS", 2),
    Column::word("RESULT"),
    Column::word("LAST-RUN"),
    Column::text("HOW", 1),
];

/// Lines of the head of `status`: key and value.
pub(super) fn lines(job: &JobInfo, paper: &Paper, line: &mut impl FnMut(&str, &str)) {
    let attempts = match job.attempts {
        1 => "1 attempt".to_owned(),
        n => format!("at most {n} attempts"),
    };
    match job.deadline {
        Some(seconds) => line("job", &format!("{attempts}, each at most {}", duration(seconds))),
        None => line("job", &attempts),
    }
    if let Some(schedule) = &job.schedule {
        line("schedule", &format!("{schedule} ({})", job.timezone.as_deref().unwrap_or("UTC")));
        line("next run", &job.next.as_ref().map_or_else(|| "none".into(), |at| paper.moment(at)));
    }
}

/// The table of results, newest first, and the last lines of the newest.
pub(super) fn results(job: &JobInfo, paper: &Paper) -> String {
    let rows: Vec<Vec<Cell>> = job.results.iter().map(|r| row(r, paper)).collect();
    let mut out = render(&RESULTS, &rows, paper.width, paper.style);
    if let Some(newest) = job.results.first().filter(|r| !r.output.is_empty()) {
        let run = newest.run.as_deref().unwrap_or("the last run");
        out.push_str(&format!("\nlast lines of {run}:\n"));
        newest.output.iter().for_each(|l| out.push_str(&format!("  {}\n", clean(l))));
    }
    out
}

fn row(result: &JobResultInfo, paper: &Paper) -> Vec<Cell> {
    let color = match result.result.as_str() {
        "succeeded" => Some(Color::Green),
        "failed" => Some(Color::Red),
        _ => None,
    };
    // One without a schedule begins when its file is new or changed, or by hand.
    let by_hand = result.begun.as_ref().map(|_| "by hand".to_owned());
    let scheduled = result.scheduled.as_ref().map(|at| paper.moment(at)).or(by_hand);
    vec![
        Cell::maybe(scheduled),
        Cell::new(&paper.moment(&result.ended)),
        Cell::new(&result.attempts.to_string()),
        Cell::colored(&result.result, color),
        Cell::maybe(result.run.as_ref()),
        Cell::new(&result.text),
    ]
}
