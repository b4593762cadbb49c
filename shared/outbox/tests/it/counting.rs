//! A bus that counts the producers that were asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use messaging::{
    Bus, BusError, Consumer, PartitionState, Producer, Subscription, TopicPartition, TopicSpec, Watermarks,
};

/// Counts producers.
#[derive(Debug)]
pub(crate) struct Counting {
    bus: Arc<dyn Bus>,
    producers: AtomicUsize,
}

impl Counting {
    pub(crate) fn on(bus: Arc<dyn Bus>) -> Arc<Self> {
        Arc::new(Self { bus, producers: AtomicUsize::new(0) })
    }

    /// How many producers were asked for.
    pub(crate) fn producers(&self) -> usize {
        self.producers.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Bus for Counting {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.bus.create_topics(topics).await
    }

    async fn producer(&self) -> Result<Box<dyn Producer>, BusError> {
        self.producers.fetch_add(1, Ordering::SeqCst);
        self.bus.producer().await
    }

    async fn subscribe(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Box<dyn Consumer>, BusError> {
        self.bus.subscribe(group, subscription).await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        self.bus.partitions(topic).await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        self.bus.watermarks(partition).await
    }

    async fn committed_offsets(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        self.bus.committed_offsets(group, topics).await
    }

    async fn ping(&self, timeout: Duration) -> Result<(), BusError> {
        self.bus.ping(timeout).await
    }
}
