//! What a bus is: the promises that every transport keeps and the conformance suite asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};

use crate::publishing::Producer;

/// A record as consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where it stands.
    pub offset: i64,
    /// The key's bytes, if any.
    pub key: Option<Vec<u8>>,
    /// The value's bytes, if any.
    pub value: Option<Vec<u8>>,
    /// Headers in order; a header without a value has empty bytes.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The broker's timestamp in milliseconds since the epoch, if it has one.
    pub timestamp_ms: Option<i64>,
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Full topic name.
    pub topic: String,
    /// Partition number from 0.
    pub partition: i32,
}

/// `topic/partition`.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl TopicPartition {
    /// The partition that this text, `topic/partition`, names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, partition) = text.rsplit_once('/')?;
        Some(Self { topic: topic.to_owned(), partition: partition.parse().ok()? })
    }
}

/// A topic that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Full topic name.
    pub name: String,
    /// The number of partitions, which never changes.
    pub partitions: i32,
    /// Copies of each partition; 1 on a single broker.
    pub replication_factor: i32,
}

/// The offsets that a partition holds: `low` is the first, `high` one behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Partition number.
    pub partition: i32,
    /// Offset of the oldest record kept.
    pub low: i64,
    /// Offset that the next record will get.
    pub high: i64,
}

/// A partition as the cluster describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Partition number.
    pub partition: i32,
    /// Whether a broker leads it; without a leader it takes no records and gives none.
    pub has_leader: bool,
}

/// What a group member wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// These topics.
    Topics(Vec<String>),
    /// Every topic whose full name matches this regular expression (anchored with `^`), also ones created later.
    Pattern(String),
}

/// Why the bus could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The broker did not answer, or not in time. Trying again helps once it is back.
    #[error("broker {broker} did not {action}: {detail}")]
    Unavailable {
        /// The broker's address.
        broker: String,
        /// What was asked of it.
        action: String,
        /// The error that was reported.
        detail: String,
    },
    /// A topic exists with another partition count: keys would change partitions.
    #[error(
        "topic {topic} has {found} partitions where {expected} are needed; topics are never repartitioned"
    )]
    PartitionCount {
        /// Full topic name.
        topic: String,
        /// What the deployment needs.
        expected: i32,
        /// What the broker has.
        found: i32,
    },
    /// A setting that the client refuses.
    #[error("the broker client refuses its configuration: {0}")]
    Configuration(String),
    /// The handle was closed before.
    #[error("the bus handle is closed")]
    Closed,
}

impl Delivered {
    /// About how much memory the record takes.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + headers.sum::<usize>()
    }
}

impl Subscription {
    /// Refuses a pattern without its anchor: one client would match it anywhere in a name, another take it for a name.
    pub(crate) fn check(&self) -> Result<(), BusError> {
        match self {
            Self::Pattern(pattern) if !pattern.starts_with('^') => {
                Err(BusError::Configuration(format!("pattern {pattern} does not begin with ^")))
            }
            Self::Pattern(_) | Self::Topics(_) => Ok(()),
        }
    }
}

/// So many questions about partitions are open at once; each is bounded by the bus.
pub(crate) const AT_ONCE: usize = 8;

/// A message bus.
#[async_trait]
pub trait Bus: Send + Sync + std::fmt::Debug {
    /// Creates the topics that are missing and checks the partition count of the others. A partition may have no leader.
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError>;

    /// A producer of its own: buffers, connections and fate are shared with no other.
    async fn producer(&self) -> Result<Box<dyn Producer>, BusError>;

