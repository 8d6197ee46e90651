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

use super::core::Call;
use super::fault::Fault;
use super::model::{EventInfo, Lagged};
use super::request::Params;
use super::routes::{App, Refused};
use crate::journal::record::EVENTS_KEPT;

/// Chunks that wait for a client; the producer waits when they are full.
const WAITING: usize = 4;
/// A chunk is sent when it has this many bytes, or nothing more is at hand.
const CHUNK: usize = 16 * 1024;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// Only events with a greater number.
    #[serde(default)]
    since: u64,
    /// Go on with those that come.
    #[serde(default)]
    follow: bool,
}

/// Events as JSON lines, oldest first. A line `{"lagged":N}` stands for at most N events that are not
/// kept any more.
#[utoipa::path(
    get, path = "/v1/events", params(Since),
    responses(Refused, (status = 200, body = EventInfo, content_type = "application/x-ndjson",
                        description = "one EventInfo or Lagged a line"))
)]
pub(super) async fn get(State(app): State<App>, Params(q): Params<Since>) -> Result<Response, Fault> {
    let permit = app.stream()?;
    let first = app.ask_soon(|answer| Call::Events { since: q.since, answer }).await?;
    let (lines, body) = lines();
    tokio::spawn(async move {
        pump(&app, q, first, lines).await;
        drop(permit);
    });
    Ok(body)
}

type Page = (Vec<EventInfo>, broadcast::Receiver<EventInfo>);

/// Writes pages and live events until the client, the daemon or the list ends.
async fn pump(app: &App, q: Since, first: Page, mut out: Lines) -> Option<()> {
    let mut last = q.since;
    let mut page = first;
    let mut stop = app.stop.clone();
    loop {
        let (past, mut live) = page;
        // Numbers are left out after a crash, so a gap alone says nothing: events can be gone only when the list is full.
        let gap = past.first().map_or(0, |e| e.seq.saturating_sub(last.saturating_add(1)));
        if last > 0 && gap > 0 && past.len() >= EVENTS_KEPT {
            out.push(&Lagged { lagged: gap }).await?;
        }
        for event in past {
            last = event.seq;
            out.push(&event).await?;
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
                    out.push(&event).await?;
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
    let (to, from) = mpsc::channel(WAITING);
    let body = Body::from_stream(ReceiverStream::new(from));
    let lines = Lines { to, chunk: Vec::new() };
    (lines, ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

impl Lines {
    /// One more line; waits while the client does not read. `None` when it is gone.
    pub(super) async fn push<T: Serialize>(&mut self, value: &T) -> Option<()> {
        serde_json::to_writer(&mut self.chunk, value).ok()?;
        self.chunk.push(b'\n');
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
