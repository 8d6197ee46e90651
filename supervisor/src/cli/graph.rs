//! graph: what instances have used over the last hours, as plots in the terminal or in a file.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use jiff::tz::TimeZone;

use super::args::{flag, json};
use super::client::segment;
use super::failure::{CONFLICT, FAILED, Failure, Result};
use super::plot::text::{Glyphs, lines, spark};
use super::plot::{Curve, Plot, Sheet, percent, png, svg};
use super::show::Paper;
use super::text::{Color, clean};
use super::{Ctx, out, out_json};
use crate::api::model::History;

/// As wide as a file or a pipe is taken to be.
const WIDTH: usize = 80;
/// Lines of the plots of memory and of processor time.
const ROWS: [usize; 2] = [8, 5];

/// Its command line.
pub(super) fn command() -> Command {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help(help)
    };
    Command::new("graph")
        .about("What instances have used over the last two hours: memory with its limits, processor time, stalls")
        .arg(Arg::new("name").value_name("NAME").required(true).help("A service, or an instance such as web.1"))
        .arg(file("svg", "Into a file as SVG; of one instance").conflicts_with_all(["png", "json"]))
        .arg(file("png", "Into a file as PNG; of one instance").conflicts_with("json"))
        .arg(flag("ascii", None, "Without characters that are not ASCII, as with a locale that has no others"))
        .arg(json())
}

/// `graph`.
pub(super) async fn graph(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let name = m.get_one::<String>("name").map_or("", String::as_str);
    let all: Vec<History> = ctx.client.get(&format!("/v1/services/{}/history", segment(name))).await?;
    if m.get_flag("json") {
        return out_json(&all).map(|()| 0);
    }
    let paper = Paper::of(ctx);
    let now = paper.now.as_millisecond() as f64 / 1e3;
    for (kind, draw) in [("svg", to_svg as Draw), ("png", to_png as Draw)] {
        if let Some(file) = m.get_one::<PathBuf>(kind) {
            let history = one(name, &all)?;
            let drawn = draw(&Sheet::of(history, now), &paper.zone);
            return drawn.and_then(|bytes| write(file, &bytes)).map(|()| 0);
        }
    }
    let mut glyphs = Glyphs::of_locale();
    if m.get_flag("ascii") {
        glyphs = Glyphs::Ascii;
    }
    let texts: Vec<String> = all
        .iter()
        .map(|history| match history.samples.is_empty() {
            true => format!("{}\n", none_of(history)),
            false => text(&Sheet::of(history, now), &paper, glyphs),
        })
        .collect();
    out(&texts.join("\n")).map(|()| 0)
}

type Draw = fn(&Sheet, &TimeZone) -> Result<Vec<u8>>;

fn to_svg(sheet: &Sheet, zone: &TimeZone) -> Result<Vec<u8>> {
    Ok(svg::document(&sheet.instance, &sheet.page(zone)).into_bytes())
}

fn to_png(sheet: &Sheet, zone: &TimeZone) -> Result<Vec<u8>> {
    png::document(&sheet.page(zone)).map_err(|e| Failure::new(FAILED, format!("PNG: {e}")))
}

/// The one instance that a file is about.
fn one<'a>(name: &str, all: &'a [History]) -> Result<&'a History> {
    match all {
        [history] if history.samples.is_empty() => Err(Failure::new(CONFLICT, none_of(history))),
        [history] => Ok(history),
        [] => Err(Failure::new(CONFLICT, format!("{name} has no instance"))),
        several => {
            let names: Vec<&str> = several.iter().map(|h| h.instance.as_str()).collect();
            let text = format!("a file is about one instance, and {name} has {}", names.join(", "));
            Err(Failure::new(CONFLICT, text))
        }
    }
}

fn none_of(history: &History) -> String {
    let History { instance, every, .. } = history;
    format!("{instance}: no sample yet; the daemon takes one about each {every} s while it runs")
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(file, bytes).map_err(|e| Failure::new(FAILED, format!("{}: {e}", file.display())))
}

