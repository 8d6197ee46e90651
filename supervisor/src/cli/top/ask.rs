//! What the screen asks of the daemon, beside the loop that draws it.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use super::app::Tab;
use crate::api::model::{EventInfo, Explanation, History, InstanceStatus, LogLine};
use crate::api::usage::Usage;
use crate::cli::client::{Client, segment};
use crate::cli::failure::{Failure, NOT_FOUND, Result, UNREACHABLE};
use crate::cli::show::{Paper, chain};
use crate::cli::text::clean;

/// A daemon that has not answered by then is not there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of logs and events that are shown of an instance.
const LINES: usize = 300;

/// What came.
#[derive(Debug)]
pub(super) enum Told {
    /// All instances, and what they use where the daemon tells.
    Round(Result<(Vec<InstanceStatus>, Option<Usage>)>),
    /// The past of some.
    Histories(Vec<History>),
    /// The text of a tab.
    Text { instance: String, tab: Tab, text: Vec<String> },
}

/// Asks for everything that changes.
pub(super) async fn round(client: &Client) -> Result<(Vec<InstanceStatus>, Option<Usage>)> {
    let asked = async {
        let all: Vec<InstanceStatus> = client.get("/v1/instances").await?;
        match client.get("/v1/usage").await {
            Ok(usage) => Ok((all, Some(usage))),
            // An older daemon has no such path.
            Err(f) if f.code == NOT_FOUND => Ok((all, None)),
            Err(f) => Err(f),
        }
    };
    let late = |_| Failure::new(UNREACHABLE, format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
}

/// Asks for the past of these services. What cannot be had is asked for again with the next picture.
pub(super) async fn histories(client: Client, services: Vec<String>, to: UnboundedSender<Told>) {
    for service in services {
        let path = format!("/v1/services/{}/history", segment(&service));
        if let Ok(Ok(all)) = tokio::time::timeout(PATIENCE, client.get(&path)).await {
            // The screen may be gone.
            let _ = to.send(Told::Histories(all));
        }
    }
}

/// Asks for the text of a tab; what went wrong is its text then.
pub(super) async fn text(
    client: Client,
    instance: String,
    tab: Tab,
    paper: Paper,
    to: UnboundedSender<Told>,
) {
    let name = segment(&instance);
    let asked = async {
        match tab {
            Tab::Explain => {
                let why: Explanation = client.get(&format!("/v1/explain/{name}")).await?;
                Ok(chain(&why, &paper).lines().map(str::to_owned).collect())
            }
            Tab::Logs => {
                let path = format!("/v1/logs/{name}?tail={LINES}");
                last(&client, &path, |line: LogLine| log_line(&line, &paper)).await
            }
            Tab::Events => {
                let path = format!("/v1/events?since=0&target={name}");
                last(&client, &path, |event: EventInfo| {
                    format!("{}  {:<10}  {}", paper.moment(&event.at), clean(&event.kind), clean(&event.text))
                })
                .await
            }
        }
    };
    let text: Vec<String> = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(text)) => text,
        Ok(Err(failure)) => vec![failure.text],
        Err(_) => vec![format!("no answer within {} s", PATIENCE.as_secs())],
    };
    let text = if text.is_empty() { vec!["nothing".to_owned()] } else { text };
    let _ = to.send(Told::Text { instance, tab, text });
}

fn log_line(line: &LogLine, paper: &Paper) -> String {
    let at = line.at.as_deref().map_or(String::new(), |at| format!("{}  ", paper.moment(at)));
    let from = if line.stream == "keeper" { "keeper: " } else { "" };
    format!("{at}{from}{}", clean(&line.text))
}

/// The last of the lines of a stream; those that are something else are left out.
async fn last<T: for<'a> Deserialize<'a>>(
    client: &Client,
    path: &str,
    form: impl Fn(T) -> String,
) -> Result<Vec<String>> {
    let mut lines = client.lines(path).await?;
    let mut kept = VecDeque::new();
    while let Some(line) = lines.next().await? {
        if let Ok(value) = serde_json::from_slice(&line) {
            kept.push_back(form(value));
            if kept.len() > LINES {
                kept.pop_front();
            }
        }
    }
    Ok(kept.into())
}
