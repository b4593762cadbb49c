//! `OrderCancelled`: reserved units are released.

use contracts::order::OrderCancelled;
use inbox::{Context, Rejection};

use crate::adapters::contract;
use crate::adapters::postgres::Batch;
use crate::domain::OrderFact;

/// Releases the reserved units of the order. The event may arrive before `OrderPlaced`, which then reserves nothing.
///
/// # Errors
/// When the units are committed.
pub fn order_cancelled(
    batch: &mut Batch,
    event: &OrderCancelled,
    context: Context<'_>,
) -> Result<(), Rejection> {
    batch.apply(contract::order_cancelled(event), &OrderFact::Cancelled, context)
}
