//! A customer places an order.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::Cause;

use super::dispatch::ViewChange;
use super::idempotency::{Answer, CustomerKey, PlaceOutcome};
use super::transaction::Transaction;
use super::work::{Correlation, Outcome, Stream, Work, WorkError};
use crate::domain::{Command, ImpossibleTransition, OrderId, OrderView, Placement, decide};

/// An order that is decided but not yet stored.
#[derive(Debug)]
pub struct Placing {
    /// As people will see it once it is committed.
    pub view: OrderView,
    outcome: Outcome,
}

/// Decides about a new order. Nothing is loaded: an order's id is nobody else's, so that no lock is needed before.
///
/// # Errors
/// When the domain refuses.
pub fn prepare(
    order_id: OrderId,
    placement: Placement,
    deadline: TimeDelta,
    cause: &Cause,
    now: DateTime<Utc>,
) -> Result<Placing, WorkError> {
    let correlation = Correlation { correlation_id: cause.correlation_id, trace: cause.trace.clone() };
    let stream = Stream::new(order_id, placement.customer_id.clone(), correlation, now);
    let mut work = Work::new(vec![stream]);
    let command = Command::Place { placement: Box::new(placement), due_at: now + deadline };
    work.apply(order_id, |order| decide(order, command, now), cause, now)?;
    let outcome = work.finish();
    match outcome.changes.views.get(&order_id) {
        Some(ViewChange::Placed(view)) => Ok(Placing { view: view.clone(), outcome }),
        Some(ViewChange::Progressed { .. }) | None => {
            let impossible = ImpossibleTransition { state: "unplaced", event: "nothing" };
            Err(WorkError::Corrupt { order_id, impossible })
        }
    }
}

/// Stores the order and the answer to its request, unless the key has placed one before.
///
/// # Errors
/// When the database fails, or the order's event can't be published.
pub async fn place_order<T: Transaction>(
    mut transaction: T,
    placing: Placing,
    key: &CustomerKey,
    answer: &Answer,
) -> Result<PlaceOutcome, T::Error> {
    // First of all: a request that came second waits here until the first has committed.
    if let Some(earlier) = transaction.remember(key, placing.view.order_id, answer).await? {
        return Ok(earlier);
    }
    transaction.store(placing.outcome).await?;
    transaction.commit().await?;
    Ok(PlaceOutcome::Placed)
}
