//! What the use cases need of the database: one transaction, rolled back unless it is committed.

use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};

use super::idempotency::{PlaceOutcome, Placing};
use super::work::{Outcome, Work, WorkError};
use crate::domain::OrderId;

/// One transaction. `lock` comes before every other call.
pub trait Transaction: Sized + Send {
    /// How the database fails, or a decision.
    type Error: From<WorkError> + Send;
    /// What was decided, as it is stored.
    type Prepared: Send + Sync;

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

    /// Keeps the answers to these requests; gives what became of each whose key came before.
    fn remember(
        &mut self,
        placings: &[Placing<Self::Prepared>],
    ) -> impl Future<Output = Result<Vec<Option<PlaceOutcome>>, Self::Error>> + Send;

    /// As `store`, for all of these.
    fn store_prepared(
        &mut self,
        prepared: &[&Self::Prepared],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

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
