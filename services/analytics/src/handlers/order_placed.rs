//! `OrderPlaced`: an order enters the funnel.

use contracts::order::OrderPlaced;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

/// Counts the order as placed, and its lines as sold if it is confirmed already.
///
/// # Errors
/// When the amounts of an order that is confirmed already exceed what can be counted.
pub fn order_placed(batch: &mut Batch, event: &OrderPlaced, _: Context<'_>) -> Result<(), Rejection> {
    let (order_id, fact) = contract::order_placed(event);
    batch.count(order_id, &fact)
}
