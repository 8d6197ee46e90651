//! Logs as JSON lines, read from the log files by the API itself: the daemon's owner of state only says which instances
//! there are.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::core::{Call, Refusal, Target};
use super::events::{Lines, lines};
use super::fault::Fault;
use super::model::LogLine;
use super::request::{Params, Wanted};
use super::routes::{App, Refused};
use crate::logs::{self, LogReader, Query};
use crate::names::Instance;

/// A follower that says nothing for so long has given all that was there.
const SILENCE: Duration = Duration::from_millis(50);
/// Lines of one instance that wait for their turn.
const WAITING: usize = 16;
/// A log that cannot be read is given up after so many errors.
const ERRORS_MAX: u32 = 10;

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Go on with the lines that come, of the instances that there are now.
    #[serde(default)]
    follow: bool,
    /// Only lines from this moment on, RFC 3339.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// Of each instance only the last so many lines of what is there.
    #[serde(default)]
    tail: Option<usize>,
}

/// The log of an instance, or the logs of all instances of a service in the order of time, as JSON lines.
#[utoipa::path(
    get, path = "/v1/logs/{target}",
    params(("target" = String, Path, description = "service or instance"), Which),
    responses(Refused, (status = 200, body = LogLine, content_type = "application/x-ndjson",
                        description = "one LogLine a line"))
)]
pub(super) async fn get(
    State(app): State<App>,
    Wanted(target): Wanted,
    Params(which): Params<Which>,
) -> Result<Response, Fault> {
    let permit = app.stream()?;
    let instances = instances(&app, &target).await?;
    let mut sources = Vec::new();
    for instance in &instances {
        let query = Query { since: which.since, tail: which.tail, follow: which.follow, join: true };
        let reader = LogReader::open(&app.handle.dirs.log(instance), query);
        let reader = reader.map_err(|e| Refusal::Internal(format!("the log of {instance}: {e}")))?;
        sources.push(Source::new(instance, reader));
    }
    let (mut out, body) = lines();
    let mut stop = app.stop.clone();
    tokio::spawn(async move {
        let told = async {
            merge(&mut sources, which.follow, &mut out).await?;
            live(&mut sources, &mut out).await
        };
        tokio::select! {
            _ = told => {}
            _ = stop.wait_for(|s| *s) => {}
        }
        drop(permit);
    });
    Ok(body)
}

/// The instances of a target that the daemon knows.
async fn instances(app: &App, target: &Target) -> Result<Vec<Instance>, Fault> {
    let all = app.ask_soon(Call::Ps).await?;
    let known = all.iter().filter(|i| match target {
        Target::Service(name) => i.service == name.as_str(),
        Target::Instance(one) => i.instance == one.to_string(),
    });
    let known: Vec<Instance> = known.filter_map(|i| i.instance.parse().ok()).collect();
    if known.is_empty() {
        // The owner says whether there is such a thing at all.
        app.ask_soon(|answer| Call::Explain(target.clone(), answer)).await?;
    }
    Ok(known)
}

/// One instance's lines, read by a task of its own that waits when nobody takes them.
struct Source {
    lines: mpsc::Receiver<LogLine>,
    head: Option<LogLine>,
    /// More of what is already there may come.
    past: bool,
}

impl Source {
    fn new(instance: &Instance, mut reader: LogReader) -> Source {
        let (to, lines) = mpsc::channel(WAITING);
        let name = instance.to_string();
        tokio::spawn(async move {
            let mut errors = 0;
            while errors < ERRORS_MAX {
                let next = tokio::select! {
                    next = reader.next() => next,
                    () = to.closed() => return,
                };
                let line = match next {
                    Ok(Some(line)) => line_of(&name, line),
                    Ok(None) => return,
                    Err(e) => {
                        errors += 1;
                        words(&name, &e)
                    }
                };
                if to.send(line).await.is_err() {
                    return;
                }
            }
        });
        Source { lines, head: None, past: true }
    }

    /// Brings the next line to the head, when there is one. A follower's silence ends its past.
    async fn look(&mut self, follow: bool) {
        if self.head.is_some() || !self.past {
            return;
        }
        self.head = if follow {
            tokio::time::timeout(SILENCE, self.lines.recv()).await.ok().flatten()
        } else {
            self.lines.recv().await
        };
        self.past = self.head.is_some();
    }
}

/// Everything that is already there, in the order of time. `None` when the client is gone.
async fn merge(sources: &mut [Source], follow: bool, out: &mut Lines) -> Option<()> {
    let begin = Timestamp::now().to_string();
    loop {
        for source in sources.iter_mut() {
            source.look(follow).await;
        }
        let first = sources
            .iter_mut()
            .filter(|s| s.head.is_some())
            .min_by(|a, b| a.head.as_ref().map(|l| &l.at).cmp(&b.head.as_ref().map(|l| &l.at)));
        let Some(line) = first.and_then(|s| s.head.take()) else { break };
        out.push(&line).await?;
        // A busy log would never be silent.
        if follow && line.at.is_some_and(|at| at > begin) {
            break;
        }
    }
    for source in sources {
        if let Some(line) = source.head.take() {
            out.push(&line).await?;
        }
    }
    out.flush().await
}

/// What comes, as it comes, until all sources have ended. `None` when the client is gone.
async fn live(sources: &mut Vec<Source>, out: &mut Lines) -> Option<()> {
    while !sources.is_empty() {
        let next = poll_fn(|cx| {
            let mut i = 0;
            while i < sources.len() {
                match sources[i].lines.poll_recv(cx) {
                    Poll::Ready(Some(line)) => return Poll::Ready(Some(line)),
                    Poll::Ready(None) => drop(sources.swap_remove(i)),
                    Poll::Pending => i += 1,
                }
            }
            if sources.is_empty() { Poll::Ready(None) } else { Poll::Pending }
        });
        let line = tokio::select! {
            line = next => line,
            () = out.gone() => return None,
        };
        let Some(line) = line else { break };
        out.push(&line).await?;
        if sources.iter().all(|s| s.lines.is_empty()) {
            out.flush().await?;
        }
    }
    out.flush().await
}

fn line_of(instance: &str, line: logs::LogLine) -> LogLine {
    LogLine {
        instance: instance.to_owned(),
        at: line.at.map(|at| format!("{at:.9}")),
        stream: line.stream.as_str().to_owned(),
        text: String::from_utf8_lossy(&line.text).into_owned(),
        partial: line.partial,
    }
}

fn words(instance: &str, error: &io::Error) -> LogLine {
    LogLine {
        instance: instance.to_owned(),
        at: Some(format!("{:.9}", Timestamp::now())),
        stream: logs::Stream::Reader.as_str().to_owned(),
        text: format!("cannot be read: {error}"),
        partial: false,
    }
}
