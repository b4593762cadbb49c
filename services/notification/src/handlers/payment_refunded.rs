//! `PaymentRefunded`: mails that money was given back. It comes by another topic and may be the first event of its order.

use contracts::payment::PaymentRefunded;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::batch::Batch;
use crate::domain::OrderId;

pub fn payment_refunded(
    batch: &mut Batch,
    event: &PaymentRefunded,
    context: Context<'_>,
) -> Result<(), Rejection> {
    let amount = contract::refund(event);
    batch.change(OrderId(event.order_id), context, None, |order| Ok(order.refunded(amount)))
}
