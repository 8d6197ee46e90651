//! HTTP over a unix socket.
#![forbid(unsafe_code)]

pub mod core;
pub mod model;
