//! The gauges that need the database: read every few seconds by one task, never while they are scraped.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::clock;
use database::{Database, Operation, Status};
use metrics::{counter, gauge};
use outbox::Backlog;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::panics::caught;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// Asking may take one part in so many of the time: a count over a long backlog must not become a load of its own.
const SHARE: u32 = 50;

/// The longest pause, whatever asking took.
const LONGEST: Duration = Duration::from_secs(120);

/// Gauges of a service's own that need its database: one or two cheap, indexed statements.
#[async_trait]
pub trait Sampler: Send + Sync + 'static {
    /// Reads and sets them.
    ///
    /// # Errors
    /// When the database does not answer; it is asked again later.
    async fn sample(&self) -> anyhow::Result<()>;
}

/// Samples until `shutdown`.
pub(super) async fn run(database: Database, samplers: Vec<Arc<dyn Sampler>>, shutdown: CancellationToken) {
    let failures = counter!("worker_failures_total", "worker" => "sampling");
    loop {
        let began = Instant::now();
        let sampled = tokio::select! {
            () = shutdown.cancelled() => return,
            sampled = caught("sampling", sample(&database, &samplers)) => sampled,
        };
        if let Err(error) = sampled {
            failures.increment(1);
            tracing::debug!(error = format!("{error:#}"), "gauges were not read and keep their last values");
        }
        let pause = EVERY.max(began.elapsed() * SHARE).min(LONGEST);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn sample(database: &Database, samplers: &[Arc<dyn Sampler>]) -> anyhow::Result<()> {
    show_pool(database.status());
    let backlog =
        database.transaction(Operation::Sample, |mut tx| async move { Backlog::read(&mut tx).await });
    backlog.await?.show();
    for sampler in samplers {
        sampler.sample().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    gauge!("metrics_sampled_timestamp_seconds").set(clock::now().timestamp_millis() as f64 / 1_000.0);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "gauges")]
fn show_pool(Status { max, open, idle }: Status) {
    gauge!("database_pool_connections", "state" => "idle").set(idle as f64);
    gauge!("database_pool_connections", "state" => "in_use").set(open.saturating_sub(idle) as f64);
    gauge!("database_pool_max_connections").set(max as f64);
}
