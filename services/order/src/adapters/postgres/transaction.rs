//! A use case's transaction on PostgreSQL.

use chrono::{DateTime, TimeDelta, Utc};
use events::Publisher;

use super::{StoreError, deadlines, idempotency};
use crate::adapters::metrics::Counts;
use crate::application::{Answer, CustomerKey, Outcome, PlaceOutcome, Transaction, Work};
use crate::domain::OrderId;

/// A transaction that has begun. Dropped without a commit it leaves nothing.
#[derive(Debug)]
pub struct PgTransaction {
    transaction: database::Transaction,
    outbox: Publisher,
    counts: Counts,
}

impl PgTransaction {
    pub(super) fn new(transaction: database::Transaction, outbox: Publisher) -> Self {
        Self { transaction, outbox, counts: Counts::default() }
    }
}

impl Transaction for PgTransaction {
    type Error = StoreError;

    async fn lock(&mut self, order_ids: &[OrderId]) -> Result<Work, StoreError> {
        super::lock(&mut self.transaction, order_ids).await
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
        super::store(&mut self.transaction, outcome, &self.outbox).await
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
