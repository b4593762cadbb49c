//! The unit of work: the orders of a batch of events, locked, decided about in memory, and stored.

use contracts::AnyEvent;
use events::Publisher;
use inbox::{AfterCommit, Context, HandlerError, Received, Rejection, UnitOfWork};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Announced, StoreError, heads};
use crate::adapters::metrics::Counts;
use crate::adapters::watch::Watcher;
use crate::application::{Work, WorkError};
use crate::domain::{Fact, OrderId, react};

#[derive(Clone, Debug)]
pub struct Batch {
    work: Work,
}

#[derive(Clone, Debug)]
pub struct BatchDeps {
    pub outbox: Publisher,
    /// Wakes the requests of this process that wait for an order.
    pub watcher: Watcher,
}

impl Batch {
    /// Records a fact about an order; the first fact that ends the order ends it.
    ///
    /// # Errors
    /// When there is no such order, or the fact can't be true of it.
    pub fn record(&mut self, order_id: Uuid, fact: Fact, context: Context<'_>) -> Result<(), Rejection> {
        let decide = |order: &_| react(order, fact);
        self.work.apply(OrderId(order_id), decide, &context.cause(), context.now).map_err(|error| {
            let reason = match &error {
                WorkError::Refused(refusal) => refusal.code(),
                WorkError::Corrupt { .. } => "corrupt_order",
            };
            Rejection::new(reason, format!("order {order_id}: {error}"))
        })
    }
}

impl UnitOfWork for Batch {
    type Event = AnyEvent;
    type Deps = BatchDeps;

    /// Inserts no rows: every order is made by order itself, so that a fact about an unknown one is refused.
    async fn load(
        _: &BatchDeps,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let order_ids: Vec<OrderId> =
            events.iter().filter_map(|received| received.event.order_id()).map(OrderId).collect();
        Ok(Self { work: Work::new(heads::lock(conn, &order_ids).await.map_err(handler_error)?) })
    }

    fn after_commit(&self) -> AfterCommit {
        let counts = Counts::of(self.work.journal());
        Box::new(move || counts.add())
    }

    async fn store(self, deps: &BatchDeps, conn: &mut PgConnection) -> Result<(), HandlerError> {
        let announced = Announced::new(self.work.finish(), &deps.outbox).map_err(StoreError::from);
        let announced = announced.map_err(handler_error)?;
        Announced::store(&[&announced], conn, &deps.outbox).await.map_err(handler_error)
    }

    fn committed(deps: &BatchDeps) {
        deps.outbox.wake();
        deps.watcher.wake();
    }
}

fn handler_error(error: StoreError) -> HandlerError {
    match error {
        StoreError::Database(error) => error.into(),
        StoreError::Append(error) => error.into(),
        // As a row that can't be decoded: the events of this order become dead letters, and the others go on.
        StoreError::Corrupt { .. } => sqlx::Error::Decode(Box::new(error)).into(),
        StoreError::Refused(_) => HandlerError::Retry(Box::new(error)),
    }
}
