//! The configuration every case starts from: what `runc spec` prints, without a terminal, with a
//! writable root and the probe as program. Cases edit this JSON value; nothing else is hidden.

use serde_json::{Value, json};

/// Path of the probe program inside every container.
pub const PROBE: &str = "/probe";

/// The base configuration for a container whose cgroup is `cgroup`.
pub fn config(cgroup: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": [PROBE, "true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "conformance",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// Each leaf of a document as a line `pointer = value`.
fn leaves(value: &Value, pointer: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(k, v)| leaves(v, &format!("{pointer}/{k}"), out));
        }
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(i, v)| leaves(v, &format!("{pointer}/{i}"), out));
        }
        other => out.push(format!("{pointer} = {other}")),
    }
}

/// What differs between two documents, one `-` or `+` line a leaf.
pub fn difference(from: &Value, to: &Value) -> Vec<String> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    leaves(from, "", &mut a);
    leaves(to, "", &mut b);
    let gone = a.iter().filter(|l| !b.contains(l)).map(|l| format!("- {l}"));
    let new = b.iter().filter(|l| !a.contains(l)).map(|l| format!("+ {l}"));
    gone.chain(new).collect()
}

/// Adds one mount at the end of the list.
pub fn add_mount(spec: &mut Value, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
    if let Some(list) = spec["mounts"].as_array_mut() {
        list.push(mount);
    }
}

/// Sets a namespace entry: adds the type, or gives an existing one a path.
pub fn namespace(spec: &mut Value, kind: &str, path: Option<&str>) {
    let mut entry = json!({"type": kind});
    if let Some(p) = path {
        entry["path"] = p.into();
    }
    let Some(list) = spec["linux"]["namespaces"].as_array_mut() else { return };
    list.retain(|n| n["type"] != kind);
    list.push(entry);
}

/// Removes a namespace entry.
pub fn no_namespace(spec: &mut Value, kind: &str) {
    if let Some(list) = spec["linux"]["namespaces"].as_array_mut() {
        list.retain(|n| n["type"] != kind);
    }
}

/// Gives every capability set the same list.
pub fn capabilities(spec: &mut Value, list: &[&str]) {
    for set in ["bounding", "effective", "permitted"] {
        spec["process"]["capabilities"][set] = json!(list);
    }
}

/// Applies a JSON merge patch (RFC 7396): objects are merged, null removes, everything else replaces.
pub fn merge(to: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *to = patch.clone();
        return;
    };
    if !to.is_object() {
        *to = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            to.as_object_mut().map(|o| o.remove(key));
        } else {
            merge(&mut to[key.as_str()], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_adds_replaces_and_removes() {
        let mut v = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut v, &json!({"a": {"b": null, "e": 3}, "d": [2, 3]}));
        assert_eq!(v, json!({"a": {"c": 2, "e": 3}, "d": [2, 3]}));
    }

    #[test]
    fn a_difference_names_each_leaf() {
        let lines = difference(&json!({"a": 1, "b": [1]}), &json!({"a": 2, "b": [1], "c": {}}));
        assert_eq!(lines, ["- /a = 1", "+ /a = 2", "+ /c = {}"]);
    }

    #[test]
    fn namespaces_are_replaced_not_doubled() {
        let mut v = config("/x");
        namespace(&mut v, "uts", Some("/p"));
        let uts: Vec<&Value> = v["linux"]["namespaces"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|n| n["type"] == "uts")
            .collect();
        assert_eq!(uts, [&json!({"type": "uts", "path": "/p"})]);
    }
}
