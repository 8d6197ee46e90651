//! What the operator wants: service files, parsed and checked.
#![forbid(unsafe_code)]

pub mod service;
