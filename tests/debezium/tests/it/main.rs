//! Debezium Server beside the polling relay: the same table, the same records.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it meets what it does not expect")]

mod connector;
mod outboxes;
mod same_records;
mod slot;
