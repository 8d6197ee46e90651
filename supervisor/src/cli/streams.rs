//! logs and events: what was and what comes, over restarts of the daemon without a gap and without doubles.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::time::Duration;

use clap::ArgMatches;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::{Client, segment};
use super::failure::{FAILED, Failure, NOT_FOUND, Result, UNREACHABLE};
use super::show::Paper;
use super::text::{Color, Style, clean};
use super::{Ctx, out};
use crate::api::model::{EventInfo, GapReason, InstanceStatus, Lagged, LogLine};

/// How long a follower waits for a daemon that went away.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(300);
/// Colours of the names of instances.
const COLORS: [Color; 5] = [Color::Cyan, Color::Green, Color::Yellow, Color::Magenta, Color::Blue];

/// Which lines of a log.
#[derive(Debug, Clone)]
struct Wanted {
    name: String,
    follow: bool,
    since: Option<Timestamp>,
    tail: Option<usize>,
}

impl Wanted {
    fn path(&self) -> String {
        let mut path = format!("/v1/logs/{}?follow={}", segment(&self.name), self.follow);
        if let Some(since) = self.since {
            path.push_str(&format!("&since={}", segment(&since.to_string())));
        }
        if let Some(tail) = self.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        path
    }
}

/// `logs`.
pub(super) async fn logs(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let since = m.get_one::<String>("since").map(|s| moment_of(s, Timestamp::now())).transpose()?;
    let names: Vec<String> = m.get_many::<String>("name").into_iter().flatten().cloned().collect();
    let follow = m.get_flag("follow");
    let json = m.get_flag("json");
    let prefix = if json { None } else { prefix_width(&ctx.client, &names).await? };
    let mut sources = Vec::new();
    for name in names {
        let wanted = Wanted { name, follow, since, tail: m.get_one("tail").copied() };
        let (to, lines) = mpsc::channel(64);
        tokio::spawn(read(ctx.client.clone(), wanted, to));
        sources.push(lines);
    }
    let form = Form { prefix, times: m.get_flag("timestamps"), json, style: ctx.style };
    let mut printer = BufWriter::new(std::io::stdout().lock());
    if follow {
        as_they_come(sources, &form, &mut printer).await
    } else {
        in_order(sources, &form, &mut printer).await
    }
}

type Source = mpsc::Receiver<Result<LogLine>>;

/// All lines of all sources, by their times.
async fn in_order(mut sources: Vec<Source>, form: &Form, to: &mut impl Write) -> Result<u8> {
    let mut heads: Vec<Option<LogLine>> = Vec::new();
    for source in &mut sources {
        heads.push(source.recv().await.transpose()?);
    }
    loop {
        let earliest = heads.iter().enumerate().filter_map(|(i, h)| h.as_ref().map(|l| (&l.at, i))).min();
        let Some((_, at)) = earliest else { break };
        let next = sources[at].recv().await.transpose()?;
        if let Some(line) = std::mem::replace(&mut heads[at], next) {
            to.write_all(form.line(&line).as_bytes()).map_err(Failure::output)?;
        }
    }
    to.flush().map_err(Failure::output).map(|()| 0)
}

