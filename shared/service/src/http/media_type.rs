//! Which request bodies are taken: `application/json` in UTF-8 (RFC 8259), without content coding.

use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;

/// The body is not taken (415); `detail` says what would be.
pub(super) fn unsupported(detail: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "The body's media type is not supported",
    )
    .detail(detail)
}

/// Refuses bodies in a content coding, which nothing here decodes.
pub(super) async fn identity_only(request: Request, next: Next) -> Response {
    if request.headers().get_all(CONTENT_ENCODING).iter().all(is_identity) {
        return next.run(request).await;
    }
    let mut response = unsupported("send the body without content-encoding").into_response();
    // RFC 9110, section 15.5.16: which codings would be taken.
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}

fn is_identity(codings: &HeaderValue) -> bool {
    codings
        .to_str()
        .is_ok_and(|codings| codings.split(',').all(|coding| coding.trim().eq_ignore_ascii_case("identity")))
}

/// Whether the headers announce JSON, once.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(Ok(media_type)), None) = (values.next().map(HeaderValue::to_str), values.next()) else {
        return false;
    };
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, set)) if name.trim().eq_ignore_ascii_case("charset") => {
            set.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    let is_json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    is_json && parts.all(is_utf8)
}
