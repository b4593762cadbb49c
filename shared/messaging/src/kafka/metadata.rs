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
use crate::bus::{BusError, PartitionState, Watermarks};

/// What a topic looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicShape {
    pub(crate) partitions: i32,
    /// Every partition has a leader.
    pub(crate) writable: bool,
}

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
        let context = Quiet { events: Events::new(&client_id) };
        let client = config
            .metadata(&client_id)
            .create_with_context(context)
            .map_err(|error| configuration(&error))?;
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

    /// Every topic of the cluster.
    pub(crate) async fn topics(&self) -> Result<BTreeMap<String, TopicShape>, BusError> {
        let timeout = self.timeout;
        self.ask("list its topics", move |client| {
            let metadata = client.fetch_metadata(None, timeout)?;
            let shape = |topic: &MetadataTopic| TopicShape {
                partitions: i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX),
                writable: topic.partitions().iter().all(|partition| partition.leader() >= 0),
            };
            Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), shape(topic))).collect())
        })
        .await
    }

    /// The partitions of one topic.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        let (timeout, name) = (self.timeout, topic.to_owned());
        let answer = self.ask("tell partitions", move |client| {
            let metadata = client.fetch_metadata(Some(&name), timeout)?;
            let partitions = metadata.topics().first().map_or(&[][..], MetadataTopic::partitions);
            let state = |partition: &MetadataPartition| PartitionState {
                partition: partition.id(),
                has_leader: partition.leader() >= 0,
            };
            Ok(partitions.iter().map(state).collect::<Vec<_>>())
        });
        let mut partitions = answer.await?;
        if partitions.is_empty() {
            return Err(self.no_such_topic("tell partitions", topic));
        }
        partitions.sort_unstable_by_key(|state| state.partition);
        Ok(partitions)
    }

    fn no_such_topic(&self, action: &str, topic: &str) -> BusError {
        BusError::Unavailable {
            broker: self.brokers.to_string(),
            action: action.to_owned(),
            detail: format!("{topic} does not exist"),
        }
    }

    /// The offsets of one partition.
    pub(crate) async fn partition_watermarks(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Watermarks, BusError> {
        let (timeout, topic) = (self.timeout, topic.to_owned());
        self.ask("tell watermarks", move |client| {
            let (low, high) = client.fetch_watermarks(&topic, partition, timeout)?;
            Ok(Watermarks { partition, low, high })
        })
        .await
    }

    /// The offsets of all partitions.
    pub(crate) async fn watermarks(&self, topic: &str) -> Result<Vec<Watermarks>, BusError> {
        let (timeout, name) = (self.timeout, topic.to_owned());
        let answer = self.ask("tell watermarks", move |client| {
            let metadata = client.fetch_metadata(Some(&name), timeout)?;
            let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
            let mut watermarks = Vec::with_capacity(partitions);
            for partition in (0..).take(partitions) {
                let (low, high) = client.fetch_watermarks(&name, partition, timeout)?;
                watermarks.push(Watermarks { partition, low, high });
            }
            Ok(watermarks)
        });
        let watermarks = answer.await?;
        if watermarks.is_empty() {
            return Err(self.no_such_topic("tell watermarks", topic));
        }
        Ok(watermarks)
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

struct Quiet {
    events: Events,
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
