//! Every path of the API and what it asks of the owner of all state.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use utoipa::{IntoParams, IntoResponses};

use super::core::{Answer, Call, Handle, Refusal, Target, Verb};
use super::fault::Fault;
use super::model::{
    ErrorBody, Explanation, History, InstanceStatus, Plan, PlanRequest, ServiceStatus, Sight, VersionInfo,
};
use super::request::{Files, NoBody, Params, Wanted, WantedService};
use super::serve::Limits;
use super::{events, exec, logs, metrics, openapi, orders, rollouts, set, usage};

/// A question that changes nothing is answered within this time, or the daemon is stuck.
const SOON: Duration = Duration::from_secs(30);

/// What every handler may use.
#[derive(Clone)]
pub(super) struct App {
    /// The way to the owner.
    pub(super) handle: Handle,
    /// How much of everything.
    pub(super) limits: Arc<Limits>,
    /// One permit a stream (events, logs, exec, attach), held until its end.
    pub(super) streams: Arc<Semaphore>,
    /// Becomes true when the daemon ends.
    pub(super) stop: watch::Receiver<bool>,
    /// Whether it came over the socket for those who may only look.
    pub(super) read_only: bool,
}

impl App {
    /// A permit for one stream.
    pub(super) fn stream(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Fault> {
        self.streams.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{} streams are open already", self.limits.streams);
            Fault::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })
    }

    /// Asks for something that the owner has at hand.
    pub(super) async fn ask_soon<T>(&self, make: impl FnOnce(Answer<T>) -> Call) -> Result<T, Refusal> {
        let gone = || Refusal::Internal(format!("no answer of the daemon within {} s", SOON.as_secs()));
        tokio::time::timeout(SOON, self.handle.ask(make)).await.map_err(|_| gone())?
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Service(s) => s.fmt(f),
            Target::Instance(i) => i.fmt(f),
        }
    }
}

/// Every route: method, path, handler. The OpenAPI document is tested against it.
pub(super) fn table() -> Vec<(Method, &'static str, MethodRouter<App>)> {
    vec![
        (Method::GET, "/v1/version", get(version)),
        (Method::GET, "/v1/openapi.json", get(openapi::get)),
        (Method::GET, "/v1/instances", get(instances)),
        (Method::GET, "/v1/usage", get(usage::get)),
        (Method::GET, "/v1/services/{target}", get(service)),
        (Method::DELETE, "/v1/services/{target}", delete(remove)),
        (Method::GET, "/v1/services/{target}/wait", get(wait)),
        (Method::POST, "/v1/services/{target}/start", post(start)),
        (Method::POST, "/v1/services/{target}/stop", post(stop)),
        (Method::POST, "/v1/services/{target}/restart", post(restart)),
        (Method::POST, "/v1/services/{target}/kill", post(kill)),
        (Method::GET, "/v1/services/{target}/rollout", get(rollouts::get)),
        (Method::POST, "/v1/services/{target}/rollout/pause", post(rollouts::pause)),
        (Method::POST, "/v1/services/{target}/rollout/resume", post(rollouts::resume)),
        (Method::POST, "/v1/services/{target}/rollout/undo", post(rollouts::undo)),
        (Method::GET, "/v1/services/{target}/history", get(history)),
        (Method::POST, "/v1/services/{target}/set", post(set::post)),
        (Method::POST, "/v1/orders", post(orders::post)),
        (Method::GET, "/v1/explain/{target}", get(explain)),
        (Method::GET, "/v1/events", get(events::get)),
        (Method::GET, "/v1/logs/{target}", get(logs::get)),
        (Method::GET, "/metrics", get(metrics::get)),
        (Method::POST, "/v1/plan", post(plan)),
        (Method::POST, "/v1/apply", post(apply)),
        (Method::POST, "/v1/exec/{target}", post(exec::exec)),
        (Method::POST, "/v1/attach/{target}", post(exec::attach)),
    ]
}

