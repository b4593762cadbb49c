//! A customer wants an order cancelled.

use chrono::{DateTime, Utc};
use contracts::{Cause, TraceContext};

use super::work::{Work, WorkError};
use crate::domain::{Command, OrderId, Refusal, decide};

/// Cancels an open order; one that is cancelled already stays as it is.
///
/// # Errors
/// When there is no such order, or it was confirmed.
pub fn cancel_order(
    work: &mut Work,
    order_id: OrderId,
    trace: TraceContext,
    now: DateTime<Utc>,
) -> Result<usize, WorkError> {
    let stream = work.stream(order_id).ok_or(Refusal::UnknownOrder)?;
    let cause = Cause { user_id: Some(stream.customer_id.to_string()), trace, ..stream.story.as_cause() };
    work.apply(order_id, |order| decide(order, Command::Cancel, now), &cause, now)
}
