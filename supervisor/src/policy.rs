//! Restart decisions, each with its reason. Pure.
#![forbid(unsafe_code)]
