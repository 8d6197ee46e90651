//! What has to be written when the limits of a running container change: a document for `update`, and files of its cgroup
//! that runtimes do not know. Pure: two `linux.resources` go in.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

/// The difference of two `linux.resources`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resize {
    /// For `update --resources`; `None` = nothing of it differs.
    pub update: Option<Value>,
    /// Files of cgroup v2 and what is written to them, in this order.
    pub files: Vec<(String, String)>,
    /// The limit of memory in bytes, when it becomes lower.
    pub lower: Option<u64>,
}

/// Plain values: section, name, and what takes a value back that is not there any more.
const PLAIN: [(&str, &str, i64); 8] = [
    ("memory", "limit", -1),
    ("memory", "swap", -1),
    ("memory", "reservation", -1),
    ("cpu", "period", 100_000),
    ("cpu", "quota", -1),
    ("cpu", "burst", 0),
    ("cpu", "shares", 1024),
    ("pids", "limit", -1),
];
/// Values that runtimes want to see together: two of them depend on each other.
const TOGETHER: [(&str, &[&str]); 2] = [("memory", &["limit", "swap"]), ("cpu", &["period", "quota"])];
/// Files that are written here, and what they have where nothing is said.
const FILES: [(&str, &str); 7] = [
    ("memory.high", "max"),
    ("memory.min", "0"),
    ("memory.low", "0"),
    ("memory.zswap.max", "max"),
    ("memory.oom.group", "0"),
    ("cpu.weight", "100"),
    ("io.weight", "default 100"),
];

/// What turns `old` into `new`; `None` = nothing that can be written to a running container differs.
pub fn resize(old: &Value, new: &Value) -> Option<Resize> {
    let at = |v: &Value, section: &str, name: &str| v.get(section).and_then(|s| s.get(name)).cloned();
    let mut update = Map::new();
    for (section, name, none) in PLAIN {
        let (before, after) = (at(old, section, name), at(new, section, name));
        if before != after {
            put(&mut update, section, name, after.unwrap_or(json!(none)));
        }
    }
    for (section, names) in TOGETHER {
        let any = names.iter().any(|n| update.get(section).is_some_and(|s| s.get(n).is_some()));
        for name in names.iter().filter(|_| any) {
            if let Some(value) = at(new, section, name) {
                put(&mut update, section, name, value);
            }
        }
    }
    let text = |v: &Value, file: &str| at(v, "unified", file).and_then(|t| t.as_str().map(str::to_owned));
    let files = FILES.into_iter().filter_map(|(file, none)| {
        let (before, after) = (text(old, file), text(new, file));
        (before != after).then(|| (file.to_owned(), after.unwrap_or_else(|| none.to_owned())))
    });
    let files: Vec<_> = files.collect();
    let limit = |v: &Value| at(v, "memory", "limit").and_then(|n| n.as_u64());
    let lower = limit(new).filter(|new| limit(old).is_none_or(|old| *new < old));
    let update = (!update.is_empty()).then_some(Value::Object(update));
    (update.is_some() || !files.is_empty()).then_some(Resize { update, files, lower })
}

fn put(update: &mut Map<String, Value>, section: &str, name: &str, value: Value) {
    let section = update.entry(section).or_insert_with(|| json!({}));
    if let Some(section) = section.as_object_mut() {
        section.insert(name.into(), value);
    }
}

/// What memory is in use for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Bytes that count against the limit.
    pub current: u64,
    /// Bytes of these that are contents of files, most of which can be given back.
    pub cache: u64,
}

/// Whether a limit below what is in use may be tried: only contents of files are above it. Else why not.
///
/// # Errors
/// One line for people.
pub fn may_lower(to: u64, used: Use) -> Result<(), String> {
    let firm = used.current.saturating_sub(used.cache);
    if firm < to {
        return Ok(());
    }
    use crate::policy::size;
    Err(format!(
        "{} are in use that cannot be given back, more than the new limit of {}",
        size(firm),
        size(to)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_resources_need_nothing() {
        let a = json!({ "memory": { "limit": 5 }, "unified": { "memory.high": "4" }, "devices": [1] });
        assert_eq!(resize(&a, &a), None);
        // What only a start can change is not looked at.
        assert_eq!(resize(&a, &json!({ "memory": { "limit": 5 }, "unified": { "memory.high": "4" } })), None);
        assert_eq!(resize(&Value::Null, &json!({})), None);
    }

    #[test]
    fn limits_that_depend_on_each_other_go_together() {
        let old = json!({ "memory": { "limit": 64, "swap": 64 }, "cpu": { "period": 100, "quota": 50 } });
        let new = json!({ "memory": { "limit": 32, "swap": 64 }, "cpu": { "period": 100, "quota": 70, "burst": 9 } });
        let got = resize(&old, &new).unwrap();
        let want = json!({ "memory": { "limit": 32, "swap": 64 }, "cpu": { "period": 100, "quota": 70, "burst": 9 } });
        assert_eq!((got.update, got.files, got.lower), (Some(want), vec![], Some(32)));
        let up = resize(&new, &old).unwrap();
        assert_eq!((up.lower, &up.update.unwrap()["cpu"]["burst"]), (None, &json!(0)));
    }

    #[test]
    fn what_is_gone_is_taken_back() {
        let old = json!({ "memory": { "limit": 64, "swap": 64 }, "pids": { "limit": 5 },
            "unified": { "memory.high": "50", "io.weight": "default 9" } });
        let got = resize(&old, &json!({})).unwrap();
        assert_eq!(
            got.update,
            Some(json!({ "memory": { "limit": -1, "swap": -1 }, "pids": { "limit": -1 } }))
        );
        let files = [("memory.high", "max"), ("io.weight", "default 100")];
        assert_eq!(got.files, files.map(|(f, t)| (f.to_owned(), t.to_owned())));
        assert_eq!(got.lower, None);
        let first = resize(&json!({}), &json!({ "memory": { "limit": 7 } })).unwrap();
        assert_eq!(first.lower, Some(7), "no limit is more than any");
    }

    #[test]
    fn a_limit_below_what_stays_is_refused() {
        let used = Use { current: 80 << 20, cache: 30 << 20 };
        assert_eq!(may_lower(64 << 20, used), Ok(()));
        let why = may_lower(40 << 20, used).unwrap_err();
        assert!(why.contains("50 MiB") && why.contains("40 MiB"), "{why}");
        assert!(may_lower(50 << 20, used).is_err());
    }
}
