//! The section `[order]` of the configuration.

use serde::{Deserialize, Serialize};

/// What a deployment may choose about orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Time after which an open order is cancelled.
    pub deadline_ms: u32,
    /// The same, from the order's publication, for an order that waited for the broker. Equal to `deadline_ms` if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_grace_ms: Option<u32>,
    /// Interval at which expired deadlines are looked up.
    pub deadline_poll_interval_ms: u32,
    /// Maximum number of orders cancelled per transaction.
    pub deadline_batch_size: u32,
    /// Interval at which orders with waiting requests or streams are read.
    pub watch_poll_interval_ms: u32,
    /// Maximum number of requests per replica that wait for an order's end (`Prefer: wait`); of one customer, a tenth.
    pub max_waiters: u32,
    /// Maximum number of event streams per replica; of one customer, a tenth.
    pub max_streams: u32,
    /// Time after which an event stream ends; its reader resumes it by `Last-Event-ID`.
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
