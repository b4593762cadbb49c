//! The only place where the published vocabulary meets what analytics counts.

use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentCompleted;
use contracts::reservation::StockReserved;
use contracts::stock::{StockLevelLow, StockLevelRestored, StockReplenished};

use crate::domain::{Cart, CartLine, OrderFact, OrderId, Reason, StockFact};

pub fn order_placed(event: &OrderPlaced) -> (OrderId, OrderFact) {
    let lines = event.lines.iter().map(|line| CartLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price_minor: line.unit_price_minor,
    });
    let cart =
        Cart { currency: event.currency.clone(), lines: lines.collect(), placed_at: event.occurred_at };
    (OrderId(event.order_id), OrderFact::Placed(cart))
}

pub const fn stock_reserved(event: &StockReserved) -> (OrderId, OrderFact) {
    (OrderId(event.order_id), OrderFact::Reserved)
}

pub const fn payment_completed(event: &PaymentCompleted) -> (OrderId, OrderFact) {
    (OrderId(event.order_id), OrderFact::Paid)
}

pub const fn order_confirmed(event: &OrderConfirmed) -> (OrderId, OrderFact) {
    (OrderId(event.order_id), OrderFact::Confirmed(event.occurred_at))
}

pub const fn order_cancelled(event: &OrderCancelled) -> (OrderId, OrderFact) {
    let reason = match event.reason {
        CancellationReason::OutOfStock => Reason::OutOfStock,
        CancellationReason::PaymentDeclined => Reason::PaymentDeclined,
        CancellationReason::CustomerRequest => Reason::CustomerRequest,
        CancellationReason::TimedOut => Reason::TimedOut,
        CancellationReason::Unknown => Reason::Unknown,
    };
    (OrderId(event.order_id), OrderFact::Cancelled(reason))
}

pub fn stock_level_low(event: &StockLevelLow) -> (&str, StockFact) {
    let fact = StockFact {
        sequence: event.sequence,
        at: event.occurred_at,
        available: event.available,
        threshold: event.threshold,
        fell_low: true,
    };
    (&event.sku, fact)
}

pub fn stock_level_restored(event: &StockLevelRestored) -> (&str, StockFact) {
    let fact = StockFact {
        sequence: event.sequence,
        at: event.occurred_at,
        available: event.available,
        threshold: event.threshold,
        fell_low: false,
    };
    (&event.sku, fact)
}

pub fn stock_replenished(event: &StockReplenished) -> (&str, StockFact) {
    let fact = StockFact {
        sequence: event.sequence,
        at: event.occurred_at,
        available: event.available,
        threshold: event.threshold,
        fell_low: false,
    };
    (&event.sku, fact)
}
