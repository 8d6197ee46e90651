//! The list of instances: two lines about all, a table, what is known of the chosen one, and the keys.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::terminal::Frame;
use ratatui::text::{Line, Span};

use super::app::{App, Row, Sort};
use super::look::{Fact, Look, STALLS, bar, bytes, facts, flow, per_second, share};
use crate::cli::plot::text::spark;
use crate::cli::text::{cut, size};

/// One column.
struct Column {
    title: &'static str,
    sort: Option<Sort>,
    width: usize,
    /// It may become so wide.
    most: usize,
    right: bool,
    /// On a narrow terminal the highest goes first.
    drop: u8,
    kind: Kind,
}

/// What stands in it.
#[derive(Clone, Copy)]
enum Kind {
    Name,
    State,
    Health,
    Restarts,
    Cpu,
    Memory,
    Bar,
    Past,
    Stalls,
    Io,
    Drops,
}

/// Seconds that one character of the small plot stands for.
const PAST: f64 = 60.0;

fn columns(app: &App) -> Vec<Column> {
    let names = app.rows().iter().map(|r| r.status.instance.len()).max().unwrap_or(0).clamp(8, 40);
    let states = app.rows().iter().map(|r| r.status.state.len()).max().unwrap_or(0).clamp(7, 12);
    let column =
        |title, sort, width, most, right, drop, kind| Column { title, sort, width, most, right, drop, kind };
    let mut all = vec![
        column("NAME", Some(Sort::Name), names.min(14), names, false, 0, Kind::Name),
        column("STATE", Some(Sort::State), states, states, false, 1, Kind::State),
        column("HEALTH", None, 7, 7, false, 4, Kind::Health),
        column("RST", Some(Sort::Restarts), 4, 4, true, 6, Kind::Restarts),
        column("CPU", Some(Sort::Cpu), 5, 5, true, 3, Kind::Cpu),
        column("MEM", Some(Sort::Memory), 5, 5, true, 2, Kind::Memory),
        column("OF MAX", None, 10, 24, false, 5, Kind::Bar),
        column("PAST", None, 8, 40, false, 7, Kind::Past),
        column("PSI", Some(Sort::Stalls), 4, 4, true, 8, Kind::Stalls),
        column("IO", Some(Sort::Io), 8, 8, true, 9, Kind::Io),
        column("DROPS", Some(Sort::Drops), 5, 5, true, 10, Kind::Drops),
    ];
    // An older daemon does not tell these.
    if !app.told {
        all.retain(|c| !matches!(c.kind, Kind::Cpu | Kind::Past | Kind::Stalls | Kind::Io | Kind::Drops));
    }
    all
}

/// The columns that fit, as wide as they may be.
fn fit(mut all: Vec<Column>, width: usize) -> Vec<Column> {
    let total = |all: &[Column]| all.iter().map(|c| c.width + 1).sum::<usize>().saturating_sub(1);
    while total(&all) > width && all.len() > 1 {
        let worst = all.iter().enumerate().max_by_key(|(_, c)| c.drop).map_or(0, |(at, _)| at);
        all.remove(worst);
    }
    let mut spare = width.saturating_sub(total(&all));
    for column in &mut all {
        let more = spare.min(column.most.saturating_sub(column.width));
        column.width += more;
        spare -= more;
    }
    all
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, clock: &str, look: Look) {
    let area = frame.area();
    let width = usize::from(area.width);
    let shown = app.shown();
    let at = app.at(&shown);
    let mut head = vec![summary(app, &shown, clock, width, look)];
    if area.height >= 10 {
        head.extend(flow(&host(app, look), width, 1));
    }
    let about = shown.get(at).map(|row| facts(row, app.told, look)).unwrap_or_default();
    let about = if area.height >= 14 { flow(&about, width, 4) } else { Vec::new() };
    let keys = if app.typing { vec![typing(app, look)] } else { flow(&keys(look), width, 2) };
    let keys = if area.height >= 8 { keys } else { Vec::new() };
    let rest = head.len() + 1 + about.len() + keys.len();
    let room = usize::from(area.height).saturating_sub(rest);
    let columns = fit(columns(app), width.saturating_sub(2));
    let first = (at + 1).saturating_sub(room);
    let mut table = vec![titles(&columns, app, look)];
    for (n, row) in shown.iter().enumerate().skip(first).take(room) {
        table.push(line(&columns, row, app, look, n == at));
    }
    let page = room;
    put(frame, area, head.into_iter().chain(table).collect(), false);
    put(frame, area, about.into_iter().chain(keys).collect(), true);
    app.page = page;
}

/// Lines from the top of an area, or to its end.
pub(super) fn put(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>, at_end: bool) {
    let count = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(area.height);
    let top = if at_end { area.bottom() - count } else { area.top() };
    for (n, line) in lines.iter().enumerate().take(usize::from(count)) {
        let y = top + u16::try_from(n).unwrap_or(0);
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}

fn summary(app: &App, shown: &[&Row], clock: &str, width: usize, look: Look) -> Line<'static> {
    if let Some(note) = &app.note {
        let text = format!("{clock}  no daemon, as it was: {}", crate::cli::text::clean(note));
        let style = look.paint(Some(ratatui::style::Color::Red)).add_modifier(Modifier::BOLD);
        return Line::styled(cut(&text, width).into_owned(), style);
    }
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    app.rows().iter().for_each(|row| *states.entry(&row.status.state).or_default() += 1);
    let states: Vec<String> = states.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let mut text = match app.rows().len() {
        0 => format!("{clock}  no instances"),
        1 => format!("{clock}  1 instance: {}", states.join(", ")),
        n => format!("{clock}  {n} instances: {}", states.join(", ")),
    };
    text.push_str(&format!("; by {}{}", app.sort.name(), if app.reverse { ", turned around" } else { "" }));
    if !app.filter.is_empty() {
        text.push_str(&format!("; /{} shows {}", crate::cli::text::clean(&app.filter), shown.len()));
    }
    Line::styled(cut(&text, width).into_owned(), look.bold())
}

