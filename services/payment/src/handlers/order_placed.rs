//! `OrderPlaced`: keeps what the order costs and how it is paid, so that no service has to be called later. The first step
//! is due if the stock is reserved already.

use contracts::order::OrderPlaced;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::batch::Batch;
use crate::domain::OrderId;

pub fn order_placed(batch: &mut Batch, event: &OrderPlaced, context: Context<'_>) -> Result<(), Rejection> {
    let charge = contract::charge(event);
    batch.change(OrderId(event.order_id), context, |payment| payment.order_placed(charge))
}
