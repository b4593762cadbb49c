//! `StockReplenished`: an alert may end.

use contracts::stock::StockReplenished;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

/// Lifts the SKU's alert if its threshold is reached.
pub fn stock_replenished(
    batch: &mut Batch,
    event: &StockReplenished,
    _: Context<'_>,
) -> Result<(), Rejection> {
    let (sku, fact) = contract::stock_replenished(event);
    batch.observe(sku, &fact)
}
