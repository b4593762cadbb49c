//! How far each partition has been applied. The database knows, not the broker.

use chrono::{DateTime, Utc};
use messaging::{Batch, Delivered, TopicPartition};
use sqlx::PgConnection;
use sqlx_macros::FromRow;

use crate::record_id;

/// What a batch finds under the lock of its partition's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockedPosition {
    /// The offset that has to come next.
    pub next_offset: i64,
    /// The log to which it belongs.
    pub log: i32,
}

/// Where reading goes on.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Position {
    pub next_offset: i64,
    /// The log to which it belongs.
    log: i32,
    /// The record that was applied last, and the digest of its bytes.
    pub last_record_offset: Option<i64>,
    last_record_digest: Option<Vec<u8>>,
    /// Why nothing is read any more.
    pub stopped_reason: Option<String>,
}

impl Position {
    /// Whether this is the record that was applied last.
    pub(crate) fn is_last_record(&self, record: &Delivered) -> bool {
        self.last_record_offset == Some(record.offset)
            && self.last_record_digest.as_deref() == Some(&record_id::digest(record))
    }
}

/// The position of a partition, begun at `low` when this service meets it for the first time.
pub(crate) async fn establish(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    low: i64,
) -> Result<Position, sqlx::Error> {
    sqlx::query(
        "INSERT INTO inbox.consumer_topics (topic, first_floor) SELECT $1, floor FROM inbox.deduplication
         ON CONFLICT (topic) DO NOTHING",
    )
    .bind(&partition.topic)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO inbox.consumer_positions (topic, partition, next_offset, log)
         SELECT topic, $2, $3, log FROM inbox.consumer_topics WHERE topic = $1
         ON CONFLICT (topic, partition) DO NOTHING",
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(low)
    .execute(&mut *conn)
    .await?;
    find(conn, partition).await?.ok_or(sqlx::Error::RowNotFound)
}

/// The position of a partition, if this service has met it before.
pub(crate) async fn find(
    conn: &mut PgConnection,
    partition: &TopicPartition,
) -> Result<Option<Position>, sqlx::Error> {
    sqlx::query_as(
        "SELECT next_offset, log, last_record_offset, last_record_digest, stopped_reason
         FROM inbox.consumer_positions WHERE topic = $1 AND partition = $2",
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .fetch_optional(conn)
    .await
}

/// Records that the partition is stopped, unless the position is another one by now.
pub(crate) async fn stop(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    position: &Position,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE inbox.consumer_positions SET stopped_reason = $5, stopped_at = now()
         WHERE topic = $1 AND partition = $2 AND next_offset = $3 AND log = $4 AND stopped_reason IS NULL",
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(position.next_offset)
    .bind(position.log)
    .bind(reason)
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks the partition's row until the transaction ends: two consumers of one partition take turns here.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    partition: &TopicPartition,
) -> Result<LockedPosition, sqlx::Error> {
    let (next_offset, log) = sqlx::query_as(
        "SELECT next_offset, log FROM inbox.consumer_positions WHERE topic = $1 AND partition = $2 FOR UPDATE",
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .fetch_one(conn)
    .await?;
    Ok(LockedPosition { next_offset, log })
}

/// Moves the position behind the batch, and marks its last record: where the log is another one, another record stands
/// there. A batch without a record leaves the mark.
pub(crate) async fn advance(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    batch: &Batch,
) -> Result<(), sqlx::Error> {
    let last = batch.records.last();
    let at = last
        .and_then(|record| record.timestamp_ms)
        .and_then(DateTime::<Utc>::from_timestamp_millis)
        .filter(|at| at.timestamp() >= 0);
    sqlx::query(
        "UPDATE inbox.consumer_positions
         SET next_offset = $3, updated_at = now(), last_record_offset = coalesce($4, last_record_offset),
             last_record_digest = coalesce($5, last_record_digest),
             last_record_at = CASE WHEN $4::bigint IS NULL THEN last_record_at ELSE $6 END
         WHERE topic = $1 AND partition = $2",
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(batch.to)
    .bind(last.map(|record| record.offset))
    .bind(last.map(|record| record_id::digest(record).to_vec()))
    .bind(at)
    .execute(conn)
    .await?;
    Ok(())
}
