//! `StockReserved`: recorded; the order waits for its payment.

use contracts::reservation::StockReserved;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

pub fn stock_reserved(
    batch: &mut Batch,
    event: &StockReserved,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.record(event.order_id, contract::stock_reserved(event), context)
}
