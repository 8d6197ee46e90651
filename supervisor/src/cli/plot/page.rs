//! The page that becomes a file: all plots of an instance as shapes, which [`svg`](super::svg) and [`png`](super::png) draw.
//! Pure.
#![forbid(unsafe_code)]

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Plot, Sheet};

/// Width and height of the page, in pixels.
pub(in crate::cli) const SIZE: (u32, u32) = (900, 640);

/// Left and right edge of every frame.
const X: (f64, f64) = (72.0, 770.0);
/// Upper edge and height of each frame.
const FRAMES: [(f64, f64); 3] = [(56.0, 200.0), (308.0, 110.0), (470.0, 110.0)];
/// Height of a line of text.
pub(in crate::cli) const TEXT: f64 = 8.0;

/// What something is drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Ink {
    Paper,
    Text,
    Grid,
    Level,
    First,
    Second,
    Third,
}

impl Ink {
    /// All of them, in the order of their numbers.
    pub(in crate::cli) const ALL: [Ink; 7] =
        [Ink::Paper, Ink::Text, Ink::Grid, Ink::Level, Ink::First, Ink::Second, Ink::Third];

    /// Red, green and blue. The three of curves differ also for who does not see colours as others do (Okabe and Ito).
    pub(in crate::cli) fn rgb(self) -> [u8; 3] {
        match self {
            Ink::Paper => [255, 255, 255],
            Ink::Text => [48, 48, 48],
            Ink::Grid => [216, 216, 216],
            Ink::Level => [204, 64, 32],
            Ink::First => [0, 114, 178],
            Ink::Second => [230, 159, 0],
            Ink::Third => [0, 158, 115],
        }
    }
}

/// Where a text is, seen from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Side {
    /// It begins there.
    Begin,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// One thing on the page; places are pixels from the upper left.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum Shape {
    /// A line through all of these.
    Line {
        places: Vec<(f64, f64)>,
        ink: Ink,
        /// In pixels.
        width: u32,
        dashed: bool,
    },
    /// Text whose middle line is at `y`.
    Text { x: f64, y: f64, side: Side, text: String, ink: Ink },
}

impl Sheet {
    /// The page.
    pub(in crate::cli) fn page(&self, zone: &TimeZone) -> Vec<Shape> {
        let clock = |at: f64| {
            let at = Timestamp::from_second(at as i64).unwrap_or_default().to_zoned(zone.clone());
            at.strftime("%Y-%m-%d %H:%M:%S").to_string()
        };
        let (begin, end) = self.span;
        let title = format!("{}   {} to {}", self.instance, clock(begin), clock(end));
        let mut all = vec![text(X.0, 24.0, Side::Begin, title, Ink::Text)];
        for (plot, (top, height)) in self.plots.iter().zip(FRAMES) {
            Frame { sheet: self, plot, top, height }.draw(&mut all);
        }
        for (share, side) in [(0.0, Side::Begin), (0.5, Side::Middle), (1.0, Side::End)] {
            let at = begin + (end - begin) * share;
            let short = clock(at).split_off(11);
            all.push(text(X.0 + (X.1 - X.0) * share, 600.0, side, short, Ink::Text));
        }
        all
    }
}

fn text(x: f64, y: f64, side: Side, text: String, ink: Ink) -> Shape {
    Shape::Text { x, y, side, text, ink }
}

/// One plot in its place.
struct Frame<'a> {
    sheet: &'a Sheet,
    plot: &'a Plot,
    top: f64,
    height: f64,
}

