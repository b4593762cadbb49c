//! What each subscribed event sets in motion: translated, then left to the rules.

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use inbox::{Context, Rejection};

use super::contract;
use super::postgres::StockBatch;
use crate::domain::{OrderFact, OrderId, Refusal};

/// Holds all units that a placed order asks for, or none.
///
/// # Errors
/// When the rules refuse the event.
pub fn reserve_stock(
    batch: &mut StockBatch,
    event: &OrderPlaced,
    context: Context<'_>,
) -> Result<(), Rejection> {
    let lines = contract::lines(event).map_err(rejection)?;
    apply(batch, OrderId(event.order_id), &OrderFact::Placed(lines), context)
}

/// Sells what is held for a confirmed order.
///
/// # Errors
/// When the rules refuse the event.
pub fn commit_stock(
    batch: &mut StockBatch,
    event: &OrderConfirmed,
    context: Context<'_>,
) -> Result<(), Rejection> {
    apply(batch, OrderId(event.order_id), &OrderFact::Confirmed, context)
}

/// Gives back what is held for a cancelled order, also when the cancellation is the first that is heard of it.
///
/// # Errors
/// When the rules refuse the event.
pub fn release_stock(
    batch: &mut StockBatch,
    event: &OrderCancelled,
    context: Context<'_>,
) -> Result<(), Rejection> {
    apply(batch, OrderId(event.order_id), &OrderFact::Cancelled, context)
}

fn apply(
    batch: &mut StockBatch,
    order_id: OrderId,
    fact: &OrderFact,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.fulfilment.apply(order_id, fact, &context.cause(), context.now).map_err(rejection)
}

/// A refusal by the rules dead-letters the event that asked for it.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn rejection(refusal: Refusal) -> Rejection {
    Rejection::new(refusal.code(), refusal.to_string())
}
