//! `OrderPlaced`: stock is reserved.

use contracts::order::OrderPlaced;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;
use crate::domain::OrderFact;

/// Reserves all units of the order, or none and publishes what is short.
///
/// # Errors
/// When the order has no lines, or one that can't be an order's.
pub fn order_placed(batch: &mut Batch, event: &OrderPlaced, context: Context<'_>) -> Result<(), Rejection> {
    let (order_id, lines) = contract::order_placed(event)?;
    batch.apply(order_id, &OrderFact::Placed(lines), context)
}
