//! Deadlines have passed, and everything that was on the topics by then was consumed.

use chrono::{DateTime, TimeDelta, Utc};

use super::transaction::Transaction;
use crate::domain::{Command, OrderId, decide};

/// Cancels those of these orders that are open, whose deadline had passed at `now`, and which were published by `grace`
/// before; says how many deadlines were answered. The caller knows that everything on the topics about them by then was
/// consumed. Several replicas may do this at once: the locked heads decide.
///
/// # Errors
/// When a stream is corrupt, or the database fails.
pub async fn expire_orders<T: Transaction>(
    mut transaction: T,
    order_ids: &[OrderId],
    now: DateTime<Utc>,
    grace: TimeDelta,
) -> Result<usize, T::Error> {
    let mut work = transaction.lock(order_ids).await?;
    let due = transaction.still_due(order_ids, now, grace).await?;
    for order_id in &due {
        let Some(stream) = work.stream(*order_id) else { continue };
        let cause = stream.correlation.as_cause();
        work.apply(*order_id, |order| decide(order, Command::TimeOut, now), &cause, now)?;
    }
    let outcome = work.finish();
    let is_cleared = |order_id: &OrderId| outcome.changes.deadlines.contains_key(order_id);
    // An order that ended while its head was waited for has no deadline any more; whatever is left goes now.
    let left: Vec<OrderId> = due.iter().copied().filter(|order_id| !is_cleared(order_id)).collect();
    transaction.store(outcome).await?;
    transaction.clear_deadlines(&left).await?;
    transaction.commit().await?;
    Ok(due.len())
}
