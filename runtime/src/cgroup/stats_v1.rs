//! What a group uses, read from cgroup v1 files (Documentation/admin-guide/cgroup-v1/), in the shape of `stats`. The one
//! other file, beside `v1`, that knows their names. May use: `sys::fs` through `stats::Files`.
#![forbid(unsafe_code)]

use super::stats::{BlkioEntry, CpuSet, Entry, Files, Hugetlb, Stats, device, map};
use super::tree::value_of;
use crate::error::Result;

/// USER_HZ, in which `cpuacct.stat` counts: 100 on every architecture that is built for.
const TICK: u64 = 1_000_000_000 / 100;

pub(super) fn cpuacct(files: Files<'_>, out: &mut Stats) -> Result<()> {
    let usage = &mut out.cpu.usage;
    usage.total = files.number_or_0("cpuacct.usage")?;
    let percpu = files.text("cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = percpu.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // "cpu user system" and a line a CPU (Linux 4.9).
    for line in files.text("cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        if let [_, user, kernel] = numbers[..] {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    let stat = files.text("cpuacct.stat")?.unwrap_or_default();
    let ticks = |key| value_of(&stat, key).unwrap_or(0).saturating_mul(TICK);
    (usage.user, usage.kernel) = (ticks("user"), ticks("system"));
    Ok(())
}

pub(super) fn throttling(files: Files<'_>, out: &mut Stats) -> Result<()> {
    let stat = files.text("cpu.stat")?.unwrap_or_default();
    let at = |key| value_of(&stat, key).unwrap_or(0);
    let throttling = &mut out.cpu.throttling;
    throttling.periods = at("nr_periods");
    throttling.throttled_periods = at("nr_throttled");
    throttling.throttled_time = at("throttled_time");
    Ok(())
}

pub(super) fn cpuset(files: Files<'_>, out: &mut Stats) -> Result<()> {
    let list = |name: &str| -> Result<_> {
        Ok(numbers(&files.text(&format!("cpuset.{name}"))?.unwrap_or_default()))
    };
    let number = |name: &str| files.number_or_0(&format!("cpuset.{name}"));
    let level = files.text("cpuset.sched_relax_domain_level")?.unwrap_or_default();
    out.cpuset = CpuSet {
        cpus: list("cpus")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mems: list("mems")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: level.trim().parse().unwrap_or(0),
    };
    Ok(())
}

/// The numbers of a list such as `0-3,7`.
fn numbers(list: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

pub(super) fn memory(files: Files<'_>, out: &mut Stats) -> Result<()> {
    out.memory.raw = map(&files.text("memory.stat")?.unwrap_or_default());
    out.memory.cache = out.memory.raw.get("cache").copied().unwrap_or(0);
    let entry = |name: &str| -> Result<Entry> {
        Ok(Entry {
            limit: files.number_or_0(&format!("{name}.limit_in_bytes"))?,
            usage: files.number_or_0(&format!("{name}.usage_in_bytes"))?,
            max: files.number_or_0(&format!("{name}.max_usage_in_bytes"))?,
            failcnt: files.number_or_0(&format!("{name}.failcnt"))?,
        })
    };
    out.memory.usage = entry("memory")?;
    out.memory.swap = entry("memory.memsw")?;
    out.memory.kernel = entry("memory.kmem")?;
    out.memory.kernel_tcp = entry("memory.kmem.tcp")?;
    Ok(())
}

/// Files of one group, the most telling first: those of BFQ, of CFQ, of the throttler. The first group whose first
/// file has lines is read, as by runc.
pub(super) fn blkio(files: Files<'_>, out: &mut Stats) -> Result<()> {
    for prefix in ["blkio.bfq", "blkio", "blkio.throttle"] {
        for last in ["_recursive", ""] {
            let read = |name: &str| {
                let text = files.text(&format!("{prefix}.{name}{last}"));
                text.map(|t| entries(&t.unwrap_or_default()))
            };
            let bytes = read("io_service_bytes")?;
            if bytes.is_empty() {
                continue;
            }
            let b = &mut out.blkio;
            b.io_service_bytes_recursive = bytes;
            b.io_serviced_recursive = read("io_serviced")?;
            b.io_queue_recursive = read("io_queued")?;
            b.io_service_time_recursive = read("io_service_time")?;
            b.io_wait_time_recursive = read("io_wait_time")?;
            b.io_merged_recursive = read("io_merged")?;
            b.io_time_recursive = read("time")?;
            b.sectors_recursive = read("sectors")?;
            return Ok(());
        }
    }
    Ok(())
}

/// Lines `8:0 Read 4096` or `8:0 7`, without the last one, which is the sum of all devices.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (number, op, value) = match words[..] {
            [number, op, value] => (number, op, value),
            [number, value] => (number, "", value),
            _ => return None,
        };
        let (major, minor) = device(number)?;
        Some(BlkioEntry { major, minor, op: op.to_string(), value: value.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

pub(super) fn hugetlb(files: Files<'_>, out: &mut Stats) -> Result<()> {
    for size in files.page_sizes("usage_in_bytes")? {
        // What is reserved, where the kernel counts that (5.7).
        let rsvd = match files.text(&format!("hugetlb.{size}.rsvd.usage_in_bytes"))? {
            Some(_) => ".rsvd",
            None => "",
        };
        let number = |name: &str| files.number_or_0(&format!("hugetlb.{size}{rsvd}.{name}"));
        let entry = Hugetlb {
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        };
        out.hugetlb.insert(size, entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_lines() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(numbers("\n"), Vec::<u16>::new());
        let text = "8:0 Read 10\n8:0 Total 10\n8:16 7\nTotal 17\n";
        let got: Vec<_> = entries(text).iter().map(|e| (e.minor, e.op.clone(), e.value)).collect();
        assert_eq!(got, [(0, "Read".into(), 10), (0, "Total".into(), 10), (16, String::new(), 7)]);
    }
}
