//! Reads a request's body, whole and within a limit, before anything answers: a client that is still writing when the
//! connection closes sees a broken pipe instead of the answer (RFC 9112, section 9.6).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;

use super::Problem;

/// How many times the limit is read and thrown away for a client that may then see its 413.
const DRAIN_FACTOR: u64 = 16;

/// Hands on requests whose bodies are complete and at most `limit` bytes long.
pub(super) async fn read_whole(State(limit): State<usize>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match read(&parts.headers, body, limit).await {
        Ok(bytes) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(problem) => problem.into_response(),
    }
}

async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let most = (limit as u64).saturating_mul(DRAIN_FACTOR);
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or_default();
    // A client that asks first has sent nothing yet.
    let asks_first = headers.contains_key(header::EXPECT);
    if announced > most || (asks_first && announced > limit as u64) {
        return Err(Problem::too_large(limit));
    }
    let mut stream = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Problem::unreadable(error.to_string()))?;
        length += chunk.len() as u64;
        if length <= limit as u64 {
            kept.extend_from_slice(&chunk);
        } else if length <= most {
            kept = BytesMut::new();
        } else {
            break;
        }
    }
    if length > limit as u64 { Err(Problem::too_large(limit)) } else { Ok(kept.freeze()) }
}
