//! Reading requests: targets, queries and bodies, each with its limit, each refusal with its reason.
#![forbid(unsafe_code)]

use axum::body::{Body, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::core::Target;
use super::fault::Fault;
use super::routes::App;
use crate::names::ServiceName;

/// The name in the path.
pub(super) struct Wanted(pub(super) Target);

impl FromRequestParts<App> for Wanted {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Wanted, Fault> {
        raw_target(parts, app).await?.parse().map(Wanted).map_err(Fault::bad)
    }
}

/// The name in the path, where only a whole service will do.
pub(super) struct WantedService(pub(super) ServiceName);

impl FromRequestParts<App> for WantedService {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<WantedService, Fault> {
        match Wanted::from_request_parts(parts, app).await?.0 {
            Target::Service(name) => Ok(WantedService(name)),
            Target::Instance(i) => Err(Fault::bad(i.only_whole())),
        }
    }
}

async fn raw_target(parts: &mut Parts, app: &App) -> Result<String, Fault> {
    let got: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, app).await;
    got.map(|Path(p)| p).map_err(|e| Fault::bad(e.body_text()))
}

/// The query, where an unknown or doubled key is an error.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Params<T>, Fault> {
        Query::try_from_uri(&parts.uri).map(|Query(q)| Params(q)).map_err(|e| Fault::bad(e.body_text()))
    }
}

/// No body at all.
pub(super) struct NoBody;

impl FromRequest<App> for NoBody {
    type Rejection = Fault;
    async fn from_request(req: Request, _: &App) -> Result<NoBody, Fault> {
        if req.body().is_end_stream() { Ok(NoBody) } else { Err(Fault::bad("this request takes no body")) }
    }
}

/// A JSON body of at most [`super::Limits::files`] bytes.
pub(super) struct Files<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Files<T> {
    type Rejection = Fault;
    async fn from_request(req: Request, app: &App) -> Result<Files<T>, Fault> {
        json(req.headers().clone(), req.into_body(), app.limits.files, app).await.map(Files)
    }
}

/// A JSON body of at most [`super::Limits::body`] bytes.
pub(super) struct Document<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Document<T> {
    type Rejection = Fault;
    async fn from_request(req: Request, app: &App) -> Result<Document<T>, Fault> {
        json(req.headers().clone(), req.into_body(), app.limits.body, app).await.map(Document)
    }
}

/// Reads and parses a body. What declares itself too long is refused before it is read.
pub(super) async fn json<T: DeserializeOwned>(
    headers: HeaderMap,
    body: Body,
    limit: usize,
    app: &App,
) -> Result<T, Fault> {
    let kind = headers.get(header::CONTENT_TYPE).map_or(Ok(""), |v| v.to_str()).unwrap_or("?");
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = format!("content-type: got {kind:?}, want \"application/json\"");
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let too_large =
        || Fault::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let all = tokio::time::timeout(app.limits.body_time, Limited::new(body, limit).collect()).await;
    let all = match all {
        Err(_) => {
            let message = format!("the body did not come within {} s", app.limits.body_time.as_secs_f32());
            return Err(Fault::new(StatusCode::REQUEST_TIMEOUT, message));
        }
        Ok(Err(e)) if e.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(e)) => return Err(Fault::bad(format!("body: {e}"))),
        Ok(Ok(all)) => all.to_bytes(),
    };
    // serde would take the fields of an object from a list, too.
    if all.trim_ascii_start().first().is_some_and(|b| *b != b'{') {
        return Err(Fault::bad("body: want a JSON object"));
    }
    serde_json::from_slice(&all).map_err(|e| Fault::bad(format!("body: {e}")))
}

/// A signal by name (`TERM`, `SIGTERM`, `RTMIN+3`) or number.
pub(super) fn signal(text: &str) -> Result<i32, Fault> {
    crate::unit::signal(text).map(|s| s.number).map_err(|e| Fault::bad(format!("signal: {e}")))
}
