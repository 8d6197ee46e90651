//! Service files from what others write: Compose files, Podman's quadlets, static pods of a kubelet, bundles. What cannot be
//! said in a service file is left out and listed with the reason; the parser of service files has the last word on the rest.
//! Pure but for reading the one file.
#![forbid(unsafe_code)]

mod bundle;
mod compose;
mod draft;
mod pod;
mod quadlet;
#[cfg(test)]
mod tests;
mod values;

use std::path::Path;

use serde::Serialize;

pub use draft::{Left, Written};

use draft::Draft;

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// What the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Compose file (compose-spec).
    Compose,
    /// A `.container` file of Podman (podman-systemd.unit(5)).
    Quadlet,
    /// A pod as a kubelet takes it from a file.
    StaticPod,
    /// The directory of an OCI bundle.
    Bundle,
}

impl Kind {
    /// The words of the command line, in the order of the kinds.
    pub const WORDS: [&str; 4] = ["compose", "quadlet", "static-pod", "runc-bundle"];

    /// From one of them.
    pub fn parse(word: &str) -> Option<Kind> {
        let all = [Kind::Compose, Kind::Quadlet, Kind::StaticPod, Kind::Bundle];
        Kind::WORDS.iter().position(|w| *w == word).and_then(|i| all.get(i).copied())
    }
}

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Service files.
    pub services: Vec<Written>,
    /// What is in none of them.
    pub left_out: Vec<Left>,
}

/// Makes service files of a file.
///
/// # Errors
/// It cannot be read, or is not of this kind.
pub fn import(kind: Kind, path: &Path) -> Result<Imported, String> {
    let at = |e: String| format!("{}: {e}", path.display());
    let path = std::fs::canonicalize(path).map_err(|e| at(e.to_string()))?;
    let name = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let drafts = match kind {
        Kind::Bundle => Ok(vec![bundle::draft(&path)?]),
        Kind::Compose => compose::drafts(&yaml(&read(&path)?).map_err(at)?, path.parent().unwrap_or(&path)),
        Kind::Quadlet => quadlet::draft(&read(&path)?, &name).map(|d| vec![d]),
        Kind::StaticPod => pod::drafts(&yaml(&read(&path)?).map_err(at)?),
    };
    finish(drafts.map_err(at)?).map_err(at)
}

fn finish(drafts: Vec<Draft>) -> Result<Imported, String> {
    let (mut services, mut left_out) = (Vec::new(), Vec::new());
    for draft in drafts {
        let (written, left) = draft.finish()?;
        services.push(written);
        left_out.extend(left);
    }
    if services.is_empty() {
        return Err("there is no service in it".into());
    }
    Ok(Imported { services, left_out })
}

fn read(path: &Path) -> Result<String, String> {
    let at = |e: String| format!("{}: {e}", path.display());
    match std::fs::metadata(path) {
        Ok(m) if m.is_file() && m.len() <= FILE_MAX => {
            std::fs::read_to_string(path).map_err(|e| at(e.to_string()))
        }
        Ok(_) => Err(at(format!("want a file of at most {FILE_MAX} bytes"))),
        Err(e) => Err(at(e.to_string())),
    }
}

fn yaml(text: &str) -> Result<serde_json::Value, String> {
    serde_saphyr::from_str(text).map_err(|e| e.to_string())
}
