//! `linux.resources` checked and reduced to what both tables need: ranges, relations between fields, and the
//! conversions from cgroup v1 units. Pure. May use: `spec`, `error`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result, quoted};
use crate::spec;

/// Where the fields are in config.json.
pub(super) const BASE: &str = "/linux/resources";

/// The pointer of a field of the resources section.
pub(super) fn at(field: &str) -> String {
    format!("{BASE}/{field}")
}

/// A name as one step of a JSON pointer (RFC 6901).
pub(super) fn pointer_step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A request that only cgroup v1 can satisfy.
pub(super) fn only_v1(field: &str, why: &str) -> Error {
    Error::spec(at(field), format!("{why}, want a host that has this controller on cgroup v1"))
        .code(Code::Unsupported)
}

fn wrong<T>(field: &str, got: impl std::fmt::Display, want: &str) -> Result<T> {
    Err(Error::spec(at(field), format!("out of range, got {got}, want {want}")))
}

/// Engines written in Go cannot tell 0 from absent for these fields, and send 0 for "not set".
pub(super) fn set<T: PartialEq + From<u8>>(v: Option<T>) -> Option<T> {
    v.filter(|v| *v != T::from(0))
}

/// Checked `memory.limit`, `reservation` and `swap`; bytes, -1 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes {
    pub limit: Option<i64>,
    pub reservation: Option<i64>,
    /// Memory plus swap, as in cgroup v1.
    pub swap: Option<i64>,
}

/// Checks what the three sizes say about each other.
pub(super) fn memory(m: &spec::Memory) -> Result<Bytes> {
    // Less than a page rounds down to nothing at all; no architecture has smaller pages.
    const PAGE: i64 = 4096;
    let sizes = [("memory/limit", m.limit), ("memory/reservation", m.reservation), ("memory/swap", m.swap)];
    for (field, value) in sizes {
        match value {
            Some(v) if v < -1 => return wrong(field, v, "bytes, or -1 for no limit"),
            Some(v) if (1..PAGE).contains(&v) && field == "memory/limit" => {
                return wrong(field, v, "at least one page of 4096 bytes");
            }
            _ => {}
        }
    }
    let b = Bytes { limit: set(m.limit), reservation: set(m.reservation), swap: set(m.swap) };
    // A reservation above the limit is odd but not wrong for the kernel: `spec::check` warns.
    match (b.limit, b.swap) {
        (None, Some(s)) if s > 0 => {
            Err(Error::spec(at("memory/swap"), "unable to set swap limit without memory limit"))
        }
        (Some(l), Some(s)) if l > 0 && s > 0 && s < l => Err(Error::spec(
            at("memory/swap"),
            format!("memory+swap limit should be >= memory limit, got {s}, limit is {l}"),
        )),
        _ => Ok(b),
    }
}

/// `memory.swap.max` of cgroup v2, which counts swap alone: the spec's value minus the memory limit. No
/// memory limit at all also lifts the swap limit, as cgroup v1 needs it.
pub(super) fn swap_alone(b: Bytes) -> Option<i64> {
    match (b.limit, b.swap) {
        (Some(-1), None) => Some(-1),
        (Some(l), Some(s)) if l > 0 && s > 0 => Some(s - l),
        (_, swap) => swap,
    }
}

/// Checked CPU times; microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTimes {
    pub shares: Option<u64>,
    /// -1 means no limit.
    pub quota: Option<i64>,
    pub period: Option<u64>,
    pub burst: Option<u64>,
    pub realtime_runtime: Option<i64>,
    pub realtime_period: Option<u64>,
    pub idle: Option<i64>,
}

