//! ps, status, explain, version: what the daemon says, as tables and texts. Making the text is pure.
#![forbid(unsafe_code)]

use clap::ArgMatches;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::client::segment;
use super::failure::{Failure, Result};
use super::table::{Cell, Column, render};
use super::text::{Color, Style, clean, duration, moment, size, state_color};
use super::{Ctx, out, out_json};
use crate::api::model::{Explanation, InstanceStatus, ProbeInfo, ServiceStatus, VersionInfo};

/// How texts are set: the colours, the width, and what time it is where.
#[derive(Debug, Clone)]
pub(super) struct Paper {
    pub(super) style: Style,
    pub(super) width: Option<usize>,
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
}

impl Paper {
    pub(super) fn of(ctx: &Ctx) -> Paper {
        Paper { style: ctx.style, width: ctx.width, now: Timestamp::now(), zone: TimeZone::system() }
    }

    pub(super) fn moment(&self, at: &str) -> String {
        moment(at, self.now, &self.zone)
    }
}

/// `ps`.
pub(super) async fn ps(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let filter = Filter::of(m)?;
    let all: Vec<InstanceStatus> = ctx.client.get("/v1/instances").await?;
    let shown: Vec<InstanceStatus> = all.into_iter().filter(|i| filter.admits(i)).collect();
    if m.get_flag("json") {
        return out_json(&shown).map(|()| 0);
    }
    out(&instances(&shown, &Paper::of(ctx)))?;
    Ok(0)
}

/// Which instances `ps` shows.
struct Filter {
    states: Vec<String>,
    services: Vec<String>,
}

impl Filter {
    fn of(m: &ArgMatches) -> Result<Filter> {
        let mut filter = Filter { states: Vec::new(), services: Vec::new() };
        for given in m.get_many::<String>("filter").into_iter().flatten() {
            match given.split_once('=') {
                Some(("state", state)) => filter.states.push(state.to_owned()),
                Some(("service", service)) => filter.services.push(service.to_owned()),
                _ => {
                    let text = format!("--filter: got {given:?}, want state=STATE or service=NAME");
                    return Err(Failure::usage(text));
                }
            }
        }
        Ok(filter)
    }

    fn admits(&self, i: &InstanceStatus) -> bool {
        let among = |wanted: &[String], is: &String| wanted.is_empty() || wanted.contains(is);
        among(&self.states, &i.state) && among(&self.services, &i.service)
    }
}

/// The columns of a table of instances.
const INSTANCES: [Column; 9] = [
    Column::word("NAME"),
    Column::word("STATE"),
    Column::note("READY", 4),
    Column::figure("SINCE", 2),
    Column::figure("RESTARTS", 5),
    Column::figure("LAST-EXIT", 4),
    Column::figure("PID", 6),
    Column::figure("MEMORY", 3),
    Column::text("DETAIL", 1),
];

/// A table of instances.
pub(super) fn instances(all: &[InstanceStatus], paper: &Paper) -> String {
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|i| {
            let detail = if i.detail.is_empty() { &i.reason } else { &i.detail };
            vec![
                Cell::new(&i.instance),
                Cell::colored(&i.state, state_color(&i.state)),
                ready(i),
                Cell::new(&duration(i.seconds)),
                Cell::new(&i.restarts.to_string()),
                Cell::maybe(i.last_exit),
                Cell::maybe(i.pid),
                Cell::new(&memory(i)),
                Cell::new(detail),
            ]
        })
        .collect();
    render(&INSTANCES, &rows, paper.width, paper.style)
}

/// Only of what runs it is worth a word.
fn ready(i: &InstanceStatus) -> Cell {
    match (i.state.as_str(), i.ready) {
        ("running", true) => Cell::new("yes"),
        ("running", false) => Cell::colored("no", Some(Color::Yellow)),
        _ => Cell::new("-"),
    }
}

/// `12M/64M`, `12M`, `-`.
pub(super) fn memory(i: &InstanceStatus) -> String {
    match (i.memory, i.memory_limit) {
        (Some(used), Some(limit)) => format!("{}/{}", size(used), size(limit)),
        (Some(used), None) => size(used),
        _ => "-".into(),
    }
}

/// `status`.
pub(super) async fn status(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let mut names: Vec<String> = m.get_many::<String>("name").into_iter().flatten().cloned().collect();
    if names.is_empty() {
        let all: Vec<InstanceStatus> = ctx.client.get("/v1/instances").await?;
        names = all.into_iter().map(|i| i.service).collect();
        names.dedup();
    }
    let mut all: Vec<ServiceStatus> = Vec::new();
    for name in &names {
        all.push(ctx.client.get(&format!("/v1/services/{}", segment(name))).await?);
    }
    if m.get_flag("json") {
        return out_json(&all).map(|()| 0);
    }
    let paper = Paper::of(ctx);
    let texts: Vec<String> = all.iter().map(|s| service(s, &paper)).collect();
    out(&texts.join("\n")).map(|()| 0)
}

/// The last exits in a table.
const EXITS: [Column; 5] = [
    Column::word("RUN"),
    Column::word("AT"),
    Column::figure("RAN", 2),
    Column::figure("PEAK", 3),
    Column::text("HOW", 1),
];

/// Probes in a table.
const PROBES: [Column; 6] = [
    Column::word("INSTANCE"),
    Column::word("PROBE"),
    Column::word("IS"),
    Column::figure("FAILURES", 2),
    Column::figure("LAST", 3),
    Column::text("ANSWER", 1),
];

