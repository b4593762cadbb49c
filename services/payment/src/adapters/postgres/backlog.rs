//! The steps that are not done, for the gauges.

use chrono::{DateTime, Utc};
use database::{Database, Operation};

/// The steps of payments in one state.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct Steps {
    pub state: String,
    pub count: i64,
    /// When the oldest of them began.
    pub oldest: Option<DateTime<Utc>>,
}

/// The oldest `limit` steps that are not done, by the state of their payments: due, under way, or waiting for another
/// attempt.
///
/// # Errors
/// When the database refuses.
pub async fn read_steps(database: &Database, limit: u32) -> Result<Vec<Steps>, sqlx::Error> {
    sqlx::query_as(
        "SELECT state, count(*) AS count, min(step_began_at) AS oldest
         FROM (SELECT state, step_began_at FROM payments WHERE due_at IS NOT NULL
               ORDER BY step_began_at LIMIT $1) AS steps
         GROUP BY state",
    )
    .bind(i64::from(limit))
    .fetch_all(database.statement(Operation::Sample))
    .await
}
