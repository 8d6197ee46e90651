//! What a group uses, in the shape of runc's statistics: types, and the readers of cgroup v2 files
//! (Documentation/admin-guide/cgroup-v2.rst). Those of v1 are in `stats_v1`. May use: `sys::fs`, `error`.
#![forbid(unsafe_code)]

use super::tree::value_of;
use super::{Cgroup, stats_v1};
use crate::error::Result;
use crate::sys::{BorrowedFd, errno, fs};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Everything at one moment. Keys, their order and what is left out when zero are those of runc's types/events.go.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: CpuSet,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// By page size such as `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    pub intel_rdt: IntelRdt,
    /// runc fills it only for interfaces that it made itself, which no config.json can ask for.
    pub network_interfaces: Option<Vec<()>>,
}

/// Empty without groups of resctrl; filled by those who know them.
#[derive(Debug, Default, Serialize)]
pub struct IntelRdt {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemoryInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// One for each L3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<MemoryUse>>,
    /// One for each L3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<CacheUse>>,
}

/// How the L3 cache can be divided.
#[derive(Debug, Default, Serialize)]
pub struct CacheInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cbm_mask: String,
    #[serde(skip_serializing_if = "zero")]
    pub min_cbm_bits: u64,
    #[serde(skip_serializing_if = "zero")]
    pub num_closids: u64,
}

/// How memory bandwidth can be divided.
#[derive(Debug, Default, Serialize)]
pub struct MemoryInfo {
    #[serde(skip_serializing_if = "zero")]
    pub bandwidth_gran: u64,
    #[serde(skip_serializing_if = "zero")]
    pub delay_linear: u64,
    #[serde(skip_serializing_if = "zero")]
    pub min_bandwidth: u64,
    #[serde(skip_serializing_if = "zero")]
    pub num_closids: u64,
}

/// Bytes moved between a cache and memory.
#[derive(Debug, Default, Serialize)]
pub struct MemoryUse {
    #[serde(skip_serializing_if = "zero")]
    pub mbm_total_bytes: u64,
    #[serde(skip_serializing_if = "zero")]
    pub mbm_local_bytes: u64,
}

/// Bytes of a cache.
#[derive(Debug, Default, Serialize)]
pub struct CacheUse {
    #[serde(skip_serializing_if = "zero")]
    pub llc_occupancy: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Nanoseconds.
#[derive(Debug, Default, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "zero")]
    pub throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "zero")]
    pub throttled_time: u64,
}

/// Only cgroup v1 fills it.
#[derive(Debug, Default, Serialize)]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Bytes.
#[derive(Debug, Default, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "zero")]
    pub cache: u64,
    pub usage: Entry,
    /// Memory and swap together, as v1 counts.
    pub swap: Entry,
    pub kernel: Entry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Entry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Bytes; no limit is the greatest number on v2, and the greatest number of whole pages on v1.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub limit: u64,
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    pub failcnt: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    /// 0 is no limit.
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "zero")]
    pub value: u64,
}

/// Bytes.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Pressure stall information (Documentation/accounting/psi.rst).
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    pub some: Pressure,
    pub full: Pressure,
}

/// Averages in percent, the total in microseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    #[serde(serialize_with = "as_go")]
    pub avg10: f64,
    #[serde(serialize_with = "as_go")]
    pub avg60: f64,
    #[serde(serialize_with = "as_go")]
    pub avg300: f64,
    pub total: u64,
}

fn zero(n: &u64) -> bool {
    *n == 0
}

/// Go writes a whole number without a point.
fn as_go<S: Serializer>(n: &f64, s: S) -> std::result::Result<S::Ok, S::Error> {
    match n.fract() == 0.0 && n.abs() < 1e15 {
        true => s.serialize_i64(*n as i64),
        false => s.serialize_f64(*n),
    }
}

/// The files of one directory. What is not there, because a controller is off or the group is gone, is nothing.
#[derive(Clone, Copy)]
pub(super) struct Files<'a>(pub BorrowedFd<'a>);

impl Files<'_> {
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        match fs::read_file_at(self.0, name) {
            // EOPNOTSUPP: pressure files of a kernel that was told not to count.
            Err(e) if [errno::ENOENT, errno::ENODEV, errno::EOPNOTSUPP].iter().any(|n| e.is(*n)) => Ok(None),
            r => r.map(Some),
        }
    }

    /// The number in a file; `max` is the greatest one.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.text(name)?.and_then(|t| number(&t)))
    }

    pub(super) fn number_or_0(&self, name: &str) -> Result<u64> {
        Ok(self.number(name)?.unwrap_or(0))
    }

    /// Page sizes for which there is a file `hugetlb.SIZE.LAST`.
    pub(super) fn page_sizes(&self, last: &str) -> Result<Vec<String>> {
        let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY;
        let names = match fs::openat(self.0, ".", flags, 0).and_then(fs::list) {
            Err(e) if e.is(errno::ENOENT) || e.is(errno::ENODEV) => Vec::new(),
            r => r?,
        };
        let size = |n: &std::ffi::OsString| {
            let size = n.to_str()?.strip_prefix("hugetlb.")?.strip_suffix(last)?.strip_suffix('.')?;
            (!size.contains('.')).then(|| size.to_string())
        };
        Ok(names.iter().filter_map(size).collect())
    }
}

fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        n => n.parse().ok(),
    }
}

