//! What a transaction stores of its orders: heads, events, read model, deadlines, outbox. Its events are encoded before it begins, so
//! that it does not fail because of them.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use events::{PublishError, Publisher};
use outbox::Message;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{StoreError, deadlines, heads};
use crate::adapters::contract::{Announcements, announce};
use crate::adapters::metrics::Counts;
use crate::adapters::stored;
use crate::application::{Changes, DeadlineChange, Outcome, Recorded, Stream, ViewChange};
use crate::domain::{CancellationReason, OrderId, OrderView, Placement, Progress, Stage};

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

    /// Stores heads, events, read model, deadlines, outbox. Heads that are new are inserted, the others, which are locked, updated.
    pub(super) async fn store(self, conn: &mut PgConnection, outbox: &Publisher) -> Result<(), StoreError> {
        let Outcome { heads, changes: Changes { journal, views, deadlines } } = &self.outcome;
        if heads.is_empty() {
            return Ok(());
        }
        let numbered = outbox.number(&mut *conn, self.messages).await?;
        let is_new = |head: &&Stream| matches!(views.get(&head.order_id), Some(ViewChange::Placed(_)));
        let (new, locked): (Vec<&Stream>, Vec<&Stream>) = heads.iter().partition(is_new);
        heads::insert(&mut *conn, &new, &numbered).await?;
        heads::update(&mut *conn, &locked, &numbered).await?;
        insert_events(&mut *conn, journal, &self.event_ids).await?;
        let (mut placed, mut progressed) = (Vec::new(), Vec::new());
        for (order_id, change) in views {
            match change {
                ViewChange::Placed(view) => placed.push(view),
                ViewChange::Progressed { version, updated_at, progress } => {
                    progressed.push((order_id.0, *version, *updated_at, progress));
                }
            }
        }
        insert_views(&mut *conn, &placed).await?;
        update_views(&mut *conn, &progressed).await?;
        change_deadlines(&mut *conn, deadlines).await?;
        Ok(outbox.append(conn, &numbered).await?)
    }
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").field("events", &self.event_ids).finish_non_exhaustive()
    }
}

/// Inserts the events, each under its id.
async fn insert_events(
    conn: &mut PgConnection,
    journal: &[Recorded],
    event_ids: &[Uuid],
) -> Result<(), StoreError> {
    let metadata = journal.iter().zip(event_ids).map(|(recorded, id)| stored::metadata(*id, &recorded.cause));
    let store = |recorded: &Recorded| {
        stored::store(&recorded.event).map_err(|error| StoreError::corrupt(recorded.order_id, error))
    };
    let stored = journal.iter().map(store).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "INSERT INTO order_events (order_id, version, type, schema_version, data, metadata, occurred_at)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::integer[], $5::jsonb[], $6::jsonb[],
                              $7::timestamptz[])",
    )
    .bind(journal.iter().map(|recorded| recorded.order_id.0).collect::<Vec<Uuid>>())
    .bind(journal.iter().map(|recorded| recorded.version).collect::<Vec<i64>>())
    .bind(stored.iter().map(|event| event.kind.as_str()).collect::<Vec<&str>>())
    .bind(stored.iter().map(|event| event.schema_version).collect::<Vec<i32>>())
    .bind(stored.iter().map(|event| &event.data).collect::<Vec<&Value>>())
    .bind(metadata.collect::<Vec<Value>>())
    .bind(journal.iter().map(|recorded| recorded.occurred_at).collect::<Vec<DateTime<Utc>>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Inserts the views of new orders.
async fn insert_views(conn: &mut PgConnection, views: &[&OrderView]) -> Result<(), StoreError> {
    if views.is_empty() {
        return Ok(());
    }
    let placements = || views.iter().map(|view| &*view.placement);
    let stages = || views.iter().map(|view| view.progress.stage);
    sqlx::query(
        "INSERT INTO order_views (order_id, customer_id, version, status, stage, currency, total_minor,
                                  placed_at, updated_at, placement)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                              $8::timestamptz[], $9::timestamptz[], $10::jsonb[])",
    )
    .bind(views.iter().map(|view| view.order_id.0).collect::<Vec<Uuid>>())
    .bind(placements().map(|placement| placement.customer_id.as_str()).collect::<Vec<&str>>())
    .bind(views.iter().map(|view| view.version).collect::<Vec<i64>>())
    .bind(stages().map(|stage| stage.status().as_str()).collect::<Vec<&str>>())
    .bind(stages().map(Stage::as_str).collect::<Vec<&str>>())
    .bind(placements().map(|placement| placement.currency.as_str()).collect::<Vec<&str>>())
    .bind(placements().map(|placement| placement.total_minor).collect::<Vec<i64>>())
    .bind(views.iter().map(|view| view.placed_at).collect::<Vec<DateTime<Utc>>>())
    .bind(views.iter().map(|view| view.updated_at).collect::<Vec<DateTime<Utc>>>())
    .bind(placements().map(Json).collect::<Vec<Json<&Placement>>>())
    .execute(conn)
    .await?;
    Ok(())
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
