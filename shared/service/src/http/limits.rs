//! What bounds every request: time, and how many are answered at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

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
pub struct InFlight(Arc<Admitted>);

#[derive(Debug)]
struct Admitted {
    held: Mutex<Option<Held>>,
    longer_ms: AtomicU64,
}

/// What a request takes from others.
#[derive(Debug)]
struct Held {
    _permit: OwnedSemaphorePermit,
    _bytes: Option<HeldBytes>,
}

/// The bytes of a request's body, counted among those held until this is dropped.
#[derive(Clone, Debug)]
pub(super) struct HeldBytes {
    _permit: Arc<Option<OwnedSemaphorePermit>>,
}

impl HeldBytes {
    pub(super) fn new(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { _permit: Arc::new(permit) }
    }
}

impl InFlight {
    fn new(permit: OwnedSemaphorePermit, bytes: Option<HeldBytes>) -> Self {
        let held = Mutex::new(Some(Held { _permit: permit, _bytes: bytes }));
        Self(Arc::new(Admitted { held, longer_ms: AtomicU64::new(0) }))
    }

    /// Releases the permit before the answer. From now on the handler may be dropped where it waits.
    pub fn release(&self) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Adds `longer` to the request's time limit: the route honours its `Prefer: wait`.
    pub fn prolong(&self, longer: Duration) {
        let longer_ms = u64::try_from(longer.min(LONGEST_WAIT).as_millis()).unwrap_or_default();
        self.0.longer_ms.store(longer_ms, Ordering::Relaxed);
    }

    fn longer(&self) -> Duration {
        Duration::from_millis(self.0.longer_ms.load(Ordering::Relaxed))
    }

    pub(super) fn is_released(&self) -> bool {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).is_none()
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

/// The answer when the service is full (503): nothing was done.
pub(super) fn overloaded(title: &str) -> Problem {
    metrics::counter!("http_requests_rejected_total", "reason" => OVERLOADED).increment(1);
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, OVERLOADED, title)
        .detail("nothing was done; try again")
        .retry_after_s(RETRY_AFTER_S)
}

/// Rejects requests when too many are in flight (503: nothing was done), and gives up on those that take too long
/// (504: what was begun may still happen, so repeat it with the same Idempotency-Key).
pub(super) async fn limit(State(limits): State<Limits>, mut request: Request, next: Next) -> Response {
    let Ok(permit) = Arc::clone(&limits.in_flight).try_acquire_owned() else {
        return overloaded("Too many requests are in flight").into_response();
    };
    let in_flight = InFlight::new(permit, request.extensions_mut().remove());
    request.extensions_mut().insert(in_flight.clone());
    let begun = Instant::now();
    let mut bound = limits.request_timeout;
    let mut answer = std::pin::pin!(next.run(request));
    loop {
        if let Ok(answer) = tokio::time::timeout_at(begun + bound, &mut answer).await {
            return answer;
        }
        let prolonged = limits.request_timeout + in_flight.longer();
        if prolonged <= bound {
            return too_long(bound).into_response();
        }
        bound = prolonged;
    }
}

fn too_long(bound: Duration) -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The request took too long").detail(format!(
        "no answer within {} ms; the outcome is unknown: repeat the request with the same Idempotency-Key where there is one",
        bound.as_millis()
    ))
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
