//! The table `order_views`: the read model behind `GET /orders`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;
use crate::domain::{CancellationReason, OrderView, Placement, Progress, Stage};

/// Inserts the views of new orders.
pub(super) async fn insert(conn: &mut PgConnection, views: &[&OrderView]) -> Result<(), StoreError> {
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
pub(super) async fn update(
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
