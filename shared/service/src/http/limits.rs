//! What bounds every request: time, and how many are answered at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Problem;
use crate::config::HttpConfig;

/// The longest wait that a client may prefer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// When a client that was rejected should come back.
const RETRY_AFTER_S: u32 = 1;

/// The bounds of one HTTP edge.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    in_flight: Arc<Semaphore>,
    request_timeout: Duration,
}

impl Limits {
    pub(super) fn new(config: &HttpConfig) -> Self {
        metrics::counter!("http_requests_rejected_total", "reason" => OVERLOADED).increment(0);
        Self {
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
            request_timeout: Duration::from_millis(config.request_timeout_ms),
        }
    }
}

/// The in-flight permit of a request; an extension of every request. A handler that has done its work and only waits
/// (`Prefer: wait`) releases it, and is then bounded by a limit of its own.
#[derive(Clone, Debug)]
pub struct InFlight(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl InFlight {
    /// Releases the permit before the answer. From now on the handler may be dropped where it waits.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn is_released(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// How long the client prefers to wait (`Prefer: wait=N`, RFC 7240), at most 30 s.
pub fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            let seconds = value.trim().trim_matches('"').parse().ok()?;
            let wait = name.trim().eq_ignore_ascii_case("wait").then_some(Duration::from_secs(seconds))?;
            Some(wait.min(LONGEST_WAIT))
        })
}

/// Why a request is answered without being looked at.
pub(crate) const OVERLOADED: &str = "overloaded";

/// Rejects requests when too many are in flight (503: nothing was done), and gives up on those that take too long
/// (504: what was begun may still happen, so repeat it with the same Idempotency-Key).
pub(super) async fn limit(State(limits): State<Limits>, mut request: Request, next: Next) -> Response {
    let Ok(permit) = Arc::clone(&limits.in_flight).try_acquire_owned() else {
        metrics::counter!("http_requests_rejected_total", "reason" => OVERLOADED).increment(1);
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, OVERLOADED, "Too many requests are in flight")
            .detail("nothing was done; try again")
            .retry_after_s(RETRY_AFTER_S)
            .into_response();
    };
    let permit = InFlight(Arc::new(Mutex::new(Some(permit))));
    request.extensions_mut().insert(permit);
    let bound = limits.request_timeout + preferred_wait(request.headers()).unwrap_or_default();
    tokio::time::timeout(bound, next.run(request)).await.unwrap_or_else(|_| {
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The request took too long")
            .detail(format!(
                "no answer within {} ms; the outcome is unknown: repeat the request with the same \
                 Idempotency-Key where there is one",
                bound.as_millis()
            ))
            .into_response()
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn preferences_are_read_as_rfc_7240_writes_them() {
        for (value, seconds) in [
            ("wait=5", Some(5)),
            ("respond-async, Wait = \"7\"", Some(7)),
            ("wait=600", Some(30)),
            ("wait=-1", None),
            ("handling=lenient", None),
        ] {
            let headers =
                HeaderMap::from_iter([("prefer".parse().unwrap(), HeaderValue::from_static(value))]);
            assert_eq!(preferred_wait(&headers), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
