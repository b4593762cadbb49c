//! The order database: heads locked sorted, and what was decided stored set-based.

mod batch;
mod deadlines;
mod heads;
mod idempotency;
mod reads;
mod rows;
mod transaction;
mod writes;

use std::future::Future;

use database::{Database, Operation};
use events::{PublishError, Publisher};
use outbox::{AppendError, Message};
use sqlx::PgConnection;

pub use batch::{Batch, BatchDeps};
pub use deadlines::{Due, Position};
pub use reads::{ListQuery, Listed, Watched};
pub use transaction::PgTransaction;

use super::contract::{Announcements, Publication, announce};
use crate::application::{Outcome, Work, WorkError};
use crate::domain::{OrderId, Refusal};

pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}

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
    fn corrupt(order_id: OrderId, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { order_id, detail: detail.to_string() }
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

/// The order database. Cheap to clone. Its reads fail when the database refuses or does not answer.
#[derive(Clone, Debug)]
pub struct OrderStore {
    database: Database,
    outbox: Publisher,
}

impl OrderStore {
    /// The order database, publishing through this outbox.
    pub const fn new(database: Database, outbox: Publisher) -> Self {
        Self { database, outbox }
    }

    /// Runs a use case in a transaction, within the bound of `operation`.
    ///
    /// # Errors
    /// When the use case fails, or the database refuses or does not answer.
    pub async fn transaction<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        operation: Operation,
        use_case: impl FnOnce(PgTransaction) -> F,
    ) -> Result<T, StoreError> {
        let begun = |transaction| use_case(PgTransaction::new(transaction, self.outbox.clone()));
        self.database.transaction(operation, begun).await
    }
}

/// Locks the heads of these orders in one sorted statement, and loads their state. Unknown orders are left out.
///
/// # Errors
/// When the database refuses or a row is corrupt.
pub async fn lock(conn: &mut PgConnection, order_ids: &[OrderId]) -> Result<Work, StoreError> {
    Ok(Work::new(heads::lock(conn, order_ids).await?))
}

/// Stores what was decided about locked and new orders: heads, events, read model, deadlines, outbox.
///
/// # Errors
/// When an event can't be published, or the database refuses.
pub async fn store(
    conn: &mut PgConnection,
    mut outcome: Outcome,
    outbox: &Publisher,
) -> Result<(), StoreError> {
    if outcome.heads.is_empty() {
        return Ok(());
    }
    let Announcements { event_ids, publications } = announce(&mut outcome);
    let encode = |Publication { event, cause, last_message_id }: &Publication| {
        outbox.encode(event, cause, *last_message_id)
    };
    let messages = publications.iter().map(encode).collect::<Result<Vec<Message>, PublishError>>()?;
    let numbered = outbox.number(&mut *conn, messages).await?;
    writes::write(&mut *conn, &outcome, &event_ids, &numbered).await?;
    outbox.append(conn, &numbered).await?;
    Ok(())
}
