//! Refusals as HTTP answers: a status and an [`ErrorBody`], always JSON.
#![forbid(unsafe_code)]

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::core::Refusal;
use super::model::ErrorBody;

/// What each status is called in the body.
const CODES: [(StatusCode, &str); 13] = [
    (StatusCode::BAD_REQUEST, "bad-request"),
    (StatusCode::UNAUTHORIZED, "unauthorized"),
    (StatusCode::FORBIDDEN, "forbidden"),
    (StatusCode::NOT_FOUND, "not-found"),
    (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
    (StatusCode::REQUEST_TIMEOUT, "timeout"),
    (StatusCode::CONFLICT, "conflict"),
    (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type"),
    (StatusCode::MISDIRECTED_REQUEST, "misdirected"),
    (StatusCode::UPGRADE_REQUIRED, "upgrade-required"),
    (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    (StatusCode::SERVICE_UNAVAILABLE, "busy"),
];

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) body: ErrorBody,
}

impl Fault {
    /// With the code that belongs to the status.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Fault {
        let code = CODES.iter().find(|(of, _)| *of == status).map_or("internal", |(_, code)| *code);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_code() {
        let page = include_str!("../../../docs/api.md");
        let rows: Vec<_> = page.lines().filter(|l| l.starts_with("| 4") || l.starts_with("| 5")).collect();
        for (status, code) in CODES {
            let row = format!("| {} | `{code}` | ", status.as_u16());
            assert!(rows.iter().any(|l| l.starts_with(&row)), "docs/api.md lacks {row}");
        }
        // One has no body.
        assert_eq!(rows.iter().filter(|l| l.contains(" | `")).count(), CODES.len(), "{rows:?}");
    }
}
