//! `OrderConfirmed`: an order is sold.

use contracts::order::OrderConfirmed;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

/// Counts the order as confirmed, and adds its lines to revenue, best sellers and time to confirm once they are known.
///
/// # Errors
/// When the order was cancelled, or its amounts exceed what can be counted.
pub fn order_confirmed(batch: &mut Batch, event: &OrderConfirmed, _: Context<'_>) -> Result<(), Rejection> {
    let (order_id, fact) = contract::order_confirmed(event);
    batch.count(order_id, &fact)
}
