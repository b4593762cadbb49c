//! Hands integration events to the outbox: a handler of domain events.

use contracts::{AnyEvent, Cause};

use super::handler::{DomainEventHandler, Recorded};
use super::stream::Stream;

/// What the world hears of a domain event, under the sequence number given; nothing of internal ones.
pub type Translate = fn(&Recorded, i64) -> Option<AnyEvent>;

/// An integration event with what the outbox needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The event.
    pub event: AnyEvent,
    /// Why it happened.
    pub cause: Cause,
    /// The last message of its order before this transaction.
    pub last_message_id: Option<i64>,
}

/// The integration events of one transaction.
#[derive(Debug)]
pub struct Publisher {
    translate: Translate,
    /// In the order in which they happened.
    pub published: Vec<Publication>,
}

impl Publisher {
    /// Nothing published yet.
    #[must_use]
    pub const fn new(translate: Translate) -> Self {
        Self { translate, published: Vec::new() }
    }
}

impl DomainEventHandler for Publisher {
    /// The sequence comes from the stream's head, which is locked: 1, 2, 3, ... without a gap.
    fn handle(&mut self, recorded: &Recorded, stream: &mut Stream) {
        let next = stream.last_sequence + 1;
        if let Some(event) = (self.translate)(recorded, next) {
            stream.last_sequence = next;
            let (cause, last_message_id) = (recorded.cause.clone(), stream.last_message_id);
            self.published.push(Publication { event, cause, last_message_id });
        }
    }
}
