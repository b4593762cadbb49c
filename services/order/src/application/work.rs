//! The orders of one transaction: their locked streams, and everything that was decided about them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use contracts::Cause;

use super::dispatch::Changes;
use super::stream::{Recorded, Stream};
use crate::domain::{ImpossibleTransition, Order, OrderEvent, OrderId, Refusal};

/// The orders of one transaction.
#[derive(Debug, Default)]
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
#[derive(Debug)]
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
