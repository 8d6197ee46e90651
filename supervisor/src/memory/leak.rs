//! A service that uses more and more: restarted before its limit ends it, when that was asked for. Pure.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Serialize;

use crate::clock::Boot;
use crate::policy::{size, span};

/// `restart_above`: this much of the limit, for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Above {
    /// Of the limit of memory, 1 to 100.
    pub percent: u8,
    /// Without a break.
    pub lasts: Duration,
}

impl Above {
    /// How often is looked: ten times in that time, and not more often than each second.
    pub fn every(&self) -> Duration {
        (self.lasts / 10).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

/// What was seen of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Leak {
    above: Option<Boot>,
}

impl Leak {
    /// Takes bytes in use and their limit in: why it should be restarted now, if it should.
    pub fn look(&mut self, now: Boot, rule: &Above, used: u64, limit: u64) -> Option<String> {
        let line = u128::from(limit) * u128::from(rule.percent) / 100;
        if u128::from(used) <= line {
            self.above = None;
            return None;
        }
        let since = *self.above.get_or_insert(now);
        let lasted = now.since(since);
        (lasted >= rule.lasts).then(|| {
            format!(
                "uses {} of {}, more than {} % for {}",
                size(used),
                size(limit),
                rule.percent,
                span(lasted)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_counts() {
        let at = |seconds| Boot(Duration::from_secs(seconds));
        let rule = Above { percent: 80, lasts: Duration::from_secs(10) };
        let mut leak = Leak::default();
        assert_eq!(leak.look(at(0), &rule, 81, 100), None);
        assert_eq!(leak.look(at(9), &rule, 90, 100), None);
        assert_eq!(leak.look(at(10), &rule, 80, 100), None, "a break");
        assert_eq!(leak.look(at(11), &rule, 81, 100), None);
        assert_eq!(leak.look(at(20), &rule, 99, 100), None);
        let why = leak.look(at(21), &rule, 99, 100).unwrap();
        assert_eq!(why, "uses 99 B of 100 B, more than 80 % for 10 s");
        assert_eq!(rule.every(), Duration::from_secs(1));
        assert_eq!(Above { lasts: Duration::from_secs(36_000), ..rule }.every(), Duration::from_secs(60));
        assert_eq!(Leak::default().look(at(0), &rule, u64::MAX, 1 << 62), None, "it has just begun");
    }
}
