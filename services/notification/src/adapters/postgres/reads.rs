//! What `GET /notifications` reads: an order's mails, unlocked and without personal data.

use chrono::{DateTime, Utc};
use database::{Database, Operation};
use uuid::Uuid;

#[derive(Clone, Debug, sqlx_macros::FromRow)]
pub struct MailRecord {
    pub kind: String,
    pub state: String,
    pub message_id: String,
    pub subject: String,
    pub transport: Option<String>,
    pub attempts: i32,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
}

/// Whether the order has a recipient (`unknown`, `absent` or `present`), and the mails about it, at most one of each
/// kind. `None` when notification has no record of the order.
///
/// # Errors
/// When the database refuses.
pub async fn find(
    database: &Database,
    order_id: Uuid,
) -> Result<Option<(String, Vec<MailRecord>)>, sqlx::Error> {
    let recipient_status: Option<String> =
        sqlx::query_scalar("SELECT recipient_status FROM orders WHERE order_id = $1")
            .bind(order_id)
            .fetch_optional(database.statement(Operation::Request))
            .await?;
    let Some(recipient_status) = recipient_status else { return Ok(None) };
    let mails = sqlx::query_as(
        "SELECT kind, state, message_id, subject, transport, attempts, last_error, created_at, completed_at
         FROM mails WHERE order_id = $1
         ORDER BY created_at, array_position(
             ARRAY['order_received', 'order_confirmed', 'order_cancelled', 'payment_refunded'], kind)",
    )
    .bind(order_id)
    .fetch_all(database.statement(Operation::Request))
    .await?;
    Ok(Some((recipient_status, mails)))
}
