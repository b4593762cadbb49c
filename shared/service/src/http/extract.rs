//! Extractors whose refusals are problem details.

use std::fmt::Display;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::{Path as FaultPath, Segment};

use super::objects::Objects;
use super::{Fault, Problem, media_type};

/// A JSON body. Refused are: another content type (415), malformed JSON (400), and JSON
/// that does not fit `T`, unknown fields included if `T` denies them (422, with the JSON pointer).
///
/// As an answer it is plain `application/json`.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !media_type::is_json(request.headers()) {
            return Err(media_type::unsupported("send the body as content-type: application/json, in UTF-8"));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::unreadable(rejection.body_text()))?;
        parse(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The query string. Refused with 400 when it does not fit `T`.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-query",
                "The query string can't be understood",
            )
            .detail(rejection.body_text())),
        }
    }
}

/// The variable parts of the path. Refused with 400 when they do not fit `T`.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(rejection) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-path", "The path can't be understood")
                    .detail(rejection.body_text()))
            }
        }
    }
}

/// JSON into `T`.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let malformed = |error: &dyn Display| {
        Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "The body is not JSON")
            .detail(error.to_string())
    };
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    // Reads all of it and keeps nothing, so that what `T` skips is JSON too.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(&error))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(Objects(&mut deserializer)).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        if error.is_data() {
            let detail = without_position(&error.to_string());
            Problem::validation(vec![Fault { pointer, detail }])
        } else {
            malformed(&error)
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// A JSON pointer (RFC 6901).
fn pointer(path: &FaultPath) -> String {
    let mut pointer = String::new();
    for segment in path {
        let step = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escaped(key),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&step);
    }
    pointer
}

/// A name as a segment of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The pointer says where; line and column would only say it again.
fn without_position(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "only its parsing is tested")]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[expect(dead_code, reason = "only its parsing is tested")]
        quantity: u32,
    }

    #[test]
    fn faults_are_told_from_malformed_json_and_point_to_their_place() {
        for (body, status, place) in [
            (r#"{"items":[{"quantity":1},{"quantity":"x"}]}"#, 422, "/items/1/quantity"),
            (r#"{"items":[{"quantity":-1}]}"#, 422, "/items/0/quantity"),
            (r#"{"items":[{"quantity":1,"colour":"red"}]}"#, 422, "/items/0/colour"),
            (r#"{"items":[],"a/b":1}"#, 422, "/a~1b"),
            (r#"{"items":[{}]}"#, 422, "/items/0"),
            ("[]", 422, ""),
            (r#"{"items":"#, 400, ""),
            (r#"{"items":[]} {}"#, 400, ""),
            ("", 400, ""),
        ] {
            let problem = parse::<Order>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.status, status, "{body}");
            let pointer = problem.errors.first().map_or("", |fault| fault.pointer.as_str());
            assert_eq!(pointer, place, "{body}: {problem:?}");
        }
    }
}
