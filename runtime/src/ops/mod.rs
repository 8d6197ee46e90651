//! One file a verb.
#![forbid(unsafe_code)]
