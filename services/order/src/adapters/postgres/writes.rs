//! What a transaction stores of its orders: heads, events, read model, deadlines, outbox. Its events are encoded before it begins, so
//! that it does not fail because of them.

use std::fmt;

use events::{PublishError, Publisher};
use outbox::Message;
use sqlx::PgConnection;
use uuid::Uuid;

use super::event_rows::EventColumns;
use super::progressed_orders::{self, ViewProgress};
use super::{StoreError, deadlines, new_orders};
use crate::adapters::contract::{Announcements, announce};
use crate::adapters::metrics::Counts;
use crate::application::{DeadlineChange, Outcome, ViewChange};

/// What was decided in one transaction, ready to be stored. It is not printed: it has personal data and payment tokens.
pub struct Announced {
    outcome: Outcome,
    /// One per event of the journal.
    event_ids: Vec<Uuid>,
    messages: Vec<Message>,
}

impl Announced {
    pub(super) fn new(mut outcome: Outcome, outbox: &Publisher) -> Result<Self, PublishError> {
        let Announcements { event_ids, publications } = announce(&mut outcome);
        let messages = publications.iter().map(|publication| outbox.encode(publication));
        Ok(Self { messages: messages.collect::<Result<_, _>>()?, outcome, event_ids })
    }

    /// What is counted once they are committed.
    pub(super) fn counts(parts: &[&Self]) -> Counts {
        Counts::of(parts.iter().flat_map(|part| &part.outcome.changes.journal))
    }

    /// The size of the events as they are published.
    pub(super) fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.value().len()).sum()
    }

    /// Stores heads, events, read model, deadlines, outbox of all these, which are about different orders. Heads that are new are
    /// inserted, the others, which are locked, updated.
    pub(super) async fn store(
        parts: &[&Self],
        conn: &mut PgConnection,
        outbox: &Publisher,
    ) -> Result<(), StoreError> {
        let messages = parts.iter().flat_map(|part| part.messages.iter().cloned()).collect();
        let numbered = outbox.number(&mut *conn, messages).await?;
        let (mut new, mut locked) = (Vec::new(), Vec::new());
        let (mut new_events, mut events) = (EventColumns::default(), EventColumns::default());
        let mut progressed = Vec::new();
        let (mut set, mut ended) = (Vec::new(), Vec::new());
        for Self { outcome: Outcome { heads, changes }, event_ids, .. } in parts {
            for head in heads {
                match changes.views.get(&head.order_id) {
                    Some(ViewChange::Placed(view)) => new.push((head, view)),
                    Some(ViewChange::Progressed { version, updated_at, progress }) => {
                        locked.push(head);
                        let (order_id, version, updated_at) = (head.order_id, *version, *updated_at);
                        progressed.push(ViewProgress { order_id, version, updated_at, progress });
                    }
                    None => locked.push(head),
                }
            }
            let is_new = |order_id| matches!(changes.views.get(order_id), Some(ViewChange::Placed(_)));
            for (recorded, event_id) in changes.journal.iter().zip(event_ids) {
                let events = if is_new(&recorded.order_id) { &mut new_events } else { &mut events };
                events.push(recorded, *event_id)?;
            }
            for (order_id, change) in changes.deadlines.iter().filter(|(order_id, _)| !is_new(order_id)) {
                match change {
                    DeadlineChange::Set(due) => set.push((order_id.0, *due)),
                    DeadlineChange::Cleared => ended.push(*order_id),
                }
            }
        }
        new_orders::insert(&mut *conn, &new, new_events, &numbered).await?;
        progressed_orders::store(&mut *conn, &locked, events, &progressed, &ended, &numbered).await?;
        deadlines::set(&mut *conn, set).await?;
        Ok(outbox.append(conn, &numbered).await?)
    }
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").field("events", &self.event_ids).finish_non_exhaustive()
    }
}
