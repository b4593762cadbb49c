//! The outbox: messages appended in the caller's transaction, relayed to the bus in order without losing one.
#![doc = include_str!("../README.md")]

pub mod append;
pub mod backlog;
mod metrics;
pub mod relay;

pub use append::{AppendError, Message, Numbered, Outbox, expect_stored};
pub use backlog::Backlog;
pub use cloudevents::{Cause, CloudEvent, Envelope, TraceContext, clock};
pub use database::{Bounds, Database};
pub use metrics::METRICS;
pub use relay::{PollRelay, Relay, RelayConfig, RelayError, RelayState, RelayStatus};

/// The migrations of this crate's tables, in the PostgreSQL schema `outbox`, with a migration table of its own.
///
/// # Errors
/// When the database refuses.
pub async fn migrate(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::migrate::MigrateError> {
    migrator().run_direct(None, connection, false).await
}

/// What [`migrate`] applies. A service's own migrations live in `public`; several sqlx migrators on one table would miss
/// each other's versions. Newer versions than these are no error: the previous release runs on the new schema.
#[must_use]
pub fn migrator() -> sqlx::migrate::Migrator {
    let mut migrator = sqlx_macros::migrate!("./migrations");
    migrator.create_schema("outbox");
    migrator.dangerous_set_table_name("outbox._migrations");
    migrator.set_ignore_missing(true);
    migrator
}
