//! Tables that fit: columns are dropped and texts cut until a line is no wider than the terminal. Pure.
#![forbid(unsafe_code)]

use super::text::{Color, Style, clean, cut};

/// Between two columns.
const GAP: usize = 2;
/// No column of texts is cut below this.
const TEXT_MIN: usize = 10;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Its title.
    pub(super) title: &'static str,
    /// A text that may be cut.
    pub(super) text: bool,
    /// Figures are set to the right.
    pub(super) right: bool,
    /// On a terminal that is too narrow the highest goes first; 0 stays.
    pub(super) drop: u8,
}

impl Column {
    /// A word that is neither cut nor dropped.
    pub(super) const fn word(title: &'static str) -> Column {
        Column { title, text: false, right: false, drop: 0 }
    }
    /// A word that is not cut.
    pub(super) const fn note(title: &'static str, drop: u8) -> Column {
        Column { title, text: false, right: false, drop }
    }
    /// A text that may be cut.
    pub(super) const fn text(title: &'static str, drop: u8) -> Column {
        Column { title, text: true, right: false, drop }
    }
    /// A figure.
    pub(super) const fn figure(title: &'static str, drop: u8) -> Column {
        Column { title, text: false, right: true, drop }
    }
}

/// What stands in one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    color: Option<Color>,
}

impl Cell {
    /// Made safe for a terminal.
    pub(super) fn new(text: &str) -> Cell {
        Cell { text: clean(text).into_owned(), color: None }
    }
    /// In a colour.
    pub(super) fn colored(text: &str, color: Option<Color>) -> Cell {
        Cell { color, ..Cell::new(text) }
    }
    /// A value, or `-`.
    pub(super) fn maybe<T: ToString>(value: Option<T>) -> Cell {
        Cell::new(&value.map_or("-".into(), |v| v.to_string()))
    }
}

/// The lines of a table with its titles, each no wider than `width` as long as the columns that stay allow it.
pub(super) fn render(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>, style: Style) -> String {
    let natural = |i: usize| {
        let cells = rows.iter().filter_map(|r| r.get(i)).map(|c| c.text.chars().count());
        cells.chain([columns[i].title.chars().count()]).max().unwrap_or(0)
    };
    let mut shown: Vec<(usize, usize)> = (0..columns.len()).map(|i| (i, natural(i))).collect();
    if let Some(width) = width {
        fit(columns, &mut shown, width);
    }
    let mut out = String::new();
    let titles: Vec<Cell> =
        columns.iter().map(|c| Cell { text: c.title.into(), color: Some(Color::Bold) }).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (n, (i, room)) in shown.iter().enumerate() {
            let empty = Cell::default();
            let cell = row.get(*i).unwrap_or(&empty);
            let text = cut(&cell.text, *room);
            let pad = " ".repeat(room - text.chars().count());
            let painted = cell.color.map_or_else(|| text.to_string(), |c| style.paint(c, &text));
            let last = n + 1 == shown.len();
            match columns[*i].right {
                true => line.extend([pad.as_str(), painted.as_str()]),
                false => line.extend([painted.as_str(), if last { "" } else { pad.as_str() }]),
            }
            if !last {
                line.push_str(&" ".repeat(GAP));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Cuts texts, widest first; when that is not enough drops a column and tries again.
fn fit(columns: &[Column], shown: &mut Vec<(usize, usize)>, width: usize) {
    loop {
        let total: usize = shown.iter().map(|(_, w)| w + GAP).sum::<usize>().saturating_sub(GAP);
        let Some(over) = total.checked_sub(width).filter(|n| *n > 0) else { return };
        let spare: usize = texts(columns, shown).map(|(_, w)| w.saturating_sub(TEXT_MIN)).sum();
        if spare >= over {
            for _ in 0..over {
                if let Some(widest) =
                    shown.iter_mut().filter(|(i, _)| columns[*i].text).max_by_key(|(_, w)| *w)
                {
                    widest.1 -= 1;
                }
            }
            return;
        }
        let least = shown.iter().enumerate().filter(|(_, (i, _))| columns[*i].drop > 0);
        match least.max_by_key(|(_, (i, _))| columns[*i].drop).map(|(at, _)| at) {
            Some(at) => drop(shown.remove(at)),
            // All that stays is words: the widest of them are cut as well.
            None => {
                if let Some(widest) = shown.iter_mut().filter(|(_, w)| *w > 4).max_by_key(|(_, w)| *w) {
                    widest.1 -= 1;
                } else {
                    return;
                }
            }
        }
    }
}

fn texts<'a>(
    columns: &'a [Column],
    shown: &'a [(usize, usize)],
) -> impl Iterator<Item = &'a (usize, usize)> + 'a {
    shown.iter().filter(|(i, _)| columns[*i].text)
}
