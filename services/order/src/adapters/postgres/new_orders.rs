//! The statement that stores new orders: heads, events, read model and deadlines.

use chrono::{DateTime, Utc};
use outbox::Numbered;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::event_rows::EventColumns;
use super::heads::last_message_id;
use crate::application::Stream;
use crate::domain::{Order, OrderView, Placement, Stage};

/// Inserts these orders with their events. One statement: its parts share one snapshot, which none of them reads, and the foreign key
/// of the events is checked at its end.
pub(super) async fn insert(
    conn: &mut PgConnection,
    orders: &[(&Stream, &OrderView)],
    events: EventColumns<'_>,
    numbered: &Numbered,
) -> Result<(), sqlx::Error> {
    if orders.is_empty() {
        return Ok(());
    }
    let heads = || orders.iter().map(|(head, _)| *head);
    let views = || orders.iter().map(|(_, view)| *view);
    let placements = || views().map(|view| &*view.placement);
    let stages = || views().map(|view| view.progress.stage);
    let traces = || heads().map(|head| &head.correlation.trace);
    let insert = sqlx::query(
        "WITH new AS (
             SELECT * FROM unnest($8::uuid[], $9::text[], $10::uuid[], $11::text[], $12::text[], $13::bigint[], $14::bigint[],
                                  $15::bigint[], $16::timestamptz[], $17::timestamptz[], $18::text[], $19::bigint[],
                                  $20::text[], $21::text[], $22::timestamptz[], $23::jsonb[])
                  AS new (order_id, customer_id, correlation_id, traceparent, tracestate, version, last_sequence,
                          last_message_id, placed_at, updated_at, currency, total_minor, status, stage, due_at, placement)
         ), heads AS (
             INSERT INTO orders (order_id, customer_id, correlation_id, traceparent, tracestate, version, last_sequence,
                                 last_message_id, updated_at, currency, total_minor, status, due_at, stock_rejected,
                                 payment_declined)
             SELECT order_id, customer_id, correlation_id, traceparent, tracestate, version, last_sequence,
                    last_message_id, updated_at, currency, total_minor, status, due_at, false, false
             FROM new
         ), views AS (
             INSERT INTO order_views (order_id, customer_id, version, status, stage, currency, total_minor, placed_at,
                                      updated_at, placement)
             SELECT order_id, customer_id, version, status, stage, currency, total_minor, placed_at, updated_at, placement
             FROM new
         ), waiting AS (
             INSERT INTO deadlines (order_id, deadline_at, look_at)
             SELECT order_id, due_at, due_at FROM new WHERE due_at IS NOT NULL
         )
         INSERT INTO order_events (order_id, version, type, schema_version, data, metadata, occurred_at)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::integer[], $5::jsonb[], $6::jsonb[],
                              $7::timestamptz[])",
    );
    events
        .bind(insert)
        .bind(heads().map(|head| head.order_id.0).collect::<Vec<Uuid>>())
        .bind(heads().map(|head| head.customer_id.as_str()).collect::<Vec<&str>>())
        .bind(heads().map(|head| head.correlation.correlation_id).collect::<Vec<Uuid>>())
        .bind(traces().map(|trace| trace.traceparent.as_deref()).collect::<Vec<Option<&str>>>())
        .bind(traces().map(|trace| trace.tracestate.as_deref()).collect::<Vec<Option<&str>>>())
        .bind(heads().map(|head| head.version).collect::<Vec<i64>>())
        .bind(heads().map(|head| head.last_event.sequence).collect::<Vec<i64>>())
        .bind(heads().map(|head| last_message_id(head, numbered)).collect::<Vec<Option<i64>>>())
        .bind(views().map(|view| view.placed_at).collect::<Vec<DateTime<Utc>>>())
        .bind(heads().map(|head| head.updated_at).collect::<Vec<DateTime<Utc>>>())
        .bind(placements().map(|placement| placement.currency.as_str()).collect::<Vec<&str>>())
        .bind(placements().map(|placement| placement.total_minor).collect::<Vec<i64>>())
        .bind(stages().map(|stage| stage.status().as_str()).collect::<Vec<&str>>())
        .bind(stages().map(Stage::as_str).collect::<Vec<&str>>())
        .bind(heads().map(|head| due_at(&head.order)).collect::<Vec<Option<DateTime<Utc>>>>())
        .bind(placements().map(Json).collect::<Vec<Json<&Placement>>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// When the deadline of this order passes, if it waits for one.
const fn due_at(order: &Order) -> Option<DateTime<Utc>> {
    match order {
        Order::Placed { due_at, .. } => *due_at,
        Order::Unplaced | Order::Confirmed { .. } | Order::Cancelled { .. } => None,
    }
}
