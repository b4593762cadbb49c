//! A batch of facts in one transaction: orders or SKUs locked, counted in memory, then added to the counters.

use std::collections::BTreeSet;

use contracts::AnyEvent;
use inbox::{HandlerError, Received, UnitOfWork};
use sqlx::PgConnection;

use super::generations::Generation;
use super::{alerts, counters, stories};
use crate::application::counting::Counting;
use crate::domain::OrderId;

/// Everything that a batch of facts concerns, locked.
///
/// Invariant: rows are locked in this order, and within a table sorted: orders, alerts, funnel, revenue, best sellers,
/// time to confirm. Batches of all partitions meet at the counters, and take turns there until they commit.
#[derive(Debug)]
pub struct ReadModels {
    /// What is counted.
    pub(in crate::adapters) counting: Counting,
    generation: i32,
}

impl UnitOfWork for ReadModels {
    type Event = AnyEvent;
    type Deps = Generation;

    async fn load(
        generation: &Generation,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let generation = generation.number(&mut *conn).await?;
        let order_ids: BTreeSet<OrderId> =
            events.iter().filter_map(|received| order_id(&received.event)).collect();
        let skus: BTreeSet<&str> = events.iter().filter_map(|received| sku(&received.event)).collect();
        let stories = stories::lock(&mut *conn, generation, &order_ids).await?;
        let alerts = alerts::lock(conn, generation, &skus).await?;
        Ok(Self { counting: Counting::new(stories, alerts), generation })
    }

    async fn store(self, _: &Generation, conn: &mut PgConnection) -> Result<(), HandlerError> {
        stories::store(&mut *conn, self.generation, self.counting.changed_orders()).await?;
        alerts::store(&mut *conn, self.generation, self.counting.changed_alerts()).await?;
        counters::add(conn, self.generation, self.counting.tally()).await?;
        Ok(())
    }
}

const fn order_id(event: &AnyEvent) -> Option<OrderId> {
    Some(OrderId(match event {
        AnyEvent::OrderPlaced(event) => event.order_id,
        AnyEvent::OrderConfirmed(event) => event.order_id,
        AnyEvent::OrderCancelled(event) => event.order_id,
        AnyEvent::StockReserved(event) => event.order_id,
        AnyEvent::PaymentCompleted(event) => event.order_id,
        _ => return None,
    }))
}

fn sku(event: &AnyEvent) -> Option<&str> {
    match event {
        AnyEvent::StockReplenished(event) => Some(&event.sku),
        AnyEvent::StockLevelLow(event) => Some(&event.sku),
        _ => None,
    }
}
