//! Durable deadlines, and the positions that tell whether an expired one may act.

use chrono::{DateTime, Utc};
use database::Operation;
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use super::{OrderStore, StoreError};
use crate::domain::OrderId;

/// How far this service has applied a partition.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Position {
    /// Full topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// The first offset not yet applied.
    pub next_offset: i64,
    /// Nothing is read any more until an operator has looked.
    pub is_stopped: bool,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Due {
    /// Whose.
    pub order_id: Uuid,
    /// When it had passed.
    pub look_at: DateTime<Utc>,
}

impl OrderStore {
    /// The newest deadline that had passed at `now`, if any had.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn newest_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        let newest = sqlx::query_scalar("SELECT max(look_at) FROM deadlines WHERE look_at <= $1")
            .bind(now)
            .fetch_one(self.database.statement(Operation::Worker))
            .await?;
        Ok(newest)
    }

    /// Orders whose deadlines had passed at `now`, longest ago first: at most `limit` of them behind `after`. Takes no
    /// locks: whoever changes an order locks its head first and its deadline afterwards.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn due(
        &self,
        now: DateTime<Utc>,
        after: Option<&Due>,
        limit: i64,
    ) -> Result<Vec<Due>, StoreError> {
        let after = after.copied().unwrap_or(Due { order_id: Uuid::nil(), look_at: DateTime::UNIX_EPOCH });
        let due = sqlx::query_as(
            "SELECT order_id, look_at FROM deadlines WHERE look_at <= $1 AND (look_at, order_id) > ($2, $3)
             ORDER BY look_at, order_id LIMIT $4",
        )
        .bind(now)
        .bind(after.look_at)
        .bind(after.order_id)
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Worker))
        .await?;
        Ok(due)
    }

    /// How many deadlines had passed at `now`.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn count_due(&self, now: DateTime<Utc>) -> Result<i64, StoreError> {
        let due = sqlx::query_scalar("SELECT count(*) FROM deadlines WHERE look_at <= $1")
            .bind(now)
            .fetch_one(self.database.statement(Operation::Worker))
            .await?;
        Ok(due)
    }

    /// How far this service's consumers, on whichever replica, have applied these topics.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn positions(&self, topics: &[String]) -> Result<Vec<Position>, StoreError> {
        let positions = sqlx::query_as(
            "SELECT topic, partition, next_offset, stopped_reason IS NOT NULL AS is_stopped
             FROM inbox.consumer_positions WHERE topic = ANY($1)",
        )
        .bind(topics)
        .fetch_all(self.database.statement(Operation::Worker))
        .await?;
        Ok(positions)
    }
}

/// Those of the orders whose deadlines had passed at `now`, and still wait for an answer.
pub(super) async fn still_due(
    conn: &mut PgConnection,
    order_ids: &[OrderId],
    now: DateTime<Utc>,
) -> Result<Vec<OrderId>, sqlx::Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT order_id FROM deadlines WHERE order_id = ANY($1) AND look_at <= $2 ORDER BY look_at, order_id",
    )
    .bind(order_ids.iter().map(|id| id.0).collect::<Vec<Uuid>>())
    .bind(now)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(OrderId).collect())
}

pub(super) async fn set(
    conn: &mut PgConnection,
    order_ids: Vec<Uuid>,
    deadlines_at: Vec<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO deadlines (order_id, deadline_at, look_at)
         SELECT n.order_id, n.deadline_at, n.deadline_at
         FROM unnest($1::uuid[], $2::timestamptz[]) AS n (order_id, deadline_at)
         ON CONFLICT (order_id) DO UPDATE SET deadline_at = excluded.deadline_at, look_at = excluded.look_at",
    )
    .bind(order_ids)
    .bind(deadlines_at)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn clear(conn: &mut PgConnection, order_ids: &[OrderId]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM deadlines WHERE order_id = ANY($1)")
        .bind(order_ids.iter().map(|id| id.0).collect::<Vec<Uuid>>())
        .execute(conn)
        .await?;
    Ok(())
}
