//! A member of a consumer group: rebalances as librdkafka announces them, and a thread that ends with the member.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::assignment::{Assignment, Change};
use super::config::KafkaConfig;
use super::context::Events;
use super::errors::configuration;
use super::metadata::MetadataClient;
use super::partition::KafkaPartition;
use super::polling::{BufferLimits, Poller};
use super::presence::Presence;
use super::tenure::Tenure;
use crate::bus::{BusError, Consumer, Membership, Partition, Subscription, TopicPartition};

/// A member; dropping it leaves the group in the background.
pub(crate) struct KafkaConsumer {
    assignment: Arc<Assignment>,
    presence: Arc<Presence>,
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
        let presence = Arc::new(Presence::new(KafkaConfig::longest_absence(&settings)));
        let context = GroupContext {
            events: Events::new(client_id),
            assignment: Arc::clone(&assignment),
            presence: Arc::clone(&presence),
        };
        let client: BaseConsumer<GroupContext> =
            settings.create_with_context(context).map_err(|error| configuration(&error))?;
        let topics: Vec<&str> = match subscription {
            Subscription::Topics(topics) => topics.iter().map(String::as_str).collect(),
            Subscription::Pattern(pattern) => vec![pattern],
        };
        client.subscribe(&topics).map_err(|error| configuration(&error))?;
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
        Ok(Self { assignment, presence, metadata, limits, group: group.to_owned(), stop, left })
    }

    fn handle(&self, tenure: Arc<Tenure>) -> Box<dyn Partition> {
        Box::new(KafkaPartition::new(tenure, self.metadata.clone(), self.limits))
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Membership, BusError> {
        let change = tokio::select! {
            change = self.assignment.next_change() => change,
            away = self.presence.lost() => {
                self.assignment.close(None);
                Change::Failed(format!("not seen in the group for {} s", away.as_secs()))
            }
        };
        match change {
            Change::Revoked(ids) => Ok(Membership::Revoked(ids)),
            Change::Assigned(tenures) => {
                Ok(Membership::Assigned(tenures.into_iter().map(|tenure| self.handle(tenure)).collect()))
            }
            Change::Failed(detail) => Err(BusError::Unavailable {
                broker: self.metadata.brokers().to_owned(),
                action: format!("keep a member of {}", self.group),
                detail,
            }),
            Change::Closed => Err(BusError::Closed),
        }
    }

    fn is_in_group(&self) -> bool {
        self.presence.is_here()
    }

    async fn close(mut self: Box<Self>, timeout: Duration) {
        self.stop.store(true, Ordering::Release);
        if tokio::time::timeout(timeout, &mut self.left).await.is_err() {
            // librdkafka may wait for a broker that is gone; the thread ends by itself or with the process.
            tracing::warn!(group = self.group, ?timeout, "left the group without its confirmation");
        }
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Answers librdkafka's callbacks; all of them run on the polling thread.
pub(crate) struct GroupContext {
    events: Events,
    assignment: Arc<Assignment>,
    presence: Arc<Presence>,
}

impl GroupContext {
    pub(crate) fn assignment(&self) -> &Arc<Assignment> {
        &self.assignment
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Commits what the readers of these partitions have done since the last time.
    pub(crate) fn commit(&self, client: &BaseConsumer<Self>, tenures: &[Arc<Tenure>]) {
        let mut offsets = TopicPartitionList::new();
        for tenure in tenures {
            let Some(offset) = tenure.lock().wanted_commit.take() else { continue };
            let added =
                offsets.add_partition_offset(&tenure.id.topic, tenure.id.partition, Offset::Offset(offset));
            self.note("commit", added);
        }
        if offsets.count() > 0 {
            self.note("commit", client.commit(&offsets, CommitMode::Async));
        }
    }

    /// Assigns the partitions paused and at a position that means nothing: readers seek before anything is delivered.
    fn assign(&self, client: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        self.note("assign", list.set_all_offsets(Offset::Offset(0)));
        let assigned = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => client.assign(list),
        };
        self.note("assign", assigned);
        self.note("assign", client.pause(list));
        self.assignment.assign(ids(list));
    }

    fn revoke(&self, client: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let ids = ids(list);
        let leaving = |tenure: &Arc<Tenure>| ids.contains(&tenure.id);
        if !client.assignment_lost() {
            let tenures: Vec<_> = self.assignment.all().into_iter().filter(leaving).collect();
            self.commit(client, &tenures);
        }
        self.assignment.revoke(ids);
        let unassigned = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => client.unassign(),
        };
        self.note("revoke", unassigned);
    }

    fn note(&self, kind: &str, outcome: KafkaResult<()>) {
        if let Err(error) = outcome {
            self.events.warn(kind, &error.to_string());
        }
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.presence.note(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(client, list);
        } else {
            // A revocation, or an error, after which librdkafka wants the same answer.
            self.revoke(client, list);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.note("commit", result);
    }
}

fn ids(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let of = |(topic, partition)| TopicPartition { topic, partition };
    list.to_topic_map().into_keys().map(of).collect()
}
