//! attach: between a client's frames and the messages of a keeper.
#![forbid(unsafe_code)]

use std::path::Path;

use super::exec::Client;
use super::fault::Fault;

/// A connection to a keeper.
pub(super) struct Attached;

impl Attached {
    pub(super) async fn to(dir: &Path) -> Result<Attached, Fault> {
        Err(super::core::Refusal::Internal(format!("{}: no keeper", dir.display())).into())
    }
    pub(super) async fn relay(self, client: Client) {
        drop(client);
    }
}
