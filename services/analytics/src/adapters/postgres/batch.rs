//! The unit of work: orders and SKUs locked, counted in memory, and then added to the counters.

use std::collections::{BTreeMap, BTreeSet};

use contracts::AnyEvent;
use inbox::{HandlerError, Locked, Received, Rejection, UnitOfWork};
use messaging::TopicPartition;
use sqlx::PgConnection;

use super::counters::Tallies;
use super::generations::Generation;
use super::{alerts, counters, orders};
use crate::domain::{Alert, OrderFact, OrderId, OrderProgress, Refusal, StockFact};

/// The orders and SKUs of one transaction, and what it adds to the counters.
///
/// Invariant: rows are locked in this order, and within a table sorted: orders, alerts, funnel, revenue, best sellers,
/// time to confirm. What an order adds goes to the counters' rows of a partition of this transaction, which has locked
/// that partition's position: transactions of other partitions don't wait for it (docs/adr/0041).
#[derive(Clone, Debug)]
pub struct Batch {
    generation: i32,
    orders: Locked<OrderId, OrderProgress>,
    alerts: Locked<String, Alert>,
    /// Where the first event of each order stands.
    partitions: BTreeMap<OrderId, TopicPartition>,
    tallies: Tallies,
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
        let mut partitions = BTreeMap::new();
        for received in events {
            let Some(order_id) = received.event.order_id() else { continue };
            partitions.entry(OrderId(order_id)).or_insert_with(|| TopicPartition {
                topic: received.topic.clone(),
                partition: received.partition,
            });
        }
        let order_ids: BTreeSet<OrderId> = partitions.keys().copied().collect();
        let skus: BTreeSet<&str> = events.iter().filter_map(|received| received.event.sku()).collect();
        let orders = orders::lock(&mut *conn, generation, &order_ids).await?;
        let alerts = alerts::lock(conn, generation, &skus).await?;
        Ok(Self { generation, orders, alerts, partitions, tallies: Tallies::new() })
    }

    async fn store(self, _: &Generation, conn: &mut PgConnection) -> Result<(), HandlerError> {
        orders::delete_unused(&mut *conn, self.generation, &self.orders).await?;
        alerts::delete_unused(&mut *conn, self.generation, &self.alerts).await?;
        orders::store(&mut *conn, self.generation, &self.orders).await?;
        alerts::store(&mut *conn, self.generation, &self.alerts).await?;
        counters::add(conn, self.generation, &self.tallies).await?;
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
        let Some(partition) = self.partitions.get(&order_id) else { return Ok(()) };
        let tally = self.tallies.entry(partition.clone()).or_default();
        milestones.iter().flatten().for_each(|milestone| tally.count(milestone));
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
