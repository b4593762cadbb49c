//! The methods of HTTP that exist (RFC 9110, RFC 5789): clients may invent others, whose names go nowhere.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;

/// What a label or a span calls a method that does not exist (OpenTelemetry's semantic conventions).
pub(super) const OTHER: &str = "_OTHER";

/// The name of a method for labels and spans.
pub(super) fn name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => OTHER,
    }
}

/// The name of a span: its method, or `HTTP` if that does not exist, and its route.
pub(super) fn span_name(method: &'static str, route: &str) -> String {
    let method = if method == OTHER { "HTTP" } else { method };
    format!("{method} {route}")
}

/// Answers 501 to methods that do not exist (RFC 9110, section 9.1).
pub(super) async fn reject_unknown(request: Request, next: Next) -> Response {
    if name(request.method()) != OTHER {
        return next.run(request).await;
    }
    Problem::new(StatusCode::NOT_IMPLEMENTED, "method-not-implemented", "The method is not implemented")
        .detail("the methods are those of RFC 9110 and PATCH, in capitals")
        .into_response()
}
