//! Log files: written by keepers, read by everybody else.
#![forbid(unsafe_code)]
