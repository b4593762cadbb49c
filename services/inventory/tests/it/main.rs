//! Inventory against a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests, whose helpers clippy does not take for tests")]

mod arrivals;
mod batches;
mod contention;
mod http;
mod interleavings;
mod rejections;
mod replenishments;
mod support;
