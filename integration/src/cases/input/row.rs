//! How a row of bad values is written down.

use serde_json::{Value, json};

use crate::base::merge;
use crate::case::{Case, case};
use crate::host::Need;

/// One row: patches of config.json for the twin and for the fault, the field and the words of the refusal.
pub(super) struct Row {
    id: &'static str,
    what: &'static str,
    good: Value,
    bad: Value,
    pointer: &'static str,
    text: &'static str,
    needs: Vec<Need>,
}

impl Row {
    pub(super) fn case(self) -> Case {
        let Row { id, what, good, bad, pointer, text, needs } = self;
        case(format!("input.{id}-{what}"))
            .checks(format!("catalogue {id}"))
            .needs(needs)
            .spec(move |s| merge(s, &good))
            .wrong(move |s| merge(s, &bad))
            .refused(pointer, text)
    }
}

pub(super) fn row(
    id: &'static str,
    what: &'static str,
    bad: Value,
    pointer: &'static str,
    text: &'static str,
) -> Row {
    Row { id, what, good: json!({}), bad, pointer, text, needs: Vec::new() }
}

impl Row {
    /// The twin's patch.
    pub(super) fn twin(mut self, good: Value) -> Row {
        self.good = good;
        self
    }

    pub(super) fn needs(mut self, needs: impl IntoIterator<Item = Need>) -> Row {
        self.needs.extend(needs);
        self
    }
}

pub(super) fn process(p: Value) -> Value {
    json!({"process": p})
}

pub(super) fn user(u: Value) -> Value {
    process(json!({"user": u}))
}

pub(super) fn linux(l: Value) -> Value {
    json!({"linux": l})
}

pub(super) fn resources(r: Value) -> Value {
    linux(json!({"resources": r}))
}

/// Exactly these mounts beside /proc and /dev; the first of them is `/mounts/2`.
pub(super) fn mounts(list: Value) -> Value {
    let mut all = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}),
    ];
    all.extend(list.as_array().cloned().unwrap_or_default());
    json!({"mounts": all, "linux": {"maskedPaths": [], "readonlyPaths": []}})
}

pub(super) fn tmpfs(option: &str) -> Value {
    mounts(json!([{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [option]}]))
}

/// The base's namespaces without one, with more.
pub(super) fn spaces(without: &str, more: Value) -> Value {
    let mut all: Vec<Value> = ["pid", "network", "ipc", "uts", "mount"]
        .iter()
        .filter(|k| **k != without)
        .map(|k| json!({"type": k}))
        .collect();
    all.extend(more.as_array().cloned().unwrap_or_default());
    json!(all)
}
