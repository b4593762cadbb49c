//! Apache Kafka, and a bus in memory that behaves alike, behind one set of traits.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod bus;
mod headers;
mod in_memory;
mod kafka;
mod label;
mod murmur2;
mod offsets;
mod publishing;

use metric_table::Metric;

// The traits, and what they take and give.
pub use bus::{
    Batch, Bus, BusError, Consumer, Delivered, Membership, Partition, PartitionState, PositionError,
    ReadError, Subscription, TopicPartition, TopicSpec, Watermarks,
};
pub use headers::Headers;
pub use publishing::{
    Acknowledged, DeliveryError, Outcome, Producer, Receipt, Record, RecordRef, Refusal, Report, Reports,
};
// The two buses.
pub use in_memory::{Fault, FaultRule, InMemoryBus};
pub use kafka::{KafkaBus, KafkaConfig};
// What clients of Kafka agree on, and what our metrics do.
pub use label::label;
pub use murmur2::partition_for_key;

/// Questions about all partitions of a topic: one whose leader does not answer leaves the answers of the others.
pub mod ends {
    pub use crate::offsets::{partitions, unreached, watermarks};
}

/// What this crate measures.
pub const METRICS: &[Metric] = &[Metric::gauge(
    "messaging_paused_partitions",
    &[],
    "Assigned partitions that are not fetched: their buffer is full, or they are not read yet.",
)];
