//! Stream heads: locked sorted.

use contracts::Topic;
use outbox::Numbered;
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::rows::HeadRow;
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

/// The message that the order's head names from now on.
pub(super) fn last_message_id(head: &Stream, numbered: &Numbered) -> Option<i64> {
    head.last_event.message_id_after(numbered, Topic::Orders, &head.order_id.0.to_string())
}