/// One probe with its last answer.
fn probe(p: &ProbeInfo, paper: &Paper) -> Vec<Cell> {
    let color = match p.state.as_str() {
        "failing" => Some(Color::Red),
        "passing" => Some(Color::Green),
        _ => None,
    };
    let last = p.looks.last();
    let text = last.map(|l| match &l.excused {
        Some(why) => format!("{} (does not count: {why})", l.text),
        None => l.text.clone(),
    });
    vec![
        Cell::new(&p.instance),
        Cell::new(&p.probe),
        Cell::colored(&p.state, color),
        Cell::new(&p.failures.to_string()),
        Cell::maybe(last.map(|l| paper.moment(&l.at))),
        Cell::maybe(text),
    ]
}

/// Everything about a service.
pub(super) fn service(s: &ServiceStatus, paper: &Paper) -> String {
    let mut out = paper.style.paint(Color::Bold, &clean(&s.service));
    if let Some(description) = &s.description {
        out.push_str(&format!("  {}", clean(description)));
    }
    out.push('\n');
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("  {key:<10}  {}\n", clean(value)));
        }
    };
    line("file", &s.file);
    line("version", &s.version);
    match s.goal_reason.as_str() {
        "" => line("wanted", &s.goal),
        reason => line("wanted", &format!("{}: {reason}", s.goal)),
    }
    for (i, dependency) in s.depends_on.iter().enumerate() {
        line(if i == 0 { "depends on" } else { "" }, dependency);
    }
    if let Some(job) = &s.job {
        super::jobs::lines(job, paper, &mut line);
    }
    for problem in &s.problems {
        out.push_str(&super::validate::complaint(problem, paper.style));
    }
    out.push('\n');
    out.push_str(&instances(&s.instances, paper));
    if !s.probes.is_empty() {
        let rows: Vec<Vec<Cell>> = s.probes.iter().map(|p| probe(p, paper)).collect();
        out.push('\n');
        out.push_str(&render(&PROBES, &rows, paper.width, paper.style));
    }
    if let Some(job) = s.job.as_ref().filter(|j| !j.results.is_empty()) {
        out.push('\n');
        out.push_str(&super::jobs::results(job, paper));
    }
    if !s.exits.is_empty() {
        let rows: Vec<Vec<Cell>> = s
            .exits
            .iter()
            .map(|e| {
                let color = (e.code != Some(0)).then_some(Color::Red);
                vec![
                    Cell::new(&e.run),
                    Cell::new(&paper.moment(&e.at)),
                    Cell::new(&duration(e.seconds)),
                    Cell::maybe(e.memory_peak.map(size)),
                    Cell::colored(&e.text, color),
                ]
            })
            .collect();
        out.push('\n');
        out.push_str(&render(&EXITS, &rows, paper.width, paper.style));
    }
    out
}

/// `explain`.
pub(super) async fn explain(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let name = m.get_one::<String>("name").map_or("", String::as_str);
    let why: Explanation = ctx.client.get(&format!("/v1/explain/{}", segment(name))).await?;
    if m.get_flag("json") {
        return out_json(&why).map(|()| 0);
    }
    out(&chain(&why, &Paper::of(ctx))).map(|()| 0)
}

/// The chain of causes, one event a line, oldest first.
pub(super) fn chain(why: &Explanation, paper: &Paper) -> String {
    let summary = clean(&why.summary);
    let mut out = match summary.split(' ').next() == Some(why.name.as_str()) {
        true => format!("{}\n", paper.style.paint(Color::Bold, &summary)),
        false => format!("{}: {summary}\n", paper.style.paint(Color::Bold, &clean(&why.name))),
    };
    let times: Vec<String> = why.chain.iter().map(|e| paper.moment(&e.at)).collect();
    let width = times.iter().map(String::len).max().unwrap_or(0);
    for (event, time) in why.chain.iter().zip(&times) {
        let other = event.instance.as_ref().or(event.service.as_ref()).filter(|n| **n != why.name);
        let other = other.map_or(String::new(), |n| format!("{}: ", clean(n)));
        let text = format!("{other}{}", clean(&event.text));
        let text = match event.kind.as_str() {
            "exited" | "killed" | "crash-loop" | "monitor-lost" => paper.style.paint(Color::Red, &text),
            _ => text,
        };
        let time = paper.style.paint(Color::Dim, &format!("{time:<width$}"));
        out.push_str(&format!("  {time}  {text}\n"));
    }
    if let Some(next) = &why.next {
        out.push_str(&format!("{} {}\n", paper.style.paint(Color::Bold, "next:"), clean(next)));
    }
    out
}

/// `version`. Without a daemon the own version is told all the same.
pub(super) async fn version(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    #[derive(serde::Serialize)]
    struct Both {
        knarrctl: &'static str,
        daemon: Option<VersionInfo>,
    }
    let daemon = ctx.client.get::<VersionInfo>("/v1/version").await;
    let knarrctl = env!("CARGO_PKG_VERSION");
    if m.get_flag("json") {
        out_json(&Both { knarrctl, daemon: daemon.as_ref().ok().cloned() })?;
    } else {
        out(&format!("knarrctl {knarrctl}\n"))?;
        if let Ok(d) = &daemon {
            out(&format!(
                "knarrd {} (API {}, keeper protocol {}, runtime {}, pid {}, {})\n",
                clean(&d.version),
                d.api,
                d.keeper_protocol,
                clean(&d.runtime),
                d.pid,
                ctx.client.socket().display()
            ))?;
        }
    }
    daemon.map(|_| 0)
}
