//! The synchronous dispatcher: the service's own handlers see each domain event within the transaction that stores
//! it. The asynchronous one is the outbox, which the [`Publisher`] fills: the world sees events after the commit.

use chrono::{DateTime, Utc};
use contracts::Cause;
use uuid::Uuid;

use super::deadlines::Deadlines;
use super::projection::Projection;
use super::publisher::{Publisher, Translate};
use super::stream::Stream;
use crate::domain::{OrderEvent, OrderId};

/// A domain event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whose stream.
    pub order_id: OrderId,
    /// Its place in the stream: 1, 2, 3, ...
    pub version: i64,
    /// Its id; an integration event made of it bears the same.
    pub event_id: Uuid,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// What happened.
    pub event: OrderEvent,
    /// Why: the request or event that led to it.
    pub cause: Cause,
}

/// Told of every domain event, in order, in the transaction that stores it. Gathers rows in memory, so that the
/// adapter writes them set-based.
pub trait DomainEventHandler {
    /// `recorded` has just happened; `stream` already stands after it.
    fn handle(&mut self, recorded: &Recorded, stream: &mut Stream);
}

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
