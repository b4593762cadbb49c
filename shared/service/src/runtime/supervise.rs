//! Keeps workers running: one that fails or panics is started again, later each time, and health shows it.

use std::time::Duration;

use backoff::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::panics::caught;
use super::{Progress, Worker};

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));

/// A worker that ran this long is taken to be healthy: its next failure is a first one.
const HEALTHY: Duration = Duration::from_secs(60);

/// Runs `worker` until `shutdown`.
pub(super) async fn supervise(mut worker: Box<dyn Worker>, progress: Progress, shutdown: CancellationToken) {
    let name = worker.name();
    let mut failures: u32 = 0;
    metrics::counter!("worker_failures_total", "worker" => name).increment(0);
    while !shutdown.is_cancelled() {
        progress.failed(None);
        let started = Instant::now();
        let outcome = caught("the worker", worker.run(progress.clone(), shutdown.clone())).await;
        if shutdown.is_cancelled() {
            if let Err(error) = outcome {
                tracing::warn!(
                    worker = name,
                    error = format!("{error:#}"),
                    "a worker failed while it was stopped"
                );
            }
            return;
        }
        failures = if started.elapsed() >= HEALTHY { 1 } else { failures + 1 };
        let reason = outcome.map_or_else(|error| format!("{error:#}"), |()| "it returned early".to_owned());
        tracing::error!(worker = name, failures, reason, "a worker failed and is started again");
        metrics::counter!("worker_failures_total", "worker" => name).increment(1);
        progress.failed(Some(format!("failure {failures}: {reason}")));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(BACKOFF.jittered(failures, rand::random())) => {}
        }
    }
}
