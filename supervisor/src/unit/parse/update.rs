//! How a changed file is rolled out.

use std::time::Duration;

use super::read::{Reader, Table};
use super::value::duration_text;
use crate::unit::service::{OnUpdateFailure, Probes, Update, UpdateOrder};

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// `[update]`.
pub(super) fn update(r: &mut Reader, t: &Table, probes: &Probes) -> Update {
    let mut update = Update::default();
    let Some(t) = t.get(r, "update").and_then(|v| v.table(r)) else { return update };
    let orders = [("stop-first", UpdateOrder::StopFirst), ("start-first", UpdateOrder::StartFirst)];
    if let Some(order) = t.get(r, "order").and_then(|v| v.word(r, &orders)) {
        update.order = order;
    }
    if let Some(n) = t.get(r, "parallelism").and_then(|v| v.natural(r, 1..=1000)) {
        update.parallelism = n;
    }
    let min_healthy = t.get(r, "min_healthy");
    if let Some(d) = min_healthy.as_ref().and_then(|v| v.duration(r, Duration::ZERO..=DAY)) {
        update.min_healthy = d;
    }
    let deadline = t.get(r, "progress_deadline");
    if let Some(d) = deadline.as_ref().and_then(|v| v.duration(r, Duration::from_secs(1)..=WEEK)) {
        update.progress_deadline = d;
    }
    if update.progress_deadline <= update.min_healthy
        && let Some(v) = deadline.or(min_healthy)
    {
        let (deadline, healthy) =
            (duration_text(update.progress_deadline), duration_text(update.min_healthy));
        v.say(r, format!("progress_deadline is {deadline} and no longer than min_healthy of {healthy}"));
    }
    let failures = [
        ("rollback", OnUpdateFailure::Rollback),
        ("pause", OnUpdateFailure::Pause),
        ("continue", OnUpdateFailure::Continue),
    ];
    if let Some(action) = t.get(r, "on_failure").and_then(|v| v.word(r, &failures)) {
        update.on_failure = action;
    }
    if let Some(v) = t.get(r, "watch") {
        update.watch = v.duration(r, Duration::ZERO..=WEEK);
        let need = probes.notice();
        if update.watch.is_some_and(|d| d < need) {
            let need = duration_text(need);
            v.say(r, format!("too short, the probes need up to {need} to notice a bad version"));
        }
    }
    update
}