impl Frame<'_> {
    fn x(&self, at: f64) -> f64 {
        let (begin, end) = self.sheet.span;
        X.0 + ((at - begin) / (end - begin)).clamp(0.0, 1.0) * (X.1 - X.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - (value / self.plot.top).clamp(0.0, 1.0)) * self.height
    }

    fn draw(&self, all: &mut Vec<Shape>) {
        let line = |places: Vec<(f64, f64)>, ink, width, dashed| Shape::Line { places, ink, width, dashed };
        let across = |y: f64| vec![(X.0, y), (X.1, y)];
        let plot = self.plot;
        all.push(text(X.0, self.top - 12.0, Side::Begin, plot.title.into(), Ink::Text));
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let value = plot.top * share;
            all.push(line(across(self.y(value)), Ink::Grid, 1, false));
            all.push(text(X.0 - 6.0, self.y(value), Side::End, plot.unit.show(value), Ink::Text));
        }
        for x in [X.0, X.1] {
            all.push(line(vec![(x, self.top), (x, self.top + self.height)], Ink::Grid, 1, false));
        }
        for level in &plot.levels {
            all.push(line(across(self.y(level.value)), Ink::Level, 1, true));
        }
        let mut below = f64::NEG_INFINITY;
        // Names of levels that lie close together stand below each other.
        for level in plot.levels.iter().rev() {
            let y = self.y(level.value).max(below);
            below = y + 1.5 * TEXT;
            let name = format!("{} {}", level.name, plot.unit.show(level.value));
            all.push(text(X.1 + 6.0, y, Side::Begin, name, Ink::Level));
        }
        let inks = [Ink::First, Ink::Second, Ink::Third];
        for (n, (curve, ink)) in plot.curves.iter().zip(inks).enumerate() {
            for stroke in curve.strokes(self.sheet.gap) {
                let mut places: Vec<_> =
                    stroke.iter().map(|(at, value)| (self.x(*at), self.y(*value))).collect();
                // A single value is a short line.
                if let [(x, y)] = places[..] {
                    places = vec![((x - 1.0).max(X.0), y), ((x + 1.0).min(X.1), y)];
                }
                all.push(line(places, ink, 2, false));
            }
            if plot.curves.len() > 1 {
                let x = X.1 - 100.0 * (plot.curves.len() - 1 - n) as f64;
                all.push(text(x, self.top - 12.0, Side::End, curve.name.into(), ink));
            }
        }
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;

    /// A sheet with all levels, three curves of stalls, and a gap.
    pub(in crate::cli) fn sheet() -> Sheet {
        let mut history = crate::api::tests::history("web.1");
        history.memory_high = Some(58 << 20);
        Sheet::of(&history, super::super::unix("2026-11-21T12:02:30Z").unwrap())
    }

    #[test]
    fn everything_is_on_the_page_and_curves_in_their_frames() {
        let page = sheet().page(&TimeZone::UTC);
        let inside = |(x, y): (f64, f64)| {
            (0.0..=f64::from(SIZE.0)).contains(&x) && (0.0..=f64::from(SIZE.1)).contains(&y)
        };
        let mut curves = 0;
        for shape in &page {
            match shape {
                Shape::Line { places, width: 2, .. } => {
                    curves += 1;
                    let of = |(x, y): &(f64, f64)| {
                        let rows = |(top, height): &(f64, f64)| (*top..=top + height).contains(y);
                        let frame = FRAMES.iter().position(rows);
                        (X.0..=X.1).contains(x).then_some(frame).flatten()
                    };
                    let frames: Vec<_> = places.iter().map(of).collect();
                    assert!(frames[0].is_some() && frames.iter().all(|f| *f == frames[0]), "{places:?}");
                }
                Shape::Line { places, .. } => assert!(places.iter().all(|p| inside(*p)), "{places:?}"),
                Shape::Text { x, y, side, text, .. } => {
                    let long = text.chars().count() as f64 * TEXT;
                    let (from, to) = match side {
                        Side::Begin => (*x, x + long),
                        Side::Middle => (x - long / 2.0, x + long / 2.0),
                        Side::End => (x - long, *x),
                    };
                    assert!(
                        inside((from, y - TEXT / 2.0)) && inside((to, y + TEXT / 2.0)),
                        "{text} {from} {to}"
                    );
                }
            }
        }
        // Memory, processors, two curves of stalls; nothing is known of stalls for memory.
        assert_eq!(curves, 4);
        let texts: Vec<&str> = page
            .iter()
            .filter_map(|s| if let Shape::Text { text, .. } = s { Some(text.as_str()) } else { None })
            .collect();
        for want in ["max 64M", "high 58M", "request 16M", "12:02:30", "memory", "0%", "io"] {
            assert!(texts.contains(&want), "{want}: {texts:?}");
        }
        assert!(texts[0].starts_with("web.1   2026-11-21 11:52:30 to 2026-11-21 12:02:30"), "{texts:?}");
    }

    #[test]
    fn a_value_is_where_it_belongs() {
        let page = sheet().page(&TimeZone::UTC);
        let memory = page.iter().find_map(|s| match s {
            Shape::Line { places, width: 2, ink: Ink::First, .. } => Some(places.clone()),
            _ => None,
        });
        let sheet = sheet();
        let (top, height) = FRAMES[0];
        let y = |mib: f64| top + height * (1.0 - mib * 1_048_576.0 / sheet.plots[0].top);
        let x = |ago: f64| X.1 - (X.1 - X.0) * ago / 600.0;
        let close = |(a, b): &((f64, f64), (f64, f64))| (a.0 - b.0).abs() < 0.01 && (a.1 - b.1).abs() < 0.01;
        let want = [(x(150.0), y(12.0)), (x(90.0), y(24.0))];
        let both: Vec<_> = memory.unwrap().into_iter().zip(want).collect();
        assert!(both.len() == 2 && both.iter().all(close), "{both:?}");
    }
}
