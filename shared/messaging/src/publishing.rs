//! Records to publish, and what becomes of them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::mpsc;

use crate::headers::Headers;

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Full topic name.
    pub topic: String,
    /// The key's bytes; equal keys go to the same partition (murmur2, as Java producers do), no key to any.
    pub key: Option<Vec<u8>>,
    /// The value's bytes, published unchanged; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// The same, borrowed from its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Full topic name.
    pub topic: &'a str,
    /// The key's bytes, if any.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: &'a Headers,
}

impl RecordRef<'_> {
    /// A record of its own.
    #[must_use]
    pub fn to_record(&self) -> Record {
        Record {
            topic: self.topic.to_owned(),
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: self.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        }
    }
}

/// What became of a record that was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Unknown, or a transient error (no connection, no such topic, no right to write): the record may or may not be on
    /// the topic. Send again.
    #[error("not acknowledged: {0}")]
    Unacknowledged(String),
    /// The same, and its producer will send nothing more: replace it, and send again.
    #[error("not acknowledged, and the producer has ended: {0}")]
    ProducerEnded(String),
    /// The broker, or its client, does not take this record, or the batch in which the client sent it: brokers refuse
    /// batches whole. Sent with nothing else of its partition in flight, the verdict is on the record.
    #[error("refused ({refusal}): {detail}")]
    Refused {
        /// What it objects to.
        refusal: Refusal,
        /// The error that was reported.
        detail: String,
    },
}

/// What a broker objects to in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Larger than the topic (`max.message.bytes`), the broker or the client allow now.
    Size,
    /// Its timestamp, which it gets when it is sent: a clock is wrong, or the topic's bounds are narrow.
    Timestamp,
    /// A policy of the cluster's operators.
    Policy,
    /// Its content, by the topic's rules: a compacted topic takes no record without a key.
    Content,
    /// The topic's message format is too old for it.
    Format,
    /// Its topic's name can't exist.
    TopicName,
}

impl Refusal {
    /// Whether the same record may be taken another time: a person can remove the cause without touching it.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            Self::Size | Self::Timestamp | Self::Policy | Self::Content | Self::Format => true,
            Self::TopicName => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "size",
            Self::Timestamp => "timestamp",
            Self::Policy => "policy",
            Self::Content => "content",
            Self::Format => "message format",
            Self::TopicName => "topic name",
        })
    }
}

/// Where an acknowledged record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Partition number.
    pub partition: i32,
    /// Offset within it.
    pub offset: i64,
}

/// What became of a record.
pub type Outcome = Result<Acknowledged, DeliveryError>;

/// Resolves once the broker has acknowledged the record (all in-sync replicas) or it failed.
pub type Receipt = futures::future::BoxFuture<'static, Outcome>;

/// The outcome of one of many records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the sender numbered the record.
    pub number: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// Where the reports of many records go, in any order. It holds as many as its sender has records open.
pub type Reports = mpsc::UnboundedSender<Report>;

/// Sends records. Dropping it purges what is queued (the receipts then fail as unacknowledged).
#[async_trait]
pub trait Producer: Send + Sync {
    /// Enqueues the record and returns at once; records with equal keys reach the topic in the order of the calls.
    /// `partition` is given for a record without a key alone: its sender knows which partitions take records.
    /// One report with this number follows, unless the producer is dropped before: then it may be missing, and the
    /// record is unacknowledged. The caller bounds how many reports are open.
    fn enqueue(&self, record: RecordRef<'_>, partition: Option<i32>, number: u64, reports: &Reports);

    /// The same for a single record: the receipt has its outcome.
    fn send(&self, record: Record) -> Receipt {
        enqueue_one(record, |record, reports| self.enqueue(record, None, 0, reports))
    }

    /// The same for a record without a key, into this partition.
    fn send_to(&self, partition: i32, record: Record) -> Receipt {
        enqueue_one(record, |record, reports| self.enqueue(record, Some(partition), 0, reports))
    }

    /// Waits until everything sent has an outcome, at most `timeout`.
    async fn flush(&self, timeout: Duration);
}

fn enqueue_one(record: Record, enqueue: impl FnOnce(RecordRef<'_>, &Reports)) -> Receipt {
    let (reports, mut received) = mpsc::unbounded_channel();
    let Record { topic, key, value, headers } = record;
    let headers: Headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let (key, value) = (key.as_deref(), value.as_deref());
    enqueue(RecordRef { topic: &topic, key, value, headers: &headers }, &reports);
    let gone = || Err(DeliveryError::Unacknowledged("the producer was dropped".into()));
    async move { received.recv().await.map_or_else(gone, |report| report.outcome) }.boxed()
}
