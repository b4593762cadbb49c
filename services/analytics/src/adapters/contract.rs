//! Where the published language meets what analytics counts.

use contracts::order::{CancellationReason, OrderCancelled, OrderPlaced};
use contracts::stock::{StockLevelLow, StockReplenished};

use crate::domain::{Cart, CartLine, OrderFact, Reason, StockFact};

/// What an order asked for.
#[must_use]
pub fn placed(event: &OrderPlaced) -> OrderFact {
    let lines = event.lines.iter().map(|line| CartLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price_minor: line.unit_price_minor,
    });
    OrderFact::Placed(Cart {
        currency: event.currency.clone(),
        lines: lines.collect(),
        placed_at: event.occurred_at,
    })
}

/// Why an order was cancelled.
#[must_use]
pub const fn cancelled(event: &OrderCancelled) -> OrderFact {
    OrderFact::Cancelled(match event.reason {
        CancellationReason::OutOfStock => Reason::OutOfStock,
        CancellationReason::PaymentDeclined => Reason::PaymentDeclined,
        CancellationReason::CustomerRequest => Reason::CustomerRequest,
        CancellationReason::TimedOut => Reason::TimedOut,
        CancellationReason::Unknown => Reason::Unknown,
    })
}

/// Units came.
#[must_use]
pub const fn replenished(event: &StockReplenished) -> StockFact {
    StockFact {
        sequence: event.sequence,
        at: event.occurred_at,
        available: event.available,
        threshold: event.threshold,
        fell_low: false,
    }
}

/// The level fell below the threshold.
#[must_use]
pub const fn fell_low(event: &StockLevelLow) -> StockFact {
    StockFact {
        sequence: event.sequence,
        at: event.occurred_at,
        available: event.available,
        threshold: event.threshold,
        fell_low: true,
    }
}
