//! A customer places an order.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::Cause;

use super::dispatch::ViewChange;
use super::idempotency::{PlaceOutcome, Placing};
use super::transaction::Transaction;
use super::work::{Correlation, Outcome, Stream, Work, WorkError};
use crate::domain::{Command, ImpossibleTransition, OrderId, OrderView, Placement, decide};

/// Decides about a new order: as people will see it, and what is stored. Nothing is loaded: an order's id is nobody else's, so that no
/// lock is needed before.
///
/// # Errors
/// When the domain refuses.
pub fn prepare(
    order_id: OrderId,
    placement: Placement,
    deadline: TimeDelta,
    cause: &Cause,
    now: DateTime<Utc>,
) -> Result<(OrderView, Outcome), WorkError> {
    let correlation = Correlation { correlation_id: cause.correlation_id, trace: cause.trace.clone() };
    let stream = Stream::new(order_id, placement.customer_id.clone(), correlation, now);
    let mut work = Work::new(vec![stream]);
    let command = Command::Place { placement: Box::new(placement), due_at: now + deadline };
    work.apply(order_id, |order| decide(order, command, now), cause, now)?;
    let outcome = work.finish();
    match outcome.changes.views.get(&order_id) {
        Some(ViewChange::Placed(view)) => Ok((view.clone(), outcome)),
        Some(ViewChange::Progressed { .. }) | None => {
            let impossible = ImpossibleTransition { state: "unplaced", event: "nothing" };
            Err(WorkError::Corrupt { order_id, impossible })
        }
    }
}

/// Stores these orders with the answers to their requests, except those whose keys have placed one before. No key comes twice.
///
/// # Errors
/// When the database fails.
pub async fn place_orders<T: Transaction>(
    mut transaction: T,
    placings: &[Placing<T::Prepared>],
) -> Result<Vec<PlaceOutcome>, T::Error> {
    // First of all: a request that came second waits here until the first has committed.
    let earlier = transaction.remember(placings).await?;
    let new = placings.iter().zip(&earlier).filter(|(_, earlier)| earlier.is_none());
    let new: Vec<&T::Prepared> = new.map(|(placing, _)| &placing.prepared).collect();
    if !new.is_empty() {
        transaction.store_prepared(&new).await?;
        transaction.commit().await?;
    }
    Ok(earlier.into_iter().map(|earlier| earlier.unwrap_or(PlaceOutcome::Placed)).collect())
}
