//! The order database: the store, and the transactions of use cases.

mod batch;
mod deadlines;
mod error;
mod heads;
mod idempotency;
mod reads;
mod rows;
mod writes;

use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};
use database::{Database, Operation};
use events::{PublishError, Publisher};
use outbox::Message;
use sqlx::PgConnection;

pub use batch::{Batch, BatchDeps};
pub use deadlines::{Due, Position};
pub use error::StoreError;
pub use reads::{History, ListQuery, Listed, Page, Unfolded, Watched, WrittenByNewerRelease};

use super::contract::{Announcements, announce};
use super::metrics::Counts;
use crate::application::{Answer, CustomerKey, Outcome, PlaceOutcome, Transaction, Work};
use crate::domain::OrderId;

pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
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

    /// The name that spans give its database.
    pub fn database_name(&self) -> &str {
        self.database.name()
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

/// A transaction that has begun. Dropped without a commit it leaves nothing.
#[derive(Debug)]
pub struct PgTransaction {
    transaction: database::Transaction,
    outbox: Publisher,
    counts: Counts,
}

impl PgTransaction {
    fn new(transaction: database::Transaction, outbox: Publisher) -> Self {
        Self { transaction, outbox, counts: Counts::default() }
    }
}

impl Transaction for PgTransaction {
    type Error = StoreError;

    async fn lock(&mut self, order_ids: &[OrderId]) -> Result<Work, StoreError> {
        lock(&mut self.transaction, order_ids).await
    }

    async fn still_due(
        &mut self,
        order_ids: &[OrderId],
        now: DateTime<Utc>,
        grace: TimeDelta,
    ) -> Result<Vec<OrderId>, StoreError> {
        Ok(deadlines::still_due(&mut self.transaction, order_ids, now, grace).await?)
    }

    async fn remember(
        &mut self,
        key: &CustomerKey,
        order_id: OrderId,
        answer: &Answer,
    ) -> Result<Option<PlaceOutcome>, StoreError> {
        if idempotency::insert(&mut self.transaction, key, order_id, answer).await? {
            return Ok(None);
        }
        idempotency::stored(&mut self.transaction, key).await.map(Some)
    }

    async fn store(&mut self, outcome: Outcome) -> Result<(), StoreError> {
        self.counts = Counts::of(&outcome.changes.journal);
        store(&mut self.transaction, outcome, &self.outbox).await
    }

    async fn clear_deadlines(&mut self, order_ids: &[OrderId]) -> Result<(), StoreError> {
        Ok(deadlines::clear(&mut self.transaction, order_ids).await?)
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await?;
        self.counts.add();
        self.outbox.wake();
        Ok(())
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
    let messages = publications.iter().map(|publication| outbox.encode(publication));
    let messages = messages.collect::<Result<Vec<Message>, PublishError>>()?;
    let numbered = outbox.number(&mut *conn, messages).await?;
    writes::write(&mut *conn, &outcome, &event_ids, &numbered).await?;
    outbox.append(conn, &numbered).await?;
    Ok(())
}
