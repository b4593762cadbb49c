//! What the use cases need of the database: one transaction, rolled back unless it is committed.

use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};

use super::idempotency::{Answer, CustomerKey, PlaceOutcome};
use super::work::{Outcome, Work, WorkError};
use crate::domain::OrderId;

/// One transaction. `lock` comes before every other call.
pub trait Transaction: Sized + Send {
    /// How the database fails, or a decision.
    type Error: From<WorkError> + Send;

    /// Loads these orders and locks their heads until the end of the transaction. Unknown orders are left out.
    fn lock(&mut self, order_ids: &[OrderId]) -> impl Future<Output = Result<Work, Self::Error>> + Send;

    /// Those of these orders whose deadlines had passed at `now`, still wait for an answer, and were published by `grace`
    /// before.
    fn still_due(
        &mut self,
        order_ids: &[OrderId],
        now: DateTime<Utc>,
        grace: TimeDelta,
    ) -> impl Future<Output = Result<Vec<OrderId>, Self::Error>> + Send;

    /// Keeps the answer to the request of this key; gives what became of the key's request, if it came before.
    fn remember(
        &mut self,
        key: &CustomerKey,
        order_id: OrderId,
        answer: &Answer,
    ) -> impl Future<Output = Result<Option<PlaceOutcome>, Self::Error>> + Send;

    /// Stores what was decided: heads, events, read model, deadlines, outbox.
    fn store(&mut self, outcome: Outcome) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Discards the deadlines of these orders.
    fn clear_deadlines(
        &mut self,
        order_ids: &[OrderId],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Commits, and lets the outbox publish.
    fn commit(self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
