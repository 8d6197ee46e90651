//! Pieces of the screen: colours where there are some, bars, and facts that flow into lines. Pure.
#![forbid(unsafe_code)]

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::app::Row;
use crate::cli::plot::percent;
use crate::cli::plot::text::Glyphs;
use crate::cli::text::{Color as Word, duration, size, state_color};

/// What the terminal can show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) color: bool,
    pub(super) glyphs: Glyphs,
}

impl Look {
    /// Text in a colour, where there are colours.
    pub(super) fn paint(self, color: Option<Color>) -> Style {
        match color.filter(|_| self.color) {
            Some(color) => Style::new().fg(color),
            None => Style::new(),
        }
    }

    /// What others depend on.
    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What stands beside.
    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The colour of a state.
    pub(super) fn state(self, state: &str) -> Style {
        self.paint(match state_color(state) {
            Some(Word::Green) => Some(Color::Green),
            Some(Word::Red) => Some(Color::Red),
            Some(Word::Yellow) => Some(Color::Yellow),
            _ => None,
        })
    }

    /// A share that is bad from these two on.
    pub(super) fn share(self, value: Option<f64>, [warn, bad]: [f64; 2]) -> Style {
        self.paint(value.and_then(|v| match v {
            v if v >= bad => Some(Color::Red),
            v if v >= warn => Some(Color::Yellow),
            _ => None,
        }))
    }
}

/// Memory in use against what is said about it: filled up to what is used, `r` where the request is and `h` where it is slowed
/// down; the whole width is the limit, or else the higher of both. Without any of them there is nothing to compare with.
pub(super) fn bar(row: &Row, width: usize, look: Look) -> Line<'static> {
    let (request, high) = (row.usage.memory_request, row.usage.memory_high);
    let whole = row.memory_max().or(high.max(request)).filter(|n| *n > 0);
    let (Some(used), Some(whole)) = (row.memory(), whole) else { return Line::raw(" ".repeat(width)) };
    let share = used as f64 / whole as f64;
    let filled = ((share * width as f64).round() as usize).min(width);
    let over = share > 1.0 && row.memory_max().is_none();
    let slowed = high.is_some_and(|high| used >= high);
    let color = match share {
        s if s >= 0.95 => Color::Red,
        s if s >= 0.8 || slowed => Color::Yellow,
        _ => Color::Green,
    };
    let place =
        |n: Option<u64>| n.filter(|n| *n < whole).map(|n| (n as f64 / whole as f64 * width as f64) as usize);
    let (request, high) = (place(request), place(high));
    let (full, free) = match look.glyphs {
        Glyphs::Unicode => ('█', '·'),
        Glyphs::Ascii => ('#', '.'),
    };
    let cell = |n: usize| match n {
        n if Some(n) == high => 'h',
        n if Some(n) == request => 'r',
        n if over && n + 1 == width => '>',
        n if n < filled => full,
        _ => free,
    };
    let part = |from: usize, to: usize| (from..to).map(cell).collect::<String>();
    Line::from(vec![
        Span::styled(part(0, filled), look.paint(Some(color))),
        Span::styled(part(filled, width), look.dim()),
    ])
}

/// One fact, and how it is shown.
pub(super) type Fact = (String, Style);

/// Facts in lines of at most this width, as many as fit into so many lines; one that is too long is cut.
pub(super) fn flow(facts: &[Fact], width: usize, most: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut used = 0;
    for (text, style) in facts {
        let text = crate::cli::text::cut(text, width).into_owned();
        let length = Span::raw(text.as_str()).width();
        let goes_on = used > 0 && used + 2 + length <= width;
        if !goes_on {
            if lines.len() == most {
                break;
            }
            lines.push(Line::default());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if goes_on {
                line.push_span(Span::raw("  "));
                used += 2;
            }
            line.push_span(Span::styled(text, *style));
            used += length;
        }
    }
    lines
}

/// `1.2K/s`, `-`.
pub(super) fn per_second(rate: Option<f64>) -> String {
    rate.map_or("-".into(), |r| format!("{}/s", size(r.max(0.0) as u64)))
}

/// `25%`, `-`.
pub(super) fn share(value: Option<f64>) -> String {
    value.map_or("-".into(), percent)
}

/// `12M`, `-`.
pub(super) fn bytes(value: Option<u64>) -> String {
    value.map_or("-".into(), size)
}

