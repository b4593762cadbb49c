//! `OrderPlaced`: keep what the order costs and how it is paid, so that no service has to be called later.

use contracts::order::OrderPlaced;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::batch::Batch;
use crate::domain::OrderId;

/// Keeps the charge; the first step is due if the stock is reserved already.
///
/// # Errors
/// When the total is negative, or another order has the same id.
pub fn order_placed(batch: &mut Batch, event: &OrderPlaced, context: Context<'_>) -> Result<(), Rejection> {
    let charge = contract::charge(event);
    batch.change(OrderId(event.order_id), context, |payment| payment.order_placed(charge))
}
