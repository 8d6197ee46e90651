//! Plots in a terminal: dots of Braille characters, or stars where the terminal has ASCII only. Pure.
#![forbid(unsafe_code)]

use super::{Curve, Plot, Sheet};

/// Which characters there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Glyphs {
    /// Those of UTF-8.
    Unicode,
    /// ASCII and nothing else.
    Ascii,
}

/// From low to high, by [`Glyphs`].
const STEPS: [[char; 8]; 2] =
    [['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'], ['_', '.', ':', '-', '=', '+', '*', '#']];

impl Glyphs {
    /// Those of the locale (locale(7)): the first of `LC_ALL`, `LC_CTYPE` and `LANG` that is not empty.
    pub(in crate::cli) fn of_locale() -> Glyphs {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).unwrap_or_default());
        Glyphs::of_name(set.iter().find(|value| !value.is_empty()).map_or("", String::as_str))
    }

    fn of_name(locale: &str) -> Glyphs {
        let name = locale.to_ascii_lowercase();
        if name.contains("utf-8") || name.contains("utf8") { Glyphs::Unicode } else { Glyphs::Ascii }
    }

    /// One character for a share from 0 to 1; a blank for none.
    pub(in crate::cli) fn step(self, share: Option<f64>) -> char {
        let steps = &STEPS[usize::from(self == Glyphs::Ascii)];
        share.map_or(' ', |s| steps[((s.clamp(0.0, 1.0) * 7.0).round() as usize).min(7)])
    }

    /// Dots in a character, across and down.
    fn dots(self) -> (usize, usize) {
        match self {
            Glyphs::Unicode => (2, 4),
            Glyphs::Ascii => (1, 1),
        }
    }

    fn level(self) -> char {
        if self == Glyphs::Unicode { '┄' } else { '-' }
    }

    fn edge(self) -> char {
        if self == Glyphs::Unicode { '│' } else { '|' }
    }

    fn corner(self) -> (char, char) {
        if self == Glyphs::Unicode { ('└', '─') } else { ('+', '-') }
    }
}

/// The dots of a Braille character (U+2800 and up), by row and column.
const BRAILLE: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
/// Room for values left of the frame, and for names of levels right of it.
const MARGINS: (usize, usize) = (7, 9);

/// A field of dots.
struct Canvas {
    cols: usize,
    rows: usize,
    glyphs: Glyphs,
    dots: Vec<bool>,
}

impl Canvas {
    fn new(cols: usize, rows: usize, glyphs: Glyphs) -> Canvas {
        let (across, down) = glyphs.dots();
        Canvas { cols, rows, glyphs, dots: vec![false; cols * across * rows * down] }
    }

    fn size(&self) -> (usize, usize) {
        let (across, down) = self.glyphs.dots();
        (self.cols * across, self.rows * down)
    }

    /// From one place to another, both as shares of the field from its lower left.
    fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        let (width, height) = self.size();
        let place = |(x, y): (f64, f64)| {
            let cell = |share: f64, all: usize| share.clamp(0.0, 1.0) * all.saturating_sub(1) as f64;
            (cell(x, width), cell(1.0 - y, height))
        };
        let (a, b) = (place(from), place(to));
        let steps = (b.0 - a.0).abs().max((b.1 - a.1).abs()).ceil().max(1.0) as usize;
        for n in 0..=steps {
            let t = n as f64 / steps as f64;
            let (x, y) = (a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t);
            let at = y.round() as usize * width + x.round() as usize;
            if let Some(dot) = self.dots.get_mut(at) {
                *dot = true;
            }
        }
    }

    /// The character at a place; `None` = nothing is drawn there.
    fn at(&self, col: usize, row: usize) -> Option<char> {
        let ((across, down), (width, _)) = (self.glyphs.dots(), self.size());
        let set = |x: usize, y: usize| self.dots[(row * down + y) * width + col * across + x];
        match self.glyphs {
            Glyphs::Ascii => set(0, 0).then_some('*'),
            Glyphs::Unicode => {
                let bits = (0..4).flat_map(|y| (0..2).map(move |x| (x, y)));
                let bits: u32 = bits.filter(|(x, y)| set(*x, *y)).map(|(x, y)| BRAILLE[y][x]).sum();
                (bits > 0).then(|| char::from_u32(0x2800 + bits)).flatten()
            }
        }
    }
}

/// A plot as lines, each at most `width` characters: a frame of `rows` lines with values at its left and names of levels at
/// its right, and its lower edge.
pub(in crate::cli) fn lines(
    sheet: &Sheet,
    plot: &Plot,
    width: usize,
    rows: usize,
    glyphs: Glyphs,
) -> Vec<String> {
    let (left, right) = MARGINS;
    let right = if plot.levels.is_empty() { 0 } else { right };
    let cols = width.saturating_sub(left + 1 + right).max(4);
    let rows = rows.max(2);
    let mut canvas = Canvas::new(cols, rows, glyphs);
    let (begin, end) = sheet.span;
    let place = |(at, value): (f64, f64)| ((at - begin) / (end - begin), value / plot.top);
    for curve in &plot.curves {
        for stroke in curve.strokes(sheet.gap) {
            let first = stroke.first().copied().map(place);
            if let Some(first) = first {
                canvas.line(first, first);
            }
            stroke.windows(2).for_each(|pair| canvas.line(place(pair[0]), place(pair[1])));
        }
    }
    let row_of = |value: f64| {
        let share = (1.0 - value / plot.top).clamp(0.0, 1.0);
        ((share * rows as f64) as usize).min(rows - 1)
    };
    let mut all = Vec::new();
    for row in 0..rows {
        let here: Vec<&str> = plot.levels.iter().filter(|l| row_of(l.value) == row).map(|l| l.name).collect();
        let value = match row {
            0 => plot.unit.show(plot.top),
            r if r + 1 == rows => plot.unit.show(0.0),
            _ => String::new(),
        };
        let empty = if here.is_empty() { ' ' } else { glyphs.level() };
        let drawn: String = (0..cols).map(|col| canvas.at(col, row).unwrap_or(empty)).collect();
        let line = format!("{value:>w$}{}{drawn} {}", glyphs.edge(), here.join(","), w = left);
        all.push(line.trim_end().to_owned());
    }
    let (corner, edge) = glyphs.corner();
    all.push(format!("{:left$}{corner}{}", "", edge.to_string().repeat(cols)));
    all
}

