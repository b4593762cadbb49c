//! The synchronous dispatcher: the service's own handlers see each domain event within the transaction that stores
//! it. The asynchronous one is the outbox, which the [`Publisher`] fills: the world sees events after the commit.

use super::deadlines::Deadlines;
use super::handler::{DomainEventHandler, Recorded};
use super::projection::Projection;
use super::publisher::{Publisher, Translate};
use super::stream::Stream;

/// All handlers, and the journal of what was dispatched.
#[derive(Debug)]
pub struct Dispatcher {
    /// What the stream table gets.
    pub journal: Vec<Recorded>,
    /// What the read model gets.
    pub projection: Projection,
    /// What the deadlines get.
    pub deadlines: Deadlines,
    /// What the outbox gets.
    pub publisher: Publisher,
}

impl Dispatcher {
    /// Nothing dispatched yet; `translate` says what the world hears.
    #[must_use]
    pub fn new(translate: Translate) -> Self {
        Self {
            journal: Vec::new(),
            projection: Projection::default(),
            deadlines: Deadlines::default(),
            publisher: Publisher::new(translate),
        }
    }

    /// Tells every handler, one after the other.
    pub fn dispatch(&mut self, recorded: Recorded, stream: &mut Stream) {
        let handlers: [&mut dyn DomainEventHandler; 3] =
            [&mut self.projection, &mut self.deadlines, &mut self.publisher];
        for handler in handlers {
            handler.handle(&recorded, stream);
        }
        self.journal.push(recorded);
    }
}
