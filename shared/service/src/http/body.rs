//! Reads a request's body, whole and within its limits, before anything answers: a client that is still writing when the
//! connection closes sees a broken pipe instead of the answer (RFC 9112, section 9.6).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Problem;
use super::bounds::{BODY_TIMEOUT, MAX_BODY_BYTES_HELD};
use super::limits::{HeldBytes, overloaded};

/// How many times the limit is read and thrown away for a client that may then see its 413.
const DRAIN_FACTOR: u64 = 16;

/// The bounds of bodies: of each, and of all that are held at once.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    limit: usize,
    /// A permit per byte.
    held: Arc<Semaphore>,
}

impl Bodies {
    /// Bodies of at most `limit` bytes each.
    pub(super) fn new(limit: usize) -> Self {
        let held = MAX_BODY_BYTES_HELD.max(limit).min(Semaphore::MAX_PERMITS);
        Self { limit, held: Arc::new(Semaphore::new(held)) }
    }

    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, HeldBytes), Problem> {
        let most = (self.limit as u64).saturating_mul(DRAIN_FACTOR);
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
            .unwrap_or_default();
        // A client that asks first has sent nothing yet.
        let asks_first = headers.contains_key(header::EXPECT);
        if announced > most || (asks_first && announced > self.limit as u64) {
            return Err(Problem::too_large(self.limit));
        }
        let mut stream = body.into_data_stream();
        let mut kept = Kept::default();
        let mut refused = None;
        let mut length = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| Problem::unreadable(error.to_string()))?;
            length += chunk.len() as u64;
            if length > most {
                break;
            }
            if refused.is_none()
                && let Err(problem) = self.keep(&mut kept, &chunk)
            {
                refused = Some(problem);
                kept = Kept::default();
            }
        }
        match refused {
            _ if length > self.limit as u64 => Err(Problem::too_large(self.limit)),
            Some(problem) => Err(problem),
            None => Ok((kept.bytes.freeze(), HeldBytes::new(kept.permit))),
        }
    }

    /// What has arrived is counted, not what was announced: a client that sends slowly takes nothing from others.
    fn keep(&self, kept: &mut Kept, chunk: &Bytes) -> Result<(), Problem> {
        if kept.bytes.len() + chunk.len() > self.limit {
            return Err(Problem::too_large(self.limit));
        }
        let permits = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.held)
            .try_acquire_many_owned(permits)
            .map_err(|_| overloaded("Too many bytes of requests are held"))?;
        match &mut kept.permit {
            Some(earlier) => earlier.merge(permit),
            None => kept.permit = Some(permit),
        }
        kept.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

/// What has been read of a body.
#[derive(Default)]
struct Kept {
    bytes: BytesMut,
    permit: Option<OwnedSemaphorePermit>,
}

/// Hands on requests whose bodies are complete, each within its limit and all within theirs.
pub(super) async fn read_whole(State(bodies): State<Bodies>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIMEOUT, bodies.read(&parts.headers, body)).await {
        Ok(Ok((bytes, held))) => {
            parts.extensions.insert(held);
            next.run(Request::from_parts(parts, Body::from(bytes))).await
        }
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => away().into_response(),
    }
}

/// The body did not arrive in time (408); the connection is of no use any more.
fn away() -> impl IntoResponse {
    let detail = format!("the whole body is sent within {} s; nothing was done", BODY_TIMEOUT.as_secs());
    let problem =
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body did not arrive in time")
            .detail(detail);
    ([(header::CONNECTION, HeaderValue::from_static("close"))], problem)
}