/// Everything about one instance, for the lines below the table and above the details.
pub(super) fn facts(row: &Row, told: bool, look: Look) -> Vec<Fact> {
    let (s, u, plain) = (&row.status, &row.usage, Style::new());
    let mut all = vec![
        (s.instance.clone(), look.bold()),
        (format!("{} for {}", s.state, duration(s.seconds)), look.state(&s.state)),
        (row.health(told).into(), plain),
        (format!("restarts {}", s.restarts), plain),
    ];
    let mut fact = |text: String, style: Style| all.push((text, style));
    let detail = if s.detail.is_empty() { &s.reason } else { &s.detail };
    if !detail.is_empty() {
        fact(crate::cli::text::clean(detail).into_owned(), plain);
    }
    let limits = [("request", u.memory_request), ("high", u.memory_high), ("max", row.memory_max())];
    let limits: Vec<String> = limits.iter().map(|(name, n)| format!("{name} {}", bytes(*n))).collect();
    fact(format!("memory {} ({})", bytes(row.memory()), limits.join(", ")), plain);
    if !told {
        return all;
    }
    if let Some(swap) = u.memory_swap.filter(|n| *n > 0) {
        fact(format!("swap {}", size(swap)), plain);
    }
    if let Some(rung) = &u.memory_rung {
        fact(format!("{rung}: memory is short"), look.paint(Some(Color::Yellow)));
    }
    fact(format!("cpu {}", share(row.rates.cpu)), plain);
    if let Some(seconds) = u.cpu_throttled_seconds.filter(|s| *s > 0.0) {
        fact(format!("throttled {}", duration(seconds)), look.paint(Some(Color::Yellow)));
    }
    let stalls = [share(u.cpu_pressure), share(u.memory_pressure), share(u.io_pressure)];
    let style = look.share(row.stalls(), STALLS);
    fact(format!("psi cpu {} memory {} io {}", stalls[0], stalls[1], stalls[2]), style);
    fact(format!("io read {} written {}", per_second(row.rates.read), per_second(row.rates.written)), plain);
    let pids = u.pids.map_or("-".into(), |n| n.to_string());
    fact(u.pids_max.map_or_else(|| format!("pids {pids}"), |max| format!("pids {pids} of {max}")), plain);
    let color = (u.log_dropped > 0).then_some(Color::Red);
    fact(format!("log {} dropped {}", bytes(u.log), size(u.log_dropped)), look.paint(color));
    all
}

/// From where stalls are worth a look, and from where they are bad.
pub(super) const STALLS: [f64; 2] = [0.1, 0.4];

/// Text in lines of this width; what is longer goes on in the next one.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for c in text.chars() {
        let length = Span::raw(c.to_string()).width();
        if used + length > width && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::usage::InstanceUsage;

    const PLAIN: Look = Look { color: false, glyphs: Glyphs::Ascii };

    fn text(line: &Line<'_>) -> String {
        line.spans.iter().map(|s| s.content.as_ref()).collect()
    }

    fn row(memory: u64, limits: [Option<u64>; 3]) -> Row {
        let [memory_request, memory_high, memory_max] = limits;
        let usage = InstanceUsage {
            memory: Some(memory),
            memory_request,
            memory_high,
            memory_max,
            ..Default::default()
        };
        let mut status = crate::api::tests::instance("web", 1, "running");
        status.memory_limit = None;
        Row { status, usage, rates: Default::default() }
    }

    #[test]
    fn bars() {
        for (memory, limits, want) in [
            (50, [None, None, Some(100)], "#####....."),
            (0, [Some(30), Some(80), Some(100)], "...r....h."),
            (100, [Some(30), Some(80), Some(100)], "###r####h#"),
            (250, [None, None, Some(100)], "##########"),
            (50, [Some(40), None, None], "#########>"),
            (50, [None, Some(100), None], "#####....."),
            (50, [None, None, None], "          "),
        ] {
            assert_eq!(text(&bar(&row(memory, limits), 10, PLAIN)), want, "{memory} {limits:?}");
        }
        let colors = Look { color: true, ..PLAIN };
        let color = |memory| bar(&row(memory, [None, None, Some(100)]), 10, colors).spans[0].style.fg;
        assert_eq!([50, 85, 99].map(color), [Some(Color::Green), Some(Color::Yellow), Some(Color::Red)]);
        assert_eq!(bar(&row(99, [None, None, Some(100)]), 10, PLAIN).spans[0].style.fg, None);
    }

    #[test]
    fn facts_flow() {
        let facts: Vec<Fact> = ["one", "two", "three", "four"].map(|t| (t.into(), Style::new())).to_vec();
        let lines = |width, most| flow(&facts, width, most).iter().map(text).collect::<Vec<_>>();
        assert_eq!(lines(80, 3), ["one  two  three  four"]);
        assert_eq!(lines(10, 3), ["one  two", "three", "four"]);
        assert_eq!(lines(10, 1), ["one  two"]);
        assert_eq!(lines(4, 4), ["one", "two", "thr…", "four"]);
        assert_eq!(wrap("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
    }
}
