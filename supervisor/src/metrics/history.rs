//! What an instance has used, over the last [`POINTS`] samples: a ring of a fixed size in memory, never on disk. Pure.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::cgroup::{Pulse, RESOURCES};
use crate::clock::Boot;

/// Samples that are kept of an instance; with one each minute these are two hours.
pub const POINTS: usize = 120;

/// Memory is counted in pages of this size.
const PAGE: u64 = 4096;
/// Shares are kept in so many parts.
const PARTS: f64 = 10_000.0;
/// No share: there is no such file, or nothing to compare with.
const NO_SHARE: u16 = u16::MAX;
/// No memory: there is no such file.
const NO_MEMORY: u32 = u32::MAX;

/// One sample as it is kept. Without padding that would be needed for `Option`: docs/api.md says what a ring takes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    /// Seconds of `CLOCK_BOOTTIME`.
    at: u32,
    /// Number of the run.
    run: u32,
    /// Pages in use.
    memory: u32,
    /// Processors that were busy for it on average; not a number = unknown.
    cpu: f32,
    /// Shares of the time, by [`RESOURCES`].
    stalled: [u16; RESOURCES.len()],
}

const _: () = assert!(size_of::<Point>() == 24, "docs/api.md says what a ring takes");

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was taken, to the second.
    pub at: Boot,
    /// Number of the run that it is about.
    pub run: u32,
    /// Bytes in use then.
    pub memory: Option<u64>,
    /// Processors that were busy for it, on average since the sample before: 1 = one whole processor.
    pub cpu: Option<f64>,
    /// Shares of the time since the sample before in which some of its processes stalled, by [`RESOURCES`], from 0 to 1.
    pub stalled: [Option<f64>; RESOURCES.len()],
}

impl Point {
    fn of(sample: &Sample) -> Point {
        let share = |s: Option<f64>| s.map_or(NO_SHARE, |s| (s.clamp(0.0, 1.0) * PARTS).round() as u16);
        Point {
            at: u32::try_from(sample.at.0.as_secs()).unwrap_or(u32::MAX),
            run: sample.run,
            memory: sample.memory.map_or(NO_MEMORY, |bytes| {
                u32::try_from(bytes / PAGE).unwrap_or(NO_MEMORY).min(NO_MEMORY - 1)
            }),
            cpu: sample.cpu.map_or(f32::NAN, |cpu| cpu as f32),
            stalled: sample.stalled.map(share),
        }
    }

    fn sample(&self) -> Sample {
        let share = |s: u16| (s != NO_SHARE).then(|| f64::from(s) / PARTS);
        Sample {
            at: Boot(std::time::Duration::from_secs(self.at.into())),
            run: self.run,
            memory: (self.memory != NO_MEMORY).then(|| u64::from(self.memory) * PAGE),
            cpu: (!self.cpu.is_nan()).then(|| f64::from(self.cpu)),
            stalled: self.stalled.map(share),
        }
    }
}

/// The ring of one instance. Takes nothing before its first sample.
#[derive(Debug, Clone, Default)]
pub struct History {
    points: VecDeque<Point>,
    /// The counters of the last sample: which run, when, what.
    last: Option<(u32, Boot, Pulse)>,
}

impl History {
    /// Adds what was read of a run just now. `begun` is when that run began, where that was after the last sample: its
    /// counters began with it.
    pub fn add(&mut self, run: u32, now: Boot, begun: Option<Boot>, pulse: Pulse) {
        let before = self.last.filter(|(of, ..)| *of == run).map(|(_, at, pulse)| (at, pulse));
        let before = before.or(begun.map(|at| (at, Pulse::zero())));
        let share = |of: fn(&Pulse) -> Option<f64>| {
            let (at, before) = before.as_ref()?;
            let (passed, grown) = (now.since(*at).as_secs_f64(), of(&pulse)? - of(before)?);
            // A counter that went back is of another group with the same name.
            (passed > 0.0 && grown >= 0.0).then(|| grown / passed)
        };
        let sample = Sample {
            at: now,
            run,
            memory: pulse.memory,
            cpu: share(|p| p.cpu),
            stalled: [share(|p| p.stalled[0]), share(|p| p.stalled[1]), share(|p| p.stalled[2])],
        };
        if self.points.capacity() == 0 {
            self.points.reserve_exact(POINTS);
        }
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        self.points.push_back(Point::of(&sample));
        self.last = Some((run, now, pulse));
    }

    /// All of them, oldest first.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        self.points.iter().map(Point::sample)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Boot {
        Boot(Duration::from_secs(seconds))
    }

    fn pulse(memory: u64, cpu: f64, stalled: f64) -> Pulse {
        Pulse { memory: Some(memory), cpu: Some(cpu), stalled: [Some(stalled), None, Some(0.0)] }
    }

    #[test]
    fn rates_are_of_the_time_between_two_samples() {
        let mut history = History::default();
        history.add(7, at(100), None, pulse(8192, 30.0, 1.0));
        history.add(7, at(160), None, pulse(4096, 60.0, 16.0));
        let all: Vec<_> = history.samples().collect();
        assert_eq!((all[0].memory, all[0].cpu, all[0].stalled[0]), (Some(8192), None, None));
        assert_eq!((all[1].at, all[1].run, all[1].memory), (at(160), 7, Some(4096)));
        assert_eq!((all[1].cpu, all[1].stalled), (Some(0.5), [Some(0.25), None, Some(0.0)]));
    }

    #[test]
    fn a_new_run_counts_from_its_begin() {
        let mut history = History::default();
        history.add(7, at(100), None, pulse(4096, 30.0, 1.0));
        history.add(8, at(160), Some(at(150)), pulse(4096, 5.0, 2.0));
        // Nobody knows what this one had used when the last sample was taken.
        history.add(9, at(220), None, pulse(4096, 5.0, 2.0));
        // The same number, and counters that went back.
        history.add(9, at(280), None, pulse(4096, 1.0, 2.0));
        let all: Vec<_> = history.samples().collect();
        assert_eq!((all[1].run, all[1].cpu, all[1].stalled[0]), (8, Some(0.5), Some(0.2)));
        assert_eq!((all[2].cpu, all[3].cpu), (None, None));
    }

    #[test]
    fn what_cannot_be_is_kept_within_its_bounds() {
        let mut history = History::default();
        history.add(1, at(0), None, Pulse { memory: Some(u64::MAX), ..pulse(0, 0.0, 0.0) });
        history.add(1, at(1), None, Pulse { memory: None, ..pulse(0, 64.0, 9.0) });
        history.add(1, at(1), None, pulse(0, 65.0, 9.0));
        let all: Vec<_> = history.samples().collect();
        assert_eq!(all[0].memory, Some(u64::from(u32::MAX - 1) * 4096));
        assert_eq!((all[1].memory, all[1].cpu, all[1].stalled[0]), (None, Some(64.0), Some(1.0)));
        assert_eq!(all[2].cpu, None, "no time has passed");
    }

    #[test]
    fn the_ring_is_bounded() {
        let mut history = History::default();
        assert_eq!(history.points.capacity(), 0, "nothing is taken for what has never run");
        for n in 0..3 * POINTS as u64 {
            history.add(1, at(n), None, pulse(n * 4096, 0.0, 0.0));
        }
        assert_eq!((history.points.len(), history.points.capacity()), (POINTS, POINTS));
        let first = history.samples().next().unwrap();
        assert_eq!((first.at, first.memory), (at(240), Some(240 * 4096)));
    }
}
