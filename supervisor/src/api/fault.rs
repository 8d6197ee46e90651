//! Refusals as HTTP answers: a status and an [`ErrorBody`], always JSON.
#![forbid(unsafe_code)]

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::core::Refusal;
use super::model::ErrorBody;

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) body: ErrorBody,
}

impl Fault {
    /// With the code that belongs to the status.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Fault {
        let code = match status {
            StatusCode::NOT_FOUND => "not-found",
            StatusCode::CONFLICT => "conflict",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::PAYLOAD_TOO_LARGE => "too-large",
            StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
            StatusCode::UPGRADE_REQUIRED => "upgrade-required",
            StatusCode::REQUEST_TIMEOUT => "timeout",
            StatusCode::SERVICE_UNAVAILABLE => "busy",
            StatusCode::BAD_REQUEST => "bad-request",
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::MISDIRECTED_REQUEST => "misdirected",
            _ => "internal",
        };
        Fault { status, body: ErrorBody { code: code.into(), message: message.into(), problems: Vec::new() } }
    }

    /// 400.
    pub(super) fn bad(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::NotFound(m) => Fault::new(StatusCode::NOT_FOUND, m),
            Refusal::Conflict(m) => Fault::new(StatusCode::CONFLICT, m),
            Refusal::Internal(m) => Fault::new(StatusCode::INTERNAL_SERVER_ERROR, m),
            Refusal::BadRequest(m, problems) => {
                let mut fault = Fault::bad(m);
                fault.body.problems = problems;
                fault
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
