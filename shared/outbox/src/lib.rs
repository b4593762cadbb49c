//! The outbox: facts appended in the caller's transaction, relayed to the bus in order without losing one.

pub mod append;
pub mod relay;

pub use append::{AppendError, Message, Outbox};
pub use relay::{Relay, RelayError};

/// The migrations of this crate's tables, in the PostgreSQL schema `outbox`, with a migration table of its own.
///
/// # Errors
/// When the database refuses.
pub async fn migrate(pool: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    let _ = pool;
    todo!()
}