    /// Joins `group`. Each member gets a share of the partitions.
    async fn subscribe(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Box<dyn Consumer>, BusError>;

    /// The partitions of `topic`, by number. An error when there is no such topic.
    async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError>;

    /// The offsets that this partition holds now.
    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError>;

    /// The offsets that each of these partitions holds now, or why that is not known, in their order. The partition is the unit of
    /// failure: one that does not answer leaves the others' answers. Asked one by one, unless the bus can ask for several at once.
    async fn all_watermarks(&self, partitions: &[TopicPartition]) -> Vec<Result<Watermarks, BusError>> {
        let questions: Vec<_> = partitions.iter().map(|partition| self.watermarks(partition)).collect();
        stream::iter(questions).buffered(AT_ONCE).collect().await
    }

    /// The offsets that `group` has committed for partitions of these topics; one without a commit is left out. The
    /// caller does not join the group.
    async fn committed_offsets(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError>;

    /// Asks the broker for a sign of life.
    async fn ping(&self, timeout: Duration) -> Result<(), BusError>;
}

/// A change of a member's assignment.
#[derive(Debug)]
pub enum Membership {
    /// These partitions are now ours; each is read through its own handle.
    Assigned(Vec<Box<dyn Partition>>),
    /// These partitions are no longer ours; their handles end (`next_batch` gives `None`).
    Revoked(Vec<TopicPartition>),
}

/// A member of a consumer group.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// The next change of what this member reads. Cancel-safe.
    async fn next(&mut self) -> Result<Membership, BusError>;

    /// Whether it is in its group now, with partitions or without.
    fn is_in_group(&self) -> bool;

    /// Leaves the group, within `timeout`.
    async fn close(self: Box<Self>, timeout: Duration);
}

/// Records of one partition in offset order. Offsets have holes, where other programs' transactions have left their markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The position at which reading stood before: the first record's offset, or less where offsets are missing.
    pub from: i64,
    /// The position after it: behind the last record, and behind what has no record up to where the reader stands.
    pub to: i64,
    /// None where only offsets without records were passed.
    pub records: Vec<Delivered>,
}

/// One assigned partition. Delivers nothing before the first `seek`; buffers are bounded, and a reader that does
/// not keep up pauses the partition at the broker client.
#[async_trait]
pub trait Partition: Send + std::fmt::Debug {
    /// Which one it is.
    fn id(&self) -> &TopicPartition;

    /// Continues at `offset`; whatever was buffered is dropped.
    async fn seek(&mut self, offset: i64) -> Result<(), BusError>;

    /// Waits for records and gives what is there, at most `max_records` and about `max_bytes` (at least one record). Offsets
    /// without records at the partition's end move the position, too: then the batch is empty.
    /// `None` when the partition was revoked or the consumer closed. An error when the position is outside
    /// the range that the topic holds, or has been: it is never reset silently. Cancel-safe.
    async fn next_batch(&mut self, max_records: usize, max_bytes: usize) -> Option<Result<Batch, ReadError>>;

    /// Commits to the broker that everything below `offset` is done. Advisory: only lag tools read it.
    fn commit(&self, offset: i64);
}

/// Why a partition is not read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The position is outside the range of offsets that the topic holds.
    #[error(transparent)]
    OutOfRange(#[from] PositionError),
    /// The broker has reported a position outside its range, maybe this one, and it is inside now: the topic may have been deleted and
    /// made anew. Nothing is delivered before the next `seek`; compare a record that was read before with what stands in its place.
    #[error("position {offset} of {topic}/{partition} may have been outside the topic's range meanwhile")]
    Reset {
        /// Full topic name.
        topic: String,
        /// Partition number.
        partition: i32,
        /// Where reading should have continued.
        offset: i64,
    },
}

/// The position is outside the range of offsets that the topic holds: records are missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {offset} of {topic}/{partition} is outside the topic's range {low}..={high}")]
pub struct PositionError {
    /// Full topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Where reading should have continued.
    pub offset: i64,
    /// The oldest offset kept.
    pub low: i64,
    /// One behind the newest.
    pub high: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_as_it_is_written() {
        let partition = TopicPartition { topic: "shop/parcels".to_owned(), partition: 12 };
        assert_eq!(partition.to_string(), "shop/parcels/12");
        assert_eq!(TopicPartition::parse("shop/parcels/12"), Some(partition));
        for text in ["", "orders", "orders/", "orders/x"] {
            assert_eq!(TopicPartition::parse(text), None, "{text}");
        }
    }
}
