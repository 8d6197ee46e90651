//! config.json in, checked data out: `read` makes typed data of bytes, `check` applies the rules that need no host.
//! Every complaint names the JSON pointer of the field. Pure: callers read the bytes. May use: std, serde, `error`.
#![forbid(unsafe_code)]

pub mod annotations;
pub mod at;
pub mod check;
pub mod coverage;
mod json;
pub mod read;
pub mod shape;
pub mod types;
pub mod words;

pub use at::{At, Warning};
pub use types::*;
