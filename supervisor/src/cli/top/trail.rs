//! What the screen knows of the past of one instance: the history that the daemon keeps, and what the screen saw itself.
//! Pure.
#![forbid(unsafe_code)]

use crate::api::model::History;
use crate::api::usage::InstanceUsage;
use crate::cli::plot::{Curve, Curves};

/// Points that are kept of a curve: an hour of what the screen sees, after what the daemon knew.
const KEPT: usize = 2000;

/// What grows while it runs, per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    /// Processors: 1 = one whole.
    pub(super) cpu: Option<f64>,
    /// Bytes read from block devices.
    pub(super) read: Option<f64>,
    /// Bytes written to them.
    pub(super) written: Option<f64>,
}

impl Rates {
    /// Both directions.
    pub(super) fn io(&self) -> Option<f64> {
        Some(self.read? + self.written?)
    }
}

/// The past of one instance.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    /// Its curves.
    pub(super) curves: Curves,
    /// Since it was asked before the last time.
    pub(super) rates: Rates,
    /// Seconds between two samples of the daemon, once its history is there.
    pub(super) every: Option<f64>,
    last: Option<(f64, InstanceUsage)>,
}

impl Trail {
    /// Without a past.
    pub(super) fn new() -> Trail {
        Trail { curves: Curves::empty(), rates: Rates::default(), every: None, last: None }
    }

    /// What it uses now; `now` in seconds of Unix time.
    pub(super) fn add(&mut self, now: f64, usage: &InstanceUsage) {
        let before = self.last.as_ref().filter(|(at, u)| u.run == usage.run && *at < now);
        let grown = |of: fn(&InstanceUsage) -> Option<f64>| {
            let (at, before) = before?;
            let grown = of(usage)? - of(before)?;
            (grown >= 0.0).then(|| grown / (now - at))
        };
        self.rates = Rates {
            cpu: grown(|u| u.cpu_seconds),
            read: grown(|u| u.io_read.map(|n| n as f64)),
            written: grown(|u| u.io_written.map(|n| n as f64)),
        };
        if usage.memory.is_some() || usage.cpu_seconds.is_some() {
            let stalls = [usage.cpu_pressure, usage.memory_pressure, usage.io_pressure];
            self.curves.push(now, usage.run, usage.memory, self.rates.cpu, stalls);
            for curve in self.curves.each() {
                let over = curve.points.len().saturating_sub(KEPT);
                curve.points.drain(..over);
            }
        }
        self.last = Some((now, usage.clone()));
    }

    /// What the daemon knows from before the screen looked.
    pub(super) fn load(&mut self, history: &History) {
        let mut older = Curves::of(&history.samples);
        let first = self.curves.memory.points.first().map_or(f64::INFINITY, |p| p.at);
        for (curve, before) in self.curves.each().zip(older.each()) {
            before.points.retain(|p| p.at < first);
            before.points.append(&mut curve.points);
            std::mem::swap(curve, before);
        }
        self.every = Some(history.every);
    }

    /// Memory in use, for a small plot.
    pub(super) fn memory(&self) -> &Curve {
        &self.curves.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(run: u32, cpu: f64, read: u64) -> InstanceUsage {
        InstanceUsage {
            run,
            memory: Some(4096),
            cpu_seconds: Some(cpu),
            io_read: Some(read),
            io_written: Some(0),
            ..InstanceUsage::default()
        }
    }

    #[test]
    fn rates_are_of_one_run() {
        let mut trail = Trail::new();
        trail.add(100.0, &usage(1, 5.0, 1000));
        assert_eq!(trail.rates, Rates::default());
        trail.add(102.0, &usage(1, 6.0, 3000));
        assert_eq!((trail.rates.cpu, trail.rates.io()), (Some(0.5), Some(1000.0)));
        trail.add(104.0, &usage(2, 1.0, 0));
        assert_eq!(trail.rates, Rates::default());
        trail.add(106.0, &InstanceUsage { run: 2, ..InstanceUsage::default() });
        assert_eq!(trail.memory().points.len(), 3, "without a container there is nothing to draw");
    }

    #[test]
    fn the_daemons_samples_come_before_its_own() {
        let history = crate::api::tests::history("web.1");
        let mut trail = Trail::new();
        let at = crate::cli::plot::unix("2026-11-21T12:00:30Z").unwrap();
        trail.add(at, &usage(7, 1.0, 0));
        trail.load(&history);
        let times: Vec<f64> = trail.memory().points.iter().map(|p| p.at - at).collect();
        assert_eq!(times, [-30.0, 0.0]);
        assert_eq!(trail.curves.cpu.points.len(), 2);
        for n in 1..3000 {
            trail.add(at + f64::from(n), &usage(7, 1.0, 0));
        }
        assert_eq!(trail.memory().points.len(), KEPT);
    }
}
