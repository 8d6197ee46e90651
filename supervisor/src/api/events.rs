//! Events as JSON lines: what is kept, then the live ones. A reader that is too slow loses nothing while the daemon still
//! keeps it, and never holds the daemon up.
#![forbid(unsafe_code)]

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::core::{Call, Page};
use super::cursor::Filter;
use super::fault::Fault;
use super::model::{EventInfo, GapReason, Severity};
use super::request::Params;
use super::routes::{App, Refused};

/// Chunks that wait for a client; the producer waits when they are full.
const WAITING: usize = 4;
/// A chunk is sent when it has this many bytes, or nothing more is at hand.
const CHUNK: usize = 16 * 1024;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// Only events with a greater number: the last one that was seen. 0 = all that are kept.
    #[serde(default)]
    since: u64,
    /// Go on with those that come.
    #[serde(default)]
    follow: bool,
    /// Only those about one of these, `web,db.1`.
    #[serde(default)]
    target: String,
    /// Only those of one of these kinds, `exited,started`.
    #[serde(default)]
    kind: String,
    /// Only those that matter so much at least.
    #[serde(default)]
    severity: Severity,
}

/// Events as JSON lines, oldest first. A line `{"lagged":N}` stands for at most N events that are not kept any more.
#[utoipa::path(
    get, path = "/v1/events", params(Since),
    responses(Refused, (status = 200, body = EventInfo, content_type = "application/x-ndjson",
                        description = "one EventInfo or Lagged a line"))
)]
pub(super) async fn get(State(app): State<App>, Params(q): Params<Since>) -> Result<Response, Fault> {
    let filter = Filter::parse(&q.target, &q.kind, q.severity).map_err(Fault::bad)?;
    let permit = app.stream()?;
    let first = app.ask_soon(|answer| Call::Events { since: q.since, answer }).await?;
    let (lines, body) = lines();
    tokio::spawn(async move {
        pump(&app, q, filter, first, lines).await;
        drop(permit);
    });
    Ok(body)
}

/// Writes pages and live events until the client, the daemon or the list ends.
async fn pump(app: &App, q: Since, filter: Filter, first: Page, mut out: Lines) -> Option<()> {
    let mut last = q.since;
    let mut page = first;
    let mut stop = app.stop.clone();
    loop {
        if let Some(gap) = page.numbers.gap(last) {
            out.push(&gap).await?;
            if gap.reason == GapReason::NumbersBeganAnew {
                last = 0;
                page = app.ask_soon(|answer| Call::Events { since: last, answer }).await.ok()?;
            }
        }
        let Page { past, mut live, numbers: _ } = page;
        for event in past {
            last = event.seq;
            if filter.wants(&event) {
                out.push(&event).await?;
            }
        }
        out.flush().await?;
        if !q.follow {
            return Some(());
        }
        loop {
            let event = tokio::select! {
                event = live.recv() => event,
                () = out.gone() => return None,
                _ = stop.wait_for(|s| *s) => return None,
            };
            match event {
                Ok(event) if event.seq > last => {
                    last = event.seq;
                    if filter.wants(&event) {
                        out.push(&event).await?;
                    }
                    if live.is_empty() {
                        out.flush().await?;
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => break,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
        page = app.ask_soon(|answer| Call::Events { since: last, answer }).await.ok()?;
    }
}

/// JSON lines on their way to a client.
pub(super) struct Lines {
    to: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
    chunk: Vec<u8>,
}

/// A response of JSON lines and the end that writes them.
pub(super) fn lines() -> (Lines, Response) {
    of_type("application/x-ndjson")
}

/// The same for lines of another kind.
pub(super) fn of_type(content_type: &'static str) -> (Lines, Response) {
    let (to, from) = mpsc::channel(WAITING);
    let body = Body::from_stream(ReceiverStream::new(from));
    let lines = Lines { to, chunk: Vec::new() };
    (lines, ([(header::CONTENT_TYPE, content_type)], body).into_response())
}

impl Lines {
    /// One more line; waits while the client does not read. `None` when it is gone.
    pub(super) async fn push<T: Serialize>(&mut self, value: &T) -> Option<()> {
        serde_json::to_writer(&mut self.chunk, value).ok()?;
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK { self.flush().await } else { Some(()) }
    }

    /// Takes text over; waits while the client does not read. `None` when it is gone.
    pub(super) async fn push_text(&mut self, text: &mut String) -> Option<()> {
        self.chunk.extend_from_slice(text.as_bytes());
        text.clear();
        if self.chunk.len() >= CHUNK { self.flush().await } else { Some(()) }
    }

    /// Sends what is at hand.
    pub(super) async fn flush(&mut self) -> Option<()> {
        if self.chunk.is_empty() {
            return Some(());
        }
        self.to.send(Ok(std::mem::take(&mut self.chunk).into())).await.ok()
    }

    /// Returns when the client is gone.
    pub(super) async fn gone(&self) {
        self.to.closed().await;
    }
}
