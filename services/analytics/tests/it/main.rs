//! Analytics against a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests, whose helpers clippy does not take for tests")]

mod arrivals;
mod best_sellers;
mod contention;
mod giving_up;
mod http;
mod interleavings;
mod partitions;
mod rebuild_schemas;
mod rebuilds;
mod sums;
mod support;
