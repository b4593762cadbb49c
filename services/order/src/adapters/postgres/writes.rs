//! What a transaction stores of its orders: heads, events, read model, deadlines, outbox. Its events are encoded before it begins, so
//! that it does not fail because of them.

use std::collections::BTreeMap;
use std::fmt;

use events::{PublishError, Publisher};
use outbox::{Message, Numbered};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{StoreError, deadlines, heads, order_events, order_views};
use crate::adapters::contract::{Announcements, announce};
use crate::adapters::metrics::Counts;
use crate::application::{Changes, DeadlineChange, Outcome, Stream, ViewChange};
use crate::domain::OrderId;

/// What was decided in one transaction, ready to be stored. It is not printed: it has personal data and payment tokens.
#[derive(Clone, Default)]
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

    /// All of these together; they are about different orders.
    pub(super) fn all(parts: &[&Self]) -> Self {
        let mut all = Self::default();
        for Self { outcome, event_ids, messages } in parts.iter().copied().cloned() {
            all.outcome.heads.extend(outcome.heads);
            all.outcome.changes.journal.extend(outcome.changes.journal);
            all.outcome.changes.views.extend(outcome.changes.views);
            all.outcome.changes.deadlines.extend(outcome.changes.deadlines);
            all.event_ids.extend(event_ids);
            all.messages.extend(messages);
        }
        all
    }

    /// What is counted once it is committed.
    pub(super) fn counts(&self) -> Counts {
        Counts::of(&self.outcome.changes.journal)
    }

    /// The size of the events as they are published.
    pub(super) fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.value().len()).sum()
    }

    /// Stores heads, events, read model, deadlines, outbox.
    pub(super) async fn store(self, conn: &mut PgConnection, outbox: &Publisher) -> Result<(), StoreError> {
        if self.outcome.heads.is_empty() {
            return Ok(());
        }
        let numbered = outbox.number(&mut *conn, self.messages).await?;
        write(&mut *conn, &self.outcome, &self.event_ids, &numbered).await?;
        outbox.append(conn, &numbered).await?;
        Ok(())
    }
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").field("events", &self.event_ids).finish_non_exhaustive()
    }
}

/// Writes what was decided: heads that are new are inserted, the others, which are locked, updated.
async fn write(
    conn: &mut PgConnection,
    outcome: &Outcome,
    event_ids: &[Uuid],
    numbered: &Numbered,
) -> Result<(), StoreError> {
    let Changes { journal, views, deadlines } = &outcome.changes;
    let is_new = |head: &&Stream| matches!(views.get(&head.order_id), Some(ViewChange::Placed(_)));
    let (new, locked): (Vec<&Stream>, Vec<&Stream>) = outcome.heads.iter().partition(is_new);
    heads::insert(conn, &new, numbered).await?;
    heads::update(conn, &locked, numbered).await?;
    order_events::insert(conn, journal, event_ids).await?;
    let (mut placed, mut progressed) = (Vec::new(), Vec::new());
    for (order_id, change) in views {
        match change {
            ViewChange::Placed(view) => placed.push(view),
            ViewChange::Progressed { version, updated_at, progress } => {
                progressed.push((order_id.0, *version, *updated_at, progress));
            }
        }
    }
    order_views::insert(conn, &placed).await?;
    order_views::update(conn, &progressed).await?;
    change_deadlines(conn, deadlines).await
}

async fn change_deadlines(
    conn: &mut PgConnection,
    changes: &BTreeMap<OrderId, DeadlineChange>,
) -> Result<(), StoreError> {
    let (mut set_ids, mut deadlines_at, mut cleared) = (Vec::new(), Vec::new(), Vec::new());
    for (order_id, change) in changes {
        match change {
            DeadlineChange::Set(due) => {
                set_ids.push(order_id.0);
                deadlines_at.push(*due);
            }
            DeadlineChange::Cleared => cleared.push(*order_id),
        }
    }
    deadlines::set(conn, set_ids, deadlines_at).await?;
    deadlines::clear(conn, &cleared).await?;
    Ok(())
}
