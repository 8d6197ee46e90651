//! config.json in, checked data out. Every complaint names the JSON pointer of the field. Pure: callers read
//! the bytes. May use: std, serde, `error`.
#![forbid(unsafe_code)]

pub mod check;
pub mod read;
pub mod types;

pub use types::*;
