//! A customer wants an order cancelled.

use chrono::{DateTime, Utc};
use contracts::{Cause, TraceContext};

use super::transaction::Transaction;
use super::work::WorkError;
use crate::domain::{Command, OrderId, Refusal, decide};

/// Cancels an open order; one that is cancelled already stays as it is.
///
/// # Errors
/// When there is no such order, it was confirmed, or the database fails.
pub async fn cancel_order<T: Transaction>(
    mut transaction: T,
    order_id: OrderId,
    trace: TraceContext,
    now: DateTime<Utc>,
) -> Result<(), T::Error> {
    let mut work = transaction.lock(&[order_id]).await?;
    let stream = work.stream(order_id).ok_or(WorkError::Refused(Refusal::UnknownOrder))?;
    let cause =
        Cause { user_id: Some(stream.customer_id.to_string()), trace, ..stream.correlation.as_cause() };
    work.apply(order_id, |order| decide(order, Command::Cancel, now), &cause, now)?;
    transaction.store(work.finish()).await?;
    transaction.commit().await
}
