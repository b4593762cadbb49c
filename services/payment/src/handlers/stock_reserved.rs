//! `StockReserved`: makes the saga's first step due, or waits for `OrderPlaced`.

use contracts::reservation::StockReserved;
use inbox::{Context, Rejection};

use crate::adapters::postgres::batch::Batch;
use crate::domain::OrderId;

pub fn stock_reserved(
    batch: &mut Batch,
    event: &StockReserved,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.change(OrderId(event.order_id), context, |payment| {
        payment.stock_reserved();
        Ok(())
    })
}
