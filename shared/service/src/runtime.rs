//! From a definition and a wiring function to a running service.

use std::sync::Arc;

use async_trait::async_trait;
use contracts::Codec;
use inbox::{Subscriptions, UnitOfWork};
use messaging::Bus;
use outbox::Outbox;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// What a service is, before any configuration is read.
#[derive(Debug)]
pub struct Definition {
    /// `order`, `inventory`, ...: the name in topics, groups, traces, and of its configuration section.
    pub name: &'static str,
    /// Where it listens unless configured otherwise, such as `127.0.0.1:8080`.
    pub listen: &'static str,
    /// The service's own tables.
    pub migrator: sqlx::migrate::Migrator,
    /// Full names of the events that it publishes.
    pub publishes: &'static [&'static str],
}

/// What wiring may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The service's name.
    pub name: &'static str,
    /// Its database.
    pub pool: PgPool,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Encodes and decodes events.
    pub codec: Arc<Codec>,
    /// Its outbox.
    pub outbox: Outbox,
    /// Cancelled when the service is asked to stop.
    pub shutdown: CancellationToken,
}

/// Something that runs beside HTTP and the consumers: a timer, a saga, a mailer.
#[async_trait]
pub trait Worker: Send + 'static {
    /// What logs, metrics and health call it.
    fn name(&self) -> &'static str;

    /// Runs until `shutdown`. Handles its own retries; an error restarts it with back-off and shows in health.
    ///
    /// # Errors
    /// Whatever it could not handle.
    async fn run(&mut self, shutdown: CancellationToken) -> anyhow::Result<()>;
}

/// A service's parts; the wiring reads as a list.
#[derive(Default)]
pub struct Service {}

impl Service {
    /// No parts yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies events by these subscriptions, one transaction per batch.
    #[must_use]
    pub fn consumes<W: UnitOfWork>(self, subscriptions: Subscriptions<W>, deps: W::Deps) -> Self {
        let _ = (subscriptions, deps);
        self
    }

    /// Runs this worker beside the rest.
    #[must_use]
    pub fn worker(self, worker: impl Worker) -> Self {
        let _ = worker;
        self
    }

    /// Serves these routes beside `/health/live`, `/health/ready`, `/metrics` and the API's documentation.
    #[must_use]
    pub fn http(self, routes: axum::Router, openapi: utoipa::openapi::OpenApi) -> Self {
        let _ = (routes, openapi);
        self
    }
}

/// Parses the command line, reads the configuration, connects, migrates, wires and runs until SIGTERM or Ctrl-C.
/// `C` is the service's own section (`[payment]`), with defaults for every key and `deny_unknown_fields`.
///
/// # Errors
/// When the configuration is wrong or something that the service needs at start-up stays out of reach.
pub fn run<C: DeserializeOwned + Serialize + Default>(
    definition: Definition,
    wire: impl FnOnce(&C, &Deps) -> anyhow::Result<Service>,
) -> anyhow::Result<()> {
    let _ = (definition, wire);
    todo!()
}
