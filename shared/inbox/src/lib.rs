//! The inbox: apply each event once, in one transaction per batch of a partition; dead-letter what can't be applied.
//!
//! Invariant: an event's effect, its inbox row, what it publishes and the partition's new position commit together or
//! not at all. So a crash at any point repeats a batch that left no trace, and a redelivered event finds its inbox row.
#![doc = include_str!("../README.md")]

mod batch;
pub mod config;
pub mod consumer;
mod cool_down;
mod dead_letters;
mod decode;
mod decoding;
mod effect;
mod ends;
pub mod error_policy;
mod hand_over;
pub mod lag;
mod locked;
mod maintenance;
mod members;
mod metrics;
mod monitor;
mod parts;
mod positions;
pub mod progress;
mod provisional;
mod record_id;
pub mod redrive;
mod resume;
mod seen;
mod shared;
mod spans;
pub mod status;
pub mod subscriptions;
pub mod times;
pub mod unit_of_work;
mod watchdog;
mod worker;

pub use cloudevents::{Cause, CloudEvent, Envelope, TraceContext};
pub use config::ConsumerConfig;
pub use consumer::{Consumer, ConsumerError, Parts};
pub use database::{Bounds, Database};
pub use decode::{BoxError, Decode, Decoded, Undecodable};
pub use error_policy::{HandlerError, Rejection};
pub use locked::Locked;
pub use metrics::METRICS;
pub use redrive::Redrive;
pub use status::{ConsumerStatus, OutOfGroup, PartitionState};
pub use subscriptions::Subscriptions;
pub use unit_of_work::{AfterCommit, Context, Received, UnitOfWork};

/// Creates this crate's tables in the PostgreSQL schema `inbox`, with a migration table of its own.
///
/// # Errors
/// When the database refuses.
pub async fn migrate(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::migrate::MigrateError> {
    migrator().run_direct(None, connection, false).await
}

/// What [`migrate`] applies. Newer versions than these are no error: the previous release runs on the new schema.
#[must_use]
pub fn migrator() -> sqlx::migrate::Migrator {
    let mut migrator = sqlx_macros::migrate!("./migrations");
    migrator.create_schema("inbox");
    migrator.dangerous_set_table_name("inbox._migrations");
    migrator.set_ignore_missing(true);
    migrator
}
