//! The relay: publishes every committed row, each key's rows in sequence, until its shutdown.

mod backoff;
mod config;
mod failpoint;
mod hand_over;
mod key_queues;
mod poll;
mod row;
mod spans;
mod status;
mod topic_publisher;
mod wal;

pub use config::{RelayConfig, RelayKind};
pub use failpoint::{Failpoint, Failpoints};
pub use hand_over::HandOverTimes;
pub use poll::Relay;
pub use status::{RelayState, RelayStatus};

/// Why a relay can't work at all.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The database or the configuration lacks what the relay needs.
    #[error("relay: {0}")]
    Setup(String),
}
