//! The saga's worker: takes due steps under a lease, performs them at the provider, stores the answers.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use service::leases::{Contact, LeaseWorker, LeasedWork, Settings};
use telemetry::spans;
use tokio::sync::Notify;
use tracing::Instrument;

use super::provider::{Provider, perform};
use super::record_reports::{Leased, Performed};

/// The database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the saga's steps could not be {action}")]
pub struct StoreError {
    /// `leased`, `counted` or `recorded`.
    pub action: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Where due steps are kept.
#[async_trait]
pub trait SagaStore: Debug + Send + Sync {
    /// Leases at most `limit` due steps; steps leased by others are skipped until their lease ends.
    async fn lease(&self, limit: usize) -> Result<Vec<Leased>, StoreError>;

    /// Whether a step is due, or waits for another attempt.
    async fn is_waiting(&self) -> Result<bool, StoreError>;

    /// Stores what was brought back, publishes what follows from it, and leases at once the steps that are now due if
    /// `go_on` says so.
    async fn record(&self, performed: &[Performed], go_on: bool) -> Result<Vec<Leased>, StoreError>;
}

/// What the worker does: the saga's steps under leases, performed at a provider.
#[derive(Debug)]
pub struct SagaSteps {
    store: Arc<dyn SagaStore>,
    provider: Arc<dyn Provider>,
    call_timeout: Duration,
}

/// Performs the saga's steps. Any number of them may run, in any number of processes.
pub type SagaWorker = LeaseWorker<SagaSteps>;

/// A worker that looks for steps when `wake` says so, and from time to time.
#[must_use]
pub fn saga_worker(
    store: Arc<dyn SagaStore>,
    provider: Arc<dyn Provider>,
    wake: Arc<Notify>,
    settings: Settings,
) -> SagaWorker {
    LeaseWorker::new(SagaSteps { store, provider, call_timeout: settings.call_timeout }, wake, settings)
}

#[async_trait]
impl LeasedWork for SagaSteps {
    type Item = Leased;
    type Outcome = Performed;

    fn name(&self) -> &'static str {
        "saga"
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        self.provider.prepare().await
    }

    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<Leased>> {
        Ok(self.store.lease(limit).await?)
    }

    async fn is_waiting(&self) -> anyhow::Result<bool> {
        Ok(self.store.is_waiting().await?)
    }

    async fn perform(self: Arc<Self>, leased: Leased) -> (Contact, Performed) {
        let Leased { payment, task, lease_id, trace } = leased;
        let step = task.step();
        let span = spans::step(&step.to_string(), &payment.order_id.0, &trace);
        let call = async move {
            let (contact, report) = perform(self.provider.as_ref(), &payment, task, self.call_timeout).await;
            (contact, Performed { order_id: payment.order_id, lease_id, step, report })
        };
        call.instrument(span).await
    }

    async fn record(&self, performed: &[Performed], go_on: bool) -> anyhow::Result<Vec<Leased>> {
        Ok(self.store.record(performed, go_on).await?)
    }
}
