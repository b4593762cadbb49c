//! Keeps workers running: one that fails is started again, later each time, and health shows it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Progress, Worker};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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
        let outcome = worker.run(progress.clone(), shutdown.clone()).await;
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
        let reason = outcome.map_or_else(|error| format!("{error:#}"), |()| "it ended unasked".to_owned());
        tracing::error!(worker = name, failures, reason, "a worker failed and is started again");
        metrics::counter!("worker_failures_total", "worker" => name).increment(1);
        progress.failed(Some(format!("failure {failures}: {reason}")));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause(failures, rand::random())) => {}
        }
    }
}

/// Doubles from failure to failure up to a bound; `jitter` in 0..=1 takes up to half of it away.
fn pause(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_PAUSE * 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        assert_eq!(pause(1, 1.0), FIRST_PAUSE);
        assert_eq!(pause(2, 1.0), FIRST_PAUSE * 2);
        assert_eq!(pause(100, 1.0), LONGEST_PAUSE);
        assert_eq!(pause(100, 0.0), LONGEST_PAUSE / 2);
    }
}
