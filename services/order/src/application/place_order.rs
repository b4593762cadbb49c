//! A customer places an order.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::Cause;
use uuid::Uuid;

use super::publisher::Translate;
use super::stream::{Story, Stream};
use super::work::{Work, WorkError};
use crate::domain::{Command, OrderId, Placement, decide};

/// The new order, decided but not yet written: an order's id is nobody else's, so that no lock is needed before.
///
/// # Errors
/// When the domain refuses.
pub fn place_order(
    order_id: OrderId,
    placement: Placement,
    deadline: TimeDelta,
    cause: &Cause,
    now: DateTime<Utc>,
    translate: Translate,
    new_id: fn() -> Uuid,
) -> Result<Work, WorkError> {
    let story = Story { correlation_id: cause.correlation_id, trace: cause.trace.clone() };
    let stream = Stream::new(order_id, placement.customer_id.clone(), story, now);
    let mut work = Work::new(vec![stream], translate, new_id);
    let command = Command::Place { placement: Box::new(placement), due_at: now + deadline };
    work.apply(order_id, |order| decide(order, command, now), cause, now)?;
    Ok(work)
}
