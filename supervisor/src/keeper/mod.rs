//! The keeper of one container: its frozen protocol, both ends.
#![forbid(unsafe_code)]

pub mod client;
pub mod protocol;
pub mod record;

pub use client::{Attach, Hello, Keeper, Launch, Note, Orders, Phase, Piece, attach, spawn};
pub use protocol::{Order, Stream};
