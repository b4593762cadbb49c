//! A service's parts; the wiring reads as a list.

use std::sync::Arc;

use async_trait::async_trait;
use contracts::topics::PARTITIONS;
use contracts::{AnyEvent, Codec};
use database::Database;
use events::{AvroDecoder, topics_of};
use inbox::{Consumer, ConsumerConfig, ConsumerStatus, Parts, Redrive, Subscriptions, UnitOfWork};
use messaging::Bus;
use tokio_util::sync::CancellationToken;

use super::{Progress, Sampler};

/// Something that runs beside HTTP and the consumers: a timer, a saga, a mailer.
#[async_trait]
pub trait Worker: Send + 'static {
    /// What logs, metrics and health call it.
    fn name(&self) -> &'static str;

    /// Runs until `shutdown`. Handles its own retries; an error restarts it with back-off and shows in health. Reports to
    /// `progress` whenever it has completed something or found nothing to do, at least every few seconds: a worker that
    /// does not is stalled.
    ///
    /// # Errors
    /// Whatever it could not handle.
    async fn run(&mut self, progress: Progress, shutdown: CancellationToken) -> anyhow::Result<()>;
}

/// A service's parts.
#[derive(Default)]
pub struct Service {
    pub(super) consumer: Option<Consumption>,
    pub(super) workers: Vec<Box<dyn Worker>>,
    pub(super) samplers: Vec<Arc<dyn Sampler>>,
    pub(super) routes: axum::Router,
    pub(super) openapi: utoipa::openapi::OpenApi,
}

impl Service {
    /// No parts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies events by these subscriptions, one transaction per batch. A service is one consumer group.
    #[must_use]
    pub fn consumes<W: UnitOfWork<Event = AnyEvent>>(
        mut self,
        subscriptions: Subscriptions<W>,
        deps: W::Deps,
    ) -> Self {
        self.consumer = Some(Consumption::new(subscriptions, deps));
        self
    }

    /// Runs this worker beside the rest.
    #[must_use]
    pub fn worker(mut self, worker: impl Worker) -> Self {
        self.workers.push(Box::new(worker));
        self
    }

    /// Reads these gauges every few seconds.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler) -> Self {
        self.samplers.push(Arc::new(sampler));
        self
    }

    /// Serves these routes beside `/`, `/health/live`, `/health/ready`, `/metrics` and the API's documentation.
    #[must_use]
    pub fn http(mut self, routes: axum::Router, openapi: utoipa::openapi::OpenApi) -> Self {
        self.routes = routes;
        self.openapi = openapi;
        self
    }
}

/// What a consumer needs that every consumer has.
pub(super) struct ConsumerDeps {
    pub(super) database: Database,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) codec: Arc<Codec>,
    pub(super) group: String,
    pub(super) config: ConsumerConfig,
    pub(super) on_commit: Arc<dyn Fn() + Send + Sync>,
}

/// A consumer ready to run.
pub(super) struct Runnable {
    pub(super) status: ConsumerStatus,
    pub(super) redrive: Redrive,
    pub(super) consumer: Consumer,
}

/// Subscriptions that become a consumer once its dependencies are known.
pub(super) struct Consumption {
    pub(super) event_types: Vec<&'static str>,
    pub(super) build: Box<dyn FnOnce(ConsumerDeps) -> Runnable + Send>,
}

impl Consumption {
    fn new<W: UnitOfWork<Event = AnyEvent>>(subscriptions: Subscriptions<W>, deps: W::Deps) -> Self {
        let event_types: Vec<&'static str> = subscriptions.event_types().collect();
        let build = Box::new(move |common: ConsumerDeps| {
            let consumer = Consumer::new(Parts {
                database: common.database,
                bus: common.bus,
                topics: topics_of(&subscriptions, common.codec.topics()),
                partitions: PARTITIONS,
                decoder: AvroDecoder::new(common.codec),
                subscriptions,
                deps,
                group: common.group,
                config: common.config,
                on_commit: common.on_commit,
            });
            let (status, redrive) = (consumer.status(), consumer.redrive());
            Runnable { status, redrive, consumer }
        });
        Self { event_types, build }
    }
}
