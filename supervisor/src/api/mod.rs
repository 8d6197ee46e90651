//! HTTP over two unix sockets: what people and programs ask of the daemon, with a limit on everything a client can send.
//! Knows the owner of all state only through [`core::Handle`]; reads log files and starts `exec` by itself.
#![forbid(unsafe_code)]

mod attach;
mod bind;
pub mod core;
pub mod cursor;
mod events;
mod exec;
#[cfg(test)]
pub(crate) mod exec_tests;
mod fault;
pub mod frames;
pub mod kinds;
mod logs;
mod metrics;
pub mod model;
mod openapi;
mod orders;
mod page;
mod request;
pub mod rollouts;
mod routes;
mod serve;
mod set;
#[cfg(test)]
pub(crate) mod tests;
pub mod token;
pub mod usage;
pub mod web;

pub use bind::{Listeners, bind};
pub use openapi::document;
pub use serve::{Limits, serve, serve_with};
