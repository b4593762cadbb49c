//! The gauges that need the database: read every few seconds by one task, never while they are scraped.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::ambient;
use metrics::{counter, gauge, histogram};
use outbox::Backlog;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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
pub(super) async fn run(pool: PgPool, samplers: Vec<Arc<dyn Sampler>>, shutdown: CancellationToken) {
    let failures = counter!("worker_failures_total", "worker" => "sampling");
    loop {
        let began = Instant::now();
        let sampled = tokio::select! {
            () = shutdown.cancelled() => return,
            sampled = sample(&pool, &samplers) => sampled,
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

async fn sample(pool: &PgPool, samplers: &[Arc<dyn Sampler>]) -> anyhow::Result<()> {
    show_pool(pool);
    let began = Instant::now();
    let connection = pool.acquire().await;
    histogram!("database_pool_acquire_duration_seconds").record(began.elapsed().as_secs_f64());
    drop(connection?);
    Backlog::read(pool).await?.show();
    for sampler in samplers {
        sampler.sample().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    gauge!("metrics_sampled_timestamp_seconds").set(ambient::now().timestamp_millis() as f64 / 1_000.0);
    Ok(())
}

fn show_pool(pool: &PgPool) {
    let (size, idle) = (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
    gauge!("database_pool_connections", "state" => "idle").set(idle);
    gauge!("database_pool_connections", "state" => "in_use").set(size.saturating_sub(idle));
    gauge!("database_pool_max_connections").set(pool.options().get_max_connections());
}
