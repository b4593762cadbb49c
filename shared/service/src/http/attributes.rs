//! What a server span says of its request and its response beyond method and route, by OpenTelemetry's semantic conventions for HTTP.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use tracing::Span;

use super::bounds::bounded;

/// The port of a scheme, where an authority names none.
const HTTP_PORT: u16 = 80;

/// What is known before the request is handled. The fields are declared where the span is made.
pub(super) fn request(span: &Span, request: &Request) {
    // TLS ends in front of the service.
    span.record("url.scheme", "http");
    span.record("url.path", bounded(request.uri().path()));
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    if let Some(authority) = authority.as_ref().or(request.uri().authority()) {
        span.record("server.address", bounded(authority.host()));
        span.record("server.port", authority.port_u16().unwrap_or(HTTP_PORT));
    }
}

/// What the response says. A client's mistake is no error of the server.
pub(super) fn response(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
}