/// The whole API for one socket.
pub(super) fn router(app: App) -> Router {
    let mut router = Router::new();
    for (_, path, handler) in table() {
        router = router.route(path, handler);
    }
    router
        .fallback(async |req: Request| {
            Fault::new(StatusCode::NOT_FOUND, format!("no such path: {:?}", req.uri().path()))
        })
        .method_not_allowed_fallback(async |req: Request| {
            let message = format!("{} cannot be used on {:?}", req.method(), req.uri().path());
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(middleware::from_fn_with_state(app.clone(), only_looking))
        .with_state(app)
}

/// What changes nothing: reading, and a plan.
async fn only_looking(State(app): State<App>, req: Request, next: Next) -> Response {
    let harmless = matches!(*req.method(), Method::GET | Method::HEAD) || req.uri().path() == "/v1/plan";
    if app.read_only && !harmless {
        let message = format!(
            "{} {} changes something; this socket is for looking only, use {}",
            req.method(),
            req.uri().path(),
            app.handle.dirs.socket().display()
        );
        return Fault::new(StatusCode::FORBIDDEN, message).into_response();
    }
    next.run(req).await
}

/// What every request can be refused with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only its description is used")]
pub(super) enum Refused {
    /// The request makes no sense: a name that cannot be one, an unknown key, a body that is not what it should be.
    #[response(status = 400)]
    BadRequest(ErrorBody),
    /// The caller is not root, the daemon's user or in the group; or it is not allowed on the read-only socket.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// No such path, service or instance.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// Not in the state that this needs.
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// The daemon could not do it.
    #[response(status = 500)]
    Internal(ErrorBody),
    /// Too many connections or streams.
    #[response(status = 503)]
    Busy(ErrorBody),
}

/// When the answer comes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Answer when it is done, not when it is begun.
    #[serde(default)]
    pub(super) wait: bool,
}

/// What is waited for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct For {
    /// ready, healthy or stopped.
    #[serde(default, rename = "for")]
    #[param(rename = "for")]
    sight: Sight,
}

/// Which signal.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Signal {
    /// Its name with or without SIG, or its number.
    #[serde(default = "term")]
    signal: String,
}

fn term() -> String {
    "TERM".into()
}

/// Versions of the daemon, the API and the keeper's protocol.
#[utoipa::path(get, path = "/v1/version", responses(Refused, (status = 200, body = VersionInfo)))]
pub(super) async fn version(State(app): State<App>) -> Result<Json<VersionInfo>, Fault> {
    Ok(Json(app.ask_soon(Call::Version).await?))
}

/// All instances, in order of their names.
#[utoipa::path(get, path = "/v1/instances", responses(Refused, (status = 200, body = Vec<InstanceStatus>)))]
pub(super) async fn instances(State(app): State<App>) -> Result<Json<Vec<InstanceStatus>>, Fault> {
    Ok(Json(app.ask_soon(Call::Ps).await?))
}

/// One service.
#[utoipa::path(
    get, path = "/v1/services/{target}",
    params(("target" = String, Path, description = "the service")),
    responses(Refused, (status = 200, body = ServiceStatus))
)]
pub(super) async fn service(
    State(app): State<App>,
    WantedService(name): WantedService,
) -> Result<Json<ServiceStatus>, Fault> {
    Ok(Json(app.ask_soon(|answer| Call::Status(name, answer)).await?))
}

/// Why a service or an instance is as it is: the chain of causes with times, and what comes next.
#[utoipa::path(
    get, path = "/v1/explain/{target}",
    params(("target" = String, Path, description = "service or instance, `web` or `web.1`")),
    responses(Refused, (status = 200, body = Explanation))
)]
pub(super) async fn explain(
    State(app): State<App>,
    Wanted(target): Wanted,
) -> Result<Json<Explanation>, Fault> {
    Ok(Json(app.ask_soon(|answer| Call::Explain(target, answer)).await?))
}

/// What instances have used over the last two hours, a sample each minute; kept in memory only, from the start of the
/// daemon on.
#[utoipa::path(
    get, path = "/v1/services/{target}/history",
    params(("target" = String, Path, description = "service or instance, `web` or `web.1`")),
    responses(Refused, (status = 200, body = Vec<History>))
)]
pub(super) async fn history(
    State(app): State<App>,
    Wanted(target): Wanted,
) -> Result<Json<Vec<History>>, Fault> {
    Ok(Json(app.ask_soon(|answer| Call::History(target, answer)).await?))
}

