//! Limits that only cgroup v2 has, as the contents of its files (Documentation/admin-guide/cgroup-v2.rst). Pure.
#![forbid(unsafe_code)]

use crate::unit::service::Limits;

/// The first key that cgroup v2 is needed for, as the service file has it.
pub fn needs_v2(limits: &Limits) -> Option<&'static str> {
    [
        ("limits.memory_high", limits.memory_high.is_some_and(|n| n != NEVER)),
        ("limits.memory_min", limits.memory_min.is_some()),
        ("limits.memory_low", limits.memory_low.is_some()),
        ("limits.zswap", limits.zswap.is_some()),
        ("limits.oom_group", limits.oom_group == Some(true)),
        ("limits.io_weight", limits.io_weight.is_some()),
    ]
    .into_iter()
    .find_map(|(key, needed)| needed.then_some(key))
}

/// `memory_high = "none"`.
pub const NEVER: u64 = u64::MAX;

/// Where a container is slowed down; `None` = nowhere. Without a word only one that has said what it needs, and may use more than
/// that: nine tenths of the way from its request to its limit (KEP-2570).
pub fn high(limits: &Limits, max: Option<u64>) -> Option<u64> {
    match (limits.memory_high, limits.memory_request, max) {
        (Some(NEVER), ..) => None,
        (Some(bytes), ..) => Some(bytes),
        // The kernel rounds down to pages.
        (None, Some(request), Some(max)) => {
            max.checked_sub(request).filter(|room| *room > 0).map(|room| request + room / 10 * 9)
        }
        (None, ..) => None,
    }
}

/// Whether there may be a `memory.high`, whatever the limit.
pub fn may_be_slowed(limits: &Limits) -> bool {
    limits.memory_high.map_or(limits.memory_request.is_some(), |bytes| bytes != NEVER)
}

/// Files and their contents, for what the service file says; `max` is the limit of memory in force. `whole` = without a word
/// a kill for memory takes all of it: a service that has lost a process is seldom well, a job that has may go on.
pub fn files(limits: &Limits, max: Option<u64>, whole: bool) -> Vec<(&'static str, String)> {
    let limited = max.is_some() || limits.memory_request.is_some();
    let group = limits.oom_group.or((limited && whole).then_some(true));
    [
        ("memory.high", high(limits, max).map(|n| n.to_string())),
        ("memory.min", limits.memory_min.map(|n| n.to_string())),
        ("memory.low", limits.memory_low.or(limits.memory_request).map(|n| n.to_string())),
        ("memory.zswap.max", limits.zswap.map(|n| n.to_string())),
        ("memory.oom.group", group.map(|on| u8::from(on).to_string())),
        ("cpu.weight", limits.cpu_weight.map(|n| n.to_string())),
        ("io.weight", limits.io_weight.map(|n| format!("default {n}"))),
    ]
    .into_iter()
    .filter_map(|(file, text)| Some((file, text?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn files_of_limits() {
        let none = Limits::default();
        assert_eq!(files(&none, None, true), []);
        assert_eq!(files(&none, Some(MIB), true), [("memory.oom.group", "1".to_owned())]);
        assert_eq!(files(&none, Some(MIB), false), []);
        let all = Limits {
            memory_request: Some(MIB),
            memory_min: Some(4096),
            zswap: Some(0),
            oom_group: Some(false),
            cpu_weight: Some(7),
            io_weight: Some(9),
            ..Limits::default()
        };
        assert_eq!(high(&all, Some(MIB)), None, "no room between request and limit");
        assert_eq!(high(&all, Some(11 * MIB)), Some(10 * MIB));
        assert_eq!(high(&all, None), None);
        let said = |n| Limits { memory_high: Some(n), ..all.clone() };
        assert_eq!((high(&said(5), Some(9)), high(&said(NEVER), Some(9 * MIB))), (Some(5), None));
        assert!(may_be_slowed(&all) && may_be_slowed(&said(5)) && !may_be_slowed(&said(NEVER)));
        assert!(!may_be_slowed(&Limits::default()));
        let want = [
            ("memory.min", "4096"),
            ("memory.low", "1048576"),
            ("memory.zswap.max", "0"),
            ("memory.oom.group", "0"),
            ("cpu.weight", "7"),
            ("io.weight", "default 9"),
        ];
        assert_eq!(files(&all, Some(MIB), true), want.map(|(f, t)| (f, t.to_owned())));
        assert_eq!(needs_v2(&all), Some("limits.memory_min"));
        let plain =
            Limits { memory: Some(1), memory_request: Some(1), oom_group: Some(false), ..Limits::default() };
        assert_eq!(needs_v2(&plain), None);
    }
}
