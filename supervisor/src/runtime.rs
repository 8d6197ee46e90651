//! Drives any runtime with the command line of runc, a deadline on every call.
#![forbid(unsafe_code)]