/// What applying would change. Changes nothing itself. Allowed on the read-only socket, where it does not show values of the
/// environment.
#[utoipa::path(
    post, path = "/v1/plan", request_body = PlanRequest,
    responses(Refused, (status = 200, body = Plan), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody))
)]
pub(super) async fn plan(
    State(app): State<App>,
    Files(request): Files<PlanRequest>,
) -> Result<Json<Plan>, Fault> {
    let mut plan = app.ask_soon(|answer| Call::Plan(request, answer)).await?;
    if app.read_only {
        plan.hide_values();
    }
    Ok(Json(plan))
}

/// Writes the files of the request, when it has some, and applies them; without files a full pass over the directory.
#[utoipa::path(
    post, path = "/v1/apply", request_body = PlanRequest,
    responses(Refused, (status = 200, body = Plan), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody))
)]
pub(super) async fn apply(
    State(app): State<App>,
    Files(request): Files<PlanRequest>,
) -> Result<Json<Plan>, Fault> {
    Ok(Json(app.handle.ask(|answer| Call::Apply(request, answer)).await?))
}

/// Answers when all instances are so, however long it takes.
#[utoipa::path(
    get, path = "/v1/services/{target}/wait",
    params(("target" = String, Path, description = "service or instance, `web` or `web.1`"), For),
    responses(Refused, (status = 204, description = "they are"))
)]
pub(super) async fn wait(
    State(app): State<App>,
    Wanted(target): Wanted,
    Params(For { sight }): Params<For>,
) -> Result<StatusCode, Fault> {
    app.handle.ask(|answer| Call::Wait { target, sight, answer }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Wanted up again.
#[utoipa::path(
    post, path = "/v1/services/{target}/start", params(("target" = String, Path), Wait),
    responses(Refused, (status = 204, description = "done, or begun without `wait`"))
)]
pub(super) async fn start(
    State(app): State<App>,
    Wanted(target): Wanted,
    Params(Wait { wait }): Params<Wait>,
    _: NoBody,
) -> Result<StatusCode, Fault> {
    order(&app, Verb::Start, target, wait).await
}

/// Wanted down until somebody starts it.
#[utoipa::path(
    post, path = "/v1/services/{target}/stop", params(("target" = String, Path), Wait),
    responses(Refused, (status = 204, description = "done, or begun without `wait`"))
)]
pub(super) async fn stop(
    State(app): State<App>,
    Wanted(target): Wanted,
    Params(Wait { wait }): Params<Wait>,
    _: NoBody,
) -> Result<StatusCode, Fault> {
    order(&app, Verb::Stop, target, wait).await
}

/// Down and up.
#[utoipa::path(
    post, path = "/v1/services/{target}/restart", params(("target" = String, Path), Wait),
    responses(Refused, (status = 204, description = "done, or begun without `wait`"))
)]
pub(super) async fn restart(
    State(app): State<App>,
    Wanted(target): Wanted,
    Params(Wait { wait }): Params<Wait>,
    _: NoBody,
) -> Result<StatusCode, Fault> {
    order(&app, Verb::Restart, target, wait).await
}

/// A signal to the first process of each instance.
#[utoipa::path(
    post, path = "/v1/services/{target}/kill", params(("target" = String, Path), Signal),
    responses(Refused, (status = 204, description = "sent"))
)]
pub(super) async fn kill(
    State(app): State<App>,
    Wanted(target): Wanted,
    Params(Signal { signal }): Params<Signal>,
    _: NoBody,
) -> Result<StatusCode, Fault> {
    let signal = super::request::signal(&signal)?;
    app.handle.ask(|answer| Call::Kill { target, signal, answer }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops a service and removes its file, logs and history.
#[utoipa::path(
    delete, path = "/v1/services/{target}",
    params(("target" = String, Path, description = "the service"), Wait),
    responses(Refused, (status = 204, description = "done, or begun without `wait`"))
)]
pub(super) async fn remove(
    State(app): State<App>,
    WantedService(service): WantedService,
    Params(Wait { wait }): Params<Wait>,
    _: NoBody,
) -> Result<StatusCode, Fault> {
    order(&app, Verb::Remove, Target::Service(service), wait).await
}

/// An order takes as long as it takes: a stop waits for the grace time of the service.
async fn order(app: &App, verb: Verb, target: Target, wait: bool) -> Result<StatusCode, Fault> {
    for result in app.handle.order(verb, vec![target], wait).await {
        result?;
    }
    Ok(StatusCode::NO_CONTENT)
}
