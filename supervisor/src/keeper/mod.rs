//! The keeper of one container: its frozen protocol, both ends.
#![forbid(unsafe_code)]

pub mod args;
pub mod client;
pub mod conns;
pub mod disk;
pub mod evidence;
pub mod journald;
pub mod log;
pub mod protocol;
pub mod record;
pub mod ring;
pub mod seal;
pub mod serve;
pub mod start;
pub mod text;

pub use client::{Attach, Hello, Keeper, Launch, Note, Orders, Phase, Piece, attach, spawn};
pub use protocol::{Order, Stream};
