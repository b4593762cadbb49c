//! How many mails wait and have failed, for the gauges.

use chrono::{DateTime, Utc};
use database::{Database, Operation};

/// How many mails wait or have failed, counted up to a bound, and since when the oldest one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct Backlog {
    pub pending: i64,
    pub failed: i64,
    pub oldest_pending: Option<DateTime<Utc>>,
}

/// The backlog, each number up to `limit`: by the indexes of pending and of failed mails.
///
/// # Errors
/// When the database refuses.
pub async fn read_backlog(database: &Database, limit: u32) -> Result<Backlog, sqlx::Error> {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM (SELECT FROM mails WHERE state = 'pending' LIMIT $1) AS pending) AS pending,
                (SELECT count(*) FROM (SELECT FROM mails WHERE state = 'failed' LIMIT $1) AS failed) AS failed,
                (SELECT created_at FROM mails WHERE state = 'pending' ORDER BY created_at LIMIT 1) AS oldest_pending",
    )
    .bind(i64::from(limit))
    .fetch_one(database.statement(Operation::Sample))
    .await
}
