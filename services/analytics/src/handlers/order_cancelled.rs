//! `OrderCancelled`: an order ends without a sale.

use contracts::order::OrderCancelled;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

/// Counts the order as cancelled, by its reason.
///
/// # Errors
/// When the order was confirmed.
pub fn order_cancelled(batch: &mut Batch, event: &OrderCancelled, _: Context<'_>) -> Result<(), Rejection> {
    let (order_id, fact) = contract::order_cancelled(event);
    batch.count(order_id, &fact)
}
