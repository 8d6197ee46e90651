//! `[job]`: attempts, deadline, schedule.

use std::time::Duration;

use super::read::{Reader, Table, Value};
use crate::schedule::{Cron, zone};
use crate::unit::job::{Job, Overlap, Schedule};
use crate::unit::service::{Policy, Restart};

const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const DEADLINE_MIN: Duration = Duration::from_millis(100);
/// Without `attempts`.
const ATTEMPTS: u32 = 3;
/// Without `timezone`.
pub(in crate::unit) const TIMEZONE: &str = "UTC";

/// Reads it, and makes its attempts the restart policy.
pub(super) fn job(r: &mut Reader, t: &Table, restart: &mut Restart, replicas: u32) -> Option<Job> {
    let table = t.get(r, "job")?.table(r)?;
    policy_of_a_job(r, t);
    let attempts = table.get(r, "attempts").and_then(|v| v.natural(r, 1..=1000)).unwrap_or(ATTEMPTS);
    let deadline = table.get(r, "deadline").and_then(|v| v.duration(r, DEADLINE_MIN..=MONTH));
    let schedule = schedule(r, &table);
    if let Some((place, schedule)) = &schedule {
        instances(r, place, schedule, replicas);
    }
    restart.policy = Policy::Attempts(attempts);
    Some(Job { attempts, deadline, schedule: schedule.map(|(_, schedule)| schedule) })
}

/// A policy beside the attempts would be a second answer to the same question.
fn policy_of_a_job(r: &mut Reader, t: &Table) {
    let Some(v) = t.get(r, "restart") else { return };
    let policy = if v.is_string() { Some(v) } else { v.table(r).and_then(|t| t.get(r, "policy")) };
    if let Some(policy) = policy {
        policy.say(r, "a job has attempts and no restart policy, want job.attempts alone");
    }
}

fn schedule<'d, 'i>(r: &mut Reader, t: &Table<'d, 'i>) -> Option<(Value<'d, 'i>, Schedule)> {
    let place = t.get(r, "schedule");
    let rest = ["timezone", "catch_up", "overlap", "jitter"].map(|key| (key, t.get(r, key)));
    let Some(place) = place else {
        for (key, value) in rest {
            if let Some(value) = value {
                value.say(r, format!("{key} needs schedule, which is not given"));
            }
        }
        return None;
    };
    let [(_, timezone), (_, catch_up), (_, overlap), (_, jitter)] = rest;
    let cron = place.parsed(r, |text| {
        let want = "want minute, hour, day of the month, month, day of the week, such as \"30 4 * * 1-5\", or \"@daily\"";
        Cron::read(text).map(|_| text.trim().to_owned()).map_err(|e| format!("{e}; {want}"))
    });
    let timezone = timezone
        .map_or(Some(TIMEZONE.to_owned()), |v| v.parsed(r, |text| zone(text).map(|_| text.to_owned())));
    let catch_up = catch_up.and_then(|v| v.boolean(r)).unwrap_or(true);
    let overlap = overlap.and_then(|v| v.word(r, &Overlap::WORDS)).unwrap_or_default();
    let jitter = jitter.and_then(|v| v.duration(r, Duration::ZERO..=DAY)).unwrap_or_default();
    Some((place, Schedule { cron: cron?, timezone: timezone?, catch_up, overlap, jitter }))
}

/// Each run of a schedule is one instance; others are there for those that go on meanwhile.
fn instances(r: &mut Reader, place: &Value, schedule: &Schedule, replicas: u32) {
    match schedule.overlap {
        Overlap::Allow if replicas < 2 => place.say(
            r,
            format!(
                "overlap = \"allow\" needs an instance for each run that goes on, got replicas = {replicas}, want 2 or more"
            ),
        ),
        Overlap::Skip | Overlap::Replace if replicas > 1 => place.say(
            r,
            format!(
                "a schedule has one run at a time, got replicas = {replicas}, want 1, or overlap = \"allow\" with as many \
                 as may run at the same time"
            ),
        ),
        Overlap::Allow | Overlap::Skip | Overlap::Replace => {}
    }
}
