//! Analytics' tables.

mod alerts;
mod batch;
mod counters;
mod generations;
mod orders;
mod read_models;

pub mod rebuilds;

pub use batch::Batch;
pub use generations::Generation;
pub use read_models::{BestSeller, ReadModelStore, StandingAlert};

pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}
