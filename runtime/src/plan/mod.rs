//! Spec + Host + Request -> Plan. Pure: no system call, no file, no clock. Printable as JSON.
#![forbid(unsafe_code)]

pub mod devices;
pub mod launch;
pub mod mounts;
pub mod process;
