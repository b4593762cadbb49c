//! The mails that have failed, for the person who retries them.

use contracts::clock::now;
use database::{Database, Operation};
use uuid::Uuid;

use super::reads::MailRecord;
use crate::application::mail::MailId;

/// A failed mail, and which one it is.
#[derive(Clone, Debug, sqlx_macros::FromRow)]
pub struct FailedMail {
    pub order_id: Uuid,
    #[sqlx(flatten)]
    pub mail: MailRecord,
}

/// What became of a request to retry a mail.
#[derive(Clone, Debug)]
pub enum Retried {
    /// It is due now, with all its attempts before it.
    Pending(MailRecord),
    /// It has not failed: it is in this state.
    NotFailed(String),
    Unknown,
}

/// At most `limit` failed mails behind `cursor`, those of the oldest orders first.
///
/// # Errors
/// When the database refuses.
pub async fn list_failed(
    database: &Database,
    cursor: Option<&MailId>,
    limit: u16,
) -> Result<Vec<FailedMail>, sqlx::Error> {
    let (order_id, kind) = cursor.map_or((Uuid::nil(), ""), |id| (id.order_id, id.kind.as_str()));
    sqlx::query_as(
        "SELECT order_id, kind, state, message_id, subject, transport, attempts, last_error, created_at, completed_at
         FROM mails WHERE state = 'failed' AND (order_id, kind) > ($1, $2)
         ORDER BY order_id, kind LIMIT $3",
    )
    .bind(order_id)
    .bind(kind)
    .bind(i32::from(limit))
    .fetch_all(database.statement(Operation::Request))
    .await
}

/// Makes a failed mail due again.
///
/// # Errors
/// When the database refuses.
pub async fn retry(database: &Database, id: &MailId) -> Result<Retried, sqlx::Error> {
    let pending: Option<MailRecord> = sqlx::query_as(
        "UPDATE mails SET state = 'pending', due_at = $3, completed_at = NULL, attempts = 0, refusals = 0
         WHERE order_id = $1 AND kind = $2 AND state = 'failed'
         RETURNING kind, state, message_id, subject, transport, attempts, last_error, created_at, completed_at",
    )
    .bind(id.order_id)
    .bind(&id.kind)
    .bind(now())
    .fetch_optional(database.statement(Operation::Request))
    .await?;
    if let Some(mail) = pending {
        return Ok(Retried::Pending(mail));
    }
    let state: Option<String> =
        sqlx::query_scalar("SELECT state FROM mails WHERE order_id = $1 AND kind = $2")
            .bind(id.order_id)
            .bind(&id.kind)
            .fetch_optional(database.statement(Operation::Request))
            .await?;
    Ok(state.map_or(Retried::Unknown, Retried::NotFailed))
}
