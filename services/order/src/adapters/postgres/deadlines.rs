//! Durable deadlines, and the positions that tell whether an expired one may act.

use chrono::{DateTime, TimeDelta, Utc};
use database::Operation;
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use sqlx_macros::FromRow;
use uuid::Uuid;

use super::{OrderStore, StoreError};
use crate::domain::OrderId;

/// After about this time it is checked again whether an order was published.
const RECHECK_AFTER: TimeDelta = TimeDelta::seconds(30);

/// How far this service has applied a partition.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Position {
    /// Full topic name.
    pub topic: String,
    pub partition: i32,
    /// The first offset not yet applied.
    pub next_offset: i64,
    /// Nothing is read any more until an operator has looked.
    pub is_stopped: bool,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Due {
    pub order_id: Uuid,
    pub look_at: DateTime<Utc>,
}

impl OrderStore {
    /// The newest deadline that had passed at `now`, if any had.
    pub async fn newest_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        let newest = sqlx::query_scalar("SELECT max(look_at) FROM deadlines WHERE look_at <= $1")
            .bind(now)
            .fetch_one(self.database.statement(Operation::Worker))
            .await?;
        Ok(newest)
    }

    /// Orders whose deadlines had passed at `now`, longest ago first: at most `limit` of them behind `after`. Takes no
    /// locks: whoever changes an order locks its head first and its deadline afterwards.
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

    /// Postpones deadlines that had passed at `now` of orders that no other service can know: at most `limit` whose event is not published
    /// (looked at again in about half a minute), or was published less than `grace` ago. Says how many. An order whose key is blocked
    /// is not postponed: it may never be published.
    pub async fn postpone(
        &self,
        now: DateTime<Utc>,
        grace: TimeDelta,
        limit: i64,
    ) -> Result<u64, StoreError> {
        let postponed = sqlx::query(
            "WITH early AS (
                 SELECT d.order_id, m.finished_at
                 FROM deadlines d JOIN orders o USING (order_id) JOIN outbox.messages m ON m.id = o.last_message_id
                 WHERE d.look_at <= $1 AND (
                     m.finished_at > $1::timestamptz - $2::interval
                     OR EXISTS (SELECT FROM outbox.unpublished() u WHERE u.id = m.id)
                        AND NOT EXISTS (SELECT FROM outbox.blocked_keys b
                                        WHERE b.topic = m.topic AND sha256(b.key) = sha256(m.key)))
                 ORDER BY d.look_at, d.order_id LIMIT $3 FOR UPDATE OF d SKIP LOCKED
             )
             UPDATE deadlines d
             SET state = 'delayed',
                 look_at = coalesce(e.finished_at + $2, $1 + $4::interval * (0.75 + random() / 2))
             FROM early e WHERE d.order_id = e.order_id",
        )
        .bind(now)
        .bind(interval(grace))
        .bind(limit)
        .bind(interval(RECHECK_AFTER))
        .execute(self.database.statement(Operation::Worker))
        .await?;
        Ok(postponed.rows_affected())
    }

    /// Looks at a deadline again at `look_at`: a row of its order is corrupt.
    pub async fn set_aside(&self, order_id: OrderId, look_at: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query("UPDATE deadlines SET look_at = $2 WHERE order_id = $1")
            .bind(order_id.0)
            .bind(look_at)
            .execute(self.database.statement(Operation::Worker))
            .await?;
        Ok(())
    }

    /// How many deadlines had passed at `now`.
    pub async fn count_due(&self, now: DateTime<Utc>) -> Result<i64, StoreError> {
        let due = sqlx::query_scalar("SELECT count(*) FROM deadlines WHERE look_at <= $1")
            .bind(now)
            .fetch_one(self.database.statement(Operation::Worker))
            .await?;
        Ok(due)
    }

    /// How far this service's consumers, on whichever replica, have applied these topics.
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

/// Those of the orders whose deadlines had passed at `now`, still wait for an answer, and were published by `grace` before.
pub(super) async fn still_due(
    conn: &mut PgConnection,
    order_ids: &[OrderId],
    now: DateTime<Utc>,
    grace: TimeDelta,
) -> Result<Vec<OrderId>, sqlx::Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT d.order_id
         FROM deadlines d JOIN orders o USING (order_id) LEFT JOIN outbox.messages m ON m.id = o.last_message_id
         WHERE d.order_id = ANY($1) AND d.look_at <= $2
           AND (m.id IS NULL
                OR EXISTS (SELECT FROM outbox.blocked_keys b
                           WHERE b.topic = m.topic AND sha256(b.key) = sha256(m.key))
                OR NOT EXISTS (SELECT FROM outbox.unpublished() u WHERE u.id = m.id)
                   AND (m.finished_at > $2::timestamptz - $3::interval) IS NOT TRUE)
         ORDER BY d.look_at, d.order_id",
    )
    .bind(order_ids.iter().map(|id| id.0).collect::<Vec<Uuid>>())
    .bind(now)
    .bind(interval(grace))
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(OrderId).collect())
}

fn interval(delta: TimeDelta) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: delta.num_microseconds().unwrap_or(i64::MAX) }
}

pub(super) async fn set(
    conn: &mut PgConnection,
    deadlines: Vec<(Uuid, DateTime<Utc>)>,
) -> Result<(), sqlx::Error> {
    if deadlines.is_empty() {
        return Ok(());
    }
    let (order_ids, deadlines_at): (Vec<Uuid>, Vec<DateTime<Utc>>) = deadlines.into_iter().unzip();
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
    if order_ids.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM deadlines WHERE order_id = ANY($1)")
        .bind(order_ids.iter().map(|id| id.0).collect::<Vec<Uuid>>())
        .execute(conn)
        .await?;
    Ok(())
}
