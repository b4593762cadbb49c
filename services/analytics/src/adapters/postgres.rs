//! Analytics' tables.

mod alerts;
mod counters;
mod generations;
mod read_models;
mod stories;

pub mod queries;
pub mod rebuilds;

pub use generations::Generation;
pub use read_models::ReadModels;

/// The migrations of these tables.
#[must_use]
pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}
