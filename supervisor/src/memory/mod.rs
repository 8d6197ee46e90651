//! Memory of services: their limits in the kernel's words, what a change of them takes, who broke which limit, and whether
//! the host has room for one more. Pure.
#![forbid(unsafe_code)]

pub mod admission;
pub mod cause;
pub mod guard;
pub mod ladder;
pub mod leak;
pub mod limits;
pub mod resize;
