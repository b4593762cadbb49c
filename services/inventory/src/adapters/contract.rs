//! The only place where inventory's own vocabulary meets the published one.

use chrono::{DateTime, Utc};
use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::reservation::{self, ReservedLine, StockRejected, StockReleased, StockReserved};
use contracts::stock::{StockLevelLow, StockLevelRestored, StockReplenished};
use contracts::{AnyEvent, Event};
use uuid::Uuid;

use crate::domain::{
    Lines, OrderId, Refusal, ReservationEvent, ReservationId, Shortage, Sku, StockEvent, StockLevel,
};

/// Full names of the events that this service publishes.
pub const PUBLISHES: &[&str] = &[
    StockReserved::TYPE,
    StockRejected::TYPE,
    StockReleased::TYPE,
    StockReplenished::TYPE,
    StockLevelLow::TYPE,
    StockLevelRestored::TYPE,
];

/// # Errors
/// When the lines can't be those of an order.
pub fn order_placed(event: &OrderPlaced) -> Result<(OrderId, Lines), Refusal> {
    let lines: Result<Vec<_>, Refusal> =
        event.lines.iter().map(|line| Ok((Sku::published(&line.sku)?, line.quantity))).collect();
    Ok((OrderId(event.order_id), Lines::try_sum(lines?)?))
}

pub const fn order_confirmed(event: &OrderConfirmed) -> OrderId {
    OrderId(event.order_id)
}

pub const fn order_cancelled(event: &OrderCancelled) -> OrderId {
    OrderId(event.order_id)
}

/// The SKUs that a placed order names, valid or not.
pub fn skus(event: &AnyEvent) -> impl Iterator<Item = &str> {
    OrderPlaced::from_any(event).into_iter().flat_map(|placed| &placed.lines).map(|line| line.sku.as_str())
}

/// What other services get of a reservation's event, under this id and sequence; nothing, if it is internal.
pub fn reservation_event(
    order_id: OrderId,
    reservation_id: ReservationId,
    event: &ReservationEvent,
    event_id: Uuid,
    occurred_at: DateTime<Utc>,
    sequence: i64,
) -> Option<AnyEvent> {
    let (order_id, reservation_id) = (order_id.0, reservation_id.0);
    Some(match event {
        ReservationEvent::Reserved(lines) => {
            let lines = reserved_lines(lines);
            StockReserved { event_id, occurred_at, order_id, sequence, reservation_id, lines }.into_any()
        }
        ReservationEvent::Released(lines) => {
            let lines = reserved_lines(lines);
            StockReleased { event_id, occurred_at, order_id, sequence, reservation_id, lines }.into_any()
        }
        ReservationEvent::Rejected(shortages) => {
            let shortages = shortages.iter().map(shortage).collect();
            StockRejected { event_id, occurred_at, order_id, sequence, shortages }.into_any()
        }
        ReservationEvent::Committed(_) | ReservationEvent::CancelledBeforePlaced => return None,
    })
}

/// What other services get of a SKU's event, which left it at `level`.
pub fn stock_event(
    sku: &Sku,
    level: StockLevel,
    event: StockEvent,
    event_id: Uuid,
    occurred_at: DateTime<Utc>,
    sequence: i64,
) -> AnyEvent {
    let (sku, books) = (sku.to_string(), level.books());
    let (available, threshold) = (books.available, books.reorder_threshold);
    match event {
        StockEvent::Replenished { quantity } => {
            StockReplenished { event_id, occurred_at, sku, sequence, quantity, available, threshold }
                .into_any()
        }
        StockEvent::FellLow => {
            StockLevelLow { event_id, occurred_at, sku, sequence, available, threshold }.into_any()
        }
        StockEvent::Restored => {
            StockLevelRestored { event_id, occurred_at, sku, sequence, available, threshold }.into_any()
        }
    }
}

fn reserved_lines(lines: &Lines) -> Vec<ReservedLine> {
    lines.iter().map(|(sku, quantity)| ReservedLine { sku: sku.to_string(), quantity }).collect()
}

fn shortage(shortage: &Shortage) -> reservation::Shortage {
    let Shortage { sku, requested, available } = shortage;
    reservation::Shortage { sku: sku.to_string(), requested: *requested, available: *available }
}
