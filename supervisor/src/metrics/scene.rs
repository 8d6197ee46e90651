//! What the daemon has at hand when somebody asks, and what is read of the kernel then: the files of cgroups, of /proc and of
//! the log directories. Reads only; [`Scene::read`] takes a while on a large host and belongs beside the loop.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use procfs::Current;

use super::cgroup::{Group, Hierarchies, RESOURCES};
use super::psi::{self, Psi};
use super::tally::{Durations, Tally};
use crate::health::Standing;

/// One instance.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its service.
    pub service: String,
    /// Its number.
    pub replica: String,
    /// The word of its state.
    pub state: &'static str,
    /// It is wanted up.
    pub wanted: bool,
    /// It can be used.
    pub ready: bool,
    /// It runs, has come up and does not fail.
    pub healthy: bool,
    /// Unix time of the last change of its state, in seconds.
    pub changed: f64,
    /// Number of its last run.
    pub runs: u32,
    /// Starts after an end, since somebody last started it or it was changed.
    pub restarts: u32,
    /// Exit code of the last end.
    pub last_exit: Option<i32>,
    /// Bytes of memory that it asks for.
    pub memory_request: Option<u64>,
    /// What is done to it because memory is short: throttle, freeze.
    pub rung: Option<&'static str>,
    /// Its probes: which, where it stands, failures in a row.
    pub probes: Vec<(&'static str, Standing, u32)>,
    /// What was counted.
    pub tally: Tally,
    /// The cgroup of its container, while there is one.
    pub cgroup: Option<String>,
    /// What the kernel says of it; read by [`Scene::read`].
    pub group: Group,
    /// Bytes of its log files; read by [`Scene::read`].
    pub log: Option<u64>,
}

/// The daemon and the host.
#[derive(Debug, Default)]
pub struct Scene {
    /// All instances, in order of their names.
    pub instances: Vec<Seen>,
    /// Services in force.
    pub services: usize,
    /// Problems of service files.
    pub problems: usize,
    /// Where the memory ladder is: 0 calm, 1 warn, 2 act.
    pub ladder: u8,
    /// Bytes that requests leave for the host.
    pub reserve: Option<u64>,
    /// Bytes that may be requested.
    pub requestable: Option<u64>,
    /// Unix time of the daemon's start, in seconds.
    pub started: f64,
    /// Seconds since then.
    pub uptime: f64,
    /// Seconds since the service files were read, or found unchanged.
    pub reconciled: f64,
    /// How late the loop was for what was due.
    pub lag: Durations,
    /// How often the loop has turned.
    pub turns: u64,
    /// Keepers that are connected.
    pub keepers: usize,
    /// Bytes of the journal's file.
    pub journal: u64,
    /// Records that the disk has not taken.
    pub journal_pending: usize,
    /// The number of the last event.
    pub last_event: u64,
    /// Where cgroups are.
    pub hierarchies: Arc<Hierarchies>,
    /// All log directories.
    pub logs: PathBuf,
    /// Stalls of the host, by [`RESOURCES`]; read by [`Scene::read`].
    pub pressure: [Psi; RESOURCES.len()],
    /// Bytes of memory of the host: all, available; read by [`Scene::read`].
    pub memory: Option<(u64, u64)>,
    /// This process; read by [`Scene::read`].
    pub own: Own,
}

/// The daemon's own process.
#[derive(Debug, Default)]
pub struct Own {
    /// Bytes of memory.
    pub resident: Option<u64>,
    /// Seconds of processor time.
    pub cpu: Option<f64>,
    /// Open descriptors.
    pub fds: Option<usize>,
    /// The most that it may have.
    pub fds_max: Option<u64>,
}

impl Scene {
    /// Reads what the kernel and the file system know.
    pub fn read(&mut self) {
        let logs: BTreeMap<_, _> = crate::logs::usage(&self.logs).unwrap_or_default();
        for seen in &mut self.instances {
            if let Some(group) = &seen.cgroup {
                seen.group = self.hierarchies.read(group);
            }
            seen.log = logs.get(&format!("{}.{}", seen.service, seen.replica)).map(|usage| usage.bytes);
        }
        let pressure = |r: &str| std::fs::read_to_string(format!("/proc/pressure/{r}")).unwrap_or_default();
        self.pressure = RESOURCES.map(|r| psi::parse(&pressure(r)));
        let info = procfs::Meminfo::current().ok();
        self.memory = info.map(|m| (m.mem_total, m.mem_available.unwrap_or(m.mem_free)));
        self.own = Own::read();
    }
}

impl Own {
    fn read() -> Own {
        let Ok(me) = procfs::process::Process::myself() else { return Own::default() };
        let stat = me.stat().ok();
        let ticks = procfs::ticks_per_second() as f64;
        Own {
            resident: me.statm().ok().map(|m| m.resident.saturating_mul(procfs::page_size())),
            cpu: stat.map(|s| s.utime.saturating_add(s.stime) as f64 / ticks),
            fds: me.fd_count().ok(),
            fds_max: me.limits().ok().and_then(|l| match l.max_open_files.soft_limit {
                procfs::process::LimitValue::Value(n) => Some(n),
                procfs::process::LimitValue::Unlimited => None,
            }),
        }
    }
}
