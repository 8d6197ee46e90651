//! What makes a service a job: it runs to its end, a few times at most, once or by a schedule. Pure data.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Serialize;

/// `[job]` of a service file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// So often it is started for one result, at most.
    pub attempts: u32,
    /// How long one attempt may run; `None` = for ever.
    pub deadline: Option<Duration>,
    /// When it runs; `None` = once, when it is new or changed.
    pub schedule: Option<Schedule>,
}

/// When a job runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// The five fields of crontab(5), see [`Cron`](crate::schedule::Cron).
    pub cron: String,
    /// Whose calendar, see [`zone`](crate::schedule::zone).
    pub timezone: String,
    /// The last time that was missed while nobody was there is made up for.
    pub catch_up: bool,
    /// What happens when it is due and still runs.
    pub overlap: Overlap,
    /// Each run begins up to this much later.
    pub jitter: Duration,
}

/// What happens when a job is due and still runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// The new run is left out.
    #[default]
    Skip,
    /// The new run begins in another instance, as long as there is a free one.
    Allow,
    /// The old run is stopped, and the new one begins.
    Replace,
}

impl Overlap {
    /// As service files have it.
    pub const WORDS: [(&'static str, Overlap); 3] =
        [("skip", Overlap::Skip), ("allow", Overlap::Allow), ("replace", Overlap::Replace)];
}
