//! The cases of the supervisor, one file a subject: a real daemon, real containers. A story talks to the daemon through
//! `Daemon` and to the kernel; nothing is imported from the supervisor.

mod access;
mod again;
mod beside;
mod config;
mod copies;
mod crowd;
mod deaths;
mod doctor;
mod endpoints;
mod events;
mod files;
mod history;
mod hogs;
mod hooks;
mod host;
mod images;
mod import;
mod jobs;
mod keepers;
mod ladder;
mod life;
mod listen;
mod logcap;
mod logs;
mod long;
mod memory;
mod metrics;
mod order;
mod orders;
mod output;
mod parts;
mod probes;
mod push;
mod removal;
mod restart;
mod rollout;
mod shutdown;
mod survival;
mod swapping;
mod systemd;
mod tiers;
mod top;
mod web;

use crate::case::{Case, case};
use crate::host::Need;

pub use long::long;

/// All of them, in the order of the report.
pub fn cases() -> Vec<Case> {
    [
        life::cases(),
        restart::cases(),
        order::cases(),
        tiers::cases(),
        jobs::cases(),
        parts::cases(),
        orders::cases(),
        probes::cases(),
        crowd::cases(),
        rollout::cases(),
        push::cases(),
        endpoints::cases(),
        listen::cases(),
        config::cases(),
        hooks::cases(),
        logs::cases(),
        logcap::cases(),
        memory::cases(),
        swapping::cases(),
        metrics::cases(),
        web::cases(),
        history::cases(),
        top::cases(),
        deaths::cases(),
        ladder::cases(),
        hogs::cases(),
        access::cases(),
        doctor::cases(),
        events::cases(),
        output::cases(),
        files::cases(),
        removal::cases(),
        survival::cases(),
        keepers::cases(),
        again::cases(),
        copies::cases(),
        beside::cases(),
        host::cases(),
        shutdown::cases(),
        images::cases(),
        import::cases(),
        long::cases(),
        systemd::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Starts a case of the supervisor; `what` is the part of its contract that is checked.
fn sup(name: &str, what: &str) -> Case {
    // A service that says nothing about it has a limit of processes.
    let common = [Need::CgroupAny("pids")];
    case(format!("sup.{name}")).checks(format!("supervisor: {what}")).needs(common).seconds(20)
}

/// A pause that is short, for services which shall come back at once.
const SOON: &str = "[restart]\ndelay = '10ms'\nmax_delay = '20ms'\n";
