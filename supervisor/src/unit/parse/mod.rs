//! From the text of a service file to a checked [`Service`], with the place of every complaint. Pure.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::api::model::Problem;
use crate::names::ServiceName;
use crate::unit::service::Service;

/// The largest service file in bytes.
pub const SIZE_MAX: usize = 1 << 20;

/// Reads a service file. `file` is only named in the problems.
///
/// # Errors
/// Everything that is wrong with the text, in the order of its lines.
pub fn parse(name: &ServiceName, file: &Path, _text: &str) -> Result<Service, Vec<Problem>> {
    let message = format!("service {name}: the reader is not finished");
    Err(vec![Problem { file: file.display().to_string(), line: 0, column: 0, key: String::new(), message }])
}