/// About the host and all instances together.
fn host(app: &App, look: Look) -> Vec<Fact> {
    let host = &app.host;
    let plain = Style::new();
    let rows = app.rows();
    let memory: u64 = rows.iter().filter_map(Row::memory).sum();
    let cpu: f64 = rows.iter().filter_map(|r| r.rates.cpu).sum();
    let mut all = Vec::new();
    if let (Some(total), Some(available)) = (host.memory, host.memory_available) {
        let used = total.saturating_sub(available);
        let style = look.share(Some(used as f64 / total.max(1) as f64), [0.85, 0.95]);
        all.push((format!("host: memory {} of {}", size(used), size(total)), style));
    }
    if let Some(cpu) = host.cpu_pressure {
        let others = [host.memory_pressure, host.io_pressure];
        let worst = others.into_iter().flatten().fold(cpu, f64::max);
        let text =
            format!("psi cpu {} memory {} io {}", share(Some(cpu)), share(others[0]), share(others[1]));
        all.push((text, look.share(Some(worst), STALLS)));
    }
    match app.told {
        true => all.push((format!("all: cpu {} memory {}", share(Some(cpu)), size(memory)), plain)),
        false => all.push((format!("all: memory {}", size(memory)), plain)),
    }
    all
}

fn keys(look: Look) -> Vec<Fact> {
    let fixed = ["q quit", "Enter details", "/ filter", "arrows choose"].map(String::from);
    let sorts = Sort::ALL.map(|(key, _, name)| format!("{key} {name}"));
    let sorts = sorts.into_iter().enumerate().map(|(n, s)| if n == 0 { format!("sort by: {s}") } else { s });
    fixed.into_iter().chain(sorts).map(|text| (text, look.dim())).collect()
}

fn typing(app: &App, look: Look) -> Line<'static> {
    let text = format!("/{}", crate::cli::text::clean(&app.filter));
    Line::from(vec![
        Span::styled(text, look.bold()),
        Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED)),
        Span::styled("  Enter keeps the filter, Esc shows all", look.dim()),
    ])
}

fn titles(columns: &[Column], app: &App, look: Look) -> Line<'static> {
    let mut line = Line::from(Span::raw("  "));
    for column in columns {
        let style = match column.sort == Some(app.sort) {
            true => look.bold().add_modifier(Modifier::UNDERLINED),
            false => look.bold(),
        };
        let title = cut(column.title, column.width).into_owned();
        let pad = " ".repeat(column.width - title.chars().count());
        let spans = [Span::styled(title, style), Span::raw(pad)];
        push(&mut line, spans, column.right);
    }
    line
}

/// A cell with its padding, and the gap behind it.
fn push(line: &mut Line<'static>, [text, pad]: [Span<'static>; 2], right: bool) {
    let (first, second) = if right { (pad, text) } else { (text, pad) };
    [first, second, Span::raw(" ")].into_iter().for_each(|span| line.push_span(span));
}

fn line(columns: &[Column], row: &Row, app: &App, look: Look, chosen: bool) -> Line<'static> {
    let mut line = Line::from(Span::raw(if chosen { "> " } else { "  " }));
    for column in columns {
        if let Kind::Bar = column.kind {
            bar(row, column.width, look).spans.into_iter().for_each(|span| line.push_span(span));
            line.push_span(Span::raw(" "));
            continue;
        }
        let (text, style) = cell(column, row, app, look);
        let text = cut(&text, column.width).into_owned();
        let pad = " ".repeat(column.width - text.chars().count());
        push(&mut line, [Span::styled(text, style), Span::raw(pad)], column.right);
    }
    if chosen { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
}

fn cell(column: &Column, row: &Row, app: &App, look: Look) -> (String, Style) {
    let plain = Style::new();
    let s = &row.status;
    match column.kind {
        Kind::Name => (s.instance.clone(), plain),
        Kind::State => (s.state.clone(), look.state(&s.state)),
        Kind::Health => {
            let word = row.health(app.told);
            let color = match word {
                "unwell" => Some(ratatui::style::Color::Red),
                "unready" => Some(ratatui::style::Color::Yellow),
                _ => None,
            };
            (word.into(), look.paint(color))
        }
        Kind::Restarts => (s.restarts.to_string(), plain),
        Kind::Cpu => (share(row.rates.cpu), plain),
        Kind::Memory => (bytes(row.memory()), plain),
        Kind::Past => (past(row, app, column.width, look), plain),
        Kind::Stalls => (share(row.stalls()), look.share(row.stalls(), STALLS)),
        Kind::Io => (per_second(row.rates.io()), plain),
        Kind::Drops => {
            let color = (row.usage.log_dropped > 0).then_some(ratatui::style::Color::Red);
            (size(row.usage.log_dropped), look.paint(color))
        }
        Kind::Bar => (String::new(), plain),
    }
}

/// Memory in the last minutes, one character each. The bar says how much that is, this how it came to be.
fn past(row: &Row, app: &App, width: usize, look: Look) -> String {
    let Some(trail) = app.trail(&row.status.instance) else { return String::new() };
    let curve = trail.memory();
    let Some(end) = curve.points.last().map(|p| p.at) else { return String::new() };
    let span = (end - PAST * width as f64, end);
    let gap = 2.5 * trail.every.unwrap_or(2.0);
    spark(curve, span, gap, curve.most().unwrap_or(1.0) * 1.25, width, look.glyphs)
}
