//! Rollouts: how far one is, and what people want of it.
#![forbid(unsafe_code)]

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::core::Call;
use super::fault::Fault;
use super::request::{NoBody, Params, WantedService};
use super::routes::{App, Refused};

/// How a service came to be of its file, and how far that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutInfo {
    /// `web`.
    pub service: String,
    /// none, stepping, watching, rolling-back or paused.
    pub state: String,
    /// One line for people.
    pub text: String,
    /// The generation in force; 0 = it has not changed yet.
    pub generation: u64,
    /// The generation to go back to, while one is rolled out.
    pub from: Option<u64>,
    /// The generation that is rolled out.
    pub to: Option<u64>,
    /// Why it goes back or is paused.
    pub why: Option<String>,
    /// Instances of the version in force.
    pub updated: Vec<String>,
    /// Instances that are being replaced.
    pub step: Vec<String>,
    /// Instances that wait for their step.
    pub left: Vec<String>,
    /// The version of the file that is not in force because it was rolled back.
    pub rejected: Option<RejectedInfo>,
    /// The versions that are kept, newest first; none before the first change.
    pub generations: Vec<GenerationInfo>,
}

/// A version that is not tried again until its file changes or somebody says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RejectedInfo {
    /// Its number.
    pub generation: u64,
    /// What was wrong with it.
    pub why: String,
    /// Since when, RFC 3339.
    pub at: String,
}

/// One version of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GenerationInfo {
    /// Its number.
    pub generation: u64,
    /// The first 12 hexadecimal digits of its version.
    pub version: String,
    /// When it was in force first, RFC 3339.
    pub at: String,
    /// It was rolled out whole, or all of it was ready when the next one came.
    pub good: bool,
    /// It is in force.
    pub in_force: bool,
    /// What became of it.
    pub note: String,
}

/// What somebody wants of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutWish {
    /// Nothing more is replaced.
    Pause,
    /// It goes on; a file that was rolled back is tried again.
    Resume,
    /// Back to a generation; `None` = the last good one.
    Undo(Option<u64>),
}

/// Where to.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct To {
    /// The number of a generation; without it the last good one.
    generation: Option<u64>,
}

/// How far the rollout of a service is, and its last versions.
#[utoipa::path(
    get, path = "/v1/services/{target}/rollout",
    params(("target" = String, Path, description = "the service")),
    responses(Refused, (status = 200, body = RolloutInfo))
)]
pub(super) async fn get(
    State(app): State<App>,
    WantedService(name): WantedService,
) -> Result<Json<RolloutInfo>, Fault> {
    Ok(Json(app.ask_soon(|answer| Call::Rollout(name, answer)).await?))
}

/// Nothing more is replaced until somebody goes on.
#[utoipa::path(
    post, path = "/v1/services/{target}/rollout/pause", params(("target" = String, Path)),
    responses(Refused, (status = 204, description = "done"))
)]
pub(super) async fn pause(
    State(app): State<App>,
    WantedService(name): WantedService,
    _: NoBody,
) -> Result<StatusCode, Fault> {
    wish(&app, name, RolloutWish::Pause).await
}

/// A paused rollout goes on; what failed before does not count any more. Where a version was rolled back, its file is tried
/// again.
#[utoipa::path(
    post, path = "/v1/services/{target}/rollout/resume", params(("target" = String, Path)),
    responses(Refused, (status = 204, description = "done"))
)]
pub(super) async fn resume(
    State(app): State<App>,
    WantedService(name): WantedService,
    _: NoBody,
) -> Result<StatusCode, Fault> {
    wish(&app, name, RolloutWish::Resume).await
}

/// Back to an earlier version. The file stays as it is and is not put in force until it changes or somebody resumes.
#[utoipa::path(
    post, path = "/v1/services/{target}/rollout/undo", params(("target" = String, Path), To),
    responses(Refused, (status = 204, description = "begun"))
)]
pub(super) async fn undo(
    State(app): State<App>,
    WantedService(name): WantedService,
    Params(To { generation }): Params<To>,
    _: NoBody,
) -> Result<StatusCode, Fault> {
    wish(&app, name, RolloutWish::Undo(generation)).await
}

async fn wish(app: &App, service: crate::names::ServiceName, wish: RolloutWish) -> Result<StatusCode, Fault> {
    app.ask_soon(|answer| Call::RolloutWish { service, wish, answer }).await?;
    Ok(StatusCode::NO_CONTENT)
}
