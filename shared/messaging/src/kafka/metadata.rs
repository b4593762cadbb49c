//! Questions about topics and offsets, asked by a client that belongs to no group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};

use super::config::KafkaConfig;
use super::context::Events;
use super::errors::{configuration, unavailable};
use crate::bus::{BusError, PartitionState, TopicPartition, Watermarks};

/// Answers questions; cheap to clone.
#[derive(Clone)]
pub(crate) struct MetadataClient {
    client: Arc<BaseConsumer<Quiet>>,
    brokers: Arc<str>,
    timeout: Duration,
}

impl MetadataClient {
    pub(crate) fn try_new(config: &KafkaConfig) -> Result<Self, BusError> {
        let client_id = format!("{}-metadata", config.client_id);
        let client = config
            .metadata(&client_id)
            .create_with_context(Quiet::new(&client_id))
            .map_err(|error| configuration(config, &error))?;
        Ok(Self {
            client: Arc::new(client),
            brokers: config.bootstrap_servers.as_str().into(),
            timeout: config.request_timeout(),
        })
    }

    /// Asks on a thread that may block. librdkafka bounds the wait.
    async fn ask<T: Send + 'static>(
        &self,
        action: &str,
        question: impl FnOnce(&BaseConsumer<Quiet>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, BusError> {
        let client = Arc::clone(&self.client);
        let answer = tokio::task::spawn_blocking(move || {
            let answer = question(&client);
            // Serves logs and errors, which would pile up otherwise.
            while client.poll(Duration::ZERO).is_some() {}
            answer
        });
        match answer.await {
            Ok(answer) => answer.map_err(|error| unavailable(&self.brokers, action, &error)),
            Err(_) => Err(BusError::Closed),
        }
    }

    /// Every topic of the cluster and how many partitions it has.
    pub(crate) async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError> {
        let timeout = self.timeout;
        self.ask("list its topics", move |client| {
            let metadata = client.fetch_metadata(None, timeout)?;
            Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic))).collect())
        })
        .await
    }

    pub(crate) async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        let (timeout, name) = (self.timeout, topic.to_owned());
        let answer = self.ask("list partitions", move |client| {
            let metadata = client.fetch_metadata(Some(&name), timeout)?;
            let partitions = metadata.topics().first().map_or(&[][..], MetadataTopic::partitions);
            let state = |partition: &MetadataPartition| PartitionState {
                partition: partition.id(),
                has_leader: partition.leader() >= 0,
            };
            Ok(partitions.iter().map(state).collect::<Vec<_>>())
        });
        let mut partitions = answer.await?;
        partitions.sort_unstable_by_key(|state| state.partition);
        match partitions.len() {
            0 => Err(BusError::Unavailable {
                broker: self.brokers.to_string(),
                action: "list partitions".to_owned(),
                detail: format!("{topic} does not exist"),
            }),
            _ => Ok(partitions),
        }
    }

    pub(crate) async fn watermarks(&self, id: &TopicPartition) -> Result<Watermarks, BusError> {
        let (timeout, TopicPartition { topic, partition }) = (self.timeout, id.clone());
        let action = format!("return the watermarks of {topic}/{partition}");
        self.ask(&action, move |client| {
            let (low, high) = client.fetch_watermarks(&topic, partition, timeout)?;
            Ok(Watermarks { partition, low, high })
        })
        .await
    }

    pub(crate) async fn ping(&self, timeout: Duration) -> Result<(), BusError> {
        self.ask("answer a ping", move |client| client.fetch_metadata(None, timeout).map(|_| ())).await
    }

    /// How long to wait before asking again what was not answered.
    pub(crate) const fn retry_pause() -> Duration {
        Duration::from_millis(500)
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }
}

fn count(topic: &MetadataTopic) -> i32 {
    i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)
}

/// The context of a client that only asks.
pub(crate) struct Quiet {
    events: Events,
}

impl Quiet {
    pub(crate) fn new(client_id: &str) -> Self {
        Self { events: Events::new(client_id) }
    }
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for Quiet {}
