//! The journal: intents, exits, goals and events, in order, on disk before anybody acts on them.
#![forbid(unsafe_code)]

mod frame;
pub mod lock;
pub mod record;
mod recover;
pub mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_disk;
#[cfg(test)]
mod tests_image;
#[cfg(test)]
mod tests_jobs;

pub use lock::{Lock, lock};
pub use record::{Event, Image, Record};
pub use store::{Journal, Limits, Loss, Opened};
