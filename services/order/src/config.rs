//! The section `[order]` of the configuration.

use serde::{Deserialize, Serialize};

/// What a deployment may choose about orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long an order may stay open, in milliseconds, before it is cancelled.
    pub deadline_ms: u32,
    /// How long an order may stay open after it was published, in milliseconds: what waited for the broker has this time from then.
    /// As long as `deadline_ms` unless it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_grace_ms: Option<u32>,
    /// How often expired deadlines are polled, in milliseconds.
    pub deadline_poll_interval_ms: u32,
    /// How many expired orders are cancelled in one transaction.
    pub deadline_batch_size: u32,
    /// How often the orders that requests wait for are read, in milliseconds.
    pub watch_poll_interval_ms: u32,
    /// How many requests may wait for an order's end (`Prefer: wait`) on this replica at once.
    pub max_waiters: u32,
    /// How many event streams this replica serves at once.
    pub max_streams: u32,
    /// How long an event stream lasts, in milliseconds; its reader resumes it by `Last-Event-ID`.
    pub stream_lifetime_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            deadline_ms: 15 * 60 * 1_000,
            deadline_grace_ms: None,
            deadline_poll_interval_ms: 1_000,
            deadline_batch_size: 500,
            watch_poll_interval_ms: 50,
            max_waiters: 500,
            max_streams: 500,
            stream_lifetime_ms: 10 * 60 * 1_000,
        }
    }
}
