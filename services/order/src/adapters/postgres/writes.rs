//! What the synchronous handlers gathered, written set-based: events, read model, deadlines.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use outbox::Numbered;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{StoreError, deadlines, heads};
use crate::adapters::stored;
use crate::application::{Changes, DeadlineChange, Outcome, Recorded, Stream, ViewChange};
use crate::domain::{CancellationReason, OrderId, OrderView, Progress};

/// Writes what was decided: heads that are new are inserted, the others, which are locked, updated.
pub(super) async fn write(
    conn: &mut PgConnection,
    outcome: &Outcome,
    event_ids: &[Uuid],
    numbered: &Numbered,
) -> Result<(), StoreError> {
    let Changes { journal, views, deadlines } = &outcome.changes;
    let is_new = |head: &&Stream| matches!(views.get(&head.order_id), Some(ViewChange::Placed(_)));
    let (new, locked): (Vec<&Stream>, Vec<&Stream>) = outcome.heads.iter().partition(is_new);
    for head in new {
        heads::insert(conn, head, numbered).await?;
    }
    heads::update(conn, &locked, numbered).await?;
    insert_events(conn, journal, event_ids).await?;
    let mut progressed = Vec::with_capacity(views.len());
    for (order_id, change) in views {
        match change {
            ViewChange::Placed(view) => insert_view(conn, view).await?,
            ViewChange::Progressed { version, updated_at, progress } => {
                progressed.push((order_id.0, *version, *updated_at, progress));
            }
        }
    }
    update_views(conn, &progressed).await?;
    change_deadlines(conn, deadlines).await
}

async fn insert_events(
    conn: &mut PgConnection,
    journal: &[Recorded],
    event_ids: &[Uuid],
) -> Result<(), StoreError> {
    let metadata = journal.iter().zip(event_ids).map(|(recorded, id)| stored::metadata(*id, &recorded.cause));
    let mut stored = Vec::with_capacity(journal.len());
    for recorded in journal {
        let event =
            stored::store(&recorded.event).map_err(|error| StoreError::corrupt(recorded.order_id, error))?;
        stored.push(event);
    }
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

async fn insert_view(conn: &mut PgConnection, view: &OrderView) -> Result<(), StoreError> {
    let OrderView { order_id, version, placement, placed_at, updated_at, progress } = view;
    let content =
        serde_json::to_value(&**placement).map_err(|error| StoreError::corrupt(*order_id, error))?;
    sqlx::query(
        "INSERT INTO order_views (order_id, customer_id, version, status, stage, currency, total_minor,
                                  placed_at, updated_at, placement)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(order_id.0)
    .bind(placement.customer_id.as_str())
    .bind(version)
    .bind(progress.stage.status().as_str())
    .bind(progress.stage.as_str())
    .bind(placement.currency.as_str())
    .bind(placement.total_minor)
    .bind(placed_at)
    .bind(updated_at)
    .bind(content)
    .execute(conn)
    .await?;
    Ok(())
}

async fn update_views(
    conn: &mut PgConnection,
    changes: &[(Uuid, i64, DateTime<Utc>, &Progress)],
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let progress = || changes.iter().map(|(.., progress)| progress);
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
    .bind(
        progress()
            .map(|progress| progress.reason.map(CancellationReason::as_str))
            .collect::<Vec<Option<&str>>>(),
    )
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
