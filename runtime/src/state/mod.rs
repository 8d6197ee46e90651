//! What is remembered about a container, and what is seen of it: the record (versioned, written aside), the
//! store (one directory a container, one lock each), the status (observed, never stored). May use: `error`,
//! `report`, `cgroup`, the gate's name, `sys::{fs, process}`.
#![forbid(unsafe_code)]

pub mod observe;
pub mod record;
pub mod store;

pub use observe::{Status, boot_id, observe};
pub use record::{Phase, Proc, Record, VERSION, check_id};
pub use store::{Container, Entry, Listed, Reservation, Store};
