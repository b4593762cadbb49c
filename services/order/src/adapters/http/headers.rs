//! Request headers: If-None-Match (RFC 9110), Last-Event-ID.

use axum::http::{HeaderMap, HeaderValue, header};
use service::http::Problem;

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
    super::problems::invalid_parameter("the header Last-Event-ID must be an id that this stream has sent")
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
