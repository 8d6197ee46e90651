//! The keys of `[pressure]`. Data only.
#![forbid(unsafe_code)]

use super::key::{Key, key, live};

/// In the order of the documentation.
pub(super) const PRESSURE: &[Key] = &[
    live("pressure", "table", "", "", "What it pays when memory runs short, see [memory.md](memory.md)."),
    live(
        "pressure.priority",
        "0 to 1000 or `protected`",
        "500",
        r#""protected""#,
        "Who pays first: the lowest. What is `protected` is never throttled, frozen or evicted.",
    ),
    live(
        "pressure.rungs",
        "list of `warn`, `reclaim`, `throttle`, `freeze`, `evict`",
        "`[\"warn\", \"reclaim\", \"evict\"]`; `[\"warn\"]` when protected",
        r#"["warn", "freeze", "evict"]"#,
        "What may be done to it. `reclaim` and `throttle` need the controllers of cgroup v2, `freeze` its tree.",
    ),
    live(
        "pressure.freeze_for",
        "1s to 10m",
        "`\"30s\"`",
        r#""10s""#,
        "The longest time that it is frozen. Needs the rung `freeze`.",
    ),
    live(
        "pressure.grace",
        "0s to 1m",
        "`\"2s\"`, or a shorter `stop.grace`",
        r#""500ms""#,
        "From the stop signal to the kill when it is evicted. Needs the rung `evict`.",
    ),
    live(
        "pressure.signal",
        "signal",
        "none",
        r#""USR1""#,
        "What its first process gets when memory is short. Needs the rung `warn`.",
    ),
    live(
        "pressure.restart_above",
        "`\"N% for TIME\"`",
        "none",
        r#""80% for 10m""#,
        "It is restarted when it uses this much of `limits.memory`, contents of files left out, for so long: within the host's restart budget, and when all its other instances are ready.",
    ),
    live(
        "pressure.at_high",
        "`raise`, `restart` or `leave`",
        "`\"raise\"`",
        r#""restart""#,
        "What becomes of it when `memory_high` holds it so firmly that all its processes stall for more than half of the time, 30 s long: `memory_high` is lifted until its next start, it is restarted, or only told of.",
    ),
    key(
        "pressure.watch",
        "true or false",
        "false",
        "true",
        "It has a FIFO, named by `MEMORY_PRESSURE_WATCH`, that becomes readable when memory is short. Needs the rung `warn`.",
    ),
];
