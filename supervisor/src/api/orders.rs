//! One order about several targets: those that depend on each other are taken in that order.
#![forbid(unsafe_code)]

use axum::Json;
use axum::extract::State;

use super::core::{Target, Verb};
use super::fault::Fault;
use super::model::{ErrorBody, OrderOutcome, OrderRequest};
use super::request::{Document, Params};
use super::routes::{App, Refused, Wait};

/// Starts, stops, restarts or removes several targets. Each goes down before what it depends on, and comes up after it.
#[utoipa::path(
    post, path = "/v1/orders", params(Wait), request_body = OrderRequest,
    responses(
        Refused,
        (status = 200, body = Vec<OrderOutcome>, description = "in the order of the targets"),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody)
    )
)]
pub(super) async fn post(
    State(app): State<App>,
    Params(Wait { wait }): Params<Wait>,
    Document(request): Document<OrderRequest>,
) -> Result<Json<Vec<OrderOutcome>>, Fault> {
    if request.targets.is_empty() {
        return Err(Fault::bad("targets: got none, want at least one name"));
    }
    let parsed: Vec<Result<Target, String>> =
        request.targets.iter().map(|name| target(name, request.verb)).collect();
    let good = parsed.iter().flatten().cloned().collect();
    let mut results = app.handle.order(request.verb, good, wait).await.into_iter();
    let outcome = |(target, parsed): (String, Result<Target, String>)| {
        let error = match parsed {
            Ok(_) => results.next().and_then(Result::err).map(|refusal| Fault::from(refusal).body),
            Err(text) => Some(Fault::bad(text).body),
        };
        OrderOutcome { target, error }
    };
    Ok(Json(request.targets.into_iter().zip(parsed).map(outcome).collect()))
}

/// What a name means for this verb.
fn target(name: &str, verb: Verb) -> Result<Target, String> {
    match name.parse()? {
        Target::Instance(i) if verb == Verb::Remove => Err(i.only_whole()),
        target => Ok(target),
    }
}
