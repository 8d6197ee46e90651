//! How one daemon was asked to be. Pure data.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use crate::dirs::Dirs;

/// How one daemon was asked to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its directories.
    pub dirs: Dirs,
    /// The runtime of services that name none.
    pub runtime: PathBuf,
    /// The program `knarr-keeper`.
    pub keeper: PathBuf,
    /// The cgroup below which everything is made, as a path from the root of each hierarchy; `None` = found.
    pub cgroup_parent: Option<String>,
    /// The group that may use the sockets beside root.
    pub group: Option<u32>,
    /// Starts at a time.
    pub start_concurrency: u32,
    /// Restarts in a second for the whole host, on average.
    pub restart_rate: f64,
    /// Restarts at once before the rate counts.
    pub restart_burst: u32,
    /// Bytes of logs of all services together; `None` = the smaller of 1 GiB and a tenth of the file system.
    pub log_total: Option<u64>,
    /// Nothing is logged while less than this share of the file system is free, in percent; more than 1 GiB is never wanted.
    pub log_min_free: u8,
    /// Bytes of memory that requests of services leave for the host; `None` = a twentieth, at least 128 MiB.
    pub memory_reserve: Option<u64>,
    /// How many times the rest may be requested.
    pub memory_overcommit: f64,
    /// When the memory ladder begins, and how fast it moves.
    pub pressure: crate::memory::ladder::Thresholds,
    /// Where ready instances are listed for proxies; `None` = nowhere.
    pub endpoints: Option<PathBuf>,
    /// How the root file systems of images are made.
    pub image_root: crate::image::root::Mode,
    /// The loopback address for metrics; `None` = the sockets only.
    pub web: Option<WebOptions>,
    /// How long all containers together may take to stop when the host goes down; zero = they are left to the init system.
    pub shutdown_total: Duration,
    /// The services directory is read whole this often, whatever inotify says.
    pub full_pass: Duration,
}

/// The loopback address for metrics.
#[derive(Debug, Clone)]
pub struct WebOptions {
    /// Where to listen.
    pub address: std::net::SocketAddr,
    /// The file with its token; `None` = one that is made in the state directory.
    pub token: Option<PathBuf>,
}
