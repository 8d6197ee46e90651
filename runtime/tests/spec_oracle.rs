//! Two readers of one document: ours and the package oci-spec must understand the same in every config of the
//! corpus. What they are known to understand differently is listed here, with the reason.

use knarr::spec::read;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Changes to a document that the other reader refuses as it is: file, place, what to write instead, why.
fn concessions() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![(
        "full.json",
        "/process/scheduler/flags",
        json!([]),
        "it spells SCHED_FLAG_RESET_ON_FORK without FLAG, against runtime-spec and kernel",
    )]
}

/// Members that only one of the two keeps.
const LOST: &[(&str, &str)] = &[
    ("/freebsd", "not in its types"),
    ("/linux/intelRdt/enableCMT", "not in its types since runtime-spec has enableMonitoring"),
    ("/linux/intelRdt/enableMBM", "not in its types since runtime-spec has enableMonitoring"),
];

/// Absent, null, empty, zero and false are one thing to Go, where both formats come from.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(o) => {
            let kept = o.iter().map(|(k, v)| (k.clone(), normal(v))).filter(|(_, v)| !nothing(v));
            Value::Object(kept.collect())
        }
        Value::Array(a) => Value::Array(a.iter().map(normal).collect()),
        other => other.clone(),
    }
}

fn nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Bool(true) => false,
    }
}

/// Sets of capabilities come out of a hash table in any order.
fn sort_sets(value: &mut Value) {
    if let Some(sets) = value.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.sort_by_key(ToString::to_string);
        }
    }
}

fn remove(value: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    if let Some(object) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
        object.remove(key);
    }
}

/// Every place where two values differ.
fn differences(at: &str, a: &Value, b: &Value, out: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            for key in keys {
                let (a, b) = (x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null));
                differences(&format!("{at}/{key}"), a, b, out);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (i, (a, b)) in x.iter().zip(y).enumerate() {
                differences(&format!("{at}/{i}"), a, b, out);
            }
        }
        _ if a == b => {}
        _ => out.push(format!("{at}: ours {a}, theirs {b}")),
    }
}

#[test]
fn both_readers_understand_the_same() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut used = 0;
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut doc: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (file, pointer, instead, _why) in concessions() {
            if file == name {
                let whole = serde_json::from_value::<oci_spec::runtime::Spec>(doc.clone());
                assert!(whole.is_err(), "{file} {pointer}: no concession needed any more");
                *doc.pointer_mut(pointer).unwrap() = instead;
                used += 1;
            }
        }
        let bytes = serde_json::to_vec(&doc).unwrap();
        let (ours, _) = read::config(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let theirs: oci_spec::runtime::Spec =
            serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{name}: theirs: {e}"));
        let mut ours = normal(&serde_json::to_value(&ours).unwrap());
        let mut theirs = normal(&serde_json::to_value(&theirs).unwrap());
        for (pointer, _why) in LOST {
            remove(&mut ours, pointer);
            remove(&mut theirs, pointer);
        }
        sort_sets(&mut ours);
        sort_sets(&mut theirs);
        let mut found = Vec::new();
        differences("", &ours, &theirs, &mut found);
        assert!(found.is_empty(), "{name}: {found:#?}");
        files += 1;
    }
    assert!(files >= 10);
    assert_eq!(used, concessions().len());
}

/// Documents on which the two disagree, and who is right by the runtime-spec.
#[test]
fn known_disagreements_are_still_there() {
    for (doc, ours_accepts, why) in [
        (json!({ "process": { "args": ["a"], "cwd": "/" } }), true, "an absent user is 0 and 0, as in Go"),
        (
            json!({ "linux": { "resources": { "devices": [{ "allow": true, "type": "" }] } } }),
            true,
            "empty means all",
        ),
        (json!({ "linux": { "resources": { "pids": { "limit": null } } } }), true, "optional since 1.3"),
        (
            json!({ "linux": { "resources": { "hugepageLimits": [{ "pageSize": "2MB", "limit": u64::MAX }] } } }),
            true,
            "uint64 in the schema",
        ),
        (json!({ "process": { "execCPUAffinity": { "initial": "" } } }), true, "empty means nothing"),
    ] {
        let mut whole = json!({ "ociVersion": "1.3.0" });
        whole.as_object_mut().unwrap().extend(doc.as_object().unwrap().clone());
        let ours = read::config(&serde_json::to_vec(&whole).unwrap());
        let theirs = serde_json::from_value::<oci_spec::runtime::Spec>(whole.clone());
        assert_eq!(ours.is_ok(), ours_accepts, "{doc}: {why}");
        assert_eq!(theirs.is_ok(), !ours_accepts, "{doc}: {why}: the two agree now, drop the row");
    }
}
