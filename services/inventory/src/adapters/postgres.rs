//! Inventory's tables.

mod announcements;
mod batch;
mod last;
mod levels;
mod replenishments;
mod reservations;

pub use batch::StockBatch;
pub use levels::{find, page};
pub use replenishments::PgReplenishment;

/// The migrations of these tables.
#[must_use]
pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}
