//! What the operator wants: service files, parsed and checked; what a change of them means; and the bundle of a run made
//! from them. Pure, except `dir`, which reads the services directory, and `bundle`, which writes below the run directory.
#![forbid(unsafe_code)]

pub mod bundle;
mod change;
mod dir;
mod edit;
pub mod job;
mod key;
mod keys;
mod keys_pressure;
mod keys_probes;
pub mod listen;
mod parse;
pub mod pressure;
mod render;
pub mod service;
mod set;
#[cfg(test)]
pub(crate) mod test_dir;

pub use change::{changes, run_version, run_version_before, version};
pub use dir::{Loaded, load_dir, load_files, read_file};
pub use edit::set_limits;
pub use keys::{Change, KEYS, Key};
pub(crate) use parse::health_pair;
pub(crate) use parse::value::nearest;
pub(crate) use parse::value::{duration, signal};
pub use parse::{SIZE_MAX, locate, parse};
pub use set::{check_set, implied, service_of, start_order};
