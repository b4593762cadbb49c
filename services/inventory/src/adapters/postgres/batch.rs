//! A batch of order facts in one transaction: orders locked, then SKUs, then decided in memory, then stored.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{AnyEvent, clock};
use events::Publisher;
use inbox::{AfterCommit, HandlerError, Received, UnitOfWork};
use sqlx::PgConnection;

use super::announcements::{self, Published};
use super::{levels, reservations};
use crate::adapters::metrics;
use crate::application::fulfilment::Fulfilment;
use crate::domain::{OrderId, Reservation, ReservationId, ReservationState, Warehouse};

/// Everything that a batch of order facts concerns, locked.
#[derive(Debug)]
pub struct StockBatch {
    /// The decisions.
    pub(in crate::adapters) fulfilment: Fulfilment,
    published: Published,
}

impl UnitOfWork for StockBatch {
    type Event = AnyEvent;
    type Deps = Publisher;

    async fn load(
        _: &Publisher,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        let order_ids: BTreeSet<OrderId> =
            events.iter().filter_map(|received| order_id(&received.event)).collect();
        let ids: BTreeMap<_, _> = order_ids.iter().map(|id| (*id, ReservationId(clock::new_id()))).collect();
        reservations::insert_missing(&mut *conn, &ids).await?;

        let mut warehouse = Warehouse::default();
        let mut published = Published::default();
        for row in reservations::lock(&mut *conn, order_ids.into_iter()).await? {
            let order_id = OrderId(row.order_id);
            warehouse.reservations.insert(order_id, row.reservation()?);
            published.orders.insert(order_id, row.last());
        }
        // All SKUs of the whole batch at once: sorting within each order would still deadlock two batches.
        let skus = skus(&warehouse.reservations, events);
        for row in levels::lock(conn, &skus).await? {
            let sku = row.sku();
            warehouse.shelves.insert(sku.clone(), row.level());
            published.skus.insert(sku, row.last());
        }
        Ok(Self { fulfilment: Fulfilment::new(warehouse), published })
    }

    fn after_commit(&self) -> AfterCommit {
        let alerts = metrics::alerts(&self.fulfilment);
        Box::new(move || metrics::count(alerts))
    }

    async fn store(self, outbox: &Publisher, conn: &mut PgConnection) -> Result<(), HandlerError> {
        Ok(announcements::store(conn, outbox, &self.fulfilment, self.published).await?)
    }
}

fn order_id(event: &AnyEvent) -> Option<OrderId> {
    match event {
        AnyEvent::OrderPlaced(event) => Some(OrderId(event.order_id)),
        AnyEvent::OrderConfirmed(event) => Some(OrderId(event.order_id)),
        AnyEvent::OrderCancelled(event) => Some(OrderId(event.order_id)),
        _ => None,
    }
}

/// The SKUs that the batch may move: of its placed orders, and of what is held already.
fn skus(reservations: &BTreeMap<OrderId, Reservation>, events: &[Received<AnyEvent>]) -> Vec<String> {
    let placed = events.iter().filter_map(|received| match &received.event {
        AnyEvent::OrderPlaced(event) => Some(event.lines.iter().map(|line| line.sku.clone())),
        _ => None,
    });
    let held = reservations.values().filter_map(|reservation| match &reservation.state {
        ReservationState::Reserved(lines) => Some(lines.iter().map(|(sku, _)| sku.to_string())),
        ReservationState::Unknown
        | ReservationState::Rejected
        | ReservationState::Committed(_)
        | ReservationState::Released(_)
        | ReservationState::CancelledBeforePlaced => None,
    });
    let skus: BTreeSet<String> = placed.flatten().chain(held.flatten()).collect();
    skus.into_iter().collect()
}
