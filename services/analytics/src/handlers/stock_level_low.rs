//! `StockLevelLow`: an alert is raised.

use contracts::stock::StockLevelLow;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

/// Raises the SKU's alert.
pub fn stock_level_low(batch: &mut Batch, event: &StockLevelLow, _: Context<'_>) -> Result<(), Rejection> {
    let (sku, fact) = contract::stock_level_low(event);
    batch.observe(sku, &fact)
}
