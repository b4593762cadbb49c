//! `StockRejected`: cancels an open order as out of stock; recorded as late once it has ended.

use contracts::reservation::StockRejected;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

pub fn stock_rejected(
    batch: &mut Batch,
    event: &StockRejected,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.record(event.order_id, contract::stock_rejected(event), context)
}
