//! The orders of one transaction: their locked streams, and everything that was decided about them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use contracts::Cause;
use uuid::Uuid;

use super::dispatch::Dispatcher;
use super::handler::Recorded;
use super::publisher::Translate;
use super::stream::Stream;
use crate::domain::{ImpossibleTransition, Order, OrderEvent, OrderId, Refusal};

/// The orders of one transaction.
#[derive(Debug)]
pub struct Work {
    streams: BTreeMap<OrderId, Stream>,
    changed: BTreeSet<OrderId>,
    dispatcher: Dispatcher,
    new_id: fn() -> Uuid,
}

/// Why a decision could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The domain refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream is corrupt.
    #[error(transparent)]
    Corrupt(#[from] ImpossibleTransition),
}

/// What a transaction writes.
#[derive(Debug)]
pub struct Outcome {
    /// The heads that changed, sorted by order.
    pub heads: Vec<Stream>,
    /// What the handlers gathered.
    pub dispatched: Dispatcher,
}

impl Work {
    /// Work on these streams, whose rows are locked. `new_id` draws the ids of what happens.
    #[must_use]
    pub fn new(streams: Vec<Stream>, translate: Translate, new_id: fn() -> Uuid) -> Self {
        Self {
            streams: streams.into_iter().map(|stream| (stream.order_id, stream)).collect(),
            changed: BTreeSet::new(),
            dispatcher: Dispatcher::new(translate),
            new_id,
        }
    }

    /// The stream of this order, if there is one.
    #[must_use]
    pub fn stream(&self, order_id: OrderId) -> Option<&Stream> {
        self.streams.get(&order_id)
    }

    /// Decides, evolves and dispatches; says how many events came of it. A refusal changes nothing.
    ///
    /// # Errors
    /// When the domain refuses, or the stream is corrupt.
    pub fn apply(
        &mut self,
        order_id: OrderId,
        decide: impl FnOnce(&Order) -> Result<Vec<OrderEvent>, Refusal>,
        cause: &Cause,
        now: DateTime<Utc>,
    ) -> Result<usize, WorkError> {
        let stream = self.streams.get_mut(&order_id).ok_or(Refusal::UnknownOrder)?;
        let events = decide(&stream.order)?;
        let count = events.len();
        for event in events {
            let occurred_at = now.max(stream.updated_at);
            stream.order = std::mem::take(&mut stream.order).evolve(&event, occurred_at)?;
            stream.version += 1;
            stream.updated_at = occurred_at;
            let recorded = Recorded {
                order_id,
                version: stream.version,
                event_id: (self.new_id)(),
                occurred_at,
                event,
                cause: cause.clone(),
            };
            self.dispatcher.dispatch(recorded, stream);
            self.changed.insert(order_id);
        }
        Ok(count)
    }

    /// Everything that was decided so far.
    #[must_use]
    pub fn journal(&self) -> &[Recorded] {
        &self.dispatcher.journal
    }

    /// What is to be written.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        let heads = self.changed.iter().filter_map(|order_id| self.streams.remove(order_id)).collect();
        Outcome { heads, dispatched: self.dispatcher }
    }
}
