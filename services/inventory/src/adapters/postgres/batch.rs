//! The unit of work: orders and SKUs locked, changed in memory, and stored with the events that they publish.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use contracts::clock::new_id;
use contracts::{AnyEvent, Cause};
use events::{Publication, PublishError, Publisher, Row};
use inbox::{AfterCommit, Context, HandlerError, Locked, Received, Rejection, UnitOfWork};
use outbox::Message;
use sqlx::PgConnection;

use super::{changes, reservations, stock};
use crate::adapters::{contract, metrics};
use crate::domain::{
    LevelChange, OrderFact, OrderId, Refusal, Reservation, ReservationState, Sku, StockEvent, StockLevel,
};

/// The orders and SKUs of one transaction.
///
/// Invariant: orders are locked before SKUs, and all of a kind in one sorted statement for the whole batch: sorting within
/// each order would still deadlock two batches. A SKU without a row is not kept.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    reservations: Locked<OrderId, Row<Reservation>>,
    stock: Locked<Sku, Row<StockLevel>>,
    publications: Vec<Publication>,
    alerts: u64,
}

impl UnitOfWork for Batch {
    type Event = AnyEvent;
    type Deps = Publisher;

    async fn load(
        _: &Publisher,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let order_ids: BTreeSet<OrderId> =
            events.iter().filter_map(|received| received.event.order_id()).map(OrderId).collect();
        let reservations = reservations::lock(&mut *conn, &order_ids).await?;
        // What the events may move: the lines of placed orders, and what is reserved already.
        let mut skus: BTreeSet<String> =
            events.iter().flat_map(|received| contract::skus(&received.event)).map(str::to_owned).collect();
        for (_, row) in reservations.iter() {
            if let ReservationState::Reserved(lines) = &row.aggregate.state {
                skus.extend(lines.iter().map(|(sku, _)| sku.to_string()));
            }
        }
        let stock = stock::lock(conn, skus).await?;
        Ok(Self { reservations, stock: Locked::new(stock), ..Self::default() })
    }

    fn after_commit(&self) -> AfterCommit {
        let alerts = self.alerts;
        Box::new(move || metrics::count(alerts))
    }

    async fn store(self, outbox: &Publisher, conn: &mut PgConnection) -> Result<(), HandlerError> {
        reservations::delete_unused(&mut *conn, &self.reservations).await?;
        Ok(self.write(outbox, conn).await?)
    }
}

impl Batch {
    /// One locked SKU, and no orders.
    pub(super) fn of_sku(sku: Sku, row: Row<StockLevel>) -> Self {
        Self { stock: Locked::new([(sku, row)]), ..Self::default() }
    }

    /// Changes the order's reservation, and the levels of its SKUs with it.
    ///
    /// # Errors
    /// When the domain refuses the fact; nothing is changed then.
    pub fn apply(
        &mut self,
        order_id: OrderId,
        fact: &OrderFact,
        context: Context<'_>,
    ) -> Result<(), Rejection> {
        let (cause, now) = (context.cause(), context.now);
        let level = |sku: &Sku| self.stock.get(sku).map(|row| row.aggregate);
        let levels = self.reservations.change(&order_id, |row| {
            let Some(decision) = row.aggregate.decide(order_id, fact, level)? else { return Ok(Vec::new()) };
            row.aggregate.apply(&decision.event);
            let id = row.aggregate.id;
            let publication = row.last_event.publish(&cause, |sequence| {
                contract::reservation_event(order_id, id, &decision.event, new_id(), now, sequence)
            });
            self.publications.extend(publication);
            Ok::<_, Refusal>(decision.levels)
        })?;
        levels.into_iter().flatten().try_for_each(|change| self.change_level(&change, &cause, now))
    }

    /// Changes the level of a locked SKU.
    pub(super) fn change_level(
        &mut self,
        change: &LevelChange,
        cause: &Cause,
        now: DateTime<Utc>,
    ) -> Result<(), Rejection> {
        let LevelChange { sku, level, events } = change;
        self.stock.change(sku, |row| {
            row.aggregate = *level;
            for event in events {
                self.publications.extend(row.last_event.publish(cause, |sequence| {
                    Some(contract::stock_event(sku, *level, *event, new_id(), now, sequence))
                }));
                self.alerts += u64::from(*event == StockEvent::FellLow);
            }
            Ok::<_, Rejection>(())
        })?;
        Ok(())
    }

    /// Stores the changed rows and appends the events, in the transaction that holds the rows locked.
    pub(super) async fn write(
        &self,
        outbox: &Publisher,
        conn: &mut PgConnection,
    ) -> Result<(), PublishError> {
        let messages: Vec<Message> = self
            .publications
            .iter()
            .map(|publication| outbox.encode(publication))
            .collect::<Result<_, _>>()?;
        let numbered = outbox.number(&mut *conn, messages).await?;
        changes::store(&mut *conn, &self.reservations, &self.stock, &numbered).await?;
        outbox.append(conn, &numbered).await
    }

    pub(super) const fn alerts(&self) -> u64 {
        self.alerts
    }
}