/// A curve as one line of characters: each is the most of its part of the time, as a share of `top`. More than `gap` seconds
/// after a value there is none.
pub(in crate::cli) fn spark(
    curve: &Curve,
    span: (f64, f64),
    gap: f64,
    top: f64,
    cols: usize,
    glyphs: Glyphs,
) -> String {
    let mut most: Vec<Option<f64>> = vec![None; cols];
    let width = (span.1 - span.0).max(f64::MIN_POSITIVE);
    for point in &curve.points {
        let share = (point.at - span.0) / width;
        let Some(value) = point.value.filter(|_| (0.0..=1.0).contains(&share)) else { continue };
        let at = ((share * cols as f64) as usize).min(cols.saturating_sub(1));
        if let Some(cell) = most.get_mut(at) {
            *cell = Some(cell.map_or(value, |v| v.max(value)));
        }
    }
    // Between two samples there are none where the terminal is wide: it is as it was then.
    let held = (gap * cols as f64 / width) as usize;
    let mut before = None;
    for (at, cell) in most.iter_mut().enumerate() {
        match *cell {
            Some(value) => before = Some((at, value)),
            None => *cell = before.filter(|(from, _)| at - from <= held).map(|(_, value)| value),
        }
    }
    most.into_iter().map(|value| glyphs.step(value.map(|v| v / top.max(f64::MIN_POSITIVE)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plot::{Level, Point, Unit};

    fn sheet() -> Sheet {
        let point = |n: u32| Point { at: f64::from(n), value: Some(f64::from(n)), run: 1 };
        let plot = |title| Plot {
            title,
            unit: Unit::Share,
            top: 10.0,
            curves: vec![Curve { name: "c", points: (0..=10).map(point).collect() }],
            levels: vec![Level { name: "max", value: 10.0 }, Level { name: "request", value: 5.0 }],
        };
        Sheet {
            instance: "web.1".into(),
            span: (0.0, 10.0),
            gap: 2.0,
            plots: [plot("a"), plot("b"), plot("c")],
        }
    }

    #[test]
    fn a_line_from_corner_to_corner() {
        let sheet = sheet();
        let drawn = lines(&sheet, &sheet.plots[0], 28, 5, Glyphs::Ascii);
        assert_eq!(
            drawn,
            [
                "  1000%|---------** max",
                "       |       **",
                "       |----***---- request",
                "       |  **",
                "     0%|**",
                "       +-----------",
            ]
        );
        let drawn = lines(&sheet, &sheet.plots[0], 28, 3, Glyphs::Unicode);
        assert!(drawn[0].starts_with("  1000%│┄┄┄┄┄┄") && drawn[0].ends_with(" max"), "{drawn:#?}");
        assert!(drawn.iter().all(|l| l.chars().count() <= 28), "{drawn:#?}");
    }

    #[test]
    fn a_frame_is_never_too_small() {
        let sheet = sheet();
        for (width, rows) in [(0, 0), (1, 1), (17, 2), (200, 1)] {
            let drawn = lines(&sheet, &sheet.plots[0], width, rows, Glyphs::Unicode);
            assert_eq!(drawn.len(), rows.max(2) + 1, "{width} {rows}");
        }
    }

    #[test]
    fn sparks() {
        let sheet = sheet();
        let curve = &sheet.plots[0].curves[0];
        assert_eq!(spark(curve, (0.0, 10.0), 2.0, 10.0, 5, Glyphs::Unicode), "▂▃▅▆█");
        assert_eq!(spark(curve, (0.0, 10.0), 2.0, 10.0, 5, Glyphs::Ascii), ".:=+#");
        assert_eq!(spark(curve, (100.0, 200.0), 2.0, 10.0, 5, Glyphs::Ascii), "     ");
        assert_eq!(spark(curve, (0.0, 10.0), 2.0, 10.0, 0, Glyphs::Ascii), "");
        // More characters than samples.
        assert_eq!(spark(curve, (0.0, 2.5), 1.0, 2.0, 5, Glyphs::Ascii), "__==#");
        assert_eq!(spark(curve, (0.0, 2.5), 0.0, 2.0, 5, Glyphs::Ascii), "_ = #");
    }

    #[test]
    fn locales() {
        for (name, glyphs) in [
            ("de_DE.UTF-8", Glyphs::Unicode),
            ("C.utf8", Glyphs::Unicode),
            ("C", Glyphs::Ascii),
            ("", Glyphs::Ascii),
            ("de_DE.ISO-8859-15", Glyphs::Ascii),
        ] {
            assert_eq!(Glyphs::of_name(name), glyphs, "{name}");
        }
    }
}
