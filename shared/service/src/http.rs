//! What every HTTP edge shares: problem details (RFC 9457), JSON bodies, limits.

mod attributes;
mod body;
mod bounds;
pub(crate) mod dead_letters;
mod description;
mod edge;
mod extract;
mod fields;
mod guard;
mod idempotency;
mod index;
mod limits;
mod media_type;
mod methods;
mod objects;
mod outlive;
pub(crate) mod server;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use edge::edge;
pub use extract::{Json, Path, Query};
pub use fields::{Content, Faults, Field, List, UnknownFields};
pub use idempotency::{IDEMPOTENT_REPLAYED, IdempotencyKey};
pub use limits::{InFlight, preferred_wait};

/// An error answer, `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable URI that names the kind of problem, such as `urn:tidings:problem:validation`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// All faults of the request at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Seconds after which to try again (also in `Retry-After`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
    /// The request's trace (W3C Trace Context), to be found in the traces and in the service's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Box<str>>,
}

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// Where: a JSON pointer (RFC 6901) into the body; empty for the whole body.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl Problem {
    /// A problem of the kind `urn:tidings:problem:<slug>`.
    pub fn new(status: StatusCode, slug: &str, title: &str) -> Self {
        Self {
            kind: format!("urn:tidings:problem:{slug}"),
            title: title.into(),
            status: status.as_u16(),
            detail: None,
            errors: Vec::new(),
            retry_after_s: None,
            trace_id: None,
        }
    }

    /// Faults of the request's content (422).
    pub fn validation(errors: Vec<Fault>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", "The request's content is not valid")
            .errors(errors)
    }

    /// No such thing (404); `detail` says what was looked for.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found").detail(detail)
    }

    /// A body of more than `limit` bytes (413).
    pub fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large")
            .detail(format!("at most {limit} bytes are read"))
    }

    /// A body that broke off (400).
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable-body", "The body could not be read").detail(detail)
    }

    /// Our fault (500). What went wrong is in the log, not in the answer.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The service failed")
            .detail("the cause is in the service's log; whether anything was done is unknown")
    }

    /// Something that the service needs does not answer (503); trying again helps.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Something that the service needs is missing",
        )
        .detail(detail)
        .retry_after_s(1)
    }

    /// With what is wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With all faults of the request.
    #[must_use]
    pub fn errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// Details and pointers may repeat what the request has; all answers go through here.
    fn bound_texts(&mut self) {
        self.detail.iter_mut().for_each(bounds::bound_text);
        for fault in &mut self.errors {
            bounds::bound_text(&mut fault.pointer);
            bounds::bound_text(&mut fault.detail);
        }
    }

    /// With `Retry-After`.
    #[must_use]
    pub const fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&sqlx::Error> for Problem {
    /// 503 while the database can't be reached or is too busy, 500 for anything else; the cause goes to the log.
    fn from(error: &sqlx::Error) -> Self {
        if crate::database::is_transient(error) {
            tracing::warn!(%error, "the database did not serve a request");
            Self::unavailable("the database did not answer in time; whether anything was done is unknown")
        } else {
            tracing::error!(%error, "the database refused a request's statement");
            Self::internal()
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.bound_texts();
        self.trace_id = telemetry::current_trace().trace_id().map(Into::into);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_s;
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
