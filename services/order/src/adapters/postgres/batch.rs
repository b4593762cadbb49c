//! The consumer: what the other services say, applied a batch at a time.

use contracts::AnyEvent;
use contracts::payment::{PaymentCompleted, PaymentDeclined};
use contracts::reservation::{StockRejected, StockReserved};
use events::Publisher;
use events::Subscribe as _;
use inbox::{AfterCommit, Context, HandlerError, Received, Rejection, Subscriptions, UnitOfWork};
use sqlx::PgConnection;
use uuid::Uuid;

use super::contract;
use super::metrics::Counts;
use super::postgres::{self, StoreError};
use super::watch::Watcher;
use crate::application::{Work, WorkError, record_fact};
use crate::domain::{Fact, OrderId};

/// The orders of one batch, locked.
#[derive(Debug)]
pub struct OrderBatch {
    work: Work,
}

/// What a batch needs from outside.
#[derive(Clone, Debug)]
pub struct OrderBatchDeps {
    /// Where the ends of orders are announced.
    pub outbox: Publisher,
    /// Who waits for orders in this process.
    pub watcher: Watcher,
}

/// Which facts order listens to.
pub fn subscriptions() -> Subscriptions<OrderBatch> {
    Subscriptions::new()
        .on(|batch: &mut OrderBatch, event: &StockReserved, context| {
            batch.record(event.order_id, contract::stock_reserved(event), context)
        })
        .on(|batch: &mut OrderBatch, event: &StockRejected, context| {
            batch.record(event.order_id, contract::stock_rejected(event), context)
        })
        .on(|batch: &mut OrderBatch, event: &PaymentCompleted, context| {
            batch.record(event.order_id, contract::payment_completed(event), context)
        })
        .on(|batch: &mut OrderBatch, event: &PaymentDeclined, context| {
            batch.record(event.order_id, contract::payment_declined(event), context)
        })
}

impl OrderBatch {
    fn record(&mut self, order_id: Uuid, fact: Fact, context: Context<'_>) -> Result<(), Rejection> {
        let recorded =
            record_fact::record_fact(&mut self.work, OrderId(order_id), fact, &context.cause(), context.now);
        match recorded {
            Ok(()) => Ok(()),
            Err(WorkError::Refused(refusal)) => {
                Err(Rejection::new(refusal.code(), format!("order {order_id}: {refusal}")))
            }
            Err(WorkError::Corrupt { impossible, .. }) => {
                Err(Rejection::new("corrupt_order", format!("order {order_id}: {impossible}")))
            }
        }
    }
}

impl UnitOfWork for OrderBatch {
    type Event = AnyEvent;
    type Deps = OrderBatchDeps;

    /// Inserts no rows: order itself makes every order, so that a fact about an unknown one is refused.
    async fn load(
        _deps: &OrderBatchDeps,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let order_ids: Vec<OrderId> =
            events.iter().filter_map(|received| received.event.key().parse().ok().map(OrderId)).collect();
        let work = postgres::lock(conn, &order_ids).await.map_err(handler_error)?;
        Ok(Self { work })
    }

    fn after_commit(&self) -> AfterCommit {
        let counts = Counts::of(self.work.journal());
        Box::new(move || counts.add())
    }

    async fn store(self, deps: &OrderBatchDeps, conn: &mut PgConnection) -> Result<(), HandlerError> {
        postgres::store(conn, self.work.finish(), &deps.outbox).await.map_err(handler_error)
    }

    fn committed(deps: &OrderBatchDeps) {
        deps.outbox.wake();
        deps.watcher.wake();
    }
}

fn handler_error(error: StoreError) -> HandlerError {
    match error {
        StoreError::Database(error) => error.into(),
        StoreError::Append(error) => error.into(),
        // A corrupt row is nobody's event's fault: it stops the partition until somebody has looked.
        StoreError::Refused(_) | StoreError::Corrupt { .. } => HandlerError::Retry(Box::new(error)),
    }
}
