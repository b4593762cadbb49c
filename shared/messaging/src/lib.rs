//! The bus.
#![doc = include_str!("../README.md")]

pub mod bus;
pub mod ends;
pub mod in_memory;
pub mod kafka;
mod label;
mod murmur2;

use metric_table::Metric;

pub use bus::*;
pub use in_memory::InMemoryBus;
pub use kafka::{KafkaBus, KafkaConfig};
pub use label::label;
pub use murmur2::partition_for_key;

/// What this crate measures.
pub const METRICS: &[Metric] = &[Metric::gauge(
    "messaging_paused_partitions",
    &[],
    "Assigned partitions that are not fetched: their buffer is full, or their reader has not begun yet.",
)];
