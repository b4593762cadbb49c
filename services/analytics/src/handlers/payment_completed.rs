//! `PaymentCompleted`: an order is paid.

use contracts::payment::PaymentCompleted;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;

/// Counts the order as paid.
pub fn payment_completed(
    batch: &mut Batch,
    event: &PaymentCompleted,
    _: Context<'_>,
) -> Result<(), Rejection> {
    let (order_id, fact) = contract::payment_completed(event);
    batch.count(order_id, &fact)
}
