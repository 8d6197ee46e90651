//! `knarr state`: the state document of the OCI runtime specification, with the two fields runc adds. Reads
//! only, and waits for nobody.

use super::store;
use crate::cli::{Global, IdArgs};
use crate::error::{Code, Error, Result};
use crate::report;
use crate::state::{Record, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One container as `state` and `list` show it. runtime.md, "State"; the order of keys is runc's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    oci_version: &'a str,
    pub(super) id: &'a str,
    /// 0 when there is no process.
    pub(super) pid: i32,
    pub(super) status: String,
    pub(super) bundle: &'a Path,
    rootfs: &'a Path,
    pub(super) created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    /// A user's name; empty in `state`.
    pub(super) owner: String,
}

impl<'a> Shown<'a> {
    pub(super) fn new(record: &'a Record, status: Status, owner: String) -> Shown<'a> {
        // The pid of a process that is gone may be another's by now.
        let pid = match (status, record.init) {
            (Status::Stopped, _) | (_, None) => 0,
            (_, Some(init)) => init.pid,
        };
        Shown {
            oci_version: &record.oci_version,
            id: &record.id,
            pid,
            status: status.to_string(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner,
        }
    }
}

/// Prints the state of one container.
pub fn run(global: &Global, args: &IdArgs) -> Result<i32> {
    let container = store(global)?.load(&args.id)?;
    let shown = Shown::new(&container.record, container.status()?, String::new());
    let text = serde_json::to_string_pretty(&shown).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    report::print(&text)?;
    Ok(0)
}
