//! The bus on Apache Kafka, by librdkafka.

mod admin;
mod assignment;
mod authorities;
mod buffer;
mod committed;
mod config;
mod consumer;
mod context;
mod errors;
mod group;
mod list_offsets;
mod membership_watchdog;
mod metadata;
mod partition;
mod partition_assignment;
mod paused;
mod poll_waker;
mod polling;
mod producer;
mod properties;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::bus::{
    Bus, BusError, Consumer, PartitionState, Subscription, TopicPartition, TopicSpec, Watermarks,
};

use crate::offsets;
use crate::publishing::Producer;

pub use config::KafkaConfig;

use metadata::MetadataClient;
use producer::KafkaProducer;

/// Apache Kafka, or anything that speaks its protocol.
pub struct KafkaBus {
    config: KafkaConfig,
    metadata: MetadataClient,
    /// Distinguishes the clients of one bus in logs.
    clients: AtomicU64,
}

impl KafkaBus {
    /// A bus on the configured brokers. Connecting happens in the background, for as long as it takes.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration, or it would break a promise of the bus.
    pub fn try_new(config: KafkaConfig) -> Result<Self, BusError> {
        config.check()?;
        let metadata = MetadataClient::try_new(&config)?;
        Ok(Self { config, metadata, clients: AtomicU64::new(0) })
    }

    fn next_client(&self, role: &str) -> String {
        format!("{}-{role}-{}", self.config.client_id, self.clients.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl std::fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaBus").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        admin::create_topics(&self.config, &self.metadata, topics).await
    }

    async fn producer(&self) -> Result<Box<dyn Producer>, BusError> {
        let client = self.next_client("producer");
        Ok(Box::new(KafkaProducer::try_new(&self.config, &client)?))
    }

    async fn subscribe(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Box<dyn Consumer>, BusError> {
        subscription.check()?;
        let client = self.next_client("consumer");
        let metadata = self.metadata.clone();
        Ok(Box::new(consumer::KafkaConsumer::try_new(&self.config, metadata, &client, group, subscription)?))
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        self.metadata.partitions(topic).await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        self.metadata.watermarks(partition).await
    }

    async fn all_watermarks(&self, partitions: &[TopicPartition]) -> Vec<Result<Watermarks, BusError>> {
        self.metadata.all_watermarks(partitions).await
    }

    async fn committed_offsets(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let mut partitions = Vec::new();
        for topic in topics {
            partitions.extend(offsets::partitions(self, topic).await?);
        }
        committed::committed(&self.config, &self.next_client("committed"), group, partitions).await
    }

    async fn ping(&self, timeout: Duration) -> Result<(), BusError> {
        self.metadata.ping(timeout).await
    }
}
