//! The table `payments`: rows locked in order, states flattened into columns.

pub mod batch;
pub mod row;
pub mod saga;

use contracts::Topic;
use database::{Database, Operation};
use events::PublishError;
use outbox::{Numbered, expect_stored};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::application::Entry;
use row::PaymentRow;

/// The migrations of payment's own tables.
#[must_use]
pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}

/// The payment of one order, unlocked, as people may look at it.
///
/// # Errors
/// When the database refuses, or the row contradicts itself.
pub async fn find(database: &Database, order_id: Uuid) -> Result<Option<Entry>, sqlx::Error> {
    let row: Option<PaymentRow> = sqlx::query_as(
        "SELECT order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
             capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
             lease_id, attempts, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
         FROM payments WHERE order_id = $1",
    )
    .bind(order_id)
    .fetch_optional(database.statement(Operation::Request))
    .await?;
    row.map(PaymentRow::into_entry).transpose()
}

/// Locks the rows of these orders, in order.
async fn lock(conn: &mut PgConnection, order_ids: &[Uuid]) -> Result<Vec<Entry>, sqlx::Error> {
    let rows: Vec<PaymentRow> = sqlx::query_as(
        "SELECT order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
             capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
             lease_id, attempts, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
         FROM payments WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
    )
    .bind(order_ids)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(PaymentRow::into_entry).collect()
}

/// Writes the entries back to their rows, which the caller holds locked, with the messages that they got.
///
/// # Errors
/// When a row has published since it was read, or the database refuses.
async fn update(conn: &mut PgConnection, entries: &[Entry], numbered: &Numbered) -> Result<(), PublishError> {
    if entries.is_empty() {
        return Ok(());
    }
    let rows: Vec<PaymentRow> = entries.iter().map(PaymentRow::from_entry).collect();
    let before: Vec<Option<i64>> = entries.iter().map(|entry| entry.last_message_id).collect();
    let last: Vec<Option<i64>> = entries
        .iter()
        .map(|entry| {
            numbered
                .last_message_id(Topic::Payments.suffix(), &entry.payment.order_id.0.to_string())
                .or(entry.last_message_id)
        })
        .collect();
    let stored = sqlx::query(
        "UPDATE payments SET
             state = new.state, call_state = new.call_state,
             amount_minor = new.amount_minor, currency = new.currency, payment_method = new.payment_method,
             authorization_id = new.authorization_id, capture_id = new.capture_id,
             refund_id = new.refund_id, refund_transaction_id = new.refund_transaction_id,
             decline_reason = new.decline_reason, last_sequence = new.last_sequence,
             last_message_id = link.last_message_id,
             due_at = new.due_at, lease_id = new.lease_id, attempts = new.attempts,
             correlation_id = new.correlation_id, causation_id = new.causation_id, user_id = new.user_id,
             traceparent = new.traceparent, tracestate = new.tracestate, updated_at = new.updated_at
         FROM jsonb_populate_recordset(NULL::payments, $1) AS new
         JOIN unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS link (order_id, last_message_id, message_id_before)
             USING (order_id)
         WHERE payments.order_id = new.order_id AND payments.last_message_id IS NOT DISTINCT FROM link.message_id_before",
    )
    .bind(Json(rows))
    .bind(entries.iter().map(|entry| entry.payment.order_id.0).collect::<Vec<Uuid>>())
    .bind(last)
    .bind(before)
    .execute(conn)
    .await?;
    Ok(expect_stored(stored.rows_affected(), entries.len())?)
}
