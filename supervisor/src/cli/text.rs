//! Words and figures for people: colours, durations, sizes, times, and texts made safe for a terminal. Pure but for
//! looking at the environment once.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The colours in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
    Dim,
    Bold,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    on: bool,
    wanted: bool,
}

impl Style {
    /// Colours only on a terminal, and never with `--no-color`, `NO_COLOR` (no-color.org) or `TERM=dumb`.
    pub(super) fn new(never: bool) -> Style {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let wanted = !never && !forbidden && !is_dumb();
        Style { on: wanted && crate::sys::term::is_terminal(std::io::stdout()), wanted }
    }

    /// The same for the other output.
    pub(super) fn for_stderr(self) -> Style {
        Style { on: self.wanted && crate::sys::term::is_terminal(std::io::stderr()), ..self }
    }

    /// Whether there are any.
    pub(super) fn has_colors(self) -> bool {
        self.on
    }

    /// None at all.
    pub(super) fn plain() -> Style {
        Style { on: false, wanted: false }
    }

    #[cfg(test)]
    pub(super) fn fixed(on: bool) -> Style {
        Style { on, wanted: on }
    }

    /// The text in a colour.
    pub(super) fn paint(self, color: Color, text: &str) -> String {
        if !self.on || text.is_empty() {
            return text.to_owned();
        }
        let code = match color {
            Color::Bold => 1,
            Color::Dim => 2,
            Color::Red => 31,
            Color::Green => 32,
            Color::Yellow => 33,
            Color::Blue => 34,
            Color::Magenta => 35,
            Color::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The terminal knows neither colours nor places.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|v| v == "dumb")
}

/// The colour of a state.
pub(super) fn state_color(state: &str) -> Option<Color> {
    match state {
        "running" => Some(Color::Green),
        "failed" | "crashloop" | "stuck" | "monitor-lost" => Some(Color::Red),
        "backoff" | "waiting" | "creating" | "starting" | "stopping" => Some(Color::Yellow),
        "held" | "exited" => Some(Color::Dim),
        _ => None,
    }
}

/// Text of others for a terminal: control characters, which could move the cursor or worse, are shown and not sent.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().flat_map(|c| {
        let shown: Vec<char> = if c.is_control() { c.escape_default().collect() } else { vec![c] };
        shown
    });
    Cow::Owned(escaped.collect())
}

/// `0s`, `59s`, `2m5s`, `3h20m`, `4d2h`: the two largest units.
pub(super) fn duration(seconds: f64) -> String {
    // Negative or not a number is 0 after the cast.
    let s = seconds as u64;
    let two = |big: u64, b: &str, small: u64, l: &str| match small {
        0 => format!("{big}{b}"),
        _ => format!("{big}{b}{small}{l}"),
    };
    match s {
        0..60 => format!("{s}s"),
        60..3600 => two(s / 60, "m", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "m"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// `512`, `1.5K`, `64M`, `2G`: powers of 1024, at most one decimal.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "";
    for next in ["K", "M", "G", "T", "P"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let short = format!("{value:.1}");
    let short = if value >= 100.0 { format!("{value:.0}") } else { short };
    format!("{}{unit}", short.strip_suffix(".0").unwrap_or(&short))
}

/// `12:00:01` for a time of today, with the date in front for another; what is no time is shown as it is.
pub(super) fn moment(at: &str, now: Timestamp, zone: &TimeZone) -> String {
    let Ok(at_time) = at.parse::<Timestamp>() else { return clean(at).into_owned() };
    let (there, here) = (at_time.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let form = if there.date() == here.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    there.strftime(form).to_string()
}

/// At most `width` characters; what is cut ends with an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    match width {
        0 => Cow::Borrowed(""),
        _ => Cow::Owned(text.chars().take(width - 1).chain(['…']).collect()),
    }
}
