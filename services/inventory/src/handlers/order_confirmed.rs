//! `OrderConfirmed`: reserved units are committed.

use contracts::order::OrderConfirmed;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;
use crate::domain::OrderFact;

/// Commits the reserved units of the order.
///
/// # Errors
/// When nothing is reserved for it.
pub fn order_confirmed(
    batch: &mut Batch,
    event: &OrderConfirmed,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.apply(contract::order_confirmed(event), &OrderFact::Confirmed, context)
}
