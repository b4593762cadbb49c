//! The unit of work: orders and SKUs locked, counted in memory, and then added to the counters.

use std::collections::BTreeSet;

use contracts::AnyEvent;
use inbox::{HandlerError, Locked, Received, Rejection, UnitOfWork};
use sqlx::PgConnection;

use super::generations::Generation;
use super::{alerts, counters, orders};
use crate::domain::{Alert, OrderFact, OrderId, OrderProgress, Refusal, StockFact, Tally};

/// The orders and SKUs of one transaction, and what it adds to the counters.
///
/// Invariant: rows are locked in this order, and within a table sorted: orders, alerts, funnel, revenue, best sellers,
/// time to confirm. Batches of all partitions meet at the counters, and take turns there until they commit.
#[derive(Debug)]
pub struct Batch {
    generation: i32,
    orders: Locked<OrderId, OrderProgress>,
    alerts: Locked<String, Alert>,
    tally: Tally,
}

impl UnitOfWork for Batch {
    type Event = AnyEvent;
    type Deps = Generation;

    async fn load(
        generation: &Generation,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let generation = generation.number(&mut *conn).await?;
        let order_ids: BTreeSet<OrderId> =
            events.iter().filter_map(|received| received.event.order_id()).map(OrderId).collect();
        let skus: BTreeSet<&str> = events.iter().filter_map(|received| received.event.sku()).collect();
        let orders = orders::lock(&mut *conn, generation, &order_ids).await?;
        let alerts = alerts::lock(conn, generation, &skus).await?;
        Ok(Self {
            generation,
            orders: Locked::new(orders),
            alerts: Locked::new(alerts),
            tally: Tally::default(),
        })
    }

    async fn store(self, _: &Generation, conn: &mut PgConnection) -> Result<(), HandlerError> {
        orders::store(&mut *conn, self.generation, &self.orders).await?;
        alerts::store(&mut *conn, self.generation, &self.alerts).await?;
        counters::add(conn, self.generation, &self.tally).await?;
        Ok(())
    }
}

impl Batch {
    /// Counts the milestones that the fact adds to an order's progress.
    ///
    /// # Errors
    /// When it contradicts what is known; nothing is changed then.
    pub fn count(&mut self, order_id: OrderId, fact: &OrderFact) -> Result<(), Rejection> {
        let milestones = self.orders.change(&order_id, |order| {
            let (next, milestones) = order.react(order_id, fact)?;
            *order = next;
            Ok::<_, Refusal>(milestones)
        })?;
        milestones.iter().flatten().for_each(|milestone| self.tally.count(milestone));
        Ok(())
    }

    /// Raises or lifts a SKU's alert, unless a later fact is known.
    ///
    /// # Errors
    /// When the SKU's row is not locked.
    pub fn observe(&mut self, sku: &str, fact: &StockFact) -> Result<(), Rejection> {
        self.alerts.change(&sku.to_owned(), |alert| {
            *alert = alert.after(fact);
            Ok::<_, Rejection>(())
        })?;
        Ok(())
    }
}
