//! Limits of one service, changed in its file and in force at once.
#![forbid(unsafe_code)]

use axum::Json;
use axum::extract::State;

use super::core::Call;
use super::fault::Fault;
use super::model::{ErrorBody, Plan, SetRequest};
use super::request::{Document, WantedService};
use super::routes::{App, Refused};

/// Changes keys of `[limits]` in the service file and applies it; the rest of its text stays as it is. A value that the file
/// may not have is a problem in the answer, and changes nothing.
#[utoipa::path(
    post, path = "/v1/services/{target}/set", request_body = SetRequest,
    params(("target" = String, Path, description = "the service")),
    responses(Refused, (status = 200, body = Plan), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody))
)]
pub(super) async fn post(
    State(app): State<App>,
    WantedService(service): WantedService,
    Document(SetRequest { limits }): Document<SetRequest>,
) -> Result<Json<Plan>, Fault> {
    if limits.is_empty() {
        return Err(Fault::bad("limits: got none, want at least one key"));
    }
    Ok(Json(app.handle.ask(|answer| Call::Set { service, limits, answer }).await?))
}
