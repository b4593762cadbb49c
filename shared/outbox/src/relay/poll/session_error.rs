//! Why a relay's session with its database ended.

use std::time::Duration;

use crate::relay::RelayError;
use crate::relay::wal::stream::LogError;

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the database has not answered for {0:?}")]
    NoAnswer(Duration),
    #[error("a publisher of the relay has stopped")]
    PublisherStopped,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Setup(#[from] RelayError),
}
