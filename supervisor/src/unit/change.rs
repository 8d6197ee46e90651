//! What two versions of a service differ in, and whether that needs a restart. Pure.
#![forbid(unsafe_code)]

use crate::api::model::ServiceChange;
use crate::unit::service::Service;

/// A stable name of a service's content: the SHA-256 of its canonical JSON, 64 hexadecimal digits.
pub fn version(_service: &Service) -> String {
    String::new()
}

/// What becomes of a service; `None` = nothing differs.
pub fn changes(_old: Option<&Service>, _new: Option<&Service>) -> Option<ServiceChange> {
    None
}
