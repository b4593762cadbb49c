//! `StockReserved`: an order has its stock.

use contracts::reservation::StockReserved;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

/// Counts the order as reserved.
pub fn stock_reserved(batch: &mut Batch, event: &StockReserved, _: Context<'_>) -> Result<(), Rejection> {
    let (order_id, fact) = contract::stock_reserved(event);
    batch.count(order_id, &fact)
}
