//! `OrderCancelled`: nothing more is taken, and what was taken or held goes back.

use contracts::order::OrderCancelled;
use inbox::{Context, Rejection};

use super::Payments;

/// Turns the saga round, wherever it is; leaves a tombstone if it has not begun.
///
/// # Errors
/// Never by the domain's rules.
pub fn compensate(
    payments: &mut Payments,
    event: &OrderCancelled,
    context: Context<'_>,
) -> Result<(), Rejection> {
    payments.change(event.order_id, context, |payment| {
        payment.order_cancelled();
        Ok(())
    })
}
