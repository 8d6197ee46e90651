//! What instances use at this moment: the figures of metrics, as JSON for who draws them.
#![forbid(unsafe_code)]

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::core::{Call, Refusal};
use super::fault::Fault;
use super::routes::{App, Refused};
use crate::metrics::Scene;
use crate::metrics::psi::Psi;
use crate::metrics::scene::Seen;

/// What the host and all instances use, as the kernel said when it was asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// The host.
    pub host: HostUsage,
    /// In order of their names.
    pub instances: Vec<InstanceUsage>,
}

/// The host; null = the kernel does not tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostUsage {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of it that can be had without swapping.
    pub memory_available: Option<u64>,
    /// Share of the last 10 s in which some processes waited for a processor, 0 to 1.
    pub cpu_pressure: Option<f64>,
    /// The same for memory.
    pub memory_pressure: Option<f64>,
    /// The same for block devices.
    pub io_pressure: Option<f64>,
}

/// One instance; null = the kernel does not tell, there is no such limit, or there is no container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstanceUsage {
    /// `web.1`.
    pub instance: String,
    /// Number of its last run: what only grows begins anew with each.
    pub run: u32,
    /// It runs, has come up and does not fail its probes.
    pub healthy: bool,
    /// Bytes of memory in use.
    pub memory: Option<u64>,
    /// Bytes of it that are swapped out.
    pub memory_swap: Option<u64>,
    /// Bytes that its service asks for.
    pub memory_request: Option<u64>,
    /// Bytes from which on it is slowed down.
    pub memory_high: Option<u64>,
    /// The limit of memory in bytes.
    pub memory_max: Option<u64>,
    /// What is done to it because memory is short: throttle, freeze.
    pub memory_rung: Option<String>,
    /// Seconds of processor time of this run.
    pub cpu_seconds: Option<f64>,
    /// For how many seconds it had to wait for its limit of processor time.
    pub cpu_throttled_seconds: Option<f64>,
    /// Share of the last 10 s in which some of its processes waited for a processor, 0 to 1.
    pub cpu_pressure: Option<f64>,
    /// The same for memory.
    pub memory_pressure: Option<f64>,
    /// The same for block devices.
    pub io_pressure: Option<f64>,
    /// Bytes that this run has read from block devices.
    pub io_read: Option<u64>,
    /// Bytes that it has written to them.
    pub io_written: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The limit of them.
    pub pids_max: Option<u64>,
    /// Bytes of its log files.
    pub log: Option<u64>,
    /// Bytes of output that are in no log, of runs that have ended since the daemon started.
    pub log_dropped: u64,
}

/// What the host and all instances use now. Values of cgroups are read for this answer, beside the daemon's loop.
#[utoipa::path(get, path = "/v1/usage", responses(Refused, (status = 200, body = Usage)))]
pub(super) async fn get(State(app): State<App>) -> Result<Json<Usage>, Fault> {
    let mut scene = app.ask_soon(Call::Metrics).await?;
    let read = tokio::task::spawn_blocking(move || {
        scene.read();
        usage(&scene)
    });
    Ok(Json(read.await.map_err(|e| Refusal::Internal(e.to_string()))?))
}

fn usage(scene: &Scene) -> Usage {
    let [cpu_pressure, memory_pressure, io_pressure] = scene.pressure.map(some);
    let host = HostUsage {
        memory: scene.memory.map(|m| m.0),
        memory_available: scene.memory.map(|m| m.1),
        cpu_pressure,
        memory_pressure,
        io_pressure,
    };
    Usage { host, instances: scene.instances.iter().map(of_instance).collect() }
}

fn some(psi: Psi) -> Option<f64> {
    psi.some.map(|stall| stall.avg10)
}

fn of_instance(seen: &Seen) -> InstanceUsage {
    let group = &seen.group;
    let [cpu_pressure, memory_pressure, io_pressure] = group.pressure.map(some);
    InstanceUsage {
        instance: format!("{}.{}", seen.service, seen.replica),
        run: seen.runs,
        healthy: seen.healthy,
        memory: group.memory,
        memory_swap: group.swap,
        memory_request: seen.memory_request,
        memory_high: group.memory_high,
        memory_max: group.memory_max,
        memory_rung: seen.rung.map(Into::into),
        cpu_seconds: group.cpu[0],
        cpu_throttled_seconds: group.throttled_seconds,
        cpu_pressure,
        memory_pressure,
        io_pressure,
        io_read: group.io.map(|io| io[0]),
        io_written: group.io.map(|io| io[1]),
        pids: group.pids,
        pids_max: group.pids_max,
        log: seen.log,
        log_dropped: seen.tally.log_dropped,
    }
}
