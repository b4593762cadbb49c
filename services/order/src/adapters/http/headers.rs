//! Request headers: Idempotency-Key, If-None-Match (RFC 9110), Last-Event-ID.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use service::http::Problem;

/// The header of an answer that was given before.
pub(super) const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// The request's Idempotency-Key: 1 to 255 printable ASCII characters.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let key = match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(key)), None) => key.trim(),
        (None, _) => return Err(key_problem("missing", "the header Idempotency-Key is required")),
        (Some(Err(_)), _) | (Some(_), Some(_)) => "",
    };
    if (1..=255).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        Ok(key.to_owned())
    } else {
        Err(key_problem(
            "invalid",
            "the header Idempotency-Key must be one of 1 to 255 printable ASCII characters",
        ))
    }
}

fn key_problem(what: &str, detail: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        &format!("idempotency-key-{what}"),
        &format!("The Idempotency-Key is {what}"),
    )
    .detail(detail)
}

/// An order's version as a strong entity tag.
pub(super) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// Whether the client already has what `etag` names.
pub(super) fn none_match(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag)
}

/// The version after which an event stream is to be resumed; 0 for its beginning.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<i64, Problem> {
    match headers.get("last-event-id").map(HeaderValue::to_str) {
        None | Some(Ok("")) => Ok(0),
        Some(Ok(text)) => text.trim().parse::<i64>().ok().filter(|version| *version >= 0).ok_or_else(problem),
        Some(Err(_)) => Err(problem()),
    }
}

fn problem() -> Problem {
    super::answers::invalid_parameter("the header Last-Event-ID must be an id that this stream has sent")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn an_idempotency_key_has_1_to_255_printable_ascii_characters() {
        let longest = "k".repeat(255);
        for key in ["k", "an inner space", "~!\"#", longest.as_str()] {
            assert_eq!(idempotency_key(&with("idempotency-key", &[key])).unwrap(), key);
        }
        let too_long = "k".repeat(256);
        for (keys, kind) in [
            (vec![], "urn:tidings:problem:idempotency-key-missing"),
            (vec![""], "urn:tidings:problem:idempotency-key-invalid"),
            (vec!["schlüssel"], "urn:tidings:problem:idempotency-key-invalid"),
            (vec!["a\tb"], "urn:tidings:problem:idempotency-key-invalid"),
            (vec!["one", "two"], "urn:tidings:problem:idempotency-key-invalid"),
            (vec![too_long.as_str()], "urn:tidings:problem:idempotency-key-invalid"),
        ] {
            assert_eq!(idempotency_key(&with("idempotency-key", &keys)).unwrap_err().kind, kind, "{keys:?}");
        }
    }

    #[test]
    fn an_entity_tag_matches_weakly_and_in_lists() {
        for (values, matches) in [
            (vec!["\"3\""], true),
            (vec!["W/\"3\""], true),
            (vec!["\"1\", \"3\""], true),
            (vec!["\"1\"", "\"3\""], true),
            (vec!["*"], true),
            (vec!["\"33\""], false),
            (vec!["3"], false),
            (vec![], false),
        ] {
            assert_eq!(none_match(&with("if-none-match", &values), &etag(3)), matches, "{values:?}");
        }
    }

    #[test]
    fn a_stream_is_resumed_after_an_id_that_it_sent() {
        assert_eq!(last_event_id(&HeaderMap::new()).unwrap(), 0);
        assert_eq!(last_event_id(&with("last-event-id", &["17"])).unwrap(), 17);
        for id in ["-1", "seventeen", "9223372036854775808"] {
            assert!(last_event_id(&with("last-event-id", &[id])).is_err(), "{id}");
        }
    }
}
