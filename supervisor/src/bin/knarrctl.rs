//! knarrctl.
#![forbid(unsafe_code)]

fn main() {}
