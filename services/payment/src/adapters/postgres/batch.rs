//! A batch of events as a unit of work: missing rows first, then all locks in one sorted statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use contracts::AnyEvent;
use contracts::clock::{new_id, now};
use inbox::{HandlerError, Received, UnitOfWork};
use outbox::Numbered;
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{lock, update};
use crate::application::{Entry, Payments};

/// What a batch of payment's events needs.
#[derive(Debug)]
pub struct BatchDeps {
    /// Wakes the saga's worker.
    pub wake: Arc<Notify>,
}

impl UnitOfWork for Payments {
    type Event = AnyEvent;
    type Deps = BatchDeps;

    async fn load(
        _: &BatchDeps,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        // A row per order, with the id that its payment will have if this transaction is the one that inserts it.
        let missing: BTreeMap<Uuid, Uuid> = events
            .iter()
            .filter_map(|received| order_id(&received.event))
            .map(|order_id| (order_id, new_id()))
            .collect();
        let (order_ids, payment_ids): (Vec<Uuid>, Vec<Uuid>) = missing.into_iter().unzip();
        sqlx::query(
            "INSERT INTO payments (order_id, payment_id, state, updated_at)
             SELECT order_id, payment_id, 'unknown', $3
             FROM UNNEST($1::uuid[], $2::uuid[]) AS missing (order_id, payment_id)
             ORDER BY order_id
             ON CONFLICT (order_id) DO NOTHING",
        )
        .bind(&order_ids)
        .bind(&payment_ids)
        .bind(now())
        .execute(&mut *conn)
        .await?;
        Ok(Self::new(lock(conn, &order_ids).await?))
    }

    async fn store(self, _: &BatchDeps, conn: &mut PgConnection) -> Result<(), HandlerError> {
        let changed: Vec<Entry> = self.into_changed().collect();
        // These events are answered by the saga alone: nothing is published here.
        Ok(update(conn, &changed, &Numbered::default()).await?)
    }

    fn committed(deps: &BatchDeps) {
        deps.wake.notify_one();
    }
}

/// The order that an event of payment's subscriptions concerns.
fn order_id(event: &AnyEvent) -> Option<Uuid> {
    match event {
        AnyEvent::OrderPlaced(event) => Some(event.order_id),
        AnyEvent::OrderCancelled(event) => Some(event.order_id),
        AnyEvent::StockReserved(event) => Some(event.order_id),
        AnyEvent::OrderConfirmed(_)
        | AnyEvent::StockReleased(_)
        | AnyEvent::StockRejected(_)
        | AnyEvent::PaymentCompleted(_)
        | AnyEvent::PaymentDeclined(_)
        | AnyEvent::PaymentRefunded(_)
        | AnyEvent::StockReplenished(_)
        | AnyEvent::StockLevelLow(_) => None,
    }
}
