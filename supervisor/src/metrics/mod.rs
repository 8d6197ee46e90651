//! What Prometheus and other readers of its text format are told: [`table`] has every metric, [`scene`] what the daemon has at
//! hand when it is asked, [`cgroup`] what is read of the kernel's files then, [`tally`] what is counted in between, [`text`] the
//! format. Nothing of that is polled: nobody asks = nothing is read. [`history`] is what instances used in the last hours, for
//! people.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod history;
pub mod psi;
pub mod scene;
pub mod table;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod text;

pub use scene::Scene;
