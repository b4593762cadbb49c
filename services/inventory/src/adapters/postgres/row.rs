//! A locked row, which numbers the events of its aggregate.

use contracts::{AnyEvent, Cause};
use events::{PublishError, Publisher};
use outbox::Message;

/// An aggregate, and the last event that its row has published.
///
/// Invariant: an event's sequence and its predecessor come from the aggregate's row, which the transaction holds locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<A> {
    pub(super) aggregate: A,
    /// Of the last event, those of this transaction included.
    pub(super) last_sequence: i64,
    /// The last message before this transaction.
    pub(super) last_message_id: Option<i64>,
}

/// An event that the transaction publishes.
#[derive(Debug)]
pub(super) struct Publication {
    event: AnyEvent,
    cause: Cause,
    last_message_id: Option<i64>,
}

impl<A> Row<A> {
    /// Takes the next sequence, if `event` makes an event of it.
    pub(super) fn publish(
        &mut self,
        cause: &Cause,
        event: impl FnOnce(i64) -> Option<AnyEvent>,
    ) -> Option<Publication> {
        let event = event(self.last_sequence + 1)?;
        self.last_sequence += 1;
        Some(Publication { event, cause: cause.clone(), last_message_id: self.last_message_id })
    }
}

impl Publication {
    pub(super) fn encode(&self, outbox: &Publisher) -> Result<Message, PublishError> {
        outbox.encode(&self.event, &self.cause, self.last_message_id)
    }
}
