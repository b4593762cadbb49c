//! What other services see of a transaction: the integration events of its journal, numbered.

use std::collections::BTreeMap;

use contracts::{AnyEvent, Cause, clock};
use uuid::Uuid;

use super::contract;
use crate::application::Outcome;

/// An integration event with what the outbox needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub event: AnyEvent,
    pub cause: Cause,
    /// The last message of its order before this transaction.
    pub last_message_id: Option<i64>,
}

/// What a transaction's events are called, and what is published of them.
#[derive(Debug, Default)]
pub struct Announcements {
    /// An id for each event of the journal; the integration event made of it bears the same.
    pub event_ids: Vec<Uuid>,
    /// In the order in which they happened.
    pub publications: Vec<Publication>,
}

/// Draws the ids, and numbers what is published: the sequence of an order is in its head, which is locked, so that it
/// has no gap.
pub fn announce(outcome: &mut Outcome) -> Announcements {
    let mut announced = Announcements::default();
    let mut heads: BTreeMap<_, _> = outcome.heads.iter_mut().map(|head| (head.order_id, head)).collect();
    for recorded in &outcome.changes.journal {
        let event_id = clock::new_id();
        announced.event_ids.push(event_id);
        let Some(head) = heads.get_mut(&recorded.order_id) else { continue };
        if let Some(event) = contract::publication(recorded, event_id, head.last_sequence + 1) {
            head.last_sequence += 1;
            let (cause, last_message_id) = (recorded.cause.clone(), head.last_message_id);
            announced.publications.push(Publication { event, cause, last_message_id });
        }
    }
    announced
}
