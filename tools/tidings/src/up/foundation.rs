//! What the services stand on: PostgreSQL, a broker, a registry, a receiver of traces; given, or embedded.

use anyhow::Context;
use contracts::topics::{PARTITIONS, Topic, Topics as TopicNames};
use embedded::broker::EmbeddedBroker;
use embedded::otlp::OtlpReceiver;
use embedded::postgres::{PostgresOptions, PrivatePostgres, Storage};
use embedded::registry::EmbeddedRegistry;
use messaging::TopicSpec;

use super::configuration::{Kafka, OtlpProtocol, Telemetry};
use super::connections::{self, Pools};
use super::databases;
use super::options::Options;
use super::process::Say;
use super::reachable;

/// The embedded parts.
#[derive(Default)]
pub(super) struct Foundation {
    pub(super) traces: Option<OtlpReceiver>,
    registry: Option<EmbeddedRegistry>,
    pub(super) broker: Option<EmbeddedBroker>,
    postgres: Option<PrivatePostgres>,
}

/// Where all parts are, embedded or not.
pub(super) struct Addresses {
    pub(super) postgres: String,
    pub(super) pools: Pools,
    pub(super) kafka: Kafka,
    pub(super) registry: String,
    pub(super) telemetry: Telemetry,
    /// The trace store's address, if there is one.
    pub(super) traces: Option<String>,
}

impl Foundation {
    /// Starts what is not given, and creates the databases of these names that are missing.
    pub(super) async fn lay(
        options: &Options,
        prefix: &str,
        database_names: &[String],
        say: &Say,
    ) -> anyhow::Result<(Self, Addresses)> {
        if let Some(url) = &options.postgres {
            databases::check(url)?;
        }
        if let Some(real) = &options.kafka {
            reachable::kafka(&real.bootstrap_servers).await?;
            reachable::registry(&real.registry).await?;
        }
        let mut foundation = Self::default();
        let postgres = match &options.postgres {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let storage = match &options.data {
                    Some(dir) => Storage::Kept(dir.clone()),
                    None => Storage::Temporary,
                };
                let fsync = options.data.is_some();
                let server =
                    PrivatePostgres::start(&storage, &PostgresOptions { fsync, ..Default::default() })
                        .await?;
                let url = server.url("postgres");
                say(format!("PostgreSQL {} on port {}", server.major_version(), server.port()));
                foundation.postgres = Some(server);
                url
            }
        };
        let pools = connections::pools(&postgres, database_names.len()).await?;
        databases::create_missing(&postgres, database_names).await?;
        let (kafka, registry) = match &options.kafka {
            Some(real) => {
                let kafka =
                    Kafka { bootstrap_servers: real.bootstrap_servers.clone(), fetch_wait_max_ms: None };
                (kafka, real.registry.clone())
            }
            None => {
                databases::refuse_used(&postgres, database_names).await?;
                foundation.embed(prefix, say).await?
            }
        };
        let (telemetry, traces) = match &options.collector {
            Some(collector) => {
                let otlp_endpoint = collector.otlp.trim_end_matches('/').to_owned();
                let jaeger = collector.jaeger.as_ref().map(|url| url.trim_end_matches('/').to_owned());
                (Telemetry { otlp_endpoint, otlp_protocol: collector.protocol }, jaeger)
            }
            None => foundation.receive_traces().await?,
        };
        Ok((foundation, Addresses { postgres, pools, kafka, registry, telemetry, traces }))
    }

    async fn receive_traces(&mut self) -> anyhow::Result<(Telemetry, Option<String>)> {
        let receiver = OtlpReceiver::start().await?;
        let url = receiver.url();
        self.traces = Some(receiver);
        Ok((Telemetry { otlp_endpoint: url.clone(), otlp_protocol: OtlpProtocol::Http }, Some(url)))
    }

    /// Stops the embedded parts, after the services: their last spans and commits still find them.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        if let Some(traces) = self.traces {
            traces.stop().await;
        }
        if let Some(registry) = self.registry {
            registry.stop().await;
        }
        // The embedded broker's end joins a thread, which may take a moment.
        if let Some(broker) = self.broker {
            tokio::task::spawn_blocking(move || drop(broker)).await?;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await?;
        }
        Ok(())
    }

    async fn embed(&mut self, prefix: &str, say: &Say) -> anyhow::Result<(Kafka, String)> {
        let broker = EmbeddedBroker::start()?;
        let names = TopicNames::new(prefix);
        let topics = Topic::ALL.map(|topic| TopicSpec {
            name: names.name(topic),
            partitions: PARTITIONS,
            replication_factor: 1,
        });
        broker.create_topics(&topics)?;
        let registry = EmbeddedRegistry::start_anywhere().await.context("the embedded registry")?;
        say("embedded broker and registry: for demo and tests; they forget everything when they stop"
            .to_owned());
        let config = broker.config();
        let kafka = Kafka {
            bootstrap_servers: config.bootstrap_servers,
            fetch_wait_max_ms: Some(config.fetch_wait_max_ms),
        };
        let url = registry.url();
        self.broker = Some(broker);
        self.registry = Some(registry);
        Ok((kafka, url))
    }
}
