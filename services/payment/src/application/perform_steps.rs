//! The saga's worker: takes due steps under a lease, performs them at the provider, stores the answers.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use telemetry::spans;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::provider::{Provider, perform};
use super::record_reports::{Leased, Performed};

/// The database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the saga's steps could not be {action}")]
pub struct StoreError {
    /// `leased` or `recorded`.
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

    /// Stores what was brought back, publishes what follows from it, and leases at once the steps that are now due if
    /// `go_on` says so.
    async fn record(&self, performed: &[Performed], go_on: bool) -> Result<Vec<Leased>, StoreError>;
}

/// How the worker works.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings {
    /// Calls under way at once.
    pub concurrency: usize,
    /// The longest that one call may take.
    pub call_timeout: Duration,
    /// How often to look for due steps when nobody wakes the worker.
    pub poll_interval: Duration,
    /// How long an answer is kept while the database can't take it.
    pub patience: Duration,
}

/// Performs the saga's steps. Any number of them may run, in any number of processes.
#[derive(Debug)]
pub struct SagaWorker {
    store: Arc<dyn SagaStore>,
    provider: Arc<dyn Provider>,
    wake: Arc<Notify>,
    settings: WorkerSettings,
}

type Calls = JoinSet<Performed>;

impl SagaWorker {
    /// A worker that looks for steps when `wake` says so, and from time to time.
    #[must_use]
    pub fn new(
        store: Arc<dyn SagaStore>,
        provider: Arc<dyn Provider>,
        wake: Arc<Notify>,
        settings: WorkerSettings,
    ) -> Self {
        Self { store, provider, wake, settings }
    }

    fn start(&self, calls: &mut Calls, steps: Vec<Leased>) {
        for leased in steps {
            let (provider, timeout) = (Arc::clone(&self.provider), self.settings.call_timeout);
            let step = leased.task.step();
            let span = spans::step(&step.to_string(), &leased.payment.order_id.0, &leased.trace);
            let call = async move {
                let report = perform(provider.as_ref(), &leased.payment, leased.task, timeout).await;
                Performed { order_id: leased.payment.order_id, lease_id: leased.lease_id, step, report }
            };
            calls.spawn(call.instrument(span));
        }
    }

    /// Stores the answers. While the database is away they are kept, for as long as `patience` says; after that the
    /// leases end and the steps are resolved by their keys.
    async fn record(&self, performed: &[Performed], go_on: bool) -> Result<Vec<Leased>, StoreError> {
        let give_up = Instant::now() + self.settings.patience;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.store.record(performed, go_on).await {
                Ok(next) => return Ok(next),
                Err(error) if Instant::now() + pause >= give_up => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        answers = performed.len(),
                        "answers of the provider wait for the database"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    async fn finish(&self, calls: &mut Calls) -> Result<(), StoreError> {
        while let Some(performed) = next_answers(calls).await {
            self.record(&performed, false).await?;
        }
        Ok(())
    }
}

/// Waits for an answer and takes all that have come by then. `None` when no call is under way.
async fn next_answers(calls: &mut Calls) -> Option<Vec<Performed>> {
    let mut performed = Vec::new();
    let mut take = |answer: Result<Performed, tokio::task::JoinError>| match answer {
        Ok(answer) => performed.push(answer),
        Err(error) => {
            tracing::error!(%error, "a provider call died; its step is resolved when the lease ends");
        }
    };
    take(calls.join_next().await?);
    while let Some(answer) = calls.try_join_next() {
        take(answer);
    }
    Some(performed)
}

#[async_trait]
impl service::Worker for SagaWorker {
    fn name(&self) -> &'static str {
        "saga"
    }

    async fn run(&mut self, progress: service::Progress, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.provider.prepare().await?;
        let mut calls = Calls::new();
        let mut poll = tokio::time::interval(self.settings.poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut more = true;
        while !shutdown.is_cancelled() {
            let free = self.settings.concurrency.saturating_sub(calls.len());
            if more && free * 4 >= self.settings.concurrency {
                let steps = self.store.lease(free).await?;
                more = steps.len() == free;
                if steps.is_empty() && calls.is_empty() {
                    progress.idle();
                }
                self.start(&mut calls, steps);
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(performed) = next_answers(&mut calls) => {
                    let next = self.record(&performed, !shutdown.is_cancelled()).await?;
                    self.start(&mut calls, next);
                    progress.moved();
                }
                () = self.wake.notified() => more = true,
                _ = poll.tick() => more = true,
            }
        }
        Ok(self.finish(&mut calls).await?)
    }
}
