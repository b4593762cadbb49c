//! What a relay is: publishes every committed row, each key's rows in sequence, until told to stop.

use std::sync::Arc;

use async_trait::async_trait;
use database::Database;
use messaging::Bus;
use tokio_util::sync::CancellationToken;

use crate::append::Outbox;

mod backoff;
mod config;
mod failpoint;
mod hand_over;
mod key_queues;
pub mod poll;
mod row;
mod spans;
mod status;
mod topic_publisher;

pub use config::{RelayConfig, RelayKind};
pub use failpoint::{Failpoint, Failpoints, NoFailpoints};
pub use hand_over::HandOverTimes;
pub use poll::PollRelay;
pub use status::{RelayState, RelayStatus};

/// Publishes committed outbox rows. All relays pass one conformance suite.
#[async_trait]
pub trait Relay: Send {
    /// What health checks ask.
    fn status(&self) -> RelayStatus;

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
    /// The database or the configuration lacks what the relay needs.
    #[error("relay: {0}")]
    Setup(String),
}

/// The relay that `config` asks for, of what is published on these topics.
///
/// # Errors
/// When the configuration contradicts itself.
pub fn from_config(
    config: RelayConfig,
    database: Database,
    outbox: &Outbox,
    bus: Arc<dyn Bus>,
    topics: Vec<String>,
) -> Result<Box<dyn Relay>, RelayError> {
    match config.relay {
        RelayKind::Poll => {
            Ok(Box::new(PollRelay::try_new(database, outbox, bus, config)?.with_topics(topics)))
        }
    }
}
