//! The header `Idempotency-Key`, with one contract for every command (draft-ietf-httpapi-idempotency-key-header).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Problem;

/// The header of an answer that was given to an earlier request with the same key: `true`.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A request's key: exactly one header, of 1 to 255 printable ASCII characters without the spaces around them. Refused
/// with 400 when it is missing or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl IdempotencyKey {
    /// The key came with another request before (422); `remedy` says what to do.
    pub fn reused(remedy: &str) -> Problem {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The Idempotency-Key was used for another request",
        )
        .detail(remedy)
    }

    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all("idempotency-key").iter();
        let key = match (values.next().map(HeaderValue::to_str), values.next()) {
            (Some(Ok(key)), None) => key.trim(),
            (None, _) => return Err(problem("missing", "the header Idempotency-Key is required")),
            (Some(Err(_)), _) | (Some(_), Some(_)) => "",
        };
        if (1..=255).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            Ok(Self(key.to_owned()))
        } else {
            let detail = "the header Idempotency-Key must be one of 1 to 255 printable ASCII characters";
            Err(problem("invalid", detail))
        }
    }
}

fn problem(what: &str, detail: &str) -> Problem {
    let (slug, title) = (format!("idempotency-key-{what}"), format!("The Idempotency-Key is {what}"));
    Problem::new(StatusCode::BAD_REQUEST, &slug, &title).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Result<IdempotencyKey, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("idempotency-key", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        IdempotencyKey::of(&headers)
    }

    #[test]
    fn an_idempotency_key_has_1_to_255_printable_ascii_characters() {
        let longest = "k".repeat(255);
        for sent in ["k", "an inner space", "~!\"#", longest.as_str()] {
            assert_eq!(key(&[sent]).unwrap().0, sent);
        }
        assert_eq!(key(&[" k "]).unwrap().0, "k");
        let too_long = "k".repeat(256);
        for (sent, kind) in [
            (vec![], "urn:tidings:problem:idempotency-key-missing"),
            (vec![""], "urn:tidings:problem:idempotency-key-invalid"),
            (vec!["schlüssel"], "urn:tidings:problem:idempotency-key-invalid"),
            (vec!["a\tb"], "urn:tidings:problem:idempotency-key-invalid"),
            (vec!["one", "two"], "urn:tidings:problem:idempotency-key-invalid"),
            (vec![too_long.as_str()], "urn:tidings:problem:idempotency-key-invalid"),
        ] {
            assert_eq!(key(&sent).unwrap_err().kind, kind, "{sent:?}");
        }
    }
}
