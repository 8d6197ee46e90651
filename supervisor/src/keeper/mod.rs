//! The keeper of one container: its frozen protocol, both ends.
#![forbid(unsafe_code)]

pub mod args;
pub mod client;
pub mod conns;
pub mod described;
pub mod disk;
pub mod evidence;
pub mod hold;
pub mod holder;
pub mod journald;
pub mod log;
pub mod protocol;
pub mod record;
pub mod ring;
pub mod seal;
pub mod serve;
pub mod start;
pub mod text;

pub use client::{Attach, Hello, Keeper, Launch, Note, Orders, Phase, Piece, attach, spawn, spawn_with};
pub use protocol::{Order, Stream};

/// Removes the exit record of a run whose keeper is gone, and what the keeper set aside for it.
pub fn remove_record(path: &std::path::Path) {
    std::fs::remove_file(path).ok();
    remove_aside(path);
}

/// Removes what a keeper that is gone had set aside for its exit record.
pub fn remove_aside(path: &std::path::Path) {
    std::fs::remove_file(
        path.with_file_name(disk::aside_name(&path.file_name().unwrap_or_default().to_string_lossy())),
    )
    .ok();
}