/// Checks ranges as the kernel's scheduler states them (kernel/sched/core.c, bandwidth control).
pub(super) fn cpu(c: &spec::Cpu) -> Result<CpuTimes> {
    let spec::Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, cpus, mems, idle } = c;
    cpu_list("cpu/cpus", cpus)?;
    cpu_list("cpu/mems", mems)?;
    let times = CpuTimes {
        shares: set(*shares),
        quota: quota.filter(|q| *q != 0),
        period: set(*period),
        burst: *burst,
        realtime_runtime: realtime_runtime.filter(|r| *r != 0),
        realtime_period: set(*realtime_period),
        idle: *idle,
    };
    match times.quota {
        Some(q) if q != -1 && q < 1000 => return wrong("cpu/quota", q, "at least 1000 us, or -1"),
        Some(q) if q > 0 && times.burst.is_some_and(|b| b > q as u64) => {
            return wrong(
                "cpu/burst",
                times.burst.unwrap_or_default(),
                &format!("at most the quota of {q} us"),
            );
        }
        _ => {}
    }
    match (times.period, times.idle) {
        (Some(p), _) if !(1000..=1_000_000).contains(&p) => wrong("cpu/period", p, "1000 to 1000000 us"),
        (_, Some(i)) if i != 0 && i != 1 => wrong("cpu/idle", i, "0 or 1"),
        _ => Ok(times),
    }
}

/// `cpu.weight` (1 to 10000) for `cpu.shares` (2 to 262144): a curve through the least, the default
/// (1024 is 100) and the greatest value, the one that all runtimes have used since 2025.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        s => {
            let l = (s as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// A list such as `0-3,7` (cpuset(7), "List format") as ranges; `None` when it is not one.
pub(super) fn ranges(list: &str) -> Option<Vec<(u32, u32)>> {
    let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<u32>().ok()).flatten();
    let range = |part: &str| match part.split_once('-') {
        None => number(part).map(|n| (n, n)),
        Some((a, b)) => Some((number(a)?, number(b)?)).filter(|(a, b)| a <= b),
    };
    match list.trim() {
        "" => Some(Vec::new()),
        // The kernel skips empty parts, and engines write them.
        text => text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(range).collect(),
    }
}

/// Whether those CPUs exist is for the kernel to say.
fn cpu_list(field: &str, list: &str) -> Result<()> {
    match ranges(list) {
        Some(_) => Ok(()),
        None => Err(Error::spec(
            at(field),
            format!("not a list of numbers and ranges, got {}, want a form such as \"0-3,7\"", quoted(list)),
        )),
    }
}

/// True when every number of the list `inner` is in the list `outer`.
pub(super) fn is_part_of(inner: &str, outer: &str) -> bool {
    let (Some(inner), Some(outer)) = (ranges(inner), ranges(outer)) else { return false };
    inner.into_iter().all(|(mut next, last)| {
        while let Some((_, end)) = outer.iter().find(|(a, b)| (*a..=*b).contains(&next)) {
            if *end >= last {
                return true;
            }
            next = end + 1;
        }
        false
    })
}

/// `pids.max`. 0 would forbid even the first process and becomes 1, as in runc; see `plan` for older configs.
pub(super) fn pids(p: &spec::Pids) -> Result<Option<String>> {
    let spec::Pids { limit } = p;
    match limit {
        None => Ok(None),
        Some(-1) => Ok(Some("max".into())),
        Some(0) => Ok(Some("1".into())),
        Some(n) if *n > 0 => Ok(Some(n.to_string())),
        Some(n) => wrong("pids/limit", n, "a number of tasks, or -1 for no limit"),
    }
}

/// A block I/O weight: 10 to 1000, 0 means not set.
pub(super) fn io_weight(field: &str, weight: Option<u16>) -> Result<Option<u16>> {
    match set(weight) {
        Some(w) if !(10..=1000).contains(&w) => wrong(field, w, "10 to 1000"),
        w => Ok(w),
    }
}

