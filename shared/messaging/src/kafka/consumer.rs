//! A member of a consumer group, and a thread that ends with the member.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::oneshot;

use super::assignment::{Assignment, Change};
use super::buffer::BufferLimits;
use super::config::KafkaConfig;
use super::context::Events;
use super::errors::configuration;
use super::group::GroupContext;
use super::membership_watchdog::MembershipWatchdog;
use super::metadata::MetadataClient;
use super::partition::KafkaPartition;
use super::partition_assignment::PartitionAssignment;
use super::polling::Poller;
use crate::bus::{BusError, Consumer, Membership, Partition, Subscription};

/// A member; dropping it leaves the group in the background.
pub(crate) struct KafkaConsumer {
    assignment: Arc<Assignment>,
    watchdog: Arc<MembershipWatchdog>,
    metadata: MetadataClient,
    limits: BufferLimits,
    group: String,
    stop: Arc<AtomicBool>,
    left: oneshot::Receiver<()>,
}

impl KafkaConsumer {
    pub(crate) fn try_new(
        config: &KafkaConfig,
        metadata: MetadataClient,
        client_id: &str,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Self, BusError> {
        let assignment = Arc::new(Assignment::default());
        let settings = config.consumer(client_id, group);
        let watchdog = Arc::new(MembershipWatchdog::new(KafkaConfig::longest_absence(&settings)));
        let context =
            GroupContext::new(Events::new(client_id), Arc::clone(&assignment), Arc::clone(&watchdog));
        let client: BaseConsumer<GroupContext> =
            settings.create_with_context(context).map_err(|error| configuration(config, &error))?;
        let topics: Vec<&str> = match subscription {
            Subscription::Topics(topics) => topics.iter().map(String::as_str).collect(),
            Subscription::Pattern(pattern) => vec![pattern],
        };
        client.subscribe(&topics).map_err(|error| configuration(config, &error))?;
        let limits = BufferLimits { records: config.buffer_records, bytes: config.buffer_bytes };
        let poller = Poller::new(client, limits);
        let (stop, (leave, left)) = (Arc::new(AtomicBool::new(false)), oneshot::channel());
        let thread = {
            let stop = Arc::clone(&stop);
            move || {
                poller.run(&stop);
                let _ = leave.send(());
            }
        };
        std::thread::Builder::new()
            .name(client_id.to_owned())
            .spawn(thread)
            .map_err(|error| BusError::Configuration(format!("no thread for a consumer: {error}")))?;
        Ok(Self { assignment, watchdog, metadata, limits, group: group.to_owned(), stop, left })
    }

    /// Ends the polling thread.
    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.assignment.waker().wake();
    }

    fn handle(&self, assigned: Arc<PartitionAssignment>) -> Box<dyn Partition> {
        Box::new(KafkaPartition::new(assigned, self.metadata.clone(), self.limits))
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Membership, BusError> {
        let change = tokio::select! {
            change = self.assignment.next_change() => change,
            absent = self.watchdog.lost() => {
                self.assignment.close(None);
                Change::Failed(format!("not seen in the group for {} s", absent.as_secs()))
            }
        };
        match change {
            Change::Revoked(ids) => Ok(Membership::Revoked(ids)),
            Change::Assigned(partitions) => Ok(Membership::Assigned(
                partitions.into_iter().map(|assigned| self.handle(assigned)).collect(),
            )),
            Change::Failed(detail) => Err(BusError::Unavailable {
                broker: self.metadata.brokers().to_owned(),
                action: format!("keep a member of {}", self.group),
                detail,
            }),
            Change::Closed => Err(BusError::Closed),
        }
    }

    fn is_in_group(&self) -> bool {
        self.watchdog.is_member()
    }

    async fn close(mut self: Box<Self>, timeout: Duration) {
        self.stop();
        if tokio::time::timeout(timeout, &mut self.left).await.is_err() {
            // librdkafka may wait for a broker that is gone; the thread ends by itself or with the process.
            tracing::warn!(group = self.group, ?timeout, "left the group without its confirmation");
        }
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.stop();
    }
}
