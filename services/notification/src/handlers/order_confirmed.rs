//! `OrderConfirmed`: mails that the order is paid and confirmed.

use contracts::order::OrderConfirmed;
use inbox::{Context, Rejection};

use crate::adapters::postgres::batch::Batch;
use crate::domain::{End, OrderId};

pub fn order_confirmed(
    batch: &mut Batch,
    event: &OrderConfirmed,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.change(OrderId(event.order_id), context, None, |order| order.ended(End::Confirmed))
}
