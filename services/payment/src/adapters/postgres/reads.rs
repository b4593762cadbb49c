//! What `GET /payments/{order_id}` reads.

use database::{Database, Operation};
use uuid::Uuid;

use super::row::PaymentRow;
use crate::application::saga_job::SagaJob;

/// The payment of one order, unlocked.
pub async fn find(database: &Database, order_id: Uuid) -> Result<Option<SagaJob>, sqlx::Error> {
    let row: Option<PaymentRow> = sqlx::query_as(
        "SELECT order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
             capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
             lease_id, attempts, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
         FROM payments WHERE order_id = $1",
    )
    .bind(order_id)
    .fetch_optional(database.statement(Operation::Request))
    .await?;
    Ok(row.map(PaymentRow::into_job).transpose()?)
}
