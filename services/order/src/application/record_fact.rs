//! Another service said something about an order.

use chrono::{DateTime, Utc};
use contracts::Cause;

use super::work::{Work, WorkError};
use crate::domain::{Fact, OrderId, react};

/// Records a fact; the first that ends the order ends it. The consumer loads a batch's orders before, and stores them after.
///
/// # Errors
/// When there is no such order, or the fact can't be true of it.
pub fn record_fact(
    work: &mut Work,
    order_id: OrderId,
    fact: Fact,
    cause: &Cause,
    now: DateTime<Utc>,
) -> Result<(), WorkError> {
    work.apply(order_id, |order| react(order, fact), cause, now)
}
