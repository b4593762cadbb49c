//! What the synchronous handlers gathered, written set-based: events, read model, deadlines.

use chrono::{DateTime, Utc};
use outbox::Numbered;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{StoreError, heads};
use crate::adapters::stored;
use crate::application::work::Outcome;
use crate::application::{DeadlineChange, Recorded, ViewChange};
use crate::domain::{CancellationReason, OrderId, Placement};

/// Writes a new order.
pub(super) async fn insert(
    conn: &mut PgConnection,
    outcome: &Outcome,
    numbered: &Numbered,
) -> Result<(), StoreError> {
    for head in &outcome.heads {
        heads::insert(conn, head, numbered).await?;
    }
    events(conn, &outcome.dispatched.journal).await?;
    for (order_id, change) in &outcome.dispatched.projection.changes {
        if let Some((placement, placed_at)) = &change.placed {
            insert_view(conn, *order_id, placement, *placed_at, change).await?;
        }
    }
    deadlines(conn, outcome).await
}

/// Writes what became of orders that are locked.
pub(super) async fn update(
    conn: &mut PgConnection,
    outcome: &Outcome,
    numbered: &Numbered,
) -> Result<(), StoreError> {
    heads::update(conn, &outcome.heads, numbered).await?;
    events(conn, &outcome.dispatched.journal).await?;
    let changes: Vec<_> = outcome.dispatched.projection.changes.iter().collect();
    update_views(conn, &changes).await?;
    deadlines(conn, outcome).await
}

async fn events(conn: &mut PgConnection, journal: &[Recorded]) -> Result<(), StoreError> {
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
    .bind(journal.iter().map(stored::metadata).collect::<Vec<Value>>())
    .bind(journal.iter().map(|recorded| recorded.occurred_at).collect::<Vec<DateTime<Utc>>>())
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_view(
    conn: &mut PgConnection,
    order_id: OrderId,
    placement: &Placement,
    placed_at: DateTime<Utc>,
    change: &ViewChange,
) -> Result<(), StoreError> {
    let content = serde_json::to_value(placement).map_err(|error| StoreError::corrupt(order_id, error))?;
    let progress = &change.progress;
    sqlx::query(
        "INSERT INTO order_views (order_id, customer_id, version, status, stage, currency, total_minor,
                                  placed_at, updated_at, placement)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(order_id.0)
    .bind(placement.customer_id.as_str())
    .bind(change.version)
    .bind(progress.stage.status().as_str())
    .bind(progress.stage.as_str())
    .bind(placement.currency.as_str())
    .bind(placement.total_minor)
    .bind(placed_at)
    .bind(change.updated_at)
    .bind(content)
    .execute(conn)
    .await?;
    Ok(())
}

async fn update_views(
    conn: &mut PgConnection,
    changes: &[(&OrderId, &ViewChange)],
) -> Result<(), StoreError> {
    let progress = || changes.iter().map(|(_, change)| &change.progress);
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
    .bind(changes.iter().map(|(order_id, _)| order_id.0).collect::<Vec<Uuid>>())
    .bind(changes.iter().map(|(_, change)| change.version).collect::<Vec<i64>>())
    .bind(progress().map(|progress| progress.stage.status().as_str()).collect::<Vec<&str>>())
    .bind(progress().map(|progress| progress.stage.as_str()).collect::<Vec<&str>>())
    .bind(
        progress()
            .map(|progress| progress.reason.map(CancellationReason::as_str))
            .collect::<Vec<Option<&str>>>(),
    )
    .bind(progress().map(|progress| progress.detail.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(progress().map(|progress| progress.payment_id).collect::<Vec<Option<Uuid>>>())
    .bind(changes.iter().map(|(_, change)| change.updated_at).collect::<Vec<DateTime<Utc>>>())
    .bind(progress().map(|progress| progress.ended_at).collect::<Vec<Option<DateTime<Utc>>>>())
    .execute(conn)
    .await?;
    Ok(())
}

async fn deadlines(conn: &mut PgConnection, outcome: &Outcome) -> Result<(), StoreError> {
    let (mut set_ids, mut deadlines_at, mut cleared) = (Vec::new(), Vec::new(), Vec::new());
    for (order_id, change) in &outcome.dispatched.deadlines.changes {
        match change {
            DeadlineChange::Set(due) => {
                set_ids.push(order_id.0);
                deadlines_at.push(*due);
            }
            DeadlineChange::Cleared => cleared.push(*order_id),
        }
    }
    if !set_ids.is_empty() {
        super::deadlines::set(conn, set_ids, deadlines_at).await?;
    }
    if !cleared.is_empty() {
        super::deadlines::clear(conn, &cleared).await?;
    }
    Ok(())
}
