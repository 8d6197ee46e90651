//! Single keys of a service file changed in its text; everything else stays as it was written. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// The text with these keys of `[limits]`; `null` takes a key away. Whether the values make sense is for the reader of the
/// result to say.
///
/// # Errors
/// The text is no TOML, `limits` no table, or a value none that a key can have.
pub fn set_limits(text: &str, values: &BTreeMap<String, Json>) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|e| format!("the service file is broken: {e}"))?;
    let limits = document.entry("limits").or_insert_with(|| Item::Table(Table::new()));
    let table = limits.as_table_like_mut().ok_or("the service file is broken: limits is no table")?;
    for (key, json) in values {
        match value(key, json)? {
            None => drop(table.remove(key)),
            Some(value) => put(table, key, value),
        }
    }
    let empty = table.is_empty();
    if empty {
        document.remove("limits");
    }
    Ok(document.to_string())
}

/// In the place of the old value, with what stands around it: a comment at the end of its line stays.
fn put(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key) {
        Some(old) => {
            if let Some(old) = old.as_value() {
                *value.decor_mut() = old.decor().clone();
            }
            *old = Item::Value(value);
        }
        None => drop(table.insert(key, Item::Value(value))),
    }
}

fn value(key: &str, json: &Json) -> Result<Option<Value>, String> {
    let number = |n: &serde_json::Number| n.as_i64().map(Value::from).or_else(|| n.as_f64().map(Value::from));
    match json {
        Json::Null => Ok(None),
        Json::Bool(b) => Ok(Some(Value::from(*b))),
        Json::String(s) => Ok(Some(Value::from(s.as_str()))),
        Json::Number(n) => number(n).map(Some).ok_or_else(|| format!("limits.{key}: {n} is too large")),
        Json::Array(_) | Json::Object(_) => {
            Err(format!("limits.{key}: a list or table, want a text, a number, true, false or null"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(text: &str, values: Json) -> Result<String, String> {
        set_limits(text, &serde_json::from_value(values).unwrap())
    }

    #[test]
    fn only_what_was_named_changes() {
        let text = "# mine\nroot = '/r' # here\n\n[limits]\n# why\nmemory = '64MiB' # tight\ncpus = 1.5\n\n[stop]\ngrace = '1s'\n";
        let got = set(text, json!({ "memory": "128MiB", "pids": 7, "cpus": null })).unwrap();
        let want = "# mine\nroot = '/r' # here\n\n[limits]\n# why\nmemory = \"128MiB\" # tight\npids = 7\n\n[stop]\ngrace = '1s'\n";
        assert_eq!(got, want);
        assert_eq!(set(&got, json!({ "memory": "128MiB", "pids": 7 })).unwrap(), want);
    }

    #[test]
    fn every_spelling_of_the_table_is_one() {
        for (text, want) in [
            ("root = '/r'\n", "root = '/r'\n\n[limits]\nmemory = \"1GiB\"\n"),
            ("limits = { pids = 3 }\n", "limits = { pids = 3 , memory = \"1GiB\" }\n"),
            ("limits.pids = 3\n[stop]\n", "limits.pids = 3\nlimits.memory = \"1GiB\"\n[stop]\n"),
        ] {
            let got = set(text, json!({ "memory": "1GiB" })).unwrap();
            let spaces = |t: &str| t.replace(' ', "");
            assert_eq!(spaces(&got), spaces(want), "{text}");
            toml::from_str::<toml::Table>(&got).unwrap();
        }
        assert_eq!(set("root = 'r'\n[limits]\npids = 1\n", json!({ "pids": null })).unwrap(), "root = 'r'\n");
        assert_eq!(set("", json!({ "oom_group": false, "cpus": 0.5 })).unwrap().lines().count(), 3);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(set("a = ", json!({})).unwrap_err().contains("broken"));
        assert!(set("limits = 3", json!({ "pids": 1 })).unwrap_err().contains("no table"));
        assert!(set("", json!({ "io_max": [] })).unwrap_err().contains("limits.io_max"));
        assert!(set("", json!({ "pids": 18_446_744_073_709_551_615_u64 })).is_ok_and(|t| t.contains("pids")));
    }
}
