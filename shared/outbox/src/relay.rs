//! What a relay is: publishes every committed row, each key's rows in sequence, until told to stop.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

/// Publishes committed outbox rows. All relays pass one conformance suite.
#[async_trait]
pub trait Relay: Send {
    /// Runs until `shutdown`, then finishes what is in flight within its grace period. Retries whatever the world
    /// does to it; an error means that it can't work at all.
    ///
    /// # Errors
    /// When the relay's own set-up is wrong.
    async fn run(self: Box<Self>, shutdown: CancellationToken) -> Result<(), RelayError>;
}

/// Why a relay can't work at all.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The database lacks what the relay needs.
    #[error("relay: {0}")]
    Setup(String),
}
