//! Stream heads: locked sorted, updated set-based.

use chrono::{DateTime, Utc};
use contracts::Topic;
use outbox::{Numbered, expect_stored};
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::rows::{HeadRow, HeadState};
use crate::application::Stream;
use crate::domain::OrderId;

/// Locks the heads of all these orders at once, in the order of their ids: two batches never wait for each other
/// crosswise. What a row says after the wait for its lock is the newest committed state.
pub(super) async fn lock(conn: &mut PgConnection, order_ids: &[OrderId]) -> Result<Vec<Stream>, StoreError> {
    let ids: Vec<Uuid> = order_ids.iter().map(|id| id.0).collect();
    let rows: Vec<HeadRow> = sqlx::query_as(
        "SELECT order_id, customer_id, correlation_id, traceparent, tracestate, version, last_sequence,
                last_message_id, updated_at, currency, total_minor, status, reason, detail, due_at, ended_at, reservation_id,
                stock_rejected, payment_id, payment_declined
         FROM orders
         WHERE order_id = ANY($1)
         ORDER BY order_id
         FOR UPDATE",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Stream::try_from).collect()
}

/// Updates the heads, which this transaction has locked.
pub(super) async fn update(
    conn: &mut PgConnection,
    heads: &[&Stream],
    numbered: &Numbered,
) -> Result<(), StoreError> {
    if heads.is_empty() {
        return Ok(());
    }
    let states: Vec<HeadState<'_>> = heads.iter().map(|head| HeadState::of(&head.order)).collect();
    let stored = sqlx::query(
        "UPDATE orders
         SET version = new.version, last_sequence = new.last_sequence, updated_at = new.updated_at,
             status = new.status, reason = new.reason, detail = new.detail, due_at = new.due_at,
             ended_at = new.ended_at, reservation_id = new.reservation_id,
             stock_rejected = new.stock_rejected, payment_id = new.payment_id,
             payment_declined = new.payment_declined, last_message_id = new.last_message_id
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[],
                     $7::text[], $8::timestamptz[], $9::timestamptz[], $10::uuid[], $11::boolean[],
                     $12::uuid[], $13::boolean[], $14::bigint[], $15::bigint[])
              AS new(order_id, version, last_sequence, updated_at, status, reason, detail, due_at,
                     ended_at, reservation_id, stock_rejected, payment_id, payment_declined, last_message_id,
                     message_id_before)
         WHERE orders.order_id = new.order_id
           AND orders.last_message_id IS NOT DISTINCT FROM new.message_id_before",
    )
    .bind(heads.iter().map(|head| head.order_id.0).collect::<Vec<Uuid>>())
    .bind(heads.iter().map(|head| head.version).collect::<Vec<i64>>())
    .bind(heads.iter().map(|head| head.last_event.sequence).collect::<Vec<i64>>())
    .bind(heads.iter().map(|head| head.updated_at).collect::<Vec<DateTime<Utc>>>())
    .bind(states.iter().map(|state| state.status).collect::<Vec<Option<&str>>>())
    .bind(states.iter().map(|state| state.reason).collect::<Vec<Option<&str>>>())
    .bind(states.iter().map(|state| state.detail).collect::<Vec<Option<&str>>>())
    .bind(states.iter().map(|state| state.due_at).collect::<Vec<Option<DateTime<Utc>>>>())
    .bind(states.iter().map(|state| state.ended_at).collect::<Vec<Option<DateTime<Utc>>>>())
    .bind(states.iter().map(|state| state.facts.reservation_id).collect::<Vec<Option<Uuid>>>())
    .bind(states.iter().map(|state| state.facts.stock_rejected).collect::<Vec<bool>>())
    .bind(states.iter().map(|state| state.facts.payment_id).collect::<Vec<Option<Uuid>>>())
    .bind(states.iter().map(|state| state.facts.payment_declined).collect::<Vec<bool>>())
    .bind(heads.iter().map(|head| last_message_id(head, numbered)).collect::<Vec<Option<i64>>>())
    .bind(heads.iter().map(|head| head.last_event.message_id).collect::<Vec<Option<i64>>>())
    .execute(conn)
    .await?;
    Ok(expect_stored(stored.rows_affected(), heads.len())?)
}

/// The message that the order's head names from now on.
pub(super) fn last_message_id(head: &Stream, numbered: &Numbered) -> Option<i64> {
    head.last_event.message_id_after(numbered, Topic::Orders, &head.order_id.0.to_string())
}