/// All lines of all sources as they come.
async fn as_they_come(sources: Vec<Source>, form: &Form, to: &mut impl Write) -> Result<u8> {
    let (all, mut lines) = mpsc::channel(64);
    for mut source in sources {
        let all = all.clone();
        tokio::spawn(async move {
            while let Some(line) = source.recv().await {
                if all.send(line).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(all);
    while let Some(line) = lines.recv().await {
        to.write_all(form.line(&line?).as_bytes()).map_err(Failure::output)?;
        if lines.is_empty() {
            to.flush().map_err(Failure::output)?;
        }
    }
    to.flush().map_err(Failure::output).map(|()| 0)
}

/// The width of the names in front of the lines; `None` = all lines are of one instance.
async fn prefix_width(client: &Client, names: &[String]) -> Result<Option<usize>> {
    let all: Vec<InstanceStatus> = client.get("/v1/instances").await?;
    let meant = all.iter().filter(|i| names.contains(&i.service) || names.contains(&i.instance));
    let widths: Vec<usize> = meant.map(|i| i.instance.len()).collect();
    Ok(if widths.len() > 1 { widths.into_iter().max() } else { None })
}

/// A time, or how long ago.
pub(super) fn moment_of(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let ago = text.parse::<SignedDuration>().ok().map(SignedDuration::abs);
    ago.and_then(|d| now.checked_sub(d).ok()).ok_or_else(|| {
        Failure::usage(format!("--since: got {text:?}, want 10m, 1h30m, or 2026-11-21T12:00:00Z"))
    })
}

/// Reads one name's log; a follower begins again after the last line it has seen.
async fn read(client: Client, mut wanted: Wanted, to: mpsc::Sender<Result<LogLine>>) {
    let mut seen = Seen::default();
    let mut waits = Waits::default();
    loop {
        let ended = pass_on(&client, &wanted, &mut seen, &mut waits, &to).await;
        let failure = match ended {
            Ok(()) if !wanted.follow => return,
            Ok(()) => None,
            // What was followed was removed.
            Err(f) if wanted.follow && f.code == NOT_FOUND && waits.had_daemon => return,
            Err(f) => Some(f),
        };
        if to.is_closed() {
            return;
        }
        if let Some(failure) = failure
            && !(wanted.follow && waits.again(&failure))
        {
            // Nobody there any more = nobody to tell.
            let _ = to.send(Err(failure)).await;
            return;
        }
        tokio::time::sleep(PAUSE).await;
        if let Some(from) = seen.restart() {
            (wanted.since, wanted.tail) = (Some(from), None);
        }
    }
}

async fn pass_on(
    client: &Client,
    wanted: &Wanted,
    seen: &mut Seen,
    waits: &mut Waits,
    to: &mpsc::Sender<Result<LogLine>>,
) -> Result<()> {
    let mut lines = client.lines(&wanted.path()).await?;
    waits.reached();
    while let Some(line) = lines.next().await? {
        let line: LogLine = parse(&line)?;
        if seen.is_new(&line) && to.send(Ok(line)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|e| Failure::new(FAILED, format!("the daemon's answer: {e}")))
}

/// How long a daemon has been away.
#[derive(Default)]
struct Waits {
    had_daemon: bool,
    since: Option<Instant>,
}

impl Waits {
    fn reached(&mut self) {
        (self.had_daemon, self.since) = (true, None);
    }

    /// Whether it is worth to try again after this.
    fn again(&mut self, failure: &Failure) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.had_daemon && failure.code == UNREACHABLE && since.elapsed() < PATIENCE
    }
}

/// Up to where each instance's log was seen: the last time, and how many lines had it.
#[derive(Default)]
pub(super) struct Seen {
    last: HashMap<String, (String, usize)>,
    /// After a new beginning: what comes again.
    again: HashMap<String, (String, usize)>,
}

impl Seen {
    /// Counts a line; `false` = it was seen before the new beginning.
    pub(super) fn is_new(&mut self, line: &LogLine) -> bool {
        let Some(at) = &line.at else { return true };
        if let Some((last, times)) = self.again.get_mut(&line.instance) {
            if at < last {
                return false;
            }
            if at == last && *times > 0 {
                *times -= 1;
                return false;
            }
            self.again.remove(&line.instance);
        }
        let (last, times) = self.last.entry(line.instance.clone()).or_default();
        if last == at {
            *times += 1;
        } else {
            (*last, *times) = (at.clone(), 1);
        }
        true
    }

    /// A new beginning, from this time; `None` = nothing was seen.
    pub(super) fn restart(&mut self) -> Option<Timestamp> {
        self.again.clone_from(&self.last);
        self.last.values().filter_map(|(at, _)| at.parse().ok()).min()
    }
}

/// How a line is printed.
struct Form {
    prefix: Option<usize>,
    times: bool,
    json: bool,
    style: Style,
}

impl Form {
    fn line(&self, line: &LogLine) -> String {
        if self.json {
            // Strings and flags only: cannot fail.
            return serde_json::to_string(line).unwrap_or_default() + "\n";
        }
        let mut out = String::new();
        if let Some(width) = self.prefix {
            let sum: usize = line.instance.bytes().map(usize::from).sum();
            let name = format!("{:<width$} |", clean(&line.instance));
            out.push_str(&self.style.paint(COLORS[sum % COLORS.len()], &name));
            out.push(' ');
        }
        if self.times {
            let at = line.at.as_deref().unwrap_or("-");
            out.push_str(&self.style.paint(Color::Dim, at));
            out.push(' ');
        }
        match line.stream.as_str() {
            "keeper" | "reader" => {
                let words = format!("[{}] {}", line.stream, clean(&line.text));
                out.push_str(&self.style.paint(Color::Dim, &words));
            }
            // A program's own words go through as they are, with their colours.
            _ => out.push_str(&line.text),
        }
        out.push('\n');
        out
    }
}

/// A line of the stream of events.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Event(EventInfo),
    Lagged(Lagged),
}

/// `events`.
pub(super) async fn events(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let (follow, json) = (m.get_flag("follow"), m.get_flag("json"));
    let mut last = m.get_one::<u64>("since").copied().unwrap_or(0);
    let list = |name| {
        m.get_many::<String>(name).into_iter().flatten().map(|v| segment(v)).collect::<Vec<_>>().join(",")
    };
    let mut query = format!("follow={follow}&target={}&kind={}", list("name"), list("kind"));
    if let Some(least) = m.get_one::<String>("severity") {
        query.push_str(&format!("&severity={}", segment(least)));
    }
    let mut waits = Waits::default();
    let paper = Paper::of(ctx);
    loop {
        match pass_events(ctx, &paper, &mut last, &query, json, &mut waits).await {
            Ok(()) if !follow => return Ok(0),
            Ok(()) => {}
            Err(f) if follow && waits.again(&f) => {}
            Err(f) => return Err(f),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn pass_events(
    ctx: &Ctx,
    paper: &Paper,
    last: &mut u64,
    query: &str,
    json: bool,
    waits: &mut Waits,
) -> Result<()> {
    let mut lines = ctx.client.lines(&format!("/v1/events?since={last}&{query}")).await?;
    waits.reached();
    while let Some(line) = lines.next().await? {
        let told: Told = parse(&line)?;
        match &told {
            Told::Event(event) => *last = event.seq,
            Told::Lagged(gap) if gap.reason == GapReason::NumbersBeganAnew => *last = 0,
            Told::Lagged(_) => {}
        }
        out(&match (json, told) {
            (true, _) => format!("{}\n", String::from_utf8_lossy(&line)),
            (false, Told::Event(event)) => event_line(&event, paper),
            (false, Told::Lagged(gap)) => gap_line(&gap),
        })?;
    }
    Ok(())
}

fn gap_line(gap: &Lagged) -> String {
    match gap.reason {
        GapReason::NotKept => format!("up to {} events are not kept any more\n", gap.lagged),
        GapReason::NumbersBeganAnew => "the numbers of events began anew: the journal is a new one\n".into(),
    }
}

/// Number, time, who, what.
pub(super) fn event_line(e: &EventInfo, paper: &Paper) -> String {
    let who = e.instance.as_ref().or(e.service.as_ref()).map_or("-", String::as_str);
    let time = paper.style.paint(Color::Dim, &paper.moment(&e.at));
    let who = paper.style.paint(Color::Bold, &clean(who));
    format!("{:>6}  {time}  {who}  {}\n", e.seq, clean(&e.text))
}
