//! The outbox: messages appended in the caller's transaction, relayed to the bus in order without losing one.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod append;
mod backlog;
mod metrics;
mod relay;

// What a transaction does.
pub use append::{AppendError, Message, Numbered, Outbox, expect_stored};
// What publishes.
pub use relay::{Relay, RelayConfig, RelayError, RelayKind, RelayState, RelayStatus};
// What is measured.
pub use backlog::Backlog;
pub use metrics::METRICS;
// Of other libraries: what the signatures above name.
pub use cloudevents::{Envelope, TraceContext, clock};
pub use database::{Bounds, Database};

/// For the tests of this crate; no version promises anything about it.
#[doc(hidden)]
pub mod internal {
    pub use crate::relay::{Failpoint, Failpoints, HandOverTimes};
}

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
