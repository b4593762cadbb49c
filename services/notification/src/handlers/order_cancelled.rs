//! `OrderCancelled`: mails that the order was cancelled, and why.

use contracts::order::OrderCancelled;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::batch::Batch;
use crate::domain::{End, OrderId};

pub fn order_cancelled(
    batch: &mut Batch,
    event: &OrderCancelled,
    context: Context<'_>,
) -> Result<(), Rejection> {
    let end = End::Cancelled(contract::reason(event));
    batch.change(OrderId(event.order_id), context, None, |order| order.ended(end))
}
