//! The inbox: apply each event once, in one transaction for what a member's partitions have; dead-letter what can't be applied.
//!
//! Invariant: an event's effect, its inbox row, what it publishes and the partition's new position commit together or
//! not at all. So a crash at any point repeats a batch that left no trace, and a redelivered event finds its inbox row.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod applied;
mod applying;
mod batch;
mod breaker;
mod config;
mod consumer;
mod cool_down;
mod dead_letters;
mod decode;
mod decoded;
mod decoding;
mod effect;
mod ends;
mod error_policy;
mod hand_over;
mod handling;
#[cfg(feature = "testing")]
mod harness;
mod isolation;
mod joint;
mod known;
mod lag;
mod locked;
mod maintenance;
mod members;
mod metrics;
mod monitor;
mod offers;
mod panics;
mod parts;
mod plan;
mod positions;
mod provisional;
mod record_id;
mod redrive;
mod resume;
mod seen;
mod shared;
mod spans;
mod status;
mod subscriptions;
mod times;
mod unit_of_work;
mod watchdog;
mod worker;

// What a service provides: which records are events, which handler takes each, and how a batch is loaded and stored.
pub use decode::{BoxError, Decode, Decoded, Undecodable};
pub use error_policy::{HandlerError, Rejection};
pub use locked::Locked;
pub use subscriptions::Subscriptions;
pub use unit_of_work::{AfterCommit, Context, Received, UnitOfWork};
// What runs it.
pub use config::ConsumerConfig;
pub use consumer::{Consumer, ConsumerError, Parts};
pub use status::{ConsumerStatus, OutOfGroup, PartitionState};
// Dead letters.
pub use redrive::{DeadLetter, Redrive, Redriven, list_dead_letters};
// What is measured.
pub use metrics::METRICS;
// Of other libraries: what the signatures above name.
pub use cloudevents::{Cause, Envelope, TraceContext};
pub use database::{Bounds, Database};

/// How far partitions have been applied, and which of their records had no effect: for a read model that is rebuilt.
pub mod progress {
    pub use crate::applied::{Applied, applied, hold, without_effect, without_effect_at};
    pub use crate::record_id::made_id;
}

/// Tests of a unit of work on a database, without Kafka: batches, and the orders and cuts in which events can arrive.
#[cfg(feature = "testing")]
pub mod testing {
    pub use crate::harness::{apply, apply_accepted, cuts, permutations};
}

/// For the tests of this crate; no version promises anything about it.
#[doc(hidden)]
pub mod internal {
    pub use crate::lag::{Lag, lag};
    pub use crate::times::HandOverTimes;
}

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
