//! `StockLevelRestored`: an alert ends.

use contracts::stock::StockLevelRestored;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

/// Lifts the SKU's alert.
pub fn stock_level_restored(
    batch: &mut Batch,
    event: &StockLevelRestored,
    _: Context<'_>,
) -> Result<(), Rejection> {
    let (sku, fact) = contract::stock_level_restored(event);
    batch.observe(sku, &fact)
}
