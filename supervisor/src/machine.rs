//! State x event -> state + effects. Pure.
#![forbid(unsafe_code)]
