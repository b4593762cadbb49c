//! Notification's tables in PostgreSQL.

pub mod backlog;
pub mod batch;
pub mod mails;
mod orders;
pub mod reads;
pub mod retries;

/// The migrations of notification's own tables.
pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}
