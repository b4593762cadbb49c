//! What a transaction stores of its orders: heads, events, read model, deadlines, outbox. Its events are encoded before it begins, so
//! that it does not fail because of them.

use std::fmt;

use chrono::{DateTime, Utc};
use events::{PublishError, Publisher};
use outbox::Message;
use sqlx::PgConnection;
use uuid::Uuid;

use super::event_rows::EventColumns;
use super::{StoreError, deadlines, event_rows, heads, new_orders};
use crate::adapters::contract::{Announcements, announce};
use crate::adapters::metrics::Counts;
use crate::application::{DeadlineChange, Outcome, ViewChange};
use crate::domain::{CancellationReason, OrderId, Progress};

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
        let (mut progressed, mut deadlines) = (Vec::new(), Vec::new());
        for Self { outcome: Outcome { heads, changes }, event_ids, .. } in parts {
            for head in heads {
                match changes.views.get(&head.order_id) {
                    Some(ViewChange::Placed(view)) => new.push((head, view)),
                    Some(ViewChange::Progressed { version, updated_at, progress }) => {
                        locked.push(head);
                        progressed.push((head.order_id.0, *version, *updated_at, progress));
                    }
                    None => locked.push(head),
                }
            }
            let is_new = |order_id| matches!(changes.views.get(order_id), Some(ViewChange::Placed(_)));
            for (recorded, event_id) in changes.journal.iter().zip(event_ids) {
                let events = if is_new(&recorded.order_id) { &mut new_events } else { &mut events };
                events.push(recorded, *event_id)?;
            }
            deadlines.extend(changes.deadlines.iter().filter(|(order_id, _)| !is_new(order_id)));
        }
        new_orders::insert(&mut *conn, &new, new_events, &numbered).await?;
        heads::update(&mut *conn, &locked, &numbered).await?;
        event_rows::insert(&mut *conn, events).await?;
        update_views(&mut *conn, &progressed).await?;
        change_deadlines(&mut *conn, &deadlines).await?;
        Ok(outbox.append(conn, &numbered).await?)
    }
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").field("events", &self.event_ids).finish_non_exhaustive()
    }
}

/// Updates the views of orders that have got on.
async fn update_views(
    conn: &mut PgConnection,
    changes: &[(Uuid, i64, DateTime<Utc>, &Progress)],
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let progress = || changes.iter().map(|(.., progress)| progress);
    let reasons = progress().map(|progress| progress.reason.map(CancellationReason::as_str));
    sqlx::query(
        "UPDATE order_views
         SET version = new.version, status = new.status, stage = new.stage, reason = new.reason,
             detail = new.detail, payment_id = new.payment_id, updated_at = new.updated_at,
             ended_at = new.ended_at
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
                     $8::timestamptz[], $9::timestamptz[])
              AS new(order_id, version, status, stage, reason, detail, payment_id, updated_at, ended_at)
         WHERE order_views.order_id = new.order_id",
    )
    .bind(changes.iter().map(|(order_id, ..)| *order_id).collect::<Vec<Uuid>>())
    .bind(changes.iter().map(|(_, version, ..)| *version).collect::<Vec<i64>>())
    .bind(progress().map(|progress| progress.stage.status().as_str()).collect::<Vec<&str>>())
    .bind(progress().map(|progress| progress.stage.as_str()).collect::<Vec<&str>>())
    .bind(reasons.collect::<Vec<Option<&str>>>())
    .bind(progress().map(|progress| progress.detail.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(progress().map(|progress| progress.payment_id).collect::<Vec<Option<Uuid>>>())
    .bind(changes.iter().map(|(_, _, updated_at, _)| *updated_at).collect::<Vec<DateTime<Utc>>>())
    .bind(progress().map(|progress| progress.ended_at).collect::<Vec<Option<DateTime<Utc>>>>())
    .execute(conn)
    .await?;
    Ok(())
}

async fn change_deadlines(
    conn: &mut PgConnection,
    changes: &[(&OrderId, &DeadlineChange)],
) -> Result<(), StoreError> {
    let (mut set_ids, mut deadlines_at, mut cleared) = (Vec::new(), Vec::new(), Vec::new());
    for (order_id, change) in changes {
        match change {
            DeadlineChange::Set(due) => {
                set_ids.push(order_id.0);
                deadlines_at.push(*due);
            }
            DeadlineChange::Cleared => cleared.push(**order_id),
        }
    }
    deadlines::set(conn, set_ids, deadlines_at).await?;
    deadlines::clear(conn, &cleared).await?;
    Ok(())
}
