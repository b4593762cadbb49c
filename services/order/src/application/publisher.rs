//! Hands integration events to the outbox: a handler of domain events.

use contracts::{AnyEvent, Cause};

use super::dispatch::{DomainEventHandler, Recorded};
use super::stream::Stream;

/// What the world hears of a domain event, under the sequence number given; nothing of internal ones.
pub type Translate = fn(&Recorded, i64) -> Option<AnyEvent>;

/// The integration events of one transaction.
#[derive(Debug)]
pub struct Publisher {
    translate: Translate,
    /// In the order in which they happened.
    pub published: Vec<(AnyEvent, Cause)>,
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
        let next = stream.published_sequence + 1;
        if let Some(event) = (self.translate)(recorded, next) {
            stream.published_sequence = next;
            self.published.push((event, recorded.cause.clone()));
        }
    }
}
