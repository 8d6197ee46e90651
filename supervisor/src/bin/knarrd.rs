//! knarrd.
#![forbid(unsafe_code)]

fn main() {}
