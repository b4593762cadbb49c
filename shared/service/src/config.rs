//! A service's configuration: defaults < TOML file (`--config`) < environment (`TIDINGS_<SECTION>__<KEY>`).

mod command_line;
mod error;
mod load;
mod nearest;
mod redact;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use database::Bounds;
use inbox::ConsumerConfig;
use messaging::KafkaConfig;
use outbox::RelayConfig;
use redaction::Secret;
use serde::{Deserialize, Serialize};
use telemetry::TelemetryConfig;

pub use command_line::CommandLine;
pub use error::ConfigError;
pub use load::Settings;

/// The sections that every service has.
#[derive(Clone, Serialize)]
pub struct Common {
    /// The HTTP edge.
    pub http: HttpConfig,
    /// The service's own database.
    pub database: DatabaseConfig,
    /// The brokers.
    pub kafka: KafkaConfig,
    /// The schema registry.
    pub registry: RegistrySection,
    /// The business topics.
    pub topics: TopicsConfig,
    /// The relay from the outbox to the broker.
    pub outbox: RelayConfig,
    /// How events are applied.
    pub consumer: ConsumerConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Start and end.
    pub lifecycle: LifecycleConfig,
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact::debug(self))
    }
}

impl Common {
    pub(crate) fn database_bounds(&self) -> Bounds {
        let request_ms = self.database.request_timeout_ms.min(self.http.request_timeout_ms / 4 * 3);
        Bounds {
            work: Duration::from_millis(self.database.work_timeout_ms),
            request: Duration::from_millis(request_ms),
        }
    }
}

impl Common {
    /// The defaults of the service `name`, which listens on `listen`.
    pub fn defaults(name: &str, listen: &str) -> Self {
        Self {
            http: HttpConfig { listen: listen.to_owned(), ..HttpConfig::default() },
            database: DatabaseConfig {
                url: format!("postgres://127.0.0.1:5432/tidings_{name}").into(),
                ..DatabaseConfig::default()
            },
            kafka: KafkaConfig { client_id: name.to_owned(), ..KafkaConfig::default() },
            registry: RegistrySection::default(),
            topics: TopicsConfig::default(),
            outbox: RelayConfig::default(),
            consumer: ConsumerConfig::default(),
            telemetry: TelemetryConfig::default(),
            lifecycle: LifecycleConfig::default(),
        }
    }
}

/// `[http]`: where the service listens, and what bounds its requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port of the HTTP API.
    pub listen: String,
    /// Allows an address that is not loopback. The API does not authenticate, so set this only behind something that
    /// does, or in a closed network.
    pub allow_insecure: bool,
    /// Host names of the service, separated by commas, besides `localhost` and addresses; `.example.org` allows all names
    /// below that domain. Requests to other names get 421, except for health and metrics.
    pub allowed_hosts: String,
    /// Time limit of a request once its body has arrived; a longer one gets 504. `Prefer: wait=N` adds N seconds to
    /// `POST /orders`.
    pub request_timeout_ms: u64,
    /// The largest request body; a larger one gets 413.
    pub max_body_bytes: usize,
    /// Maximum number of requests in flight; further ones get 503 with `Retry-After`.
    pub max_in_flight: usize,
    /// Maximum number of open connections, half of them for one address. Further ones get health and metrics, and 503 for anything
    /// else.
    pub max_connections: usize,
    /// Time limit for a client to send the head of a request.
    pub header_timeout_ms: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            allow_insecure: false,
            allowed_hosts: String::new(),
            request_timeout_ms: 10_000,
            max_body_bytes: 1024 * 1024,
            max_in_flight: 256,
            max_connections: 2_048,
            header_timeout_ms: 10_000,
        }
    }
}

/// `[database]`: the service's own PostgreSQL database.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Connection URL. It may have a password; `url_file` keeps the whole URL in a file.
    pub url: Secret,
    /// Whether a start applies the migrations. If not, `--migrate` applies them as a step of its own, and a start only
    /// checks the schema.
    pub migrate: bool,
    /// Maximum number of connections in the pool.
    pub max_connections: usize,
    /// Time limit of a batch or a worker's step, with the wait for a connection. A statement may take two thirds of it, and wait for
    /// a lock one third.
    pub work_timeout_ms: u64,
    /// The same for requests: at most three quarters of `http.request_timeout_ms`, so that the outcome is known before the
    /// request times out.
    pub request_timeout_ms: u64,
    #[serde(skip_serializing)]
    acquire_timeout_ms: Option<u64>,
    #[serde(skip_serializing)]
    statement_timeout_ms: Option<u64>,
    #[serde(skip_serializing)]
    lock_timeout_ms: Option<u64>,
    #[serde(skip_serializing)]
    idle_in_transaction_session_timeout_ms: Option<u64>,
}

impl DatabaseConfig {
    /// Warns of settings that the release before this one had: they are taken, without effect, and gone in the next.
    pub(crate) fn warn_of_former(&self) {
        for (name, value) in [
            ("acquire_timeout_ms", self.acquire_timeout_ms),
            ("statement_timeout_ms", self.statement_timeout_ms),
            ("lock_timeout_ms", self.lock_timeout_ms),
            ("idle_in_transaction_session_timeout_ms", self.idle_in_transaction_session_timeout_ms),
        ] {
            if value.is_some() {
                tracing::warn!(
                    "database.{name} has no effect; see database.work_timeout_ms and database.request_timeout_ms"
                );
            }
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::from("postgres://127.0.0.1:5432/tidings"),
            migrate: true,
            max_connections: 16,
            work_timeout_ms: 12_000,
            request_timeout_ms: 6_000,
            acquire_timeout_ms: None,
            statement_timeout_ms: None,
            lock_timeout_ms: None,
            idle_in_transaction_session_timeout_ms: None,
        }
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("url", &self.url)
            .field("migrate", &self.migrate)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// `[registry]`: the schema registry with the Confluent API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySection {
    /// Base URL of the registry.
    pub url: Secret,
    /// Whether a start registers missing schemas. If not, it only looks them up, and fails if one is missing.
    pub auto_register_schemas: bool,
}

impl Default for RegistrySection {
    fn default() -> Self {
        Self { url: Secret::from("http://127.0.0.1:8085"), auto_register_schemas: true }
    }
}

/// `[topics]`: the business topics of this deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsConfig {
    /// Prefix of topic and consumer group names.
    pub prefix: String,
    /// Replication factor of topics that the service creates; 3 in production.
    pub replication_factor: i32,
    /// The broker's limit for a message with its headers; larger events are rejected before the commit.
    pub max_message_bytes: usize,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self { prefix: "tidings".to_owned(), replication_factor: 1, max_message_bytes: 1_000_000 }
    }
}

/// `[lifecycle]`: how long start and end may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifecycleConfig {
    /// Time limit for a start to wait for the database, the broker and the registry.
    pub start_timeout_ms: u64,
    /// Time limit for requests and batches in flight when the service stops.
    pub grace_ms: u64,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self { start_timeout_ms: 60_000, grace_ms: 20_000 }
    }
}

impl LifecycleConfig {
    pub(crate) const fn start_timeout(&self) -> Duration {
        Duration::from_millis(self.start_timeout_ms)
    }

    pub(crate) const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}
