//! `StockReserved`: the goods are reserved, so the amount may be taken.

use contracts::reservation::StockReserved;
use inbox::{Context, Rejection};

use crate::adapters::postgres::batch::Batch;
use crate::domain::OrderId;

/// Makes the saga's first step due, or waits for `OrderPlaced`.
///
/// # Errors
/// Never by the domain's rules.
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
