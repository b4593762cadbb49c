//! The synchronous dispatcher: the service's own handlers see each domain event within the transaction that stores it.
//! The asynchronous one is the outbox: other services see events after the commit.

use std::collections::BTreeMap;

use super::projection::{self, ViewChange};
use super::schedule::{self, DeadlineChange};
use super::stream::Recorded;
use crate::domain::{Order, OrderId};

/// What the handlers made of the events of one transaction: rows in memory, so that the adapter writes them set-based.
#[derive(Debug, Default)]
pub struct Changes {
    /// The events, for the event stream and the outbox.
    pub journal: Vec<Recorded>,
    pub views: BTreeMap<OrderId, ViewChange>,
    pub deadlines: BTreeMap<OrderId, DeadlineChange>,
}

impl Changes {
    /// Calls the handlers one after the other; `order` is the state after the event.
    pub(super) fn dispatch(&mut self, recorded: Recorded, order: &Order) {
        projection::handle(&mut self.views, &recorded, order);
        schedule::handle(&mut self.deadlines, &recorded);
        self.journal.push(recorded);
    }
}
