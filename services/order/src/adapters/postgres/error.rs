//! Why the order database could not do what it was asked.

use database::Verdict;
use events::PublishError;
use outbox::AppendError;

use crate::application::WorkError;
use crate::domain::{OrderId, Refusal};

/// Why the database could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The domain refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A row holds what no code of ours can have written.
    #[error("order {order_id} is corrupt: {detail}")]
    Corrupt { order_id: OrderId, detail: String },
    /// The event that announces the change can't be published.
    #[error(transparent)]
    Append(PublishError),
    /// The database refused or did not answer.
    #[error("the order database: {0}")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    pub(super) fn corrupt(order_id: OrderId, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { order_id, detail: detail.to_string() }
    }

    /// Whether some order's rows are at fault, and not the database as a whole.
    pub(in crate::adapters) fn is_of_rows(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Corrupt { .. } | Self::Append(_) => true,
            Self::Database(error) => matches!(database::verdict(error), Verdict::Data | Verdict::Unknown),
        }
    }
}

impl From<WorkError> for StoreError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Refused(refusal) => Self::Refused(refusal),
            WorkError::Corrupt { order_id, impossible } => Self::corrupt(order_id, impossible),
        }
    }
}

impl From<AppendError> for StoreError {
    fn from(error: AppendError) -> Self {
        PublishError::from(error).into()
    }
}

impl From<PublishError> for StoreError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Database(error) => Self::Database(error),
            PublishError::Append(_) | PublishError::Encode { .. } => Self::Append(error),
        }
    }
}
