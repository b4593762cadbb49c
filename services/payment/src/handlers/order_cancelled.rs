//! `OrderCancelled`: nothing more is taken, and what was taken or held is given back.

use contracts::order::OrderCancelled;
use inbox::{Context, Rejection};

use crate::adapters::postgres::batch::Batch;
use crate::domain::OrderId;

/// Turns the saga round, wherever it is. If it has not begun, it never will.
///
/// # Errors
/// Never by the domain's rules.
pub fn order_cancelled(
    batch: &mut Batch,
    event: &OrderCancelled,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.change(OrderId(event.order_id), context, |payment| {
        payment.order_cancelled();
        Ok(())
    })
}
