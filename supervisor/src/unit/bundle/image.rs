//! The configuration of an instance of an imported image: the defaults of a root file system, then what the image says of
//! its process (image-spec, conversion.md).

use serde_json::{Value, json};

use super::{Failure, env, root};
use crate::dirs::Dirs;
use crate::image::config::Record;
use crate::image::store::Store;
use crate::names::RunId;

/// Labels that mean the same to everybody; all others get a prefix, so that none is an order to a runtime.
const PLAIN: &str = "org.opencontainers.image.";
const PREFIX: &str = "image.label.";

/// Before the service's own words.
pub(super) fn config(id: Option<&str>, read_only: bool, run: &RunId, dirs: &Dirs) -> Result<Value, Failure> {
    let id = id.ok_or_else(|| Failure::new("image-missing", "nobody has looked the image up"))?;
    let record = Store::of(dirs).record(id).map_err(|e| Failure::new("image-missing", e.text))?;
    let path = crate::image::root::current(dirs, &run.instance);
    let path =
        path.map_err(|e| Failure::new("root-missing", format!("the root of {}: {e}", run.instance)))?;
    let config = root::config(&path, read_only, run);
    let mut config = config.map_err(|e| Failure::new("internal", format!("config.json: {e}")))?;
    put(&mut config, &record);
    Ok(config)
}

fn put(config: &mut Value, record: &Record) {
    let process = &mut config["process"];
    process["args"] = json!(record.command);
    process["cwd"] = json!(record.workdir);
    // Who it is when nobody knows, the service file says: it is refused otherwise.
    if let Ok(ids) = &record.ids {
        process["user"] = json!({ "uid": ids.uid, "gid": ids.gid, "additionalGids": ids.groups });
    }
    if let Some(list) = process["env"].as_array_mut() {
        for entry in &record.env {
            let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
            // The daemon's own names are not the image's to give.
            if !name.starts_with("KNARR_") {
                list.retain(|e| !e.as_str().is_some_and(|e| env::is(e, name)));
                list.push(json!(entry));
            }
        }
    }
    let mut notes = serde_json::Map::new();
    for (key, value) in record.labels.iter().filter(|(key, _)| !key.is_empty()) {
        let key = if key.starts_with(PLAIN) { key.clone() } else { format!("{PREFIX}{key}") };
        notes.insert(key, json!(value));
    }
    let mut note = |key: &str, value: Option<String>| {
        value.map(|v| notes.insert(format!("{PLAIN}{key}"), json!(v)));
    };
    note("architecture", Some(record.architecture.clone()));
    note("os", Some("linux".into()));
    note("created", record.created.clone());
    note("stopSignal", record.stop_signal.clone());
    note("exposedPorts", (!record.ports.is_empty()).then(|| record.ports.join(",")));
    config["annotations"] = Value::Object(notes);
}
