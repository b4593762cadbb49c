//! The order database: the store, and the transactions of use cases.

mod batch;
mod deadlines;
mod error;
mod event_rows;
mod heads;
mod idempotency;
mod new_orders;
mod progressed_orders;
mod reads;
mod rows;
mod writes;

use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};
use database::{Database, Operation};
use events::Publisher;
use service::group_commit::Commit;

pub use batch::{Batch, BatchDeps};
pub use deadlines::{Due, Position};
pub use error::StoreError;
pub use reads::{History, ListQuery, Listed, Page, Unfolded, Watched, WrittenByNewerRelease};
pub use writes::Announced;

use super::metrics::Counts;
use crate::application::place_order::place_orders;
use crate::application::{CustomerKey, Outcome, PlaceOutcome, Placing, Transaction, Work};
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
        let begun = |transaction| {
            use_case(PgTransaction { transaction, outbox: self.outbox.clone(), counts: Counts::default() })
        };
        self.database.transaction(operation, begun).await
    }

    /// What was decided, with its events encoded.
    ///
    /// # Errors
    /// When an event can't be published.
    pub fn announce(&self, outcome: Outcome) -> Result<Announced, StoreError> {
        Ok(Announced::new(outcome, &self.outbox)?)
    }
}

/// Requests to place orders, in one transaction (docs/adr/0040).
impl Commit for OrderStore {
    type Item = Placing<Announced>;
    type Key = CustomerKey;
    type Answer = PlaceOutcome;
    type Error = StoreError;

    fn key(placing: &Placing<Announced>) -> &CustomerKey {
        &placing.key
    }

    fn bytes(placing: &Placing<Announced>) -> usize {
        placing.answer.body.len() + placing.prepared.bytes()
    }

    async fn commit(&self, placings: &[Placing<Announced>]) -> Result<Vec<PlaceOutcome>, StoreError> {
        let operation = if placings.len() > 1 { Operation::Group } else { Operation::Request };
        self.transaction(operation, |transaction| place_orders(transaction, placings)).await
    }

    fn is_of_one(error: &StoreError) -> bool {
        error.is_of_rows() || matches!(error, StoreError::Database(error) if database::is_of_locks(error))
    }
}

/// A transaction that has begun. Dropped without a commit it leaves nothing.
#[derive(Debug)]
pub struct PgTransaction {
    transaction: database::Transaction,
    outbox: Publisher,
    counts: Counts,
}

impl Transaction for PgTransaction {
    type Error = StoreError;
    type Prepared = Announced;

    async fn lock(&mut self, order_ids: &[OrderId]) -> Result<Work, StoreError> {
        Ok(Work::new(heads::lock(&mut self.transaction, order_ids).await?))
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
        placings: &[Placing<Announced>],
    ) -> Result<Vec<Option<PlaceOutcome>>, StoreError> {
        let new = idempotency::insert(&mut self.transaction, placings).await?;
        let others: Vec<_> = placings.iter().filter(|placing| !new.contains(&placing.order_id)).collect();
        let mut earlier = idempotency::stored(&mut self.transaction, &others).await?;
        Ok(placings.iter().map(|placing| earlier.remove(&placing.order_id)).collect())
    }

    async fn store_prepared(&mut self, prepared: &[&Announced]) -> Result<(), StoreError> {
        self.counts = Announced::counts(prepared);
        Announced::store(prepared, &mut self.transaction, &self.outbox).await
    }

    async fn store(&mut self, outcome: Outcome) -> Result<(), StoreError> {
        self.store_prepared(&[&Announced::new(outcome, &self.outbox)?]).await
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
