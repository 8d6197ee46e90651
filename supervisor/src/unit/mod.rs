//! What the operator wants: service files, parsed and checked; what a change of them means; and the bundle of a run made
//! from them. Pure, except `dir`, which reads the services directory, and `bundle`, which writes below the run directory.
#![forbid(unsafe_code)]

pub mod bundle;
mod change;
mod dir;
mod keys;
mod parse;
pub mod service;
mod set;

pub use change::{changes, version};
pub use keys::{KEYS, Key};
pub use dir::{Loaded, load_dir, read_file};
pub use parse::{SIZE_MAX, parse};
pub use set::{check_set, service_of, start_order};
