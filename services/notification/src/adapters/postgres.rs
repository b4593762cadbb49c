//! The tables `orders` and `mails`.

pub mod batch;
pub mod mails;
mod row;

use database::{Database, Operation};
use uuid::Uuid;

/// The migrations of notification's own tables.
#[must_use]
pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}

/// A mail as people may look at it, without personal data.
#[derive(Clone, Debug, sqlx_macros::FromRow)]
pub struct MailRecord {
    /// Its kind.
    pub kind: String,
    /// `pending`, `sent` or `failed`.
    pub state: String,
    /// Its stable Message-ID.
    pub message_id: String,
    /// Its subject.
    pub subject: String,
    /// `smtp` or `none`.
    pub transport: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When the notice became due.
    pub created_at: chrono::DateTime<chrono::Utc>,
    /// When it was sent or given up.
    pub completed_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// Whether the order has a recipient (`unknown`, `absent` or `present`), and the mails about it, at most one of each
/// kind. `None` when notification has not heard of the order.
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