/// `io.weight` (1 to 10000) for a block I/O weight (10 to 1000): linear, as all runtimes do.
pub(super) fn weight_of_blkio(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

/// `major:minor`, checked.
pub(super) fn device_number(field: &str, major: i64, minor: i64) -> Result<String> {
    check_number(&format!("{field}/major"), major, MAJORS)?;
    check_number(&format!("{field}/minor"), minor, MINORS)?;
    Ok(format!("{major}:{minor}"))
}

/// Device numbers have 12 and 20 bits in Linux.
pub(super) const MAJORS: i64 = 1 << 12;
/// See [`MAJORS`].
pub(super) const MINORS: i64 = 1 << 20;

pub(super) fn check_number(field: &str, n: i64, end: i64) -> Result<()> {
    match (0..end).contains(&n) {
        true => Ok(()),
        false => wrong(field, n, &format!("0 to {}", end - 1)),
    }
}

/// A huge page size as the kernel names its files: a power of two and KB, MB or GB.
pub(super) fn page_size(field: &str, size: &str) -> Result<()> {
    let digits = ["KB", "MB", "GB"].iter().find_map(|u| size.strip_suffix(u));
    let fine = digits.is_some_and(|d| {
        d.bytes().all(|b| b.is_ascii_digit())
            && d.parse::<u32>().is_ok_and(|n| n.is_power_of_two() && n < 1024)
    });
    match fine {
        true => Ok(()),
        false => Err(Error::spec(
            at(field),
            format!("not a huge page size, got {}, want a form such as \"2MB\" or \"1GB\"", quoted(size)),
        )),
    }
}

/// One line of `rdma.max` (Documentation/admin-guide/cgroup-v2.rst, RDMA). `None` when nothing is limited.
pub(super) fn rdma(device: &str, r: &spec::Rdma) -> Result<Option<String>> {
    let spec::Rdma { hca_handles, hca_objects } = r;
    if device.is_empty() || device.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::spec(
            format!("{BASE}/rdma/{}", pointer_step(device)),
            format!("not a device name: {}", quoted(device)),
        ));
    }
    let mut line = device.to_string();
    for (key, value) in [("hca_handle", hca_handles), ("hca_object", hca_objects)] {
        if let Some(v) = value {
            line.push_str(&format!(" {key}={v}"));
        }
    }
    Ok((line.len() > device.len()).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mem(limit: i64, reservation: i64, swap: i64) -> spec::Memory {
        let some = |v: i64| (v != i64::MIN).then_some(v);
        spec::Memory {
            limit: some(limit),
            reservation: some(reservation),
            swap: some(swap),
            ..Default::default()
        }
    }
    const NO: i64 = i64::MIN;

    #[test]
    fn swap_is_counted_alone_on_v2() {
        let cases = [
            (mem(1 << 20, NO, 3 << 20), Some(2 << 20)),
            (mem(1 << 20, NO, 1 << 20), Some(0)),
            (mem(1 << 20, NO, -1), Some(-1)),
            (mem(1 << 20, NO, 0), None),
            (mem(1 << 20, NO, NO), None),
            (mem(-1, NO, NO), Some(-1)),
            (mem(-1, NO, 1 << 20), Some(1 << 20)),
            (mem(NO, NO, -1), Some(-1)),
            (mem(NO, NO, NO), None),
        ];
        for (m, want) in cases {
            assert_eq!(swap_alone(memory(&m).unwrap()), want, "{m:?}");
        }
    }

    #[test]
    fn memory_rules() {
        let cases = [
            (mem(-2, NO, NO), "/linux/resources/memory/limit", "got -2"),
            (mem(4095, NO, NO), "/linux/resources/memory/limit", "4096"),
            (mem(NO, -7, NO), "/linux/resources/memory/reservation", "got -7"),
            (mem(2 << 20, NO, 1 << 20), "/linux/resources/memory/swap", "should be >= memory limit"),
            (mem(NO, NO, 1 << 20), "/linux/resources/memory/swap", "without memory limit"),
        ];
        for (m, field, text) in cases {
            let e = memory(&m).unwrap_err();
            assert_eq!(e.field_path(), Some(field));
            assert!(e.to_string().contains(text), "{e}");
        }
        assert!(memory(&mem(1 << 20, 2 << 20, NO)).is_ok());
        assert!(memory(&mem(4096, 4096, 4096)).is_ok());
        assert!(memory(&mem(-1, 1 << 30, -1)).is_ok());
    }

    #[test]
    fn weights() {
        let known = [(1, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)];
        for (shares, weight) in known {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let all: Vec<u64> = (2..=262_144).step_by(97).map(weight_of_shares).collect();
        assert!(all.is_sorted() && all.iter().all(|w| (1..=10_000).contains(w)));
        assert_eq!((weight_of_blkio(10), weight_of_blkio(100), weight_of_blkio(1000)), (1, 910, 10_000));
    }

    #[test]
    fn cpu_rules() {
        let c = |f: &dyn Fn(&mut spec::Cpu)| {
            let mut c = spec::Cpu::default();
            f(&mut c);
            cpu(&c)
        };
        assert!(c(&|c| c.quota = Some(999)).unwrap_err().to_string().contains("at least 1000"));
        assert!(c(&|c| c.quota = Some(-2)).is_err());
        assert_eq!(c(&|c| c.quota = Some(-1)).unwrap().quota, Some(-1));
        assert_eq!(c(&|c| c.period = Some(0)).unwrap().period, None);
        assert!(c(&|c| c.period = Some(1_000_001)).unwrap_err().to_string().contains("/cpu/period"));
        assert!(c(&|c| c.idle = Some(2)).is_err());
        assert!(c(&|c| (c.quota, c.burst) = (Some(5000), Some(5001))).is_err());
        assert!(c(&|c| (c.quota, c.burst) = (Some(5000), Some(5000))).is_ok());
        for bad in ["a-b", "3-1", "-", "1-", "+1", "0-4294967296", "0 1"] {
            let e = c(&|c| c.cpus = bad.into()).unwrap_err();
            assert_eq!(e.field_path(), Some("/linux/resources/cpu/cpus"), "{bad}");
        }
        for good in ["0", "0-3,7", "0-9999", "1, 2", "1,,2"] {
            assert!(c(&|c| c.mems = good.into()).is_ok(), "{good}");
        }
    }

    #[test]
    fn parts_of_lists() {
        for (inner, outer, want) in [
            ("0", "0-3", true),
            ("0-3", "0,1,2-7", true),
            ("3,5", "0-3,5", true),
            ("0-4", "0-3,5", false),
            ("1", "", false),
            ("", "0", true),
            ("0-4294967295", "0-4294967295", true),
        ] {
            assert_eq!(is_part_of(inner, outer), want, "{inner} in {outer}");
        }
    }

    #[test]
    fn small_rules() {
        let p = |n| pids(&spec::Pids { limit: n });
        assert_eq!(p(Some(-1)).unwrap().as_deref(), Some("max"));
        assert_eq!(p(Some(0)).unwrap().as_deref(), Some("1"));
        assert_eq!(p(Some(i64::MAX)).unwrap().as_deref(), Some("9223372036854775807"));
        assert_eq!(p(None).unwrap(), None);
        assert!(p(Some(-5)).unwrap_err().to_string().contains("got -5"));
        for (size, ok) in
            [("2MB", true), ("64KB", true), ("1GB", true), ("3MB", false), ("2M", false), ("../2MB", false)]
        {
            assert_eq!(page_size("hugepageLimits/0/pageSize", size).is_ok(), ok, "{size}");
        }
        assert!(io_weight("blockIO/weight", Some(9)).is_err());
        assert_eq!(io_weight("blockIO/weight", Some(0)).unwrap(), None);
        assert!(device_number("x", -1, 0).is_err() && device_number("x", 4096, 0).is_err());
        let r = spec::Rdma { hca_handles: Some(2), hca_objects: None };
        assert_eq!(rdma("mlx5_1", &r).unwrap().as_deref(), Some("mlx5_1 hca_handle=2"));
        assert!(rdma("a b", &r).is_err());
        assert_eq!(rdma("a", &spec::Rdma::default()).unwrap(), None);
    }
}
