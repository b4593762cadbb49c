//! `StockReserved`: the goods are there, so the money may be taken.

use contracts::reservation::StockReserved;
use inbox::{Context, Rejection};

use super::Payments;

/// Makes the saga's first step due, or waits for the order.
///
/// # Errors
/// Never by the domain's rules.
pub fn start_charging(
    payments: &mut Payments,
    event: &StockReserved,
    context: Context<'_>,
) -> Result<(), Rejection> {
    payments.change(event.order_id, context, |payment| {
        payment.stock_reserved();
        Ok(())
    })
}
