//! Plots of what an instance has used: from samples to curves in a frame. [`text`] draws them in a terminal, [`page`] places
//! them on a page that [`svg`] and [`png`] make a file of. Pure.
#![forbid(unsafe_code)]

pub(super) mod page;
pub(super) mod png;
pub(super) mod svg;
pub(super) mod text;

use jiff::Timestamp;

use super::text::size;
use crate::api::model::{History, Sample};

/// What the values of a plot are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Of memory.
    Bytes,
    /// Shares of a whole: 1 = one processor, or all of the time.
    Share,
}

impl Unit {
    /// A value for people.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Unit::Bytes => size(value.max(0.0) as u64),
            Unit::Share => percent(value),
        }
    }
}

/// `0%`, `0.4%`, `12%`, `250%`.
pub(super) fn percent(share: f64) -> String {
    let value = share.max(0.0) * 100.0;
    match value {
        v if (0.05..9.95).contains(&v) => format!("{v:.1}%"),
        v => format!("{v:.0}%"),
    }
}

/// One value of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Unix time in seconds.
    pub(super) at: f64,
    /// What it was; `None` = nobody knows.
    pub(super) value: Option<f64>,
    /// Which run it is about: a curve does not go on from one to the next.
    pub(super) run: u32,
}

/// Values over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    /// For the legend.
    pub(super) name: &'static str,
    /// In the order of time.
    pub(super) points: Vec<Point>,
}

impl Curve {
    /// The largest value.
    pub(super) fn most(&self) -> Option<f64> {
        self.points.iter().filter_map(|p| p.value).reduce(f64::max)
    }

    /// The last value.
    pub(super) fn last(&self) -> Option<f64> {
        self.points.iter().rev().find_map(|p| p.value)
    }

    /// What is drawn in one go: values of one run, without a gap of more than `gap` seconds.
    pub(super) fn strokes(&self, gap: f64) -> Vec<Vec<(f64, f64)>> {
        let mut all: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut before: Option<Point> = None;
        for point in &self.points {
            let Some(value) = point.value else {
                before = None;
                continue;
            };
            let goes_on = before.is_some_and(|b| b.run == point.run && point.at - b.at <= gap);
            match all.last_mut().filter(|_| goes_on) {
                Some(stroke) => stroke.push((point.at, value)),
                None => all.push(vec![(point.at, value)]),
            }
            before = Some(*point);
        }
        all
    }
}

/// A line across a plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    /// Its name: max.
    pub(super) name: &'static str,
    /// Where.
    pub(super) value: f64,
}

/// One picture: curves in a frame from 0 to `top`, with levels across.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: &'static str,
    /// What its values are.
    pub(super) unit: Unit,
    /// The value at its upper edge; more than 0.
    pub(super) top: f64,
    /// The curves.
    pub(super) curves: Vec<Curve>,
    /// The levels.
    pub(super) levels: Vec<Level>,
}

/// All curves of one instance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curves {
    /// Bytes.
    pub(super) memory: Curve,
    /// Processors.
    pub(super) cpu: Curve,
    /// Shares of the time, for processors, memory and block devices.
    pub(super) stalls: [Curve; 3],
}

impl Curves {
    /// Without a value.
    pub(super) fn empty() -> Curves {
        let named = |name| Curve { name, points: Vec::new() };
        Curves {
            memory: named("memory"),
            cpu: named("processors"),
            stalls: ["cpu", "memory", "io"].map(named),
        }
    }

    /// Of samples of the API.
    pub(super) fn of(samples: &[Sample]) -> Curves {
        let mut all = Curves::empty();
        for s in samples {
            if let Some(at) = unix(&s.at) {
                let stalls = [s.cpu_pressure, s.memory_pressure, s.io_pressure];
                all.push(at, s.run, s.memory, s.cpu, stalls);
            }
        }
        all
    }

    /// One value more of each.
    pub(super) fn push(
        &mut self,
        at: f64,
        run: u32,
        memory: Option<u64>,
        cpu: Option<f64>,
        stalls: [Option<f64>; 3],
    ) {
        let add = |curve: &mut Curve, value| curve.points.push(Point { at, value, run });
        add(&mut self.memory, memory.map(|n| n as f64));
        add(&mut self.cpu, cpu);
        self.stalls.iter_mut().zip(stalls).for_each(|(curve, value)| add(curve, value));
    }

