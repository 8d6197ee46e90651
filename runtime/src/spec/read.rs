//! Bytes to typed data: size limit, strict scan, one typed parse. Nothing is interpreted here; the rules are in
//! `check`. Pure: the caller reads the file, so that the bytes are read once. May use: serde_json, `json`.

use super::annotations;
use super::at::Warning;
use super::json;
use super::shape::Shaped;
use super::types::{Process, Resources, Spec};
use crate::error::{Code, Error, Result};
use serde::de::DeserializeOwned;

pub use super::json::{MAX_DEPTH, MAX_VALUES};

/// Bytes in one document. The kernel takes at most six megabytes of arguments and environment, so that a larger
/// config.json could not start anyway. Callers stop reading one byte after it.
pub const MAX_BYTES: usize = 8 << 20;

/// Reads config.json. Errors are of class `Spec` and name the JSON pointer, or line and column, or both.
/// The warnings are about keys that runtime-spec 1.3 does not have.
pub fn config(bytes: &[u8]) -> Result<(Spec, Vec<Warning>)> {
    let (mut spec, warnings) = document(bytes)?;
    annotations::fold(&mut spec);
    Ok((spec, warnings))
}

/// Reads the document of `exec --process`, without the remarks of [`document`].
pub fn process(bytes: &[u8]) -> Result<Process> {
    document(bytes).map(|(process, _)| process)
}

/// Reads the document of `update --resources`, without the remarks of [`document`].
pub fn resources(bytes: &[u8]) -> Result<Resources> {
    document(bytes).map(|(resources, _)| resources)
}

/// Reads one document of any spec type.
pub fn document<T: Shaped + DeserializeOwned>(bytes: &[u8]) -> Result<(T, Vec<Warning>)> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::new(Code::Spec, format!("larger than {MAX_BYTES} bytes")));
    }
    let (text, warnings) = json::scan(bytes, T::SHAPE)?;
    // The scan has checked kinds, ranges and keys against the same types, so that nothing is left to refuse here.
    let value = serde_json::from_str(text)
        .map_err(|e| Error::new(Code::Internal, format!("the strict scan let pass: {e}")))?;
    Ok((value, warnings))
}
