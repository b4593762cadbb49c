//! What a publisher asks of the bus beside publishing.

use std::sync::Arc;
use std::time::Duration;

use messaging::{Bus, PartitionState, Producer};
use tokio::time::{sleep, timeout};

use crate::relay::backoff::Backoff;

/// How long the client may take to set up a producer; it does not wait for the broker.
const OPEN: Duration = Duration::from_secs(10);
/// Bound of the question which partitions have leaders; meanwhile the publisher does nothing else.
const LOOK: Duration = Duration::from_secs(1);

/// The bus, for one topic.
pub(super) struct Broker {
    pub(super) topic: String,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) backoff_max: Duration,
}

impl Broker {
    /// A producer, unless the client can't make one now.
    pub(super) async fn open(&self) -> Option<Box<dyn Producer>> {
        match timeout(OPEN, self.bus.producer()).await {
            Ok(Ok(producer)) => return Some(producer),
            Ok(Err(error)) => tracing::warn!(
                topic = self.topic,
                error = &error as &dyn std::error::Error,
                "outbox: no producer; trying again"
            ),
            Err(_) => tracing::warn!(topic = self.topic, "outbox: no producer within {OPEN:?}; trying again"),
        }
        None
    }

    /// How many partitions the topic has, once that is known.
    pub(super) async fn learn_partitions(&self) -> i32 {
        let mut backoff = Backoff::new(self.backoff_max);
        loop {
            match self.bus.partitions(&self.topic).await {
                Ok(partitions) => return i32::try_from(partitions.len()).unwrap_or(i32::MAX),
                Err(error) => tracing::warn!(
                    topic = self.topic,
                    error = &error as &dyn std::error::Error,
                    "outbox: partitions unknown; trying again"
                ),
            }
            sleep(backoff.next()).await;
        }
    }

    /// The partitions as the cluster describes them now; none without an answer.
    pub(super) async fn partitions(&self) -> Option<Vec<PartitionState>> {
        timeout(LOOK, self.bus.partitions(&self.topic)).await.ok()?.ok()
    }
}
