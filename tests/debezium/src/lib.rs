//! Debezium Server as a process that reads an outbox, with the configuration of `deploy/debezium`.

pub mod topic;

mod server;

pub use server::{CONFIGURATION, DebeziumServer, LOG, Source, prepare, version};
