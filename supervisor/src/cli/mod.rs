//! knarrctl.
#![forbid(unsafe_code)]
