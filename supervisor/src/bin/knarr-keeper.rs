//! knarr-keeper.
#![forbid(unsafe_code)]

fn main() {}
