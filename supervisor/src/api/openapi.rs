//! The description of the API, made from its code.
#![forbid(unsafe_code)]

use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

use super::{events, exec, logs, metrics, model, orders, rollouts, routes, set, usage};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "knarrd",
        description = "HTTP/1.1 and JSON on the daemon's unix sockets. The socket knarrd-ro.sock answers reading requests and plans only."
    ),
    paths(
        routes::version,
        get,
        routes::instances,
        usage::get,
        routes::service,
        routes::remove,
        routes::wait,
        routes::start,
        routes::stop,
        routes::restart,
        routes::kill,
        rollouts::get,
        rollouts::pause,
        rollouts::resume,
        rollouts::undo,
        routes::history,
        set::post,
        orders::post,
        routes::explain,
        events::get,
        logs::get,
        metrics::get,
        routes::plan,
        routes::apply,
        exec::exec,
        exec::attach
    ),
    components(schemas(
        model::Lagged,
        model::GapReason,
        model::Severity,
        model::Sight,
        model::Control,
        model::TerminalSize,
        model::ErrorBody
    ))
)]
struct Document;

/// The OpenAPI 3.1 document, as JSON.
pub fn document() -> String {
    // The document is made of plain maps and strings, for which to_pretty_json cannot fail.
    Document::openapi().to_pretty_json().unwrap_or_default()
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json",
    responses(routes::Refused, (status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
pub(super) async fn get() -> Response {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], document()).into_response()
}
