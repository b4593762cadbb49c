//! The statement that stores what has changed of orders that were there before: heads, events, read model and deadlines.

use chrono::{DateTime, Utc};
use outbox::{Numbered, expect_stored};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use super::StoreError;
use super::event_rows::EventColumns;
use super::heads::last_message_id;
use super::rows::HeadState;
use crate::application::Stream;
use crate::domain::{CancellationReason, OrderId, Progress};

/// How far an order has got, for its view.
pub(super) struct ViewProgress<'a> {
    pub(super) order_id: OrderId,
    pub(super) version: i64,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) progress: &'a Progress,
}

/// Stores these orders, whose heads the transaction has locked, with their events; those that have ended lose their deadlines. One
/// statement: its parts share one snapshot, in which no part reads what another one writes, and whoever else changes these rows
/// holds the heads or skips what is locked.
pub(super) async fn store(
    conn: &mut PgConnection,
    heads: &[&Stream],
    events: EventColumns<'_>,
    views: &[ViewProgress<'_>],
    ended: &[OrderId],
    numbered: &Numbered,
) -> Result<(), StoreError> {
    if heads.is_empty() {
        return Ok(());
    }
    let store = sqlx::query(
        "WITH events AS (
             INSERT INTO order_events (order_id, version, type, schema_version, data, metadata, occurred_at)
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::integer[], $5::jsonb[], $6::jsonb[],
                                  $7::timestamptz[])
         ), views AS (
             UPDATE order_views
             SET version = new.version, status = new.status, stage = new.stage, reason = new.reason,
                 detail = new.detail, payment_id = new.payment_id, updated_at = new.updated_at,
                 ended_at = new.ended_at
             FROM unnest($23::uuid[], $24::bigint[], $25::text[], $26::text[], $27::text[], $28::text[], $29::uuid[],
                         $30::timestamptz[], $31::timestamptz[])
                  AS new (order_id, version, status, stage, reason, detail, payment_id, updated_at, ended_at)
             WHERE order_views.order_id = new.order_id
         ), ended AS (
             DELETE FROM deadlines WHERE order_id = ANY($32::uuid[])
         )
         UPDATE orders
         SET version = new.version, last_sequence = new.last_sequence, updated_at = new.updated_at,
             status = new.status, reason = new.reason, detail = new.detail, due_at = new.due_at,
             ended_at = new.ended_at, reservation_id = new.reservation_id,
             stock_rejected = new.stock_rejected, payment_id = new.payment_id,
             payment_declined = new.payment_declined, last_message_id = new.last_message_id
         FROM unnest($8::uuid[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::text[], $13::text[],
                     $14::text[], $15::timestamptz[], $16::timestamptz[], $17::uuid[], $18::boolean[],
                     $19::uuid[], $20::boolean[], $21::bigint[], $22::bigint[])
              AS new (order_id, version, last_sequence, updated_at, status, reason, detail, due_at,
                      ended_at, reservation_id, stock_rejected, payment_id, payment_declined, last_message_id,
                      message_id_before)
         WHERE orders.order_id = new.order_id
           AND orders.last_message_id IS NOT DISTINCT FROM new.message_id_before",
    );
    let store = bind_views(bind_heads(events.bind(store), heads, numbered), views);
    let ended: Vec<Uuid> = ended.iter().map(|order_id| order_id.0).collect();
    let stored = store.bind(ended).execute(conn).await?;
    Ok(expect_stored(stored.rows_affected(), heads.len())?)
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Binds $8 to $22.
fn bind_heads<'q>(statement: Statement<'q>, heads: &[&Stream], numbered: &Numbered) -> Statement<'q> {
    let states: Vec<HeadState<'_>> = heads.iter().map(|head| HeadState::of(&head.order)).collect();
    statement
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
}

/// Binds $23 to $31.
fn bind_views<'q>(statement: Statement<'q>, views: &[ViewProgress<'_>]) -> Statement<'q> {
    let progress = || views.iter().map(|view| view.progress);
    let reasons = progress().map(|progress| progress.reason.map(CancellationReason::as_str));
    statement
        .bind(views.iter().map(|view| view.order_id.0).collect::<Vec<Uuid>>())
        .bind(views.iter().map(|view| view.version).collect::<Vec<i64>>())
        .bind(progress().map(|progress| progress.stage.status().as_str()).collect::<Vec<&str>>())
        .bind(progress().map(|progress| progress.stage.as_str()).collect::<Vec<&str>>())
        .bind(reasons.collect::<Vec<Option<&str>>>())
        .bind(progress().map(|progress| progress.detail.as_deref()).collect::<Vec<Option<&str>>>())
        .bind(progress().map(|progress| progress.payment_id).collect::<Vec<Option<Uuid>>>())
        .bind(views.iter().map(|view| view.updated_at).collect::<Vec<DateTime<Utc>>>())
        .bind(progress().map(|progress| progress.ended_at).collect::<Vec<Option<DateTime<Utc>>>>())
}
