//! The event streams of one transaction: locked heads, and what is decided about them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use contracts::{Cause, TraceContext};
use events::LastEvent;
use uuid::Uuid;

use super::dispatch::{Changes, Recorded};
use crate::domain::{CustomerId, ImpossibleTransition, Order, OrderEvent, OrderId, Refusal};

/// Correlation id and trace of an order, set by the request that placed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// The correlation id of everything that follows from the order.
    pub correlation_id: Uuid,
    /// The trace in which it was placed.
    pub trace: TraceContext,
}

impl Correlation {
    /// The cause of what happens by itself, such as a deadline.
    pub fn as_cause(&self) -> Cause {
        Cause {
            correlation_id: self.correlation_id,
            causation_id: None,
            user_id: None,
            trace: self.trace.clone(),
        }
    }
}

/// The head of a stream. Its counters are read under the row's lock, before anything is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// What its events are correlated by.
    pub correlation: Correlation,
    /// How many events the stream has.
    pub version: i64,
    /// The last integration event under this key.
    pub last_event: LastEvent,
    /// When the last event happened; later events never happen earlier, whatever a replica's clock says.
    pub updated_at: DateTime<Utc>,
    pub order: Order,
}

impl Stream {
    pub fn new(
        order_id: OrderId,
        customer_id: CustomerId,
        correlation: Correlation,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            order_id,
            customer_id,
            correlation,
            version: 0,
            last_event: LastEvent::default(),
            updated_at: now,
            order: Order::Unplaced,
        }
    }
}

/// The orders of one transaction.
#[derive(Clone, Debug, Default)]
pub struct Work {
    streams: BTreeMap<OrderId, Stream>,
    changed: BTreeSet<OrderId>,
    changes: Changes,
}

/// Why a decision could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The domain refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream is corrupt.
    #[error("order {order_id} is corrupt: {impossible}")]
    Corrupt { order_id: OrderId, impossible: ImpossibleTransition },
}

/// What a transaction writes.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The heads that changed, sorted by order.
    pub heads: Vec<Stream>,
    /// What the handlers made of the events.
    pub changes: Changes,
}

impl Work {
    /// Work on these streams, whose rows are locked.
    pub fn new(streams: Vec<Stream>) -> Self {
        let streams = streams.into_iter().map(|stream| (stream.order_id, stream)).collect();
        Self { streams, ..Self::default() }
    }

    /// The stream of this order, if there is one.
    pub fn stream(&self, order_id: OrderId) -> Option<&Stream> {
        self.streams.get(&order_id)
    }

    /// Decides, evolves and dispatches. A refusal changes nothing.
    ///
    /// # Errors
    /// When the domain refuses, or the stream is corrupt.
    pub fn apply(
        &mut self,
        order_id: OrderId,
        decide: impl FnOnce(&Order) -> Result<Vec<OrderEvent>, Refusal>,
        cause: &Cause,
        now: DateTime<Utc>,
    ) -> Result<(), WorkError> {
        let stream = self.streams.get_mut(&order_id).ok_or(Refusal::UnknownOrder)?;
        for event in decide(&stream.order)? {
            let occurred_at = now.max(stream.updated_at);
            stream.order = std::mem::take(&mut stream.order)
                .evolve(&event, occurred_at)
                .map_err(|impossible| WorkError::Corrupt { order_id, impossible })?;
            stream.version += 1;
            stream.updated_at = occurred_at;
            let (version, cause) = (stream.version, cause.clone());
            self.changes.dispatch(Recorded { order_id, version, occurred_at, event, cause }, &stream.order);
            self.changed.insert(order_id);
        }
        Ok(())
    }

    /// Everything that was decided so far.
    pub fn journal(&self) -> &[Recorded] {
        &self.changes.journal
    }

    pub fn finish(mut self) -> Outcome {
        let heads = self.changed.iter().filter_map(|order_id| self.streams.remove(order_id)).collect();
        Outcome { heads, changes: self.changes }
    }
}
