//! Payment on a real PostgreSQL: facts in any order, crashes at every point, and the provider's own books.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures,
    clippy::unwrap_used,
    reason = "helpers of tests assert; their futures are polled once"
)]

mod arrivals;
mod at_once;
mod backlog;
mod corrupt_rows;
mod crash_points;
mod crashes;
mod cut_off;
mod fair;
mod http;
mod leases;
mod ledger;
mod metrics;
mod races;
mod rows;
mod stack;
mod statements;
