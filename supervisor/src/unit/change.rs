//! What two versions of a service differ in, and whether that needs a restart. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{keys, render};
use crate::api::model::{FieldChange, ServiceChange};
use crate::unit::service::Service;

/// A stable name of a service's content: a SHA-256 over its keys and values, 64 hexadecimal digits. Spelling, order and
/// comments of the file do not matter, and a key that a later daemon adds does not change it as long as it is not used.
pub fn version(service: &Service) -> String {
    digest(&flat(Some(service)))
}

/// The same over those keys only whose change replaces running instances: a run made from an equal one is up to date.
pub fn run_version(service: &Service) -> String {
    let mut keys = flat(Some(service));
    keys.retain(|key, _| keys::needs_restart(key));
    digest(&keys)
}

/// [`run_version`] as daemons had it that replaced instances when these limits changed: their runs are up to date, too.
pub fn run_version_before(service: &Service) -> String {
    const REPLACED: [&str; 5] =
        ["limits.memory", "limits.swap", "limits.cpus", "limits.cpu_weight", "limits.pids"];
    let mut keys = flat(Some(service));
    keys.retain(|key, _| keys::needs_restart(key) || REPLACED.contains(&key.as_str()));
    digest(&keys)
}

fn digest(keys: &BTreeMap<String, Value>) -> String {
    let mut hash = Sha256::new();
    for (key, value) in keys {
        // JSON has no raw line ends: no two different lists of keys give the same bytes.
        hash.update(Value::from(key.as_str()).to_string());
        hash.update(b"=");
        hash.update(value.to_string());
        hash.update(b"\n");
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// What becomes of a service; `None` = nothing differs. Keys are those of the service file, values as it would have them:
/// secrets appear by their paths, their content is not known here.
pub fn changes(old: Option<&Service>, new: Option<&Service>) -> Option<ServiceChange> {
    let service = new.or(old)?.name.to_string();
    let (before, after) = (flat(old), flat(new));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let fields: Vec<FieldChange> = names
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| {
            let text = |side: &BTreeMap<String, Value>| side.get(key).map(Value::to_string);
            FieldChange { key: key.clone(), old: text(&before), new: text(&after), hidden: false }
        })
        .collect();
    let action = match (old, new) {
        (None, _) => "add",
        (_, None) => "remove",
        _ if fields.is_empty() => return None,
        _ if fields.iter().any(|f| keys::needs_restart(&f.key)) => "restart",
        _ => "update",
    };
    Some(ServiceChange { service, action: action.into(), fields, rollout: None, notes: Vec::new() })
}

/// Every key with its value; lists of plain values are one value.
fn flat(service: Option<&Service>) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    if let Some(service) = service {
        descend(String::new(), render::render(service), &mut keys);
    }
    keys
}

fn descend(path: String, value: Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (name, value) in table {
                let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
                let name = if plain && !name.is_empty() { name } else { format!("{name:?}") };
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                descend(path, value, keys);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (i, value) in list.into_iter().enumerate() {
                descend(format!("{path}[{i}]"), value, keys);
            }
        }
        value => {
            keys.insert(path, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::parse;
    use std::path::Path;

    fn read(text: &str) -> Service {
        parse(&"web".parse().unwrap(), Path::new("web.toml"), text).unwrap()
    }

    fn action(old: &str, new: &str) -> Option<(String, Vec<String>)> {
        let change = changes(Some(&read(old)), Some(&read(new)))?;
        Some((change.action, change.fields.into_iter().map(|f| f.key).collect()))
    }

    const BASE: &str = "bundle = \"/b\"\n";

    #[test]
    fn spelling_is_no_change() {
        let a =
            "bundle = \"/b\"\nlimits = { memory = \"64MiB\", cpus = 1.5 }\nstop = { signal = \"SIGHUP\" }";
        let b =
            "# note\nbundle='/b'\n[stop]\nsignal=1\ngrace=\"10s\"\n[limits]\ncpus=\"1.500\"\nmemory=67108864";
        assert_eq!(action(a, b), None);
        assert_eq!(version(&read(a)), version(&read(b)));
    }

    #[test]
    fn what_needs_a_restart_and_what_not() {
        for (more, restart, key) in [
            ("description = \"x\"", false, "description"),
            ("labels = { a = \"b\" }", false, "labels.a"),
            ("replicas = 3", false, "replicas"),
            ("restart = \"always\"", false, "restart.policy"),
            ("stop = { grace = \"1s\" }", false, "stop.grace"),
            ("depends_on = [\"db\"]", false, "depends_on[0].service"),
            ("logs = { journald = true }", false, "logs.journald"),
            ("logs = { max_files = 2 }", true, "logs.max_files"),
            ("limits = { memory = \"64M\" }", false, "limits.memory"),
            ("limits = { nofile = 64 }", true, "limits.nofile"),
            ("env = { A = \"1\" }", true, "env.A"),
            ("command = [\"/x\"]", true, "command"),
            ("mounts = [{ source = \"/a\", target = \"/a\" }]", true, "mounts[0].source"),
            ("tty = true", true, "tty"),
        ] {
            let (done, keys) = action(BASE, &format!("{BASE}{more}")).unwrap();
            assert_eq!(done, if restart { "restart" } else { "update" }, "{more}");
            assert!(keys.contains(&key.to_owned()), "{more}: {keys:?}");
            let (a, b) = (read(BASE), read(&format!("{BASE}{more}")));
            assert_eq!(run_version(&a) != run_version(&b), restart, "{more}");
            assert_ne!(version(&a), version(&b), "{more}");
        }
    }

    #[test]
    fn runs_of_earlier_daemons_are_up_to_date() {
        let of = |text: &str| {
            let s = read(&format!("{BASE}{text}"));
            (run_version(&s), run_version_before(&s))
        };
        let (limited, more) = (of("limits.memory = \"1M\""), of("limits.memory = \"2M\""));
        assert!(limited.0 == more.0 && limited.1 != more.1);
        // As the daemon before wrote it for this file.
        assert_eq!(limited.1, version(&read(&format!("{BASE}limits.memory = \"1M\""))));
        assert_eq!(of("").0, of("").1);
    }

    #[test]
    fn values_are_shown_as_the_file_has_them() {
        let old = read("bundle = \"/b\"\n[limits]\nmemory = \"64MiB\"");
        let new = read("bundle = \"/b\"\n[limits]\nmemory = \"128MiB\"\npids = 3");
        let change = changes(Some(&old), Some(&new)).unwrap();
        let field = |key: &str| change.fields.iter().find(|f| f.key == key).unwrap().clone();
        assert_eq!(field("limits.memory").old.as_deref(), Some("\"64MiB\""));
        assert_eq!(field("limits.memory").new.as_deref(), Some("\"128MiB\""));
        assert_eq!((field("limits.pids").old, field("limits.pids").new.as_deref()), (None, Some("3")));
    }

    #[test]
    fn adding_and_removing() {
        let s = read(BASE);
        assert_eq!(changes(None, Some(&s)).unwrap().action, "add");
        assert_eq!(changes(Some(&s), None).unwrap().action, "remove");
        assert_eq!(changes(None, None), None);
    }

    #[test]
    fn the_version_of_a_file_is_the_same_in_every_build() {
        // Recorded runs are compared with it: a change here restarts every service of every host at an upgrade.
        assert_eq!(version(&read(BASE)), "47f366440678829a28289b37e0854cb21c55941506512d6406c89b950cf34651");
    }
}
