//! Payment's tables in PostgreSQL.

pub mod backlog;
pub mod batch;
mod payments;
pub mod reads;
pub mod row;
pub mod saga;

/// The migrations of payment's own tables.
pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}
