//! Notification on a real PostgreSQL and a real SMTP conversation: facts in any order, mails once.
#![expect(
    clippy::expect_used,
    clippy::large_futures,
    reason = "helpers of tests assert; their futures are polled once"
)]

mod arrivals;
mod delivery;
mod http;
mod races;
mod stack;
