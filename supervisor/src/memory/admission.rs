//! Whether the host has room for the memory that one more instance asks for. Pure: figures go in, a reason comes out.
#![forbid(unsafe_code)]

use crate::policy::size;

/// Most holders that a refusal names.
const NAMED: usize = 4;

/// What the host has for requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// Bytes of memory of the host.
    pub total: u64,
    /// Bytes of it that are kept for the host itself.
    pub reserve: u64,
    /// How many times the rest may be promised.
    pub overcommit: f64,
}

impl Capacity {
    /// A twentieth of the memory, at least 128 MiB, is kept unless it is said.
    pub fn new(total: u64, reserve: Option<u64>, overcommit: f64) -> Capacity {
        Capacity { total, reserve: reserve.unwrap_or((total / 20).max(128 << 20)), overcommit }
    }

    /// Bytes that may be promised.
    pub fn room(&self) -> u64 {
        // Bytes of any machine are exact in a double.
        (self.total.saturating_sub(self.reserve) as f64 * self.overcommit) as u64
    }

    /// Whether a request fits beside those who hold some already, by name and bytes.
    ///
    /// # Errors
    /// What is missing and who holds it, for people.
    pub fn admit(&self, request: u64, mut holders: Vec<(String, u64)>) -> Result<(), String> {
        let held = holders.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let room = self.room();
        let free = room.saturating_sub(held);
        if request <= free {
            return Ok(());
        }
        let asked = format!("memory: {} requested, {} of {} left", size(request), size(free), size(room));
        if request > room {
            return Err(format!("{asked}; that is more than this host has for requests at all"));
        }
        holders.retain(|(_, bytes)| *bytes > 0);
        holders.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let others = holders.len().saturating_sub(NAMED);
        let named = holders.iter().take(NAMED).map(|(name, bytes)| format!("{name} ({})", size(*bytes)));
        let mut named = named.collect::<Vec<_>>().join(", ");
        if others > 0 {
            named.push_str(&format!(" and {others} more"));
        }
        Err(format!("{asked}; held by {named}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn held(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(n, m)| ((*n).to_owned(), m * MIB)).collect()
    }

    #[test]
    fn the_sum_of_requests_stays_within_the_room() {
        let host = Capacity { total: 1000 * MIB, reserve: 200 * MIB, overcommit: 1.0 };
        assert_eq!(host.room(), 800 * MIB);
        assert_eq!(host.admit(800 * MIB, vec![]), Ok(()));
        assert_eq!(host.admit(300 * MIB, held(&[("a.1", 500)])), Ok(()));
        let why = host.admit(301 * MIB, held(&[("a.1", 100), ("b.1", 400), ("c.1", 0)])).unwrap_err();
        assert_eq!(
            why,
            "memory: 301 MiB requested, 300 MiB of 800 MiB left; held by b.1 (400 MiB), a.1 (100 MiB)"
        );
        let twice = Capacity { overcommit: 2.0, ..host };
        assert_eq!(twice.admit(301 * MIB, held(&[("a.1", 500)])), Ok(()));
        assert!(host.admit(801 * MIB, vec![]).unwrap_err().ends_with("at all"));
        assert_eq!(host.admit(0, held(&[("a.1", 900)])), Ok(()), "a live change may have gone beyond");
    }

    #[test]
    fn many_holders_are_counted() {
        let host = Capacity { total: 100 * MIB, reserve: 0, overcommit: 1.0 };
        let many: Vec<_> = (0..10).map(|n| (format!("s.{n}"), 10 * MIB)).collect();
        assert!(host.admit(1, many).unwrap_err().ends_with("s.3 (10 MiB) and 6 more"));
    }

    #[test]
    fn the_reserve_is_a_twentieth_or_128_mib() {
        let reserve = |total| Capacity::new(total, None, 1.0).reserve;
        assert_eq!((reserve(1 << 40), reserve(1 << 30)), ((1 << 40) / 20, 128 * MIB));
        assert_eq!(Capacity::new(64 * MIB, None, 1.0).room(), 0);
        assert_eq!(Capacity::new(64 * MIB, Some(0), 1.5).room(), 96 * MIB);
    }
}
