//! The directory of an OCI bundle: the service runs a copy of its configuration.

use std::path::Path;

use serde_json::Value;

use super::draft::Draft;

/// The service of a bundle.
///
/// # Errors
/// It is none.
pub(super) fn draft(dir: &Path) -> Result<Draft, String> {
    let file = dir.join("config.json");
    let at = |e: String| format!("{}: {e}", file.display());
    let text = super::read(&file)?;
    let config: Value = serde_json::from_str(&text).map_err(|e| at(e.to_string()))?;
    if !config.get("ociVersion").is_some_and(Value::is_string) {
        return Err(at("no configuration of a bundle: it has no ociVersion".into()));
    }
    let name = dir.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let mut d = Draft::new(&name);
    d.put("bundle", dir.display().to_string());
    if let Some(path) = config.pointer("/linux/cgroupsPath").and_then(Value::as_str) {
        d.leave("linux.cgroupsPath", format!("{path}: the daemon has its own cgroups"));
    }
    if config.pointer("/process/terminal") == Some(&Value::Bool(true)) {
        // As with an engine: without it nobody could type.
        d.put("stdin", true);
    }
    Ok(d)
}
