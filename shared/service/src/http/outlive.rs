//! A handler outlives its request: it runs in a task of its own, so that a client that disconnects stops no transaction between
//! its statements (docs/adr/0020). What runs in a connection's future all the same opens no transaction: the body of a streamed response,
//! a handler that has given its place back, a probe. `tests/architecture` checks it.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::InFlight;

/// Runs the handler to its end, whatever becomes of the request. It keeps the request's place among those in flight until then, so
/// that abandoned work is bounded by the same number.
pub(super) async fn outlive(State(tasks): State<TaskTracker>, request: Request, next: Next) -> Response {
    let place = request.extensions().get::<InFlight>().cloned();
    let kept = place.clone();
    let handler = async move {
        let response = next.run(request).await;
        drop(kept);
        response
    };
    let task = tasks.spawn(handler.in_current_span());
    let _waiting = Waiting { task: task.abort_handle(), place };
    match task.await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime cancels it earlier.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Whoever waits for a handler. A handler that has given its place back only waits itself, and ends with the request.
struct Waiting {
    task: AbortHandle,
    place: Option<InFlight>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.place.as_ref().is_some_and(InFlight::is_released) {
            self.task.abort();
        }
    }
}
