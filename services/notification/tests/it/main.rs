//! Notification on a real PostgreSQL and a real SMTP conversation: facts in any order, mails once.
#![expect(
    clippy::expect_used,
    clippy::large_futures,
    clippy::unwrap_used,
    reason = "helpers of tests assert; their futures are polled once"
)]

mod addresses;
mod arrivals;
mod cut_off;
mod delivery;
mod faults;
mod http;
mod metrics;
mod races;
mod stack;
