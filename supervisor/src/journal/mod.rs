//! The journal: intents, exits, goals and events, in order, on disk before anybody acts on them.
#![forbid(unsafe_code)]

pub mod record;
