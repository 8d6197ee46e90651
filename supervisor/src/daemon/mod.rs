//! The daemon: one owner of all state, and the loop that feeds it. Read in this order: `owner` (what it owns and how a step
//! is carried out), `keepers` (what keepers and jobs report), `settle` (what moves on by itself), `work` (what runs beside
//! the loop), `looks` (probes), `held` (listening sockets), `told` (notify sockets), `adopt` (how it finds what an earlier
//! daemon left), `desired` (service files), `versions` and `rollouts` (how what runs comes to be of a changed file), `pressure` (memory that runs short), `measures` (metrics), `itself`
//! (what it tells of itself), `answer` and `wishes` (what the API asks and wants).
#![forbid(unsafe_code)]

mod admission;
mod adopt;
mod alarm;
mod answer;
mod desired;
mod endpoints;
mod explain;
mod files;
mod held;
mod hook_group;
mod hooks;
mod images;
mod itself;
mod jobs;
mod keepers;
mod lanes;
mod line;
mod logcap;
mod looks;
mod measures;
mod oom;
mod options;
mod order;
mod owner;
mod parts;
mod place;
mod pressure;
mod resize;
mod rollout_wishes;
mod rollouts;
mod run;
mod settle;
mod shutdown;
mod stats;
mod told;
mod turns;
mod versions;
mod waiters;
mod watch;
mod wishes;
mod work;

pub use line::command;
pub use options::{Options, WebOptions};
pub use run::{Ended, run};
