//! The daemon: one owner of all state.
#![forbid(unsafe_code)]