/// All plots of one instance.
fn text(sheet: &Sheet, paper: &Paper, glyphs: Glyphs) -> String {
    let width = paper.width.unwrap_or(WIDTH);
    let bold = |text: &str| paper.style.paint(Color::Bold, text);
    let [memory, cpu, stalls] = &sheet.plots;
    let mut all = vec![bold(&clean(&sheet.instance))];
    for (plot, rows) in [memory, cpu].into_iter().zip(ROWS) {
        all.push(bold(&headline(plot)));
        all.extend(lines(sheet, plot, width, rows, glyphs));
    }
    all.push(times(sheet, paper, width));
    all.push(bold(&format!("{}, up to {}", stalls.title, percent(stalls.top))));
    for curve in &stalls.curves {
        let most = curve.most().map_or("not known".into(), |m| format!("most {}", percent(m)));
        let cols = width.saturating_sub(8 + 12).max(4);
        let drawn = spark(curve, sheet.span, sheet.gap, stalls.top, cols, glyphs);
        all.push(format!("{:>7} {drawn} {most}", curve.name).trim_end().to_owned());
    }
    all.join("\n") + "\n"
}

/// What is drawn, with its last and its largest value.
fn headline(plot: &Plot) -> String {
    let show = |value: Option<f64>| value.map_or("not known".into(), |v| plot.unit.show(v));
    let curve = plot.curves.first();
    let (last, most) = (curve.and_then(Curve::last), curve.and_then(Curve::most));
    let levels: Vec<String> =
        plot.levels.iter().map(|l| format!(", {} {}", l.name, plot.unit.show(l.value))).collect();
    format!("{}: {} now, {} at most{}", plot.title, show(last), show(most), levels.concat())
}

/// When the left edge was; the right one is now.
fn times(sheet: &Sheet, paper: &Paper, width: usize) -> String {
    let at = jiff::Timestamp::from_second(sheet.span.0 as i64).unwrap_or_default();
    let begin = paper.moment(&at.to_string());
    let end = paper.moment(&paper.now.to_string());
    let room = width.saturating_sub(8 + begin.len());
    format!("        {begin}{end:>room$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Style;

    fn paper(width: Option<usize>) -> Paper {
        let now = "2026-11-21T12:02:30Z".parse().unwrap();
        Paper { style: Style::fixed(false), width, now, zone: TimeZone::UTC }
    }

    #[test]
    fn in_a_terminal() {
        let sheet = super::super::plot::page::tests::sheet();
        let drawn = text(&sheet, &paper(Some(60)), Glyphs::Ascii);
        assert!(drawn.is_ascii(), "{drawn}");
        assert!(drawn.lines().all(|l| l.chars().count() <= 80), "{drawn}");
        for want in [
            "web.1\n",
            "memory: 24M now, 24M at most, request 16M, high 58M, max 64M\n",
            "processor time: 50% now, 50% at most\n",
            "- max",
            " memory",
            "not known",
            "11:52:30",
            "12:02:30",
        ] {
            assert!(drawn.contains(want), "{want:?} in\n{drawn}");
        }
        let unicode = text(&sheet, &paper(None), Glyphs::Unicode);
        assert!(unicode.contains('⠤') || unicode.contains('⡠') || unicode.contains('⠊'), "{unicode}");
    }

    #[test]
    fn a_file_is_about_one_instance() {
        let some = crate::api::tests::history("web.1");
        let none = History { samples: vec![], ..some.clone() };
        assert_eq!(one("web", std::slice::from_ref(&some)).unwrap().instance, "web.1");
        assert!(one("web", &[none]).unwrap_err().text.contains("each 60 s"));
        let two = one("web", &[some.clone(), crate::api::tests::history("web.2")]).unwrap_err();
        assert_eq!((two.code, two.text.contains("web.1, web.2")), (CONFLICT, true));
    }
}
