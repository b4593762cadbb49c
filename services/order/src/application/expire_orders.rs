//! Deadlines have passed, and everything that was on the topics by then was heard.

use chrono::{DateTime, Utc};

use super::work::{Work, WorkError};
use crate::domain::{Command, OrderId, decide};

/// Cancels those of the orders that are still open and due; says how many. The others stay as they are.
///
/// # Errors
/// When a stream is corrupt.
pub fn expire_orders(work: &mut Work, order_ids: &[OrderId], now: DateTime<Utc>) -> Result<usize, WorkError> {
    let mut expired = 0;
    for order_id in order_ids {
        let Some(stream) = work.stream(*order_id) else { continue };
        let cause = stream.story.as_cause();
        expired += work.apply(*order_id, |order| decide(order, Command::TimeOut, now), &cause, now)?;
    }
    Ok(expired)
}
