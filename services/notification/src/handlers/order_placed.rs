//! `OrderPlaced`: keeps the recipient, or that there is none, and mails that the order was received.

use contracts::order::OrderPlaced;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::batch::Batch;
use crate::domain::OrderId;

pub fn order_placed(batch: &mut Batch, event: &OrderPlaced, context: Context<'_>) -> Result<(), Rejection> {
    let status = contract::recipient_status(event);
    batch
        .change(OrderId(event.order_id), context, contract::introduction(event), |order| order.placed(status))
}