/// A flat keyed file as a map.
pub(super) fn map(text: &str) -> BTreeMap<String, u64> {
    let pair = |l: &str| {
        let (key, value) = l.split_once(' ')?;
        Some((key.to_string(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// `major:minor`.
pub(super) fn device(word: &str) -> Option<(u64, u64)> {
    let (major, minor) = word.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

impl Cgroup {
    /// Reads what the group uses now: each controller where it is mounted, pressure from the v2 tree if there is one.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for (controller, of_v1, of_v2) in READERS {
            let v1 = self.v1().find(|d| d.key.split(',').any(|c| c == *controller));
            let (dir, read) = match (v1, self.v2()) {
                (Some(dir), _) => (dir, of_v1),
                (None, Some(dir)) => (dir, of_v2),
                (None, None) => continue,
            };
            if let Some(fd) = dir.open()? {
                read(Files(fd), &mut stats)?;
            }
        }
        if let Some(fd) = self.v2().map_or(Ok(None), |d| d.open())? {
            pressures(Files(fd), &mut stats)?;
        }
        Ok(stats)
    }
}

type Reader = fn(Files<'_>, &mut Stats) -> Result<()>;

/// Controller as v1 calls it, its v1 reader, its v2 reader.
const READERS: &[(&str, Reader, Reader)] = &[
    ("cpuacct", stats_v1::cpuacct, cpu),
    ("cpu", stats_v1::throttling, |_, _| Ok(())),
    ("cpuset", stats_v1::cpuset, |_, _| Ok(())),
    ("memory", stats_v1::memory, memory),
    ("pids", pids, pids),
    ("blkio", stats_v1::blkio, io),
    ("hugetlb", stats_v1::hugetlb, hugetlb),
];

fn cpu(files: Files<'_>, out: &mut Stats) -> Result<()> {
    let Some(text) = files.text("cpu.stat")? else { return Ok(()) };
    let at = |key: &str| value_of(&text, key).unwrap_or(0);
    let nanoseconds = |key: &str| at(key).saturating_mul(1000);
    let usage = &mut out.cpu.usage;
    (usage.total, usage.user, usage.kernel) =
        (nanoseconds("usage_usec"), nanoseconds("user_usec"), nanoseconds("system_usec"));
    out.cpu.throttling = Throttling {
        periods: at("nr_periods"),
        throttled_periods: at("nr_throttled"),
        throttled_time: nanoseconds("throttled_usec"),
    };
    Ok(())
}

fn memory(files: Files<'_>, out: &mut Stats) -> Result<()> {
    let Some(text) = files.text("memory.stat")? else { return Ok(()) };
    out.memory.raw = map(&text);
    out.memory.cache = out.memory.raw.get("file").copied().unwrap_or(0);
    let entry = |name: &str| -> Result<Entry> {
        Ok(Entry {
            limit: files.number_or_0(&format!("{name}.max"))?,
            usage: files.number_or_0(&format!("{name}.current"))?,
            max: files.number_or_0(&format!("{name}.peak"))?,
            failcnt: 0,
        })
    };
    let usage = entry("memory")?;
    let swap = entry("memory.swap")?;
    out.memory.usage = usage;
    // v1 counts the two together, and a greatest sum cannot be told from two greatest values.
    out.memory.swap = Entry {
        limit: swap.limit.saturating_add(usage.limit),
        usage: swap.usage.saturating_add(usage.usage),
        ..Entry::default()
    };
    Ok(())
}

/// The same files in both versions.
fn pids(files: Files<'_>, out: &mut Stats) -> Result<()> {
    let limit = files.number("pids.max")?.filter(|n| *n != u64::MAX);
    out.pids = Pids { current: files.number_or_0("pids.current")?, limit: limit.unwrap_or(0) };
    Ok(())
}

fn io(files: Files<'_>, out: &mut Stats) -> Result<()> {
    let Some(text) = files.text("io.stat")? else { return Ok(()) };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut out.blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut out.blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut out.blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut out.blkio.io_serviced_recursive, "Write"),
                // v1 has no list for the others.
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            list.push(BlkioEntry { major, minor, op: op.into(), value });
        }
    }
    Ok(())
}

fn hugetlb(files: Files<'_>, out: &mut Stats) -> Result<()> {
    for size in files.page_sizes("current")? {
        // What is reserved, where the kernel counts that (5.7): a limit bites there first.
        let usage = match files.number(&format!("hugetlb.{size}.rsvd.current"))? {
            Some(n) => n,
            None => files.number_or_0(&format!("hugetlb.{size}.current"))?,
        };
        let events = files.text(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let failcnt = value_of(&events, "max").unwrap_or(0);
        out.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt });
    }
    Ok(())
}

fn pressures(files: Files<'_>, out: &mut Stats) -> Result<()> {
    let read = |name| files.text(name).map(|text| text.and_then(|t| pressure(&t)));
    out.cpu.psi = read("cpu.pressure")?;
    out.memory.psi = read("memory.pressure")?;
    out.blkio.psi = read("io.pressure")?;
    Ok(())
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn pressure(text: &str) -> Option<Psi> {
    let line = |kind: &str| {
        let words = text.lines().find_map(|l| l.strip_prefix(kind)?.strip_prefix(' '))?;
        let at = |key: &str| words.split_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
        let average = |key| at(key).and_then(|v| v.parse().ok()).unwrap_or(0.0);
        Some(Pressure {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total: at("total").and_then(|v| v.parse().ok()).unwrap_or(0),
        })
    };
    Some(Psi { some: line("some")?, full: line("full").unwrap_or_default() })
}

/// What the readers of cgroup2 make of the files of a directory, whatever is in them.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn of_directory(dir: std::os::fd::BorrowedFd<'_>) -> Result<Stats> {
    let mut out = Stats::default();
    let all: [Reader; 6] = [cpu, memory, pids, io, hugetlb, pressures];
    all.iter().try_for_each(|read| read(Files(dir), &mut out))?;
    Ok(out)
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
