//! The outbox against a real PostgreSQL: appending, and the conformance suite that every relay passes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it meets what it does not expect"
)]

mod append;
mod backlog;
mod counting;
mod dead_partition;
mod debezium_relay;
mod faults;
mod hand_over;
mod hand_over_kafka;
mod interleavings;
mod kills;
mod metrics;
mod one_key;
mod opening;
mod plans;
mod poll;
mod processes;
mod refusals;
mod relays;
mod rights;
mod schedules;
mod stage;
mod suite;
mod table_partitions;
mod wal;
mod watcher;
mod way;