    /// Each of them.
    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Curve> {
        [&mut self.memory, &mut self.cpu].into_iter().chain(&mut self.stalls)
    }
}

/// What is said about memory: request, high, max; in bytes.
pub(super) type Limits = [Option<u64>; 3];

/// All plots of one instance, over the same time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sheet {
    /// `web.1`.
    pub(super) instance: String,
    /// Unix times of the left and the right edge; the second is greater.
    pub(super) span: (f64, f64),
    /// A longer pause between two samples is a gap.
    pub(super) gap: f64,
    /// Memory, processors, stalls.
    pub(super) plots: [Plot; 3],
}

/// Seconds of a time of the API; `None` = it is none.
pub(super) fn unix(at: &str) -> Option<f64> {
    let at: Timestamp = at.parse().ok()?;
    Some(at.as_millisecond() as f64 / 1e3)
}

impl Sheet {
    /// Of what the daemon tells; `now` is the right edge in seconds of Unix time.
    pub(super) fn of(history: &History, now: f64) -> Sheet {
        let limits = [history.memory_request, history.memory_high, history.memory_max];
        Sheet::new(&history.instance, limits, Curves::of(&history.samples), history.every, now)
    }

    /// Of curves with a value about each `every` seconds.
    pub(super) fn new(instance: &str, limits: Limits, curves: Curves, every: f64, now: f64) -> Sheet {
        let levels = ["request", "high", "max"].into_iter().zip(limits);
        let levels = levels.filter_map(|(name, value)| Some(Level { name, value: value? as f64 })).collect();
        let every = every.max(1.0);
        let first = curves.memory.points.first().map_or(now, |p| p.at);
        // A frame without a width could not be drawn in.
        let width = (now - first).max(10.0 * every);
        Sheet {
            instance: instance.to_owned(),
            span: (now - width, now),
            gap: 2.5 * every,
            plots: [
                plot("memory", Unit::Bytes, vec![curves.memory], levels, 4096.0),
                plot("processor time", Unit::Share, vec![curves.cpu], Vec::new(), 0.1),
                plot("stalls (PSI)", Unit::Share, curves.stalls.into(), Vec::new(), 0.01),
            ],
        }
    }
}

/// A plot that is so high that everything is in it, and at least so high.
fn plot(title: &'static str, unit: Unit, curves: Vec<Curve>, levels: Vec<Level>, least: f64) -> Plot {
    let values = curves.iter().filter_map(Curve::most).map(|v| v * 1.15);
    let top = levels.iter().map(|l| l.value * 1.08).chain(values).fold(least, f64::max);
    Plot { title, unit, top, curves, levels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strokes_end_where_the_run_or_the_samples_do() {
        let p = |at: f64, value: Option<f64>, run: u32| Point { at, value, run };
        let points = vec![
            p(0.0, Some(1.0), 1),
            p(60.0, Some(2.0), 1),
            p(120.0, None, 1),
            p(180.0, Some(3.0), 1),
            p(240.0, Some(4.0), 2),
            p(600.0, Some(5.0), 2),
        ];
        let curve = Curve { name: "memory", points };
        let lengths: Vec<usize> = curve.strokes(150.0).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 1, 1]);
        assert_eq!((curve.most(), curve.last()), (Some(5.0), Some(5.0)));
    }

    #[test]
    fn a_sheet_holds_everything() {
        let history = crate::api::tests::history("web.1");
        let now = unix("2026-11-21T12:02:30Z").unwrap();
        let sheet = Sheet::of(&history, now);
        assert_eq!(sheet.span, (now - 600.0, now));
        for plot in &sheet.plots {
            let values =
                plot.curves.iter().filter_map(Curve::most).chain(plot.levels.iter().map(|l| l.value));
            assert!(values.fold(0.0, f64::max) <= plot.top && plot.top > 0.0, "{plot:?}");
        }
        assert_eq!(sheet.plots[0].levels.iter().map(|l| l.name).collect::<Vec<_>>(), ["request", "max"]);
        let empty =
            Sheet::of(&History { samples: vec![], memory_max: None, memory_request: None, ..history }, now);
        assert!(empty.span.1 > empty.span.0 && empty.plots.iter().all(|p| p.top > 0.0));
    }

    #[test]
    fn shares_for_people() {
        assert_eq!(
            [0.0, 0.0004, 0.0994, 0.0996, 0.5, 12.0].map(percent),
            ["0%", "0%", "9.9%", "10%", "50%", "1200%"]
        );
    }
}
