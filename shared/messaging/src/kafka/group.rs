//! A member's part in its group: assignments and revocations as librdkafka announces them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::assignment::Assignment;
use super::context::Events;
use super::membership_watchdog::MembershipWatchdog;
use super::partition_assignment::PartitionAssignment;
use crate::bus::TopicPartition;

/// Answers librdkafka's callbacks; all of them run on the polling thread.
pub(crate) struct GroupContext {
    events: Events,
    assignment: Arc<Assignment>,
    watchdog: Arc<MembershipWatchdog>,
    served: AtomicU64,
}

impl GroupContext {
    pub(crate) const fn new(
        events: Events,
        assignment: Arc<Assignment>,
        watchdog: Arc<MembershipWatchdog>,
    ) -> Self {
        Self { events, assignment, watchdog, served: AtomicU64::new(0) }
    }

    pub(crate) fn assignment(&self) -> &Arc<Assignment> {
        &self.assignment
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// How many events were served by callbacks, for which a poll returns nothing.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    fn note_served(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Commits what the readers of these partitions have done since the last time.
    pub(crate) fn commit(&self, client: &BaseConsumer<Self>, partitions: &[Arc<PartitionAssignment>]) {
        let mut offsets = TopicPartitionList::new();
        for assigned in partitions {
            let Some(offset) = assigned.lock().wanted_commit.take() else { continue };
            let added = offsets.add_partition_offset(
                &assigned.id.topic,
                assigned.id.partition,
                Offset::Offset(offset),
            );
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
        let leaving = |assigned: &Arc<PartitionAssignment>| ids.contains(&assigned.id);
        if !client.assignment_lost() {
            let partitions: Vec<_> = self.assignment.all().into_iter().filter(leaving).collect();
            self.commit(client, &partitions);
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
        self.note_served();
        self.events.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.note_served();
        self.watchdog.note(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note_served();
        self.events.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.note_served();
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(client, list);
        } else {
            // A revocation, or an error, after which librdkafka wants the same answer.
            self.revoke(client, list);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.note_served();
        self.note("commit", result);
    }
}

fn ids(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let of = |(topic, partition)| TopicPartition { topic, partition };
    list.to_topic_map().into_keys().map(of).collect()
}
