//! What is remembered about a container, and what is seen of it: the record (versioned, written aside), the
//! store (one directory a container, one lock each), the status (observed, never stored). May use: `error`,
//! `report`, `cgroup`, `sys::{fs, process}`.
#![forbid(unsafe_code)]

pub mod observe;
pub mod record;
pub mod store;

pub use observe::{Status, observe};
pub use record::{Phase, Proc, Record};
pub use store::{Container, Entry, Reservation, Store};
