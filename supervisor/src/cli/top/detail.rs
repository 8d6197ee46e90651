//! One instance: what is known of it, its plots where there is room, and what explain, logs and events say.
#![forbid(unsafe_code)]

use ratatui::style::{Modifier, Style};
use ratatui::terminal::Frame;
use ratatui::text::{Line, Span};

use super::app::{App, Detail, Tab};
use super::list::put;
use super::look::{Look, facts, flow, wrap};
use crate::cli::plot::Sheet;
use crate::cli::plot::text::lines;

/// Lines of a plot without its title and its lower edge.
const PLOT: usize = 4;

/// Draws all of it; `now` in seconds of Unix time.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, now: f64, look: Look) {
    let Some(detail) = app.detail.clone() else { return };
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let row = app.rows().iter().find(|r| r.status.instance == detail.instance);
    let mut head = match row {
        Some(row) => flow(&facts(row, app.told, look), width, if height < 12 { 2 } else { 4 }),
        None => vec![Line::styled(format!("{} is gone", detail.instance), look.bold())],
    };
    if let Some(note) = &app.note {
        let style = look.paint(Some(ratatui::style::Color::Red)).add_modifier(Modifier::BOLD);
        let text = format!("no daemon, as it was: {}", crate::cli::text::clean(note));
        head.push(Line::styled(crate::cli::text::cut(&text, width).into_owned(), style));
    }
    if height >= 20 && width >= 60 {
        head.extend(plots(app, &detail, now, width, look));
    }
    head.push(tabs(&detail, look));
    let foot = flow(&keys(look), width, 1);
    let room = height.saturating_sub(head.len() + foot.len());
    let (text, back) = window(&detail, width, room);
    head.extend(text);
    put(frame, area, head, false);
    put(frame, area, foot, true);
    app.page = room;
    if let Some(detail) = &mut app.detail {
        detail.back = back;
    }
}

/// Memory and processor time, side by side.
fn plots(app: &App, detail: &Detail, now: f64, width: usize, look: Look) -> Vec<Line<'static>> {
    let Some(trail) = app.trail(&detail.instance) else { return Vec::new() };
    let row = app.rows().iter().find(|r| r.status.instance == detail.instance);
    let limits = row.map_or([None; 3], |r| [r.usage.memory_request, r.usage.memory_high, r.memory_max()]);
    // Between samples of the daemon there is nothing to see, and that is no gap.
    let sheet = Sheet::new(&detail.instance, limits, trail.curves.clone(), trail.every.unwrap_or(2.0), now);
    let half = (width - 2) / 2;
    let minutes = ((sheet.span.1 - sheet.span.0) / 60.0).ceil();
    let title = |plot: &crate::cli::plot::Plot| format!("{}, last {minutes} min", plot.title);
    let [memory, cpu, _] = &sheet.plots;
    let side = |plot| {
        let mut all = vec![title(plot)];
        all.extend(lines(&sheet, plot, half, PLOT, look.glyphs));
        all
    };
    let rows = side(memory).into_iter().zip(side(cpu)).enumerate();
    rows.map(|(n, (left, right))| {
        let style = if n == 0 { look.bold() } else { Style::new() };
        Line::styled(format!("{left:<half$}  {right}"), style)
    })
    .collect()
}

fn tabs(detail: &Detail, look: Look) -> Line<'static> {
    let mut line = Line::default();
    for (key, tab, name) in Tab::ALL {
        let open = tab == detail.tab;
        let text = if open { format!("[{name}]") } else { format!(" {key} {name} ") };
        let style = if open { look.bold().add_modifier(Modifier::REVERSED) } else { look.dim() };
        line.push_span(Span::styled(text, style));
        line.push_span(Span::raw(" "));
    }
    line
}

fn keys(look: Look) -> Vec<super::look::Fact> {
    let all = ["Esc back", "q quit", "Tab next", "arrows scroll", "Home oldest", "End newest"];
    all.map(|text| (text.to_owned(), look.dim())).to_vec()
}

/// The part of the text that is shown, and how far back that is: never further than there is text.
fn window(detail: &Detail, width: usize, room: usize) -> (Vec<Line<'static>>, usize) {
    let Some(text) = &detail.text else { return (vec![Line::raw("...")], detail.back) };
    let wrapped: Vec<String> = text.iter().flat_map(|line| wrap(line, width)).collect();
    let back = detail.back.min(wrapped.len().saturating_sub(room));
    let end = wrapped.len() - back;
    let begin = end.saturating_sub(room);
    let part = wrapped.get(begin..end).unwrap_or_default();
    (part.iter().map(|line| Line::raw(line.clone())).collect(), back)
}
