//! The keys of jobs, and of what is part of another service.

use super::{Key, live};

/// The list, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    live(
        "part_of",
        "service name",
        "none",
        r#""shop""#,
        "It is an init step (a job) or a sidecar of this service, which waits until it succeeded or is ready.",
    ),
    live("job", "table", "none", "", "It is a job; its attempts take the place of `restart.policy`."),
    live(
        "job.attempts",
        "1 to 1000",
        "3",
        "5",
        "So often it is started for one success, with the pauses of `restart`; then it has failed.",
    ),
    live(
        "job.deadline",
        "100ms to 30d",
        "none",
        r#""10m""#,
        "An attempt that runs longer is stopped and has failed.",
    ),
    live(
        "job.schedule",
        "text",
        "none: it runs once",
        r#""30 4 * * 1-5""#,
        "When it runs: minute, hour, day of the month, month, day of the week, or `@daily`.",
    ),
    live(
        "job.timezone",
        "text",
        "`\"UTC\"`",
        r#""CET-1CEST,M3.5.0,M10.5.0/3""#,
        "Whose clock `schedule` is about: `UTC`, a name of the host's zone database, or a POSIX rule.",
    ),
    live(
        "job.catch_up",
        "true or false",
        "true",
        "false",
        "The last time that was missed while host or daemon were down is made up for, once.",
    ),
    live(
        "job.overlap",
        "`skip`, `allow` or `replace`",
        "`\"skip\"`",
        r#""replace""#,
        "When it is due and still runs: the new run is left out, begins in a free instance, or takes the old one's place.",
    ),
    live("job.jitter", "0s to 1d", "`\"0s\"`", r#""5m""#, "Each run begins up to this much later."),
];
