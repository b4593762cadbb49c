//! Where inventory's own words meet the published language.

use chrono::{DateTime, Utc};
use contracts::order::OrderPlaced;
use contracts::reservation::{ReservedLine, Shortage, StockRejected, StockReleased, StockReserved};
use contracts::stock::{StockLevelLow, StockReplenished};
use contracts::{AnyEvent, Event};
use uuid::Uuid;

use crate::domain::{Lines, OrderId, Refusal, Sku, StockEvent};

/// The full names of what inventory publishes.
pub const PUBLISHES: &[&str] = &[
    StockReserved::TYPE,
    StockRejected::TYPE,
    StockReleased::TYPE,
    StockReplenished::TYPE,
    StockLevelLow::TYPE,
];

/// What a placed order asks for.
///
/// # Errors
/// When its lines can't be those of an order.
pub fn lines(event: &OrderPlaced) -> Result<Lines, Refusal> {
    let lines: Result<Vec<_>, Refusal> =
        event.lines.iter().map(|line| Ok((Sku::parse(&line.sku)?, line.quantity))).collect();
    Lines::try_sum(lines?)
}

/// On whose account an event is published: the aggregate that numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// On the topic of reservations, by order.
    Order(OrderId),
    /// On the topic of stock, by SKU.
    Sku(Sku),
}

/// The account on which the world hears of this, if it does.
#[must_use]
pub fn account(event: &StockEvent) -> Option<Account> {
    match event {
        StockEvent::Reserved { order_id, .. }
        | StockEvent::Rejected { order_id, .. }
        | StockEvent::Released { order_id, .. } => Some(Account::Order(*order_id)),
        StockEvent::Replenished { sku, .. } | StockEvent::FellLow { sku, .. } => {
            Some(Account::Sku(sku.clone()))
        }
        StockEvent::Committed { .. } | StockEvent::CancelledBeforePlaced { .. } => None,
    }
}

/// What the world hears of this, under this id and sequence; nothing, where it need not know.
#[must_use]
pub fn publication(
    event: &StockEvent,
    event_id: Uuid,
    occurred_at: DateTime<Utc>,
    sequence: i64,
) -> Option<AnyEvent> {
    Some(match event {
        StockEvent::Reserved { order_id, reservation_id, lines } => StockReserved {
            event_id,
            occurred_at,
            order_id: order_id.0,
            sequence,
            reservation_id: reservation_id.0,
            lines: published_lines(lines),
        }
        .into_any(),
        StockEvent::Released { order_id, reservation_id, lines } => StockReleased {
            event_id,
            occurred_at,
            order_id: order_id.0,
            sequence,
            reservation_id: reservation_id.0,
            lines: published_lines(lines),
        }
        .into_any(),
        StockEvent::Rejected { order_id, shortages } => {
            let shortages = shortages.iter().map(|shortage| Shortage {
                sku: shortage.sku.to_string(),
                requested: shortage.requested,
                available: shortage.available,
            });
            let shortages = shortages.collect();
            StockRejected { event_id, occurred_at, order_id: order_id.0, sequence, shortages }.into_any()
        }
        StockEvent::Replenished { sku, quantity, level } => StockReplenished {
            event_id,
            occurred_at,
            sku: sku.to_string(),
            sequence,
            quantity: *quantity,
            available: level.books().available,
            threshold: level.books().reorder_threshold,
        }
        .into_any(),
        StockEvent::FellLow { sku, level } => StockLevelLow {
            event_id,
            occurred_at,
            sku: sku.to_string(),
            sequence,
            available: level.books().available,
            threshold: level.books().reorder_threshold,
        }
        .into_any(),
        StockEvent::Committed { .. } | StockEvent::CancelledBeforePlaced { .. } => return None,
    })
}

fn published_lines(lines: &Lines) -> Vec<ReservedLine> {
    lines.iter().map(|(sku, quantity)| ReservedLine { sku: sku.to_string(), quantity }).collect()
}
