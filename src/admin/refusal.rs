//! Why a question has no answer, and how that looks to whoever has asked: a status, and [`Problem`] as JSON.
//!
//! Its text is ours, and what it repeats of the question is escaped; nothing of a token or of a file stands in it.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::view::Problem;
use crate::near::nearest;

/// What is not there, and what may have been meant.
pub(super) struct Unknown {
    pub(super) error: String,
    pub(super) meant: Option<String>,
}

impl Unknown {
    pub(super) fn new(kind: &str, name: &str, known: &[String]) -> Self {
        let meant = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        Self { error: format!("no such {kind}: {}", name.escape_debug()), meant }
    }
}

/// Why a question has no answer.
pub(super) struct Refusal {
    status: StatusCode,
    problem: Problem,
    /// What else stands in the answer's header.
    field: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: String) -> Self {
        Self { status, problem: Problem { error, meant: Vec::new() }, field: None }
    }

    /// It cannot be understood.
    pub(super) fn usage(error: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// It was understood, and something else stands against it.
    pub(super) fn conflict(error: String) -> Self {
        Self::new(StatusCode::CONFLICT, error)
    }

    /// It was understood, and cannot be done.
    pub(super) fn failed(error: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    /// There is no place for it now.
    pub(super) fn busy(error: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_owned())
    }

    /// It was done as far as it could be, and another process had a part in it.
    pub(super) fn unreached(error: String) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, error)
    }

    /// Whether what was named is not there.
    pub(super) fn is_unknown(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// Whoever asks has not proved that he may; `challenge` says how he can (RFC 6750 §3).
    pub(super) fn stranger(error: &str, challenge: &'static str) -> Self {
        let field = Some(Box::new((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))));
        Self { field, ..Self::new(StatusCode::UNAUTHORIZED, error.to_owned()) }
    }

    /// Whoever asks may look, and not order.
    pub(super) fn forbidden(error: &str, challenge: &'static str) -> Self {
        let field = Some(Box::new((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))));
        Self { field, ..Self::new(StatusCode::FORBIDDEN, error.to_owned()) }
    }

    /// Too often; again after so many seconds.
    pub(super) fn too_often(error: &str, after: u64) -> Self {
        let field = Some(Box::new((header::RETRY_AFTER, HeaderValue::from(after))));
        Self { field, ..Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_owned()) }
    }
}

impl From<Unknown> for Refusal {
    fn from(unknown: Unknown) -> Self {
        let problem = Problem { error: unknown.error, meant: unknown.meant.into_iter().collect() };
        Self { status: StatusCode::NOT_FOUND, problem, field: None }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        response.headers_mut().extend(self.field.map(|field| *field));
        response
    }
}
