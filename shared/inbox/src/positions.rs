//! How far each partition has been applied. The database knows, not the broker.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use messaging::{Delivered, TopicPartition};
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
    /// Whether nothing is read any more.
    pub is_stopped: bool,
}

/// What becomes of a row that another session has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockedRow {
    /// It is waited for.
    Wait,
    /// It is left out.
    Skip,
}

/// Where reading goes on.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Position {
    pub next_offset: i64,
    /// The log to which it belongs.
    pub log: i32,
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

/// Locks the rows of these partitions until the transaction ends, in one order: two consumers of one partition take turns
/// here. Gives what was found, without a row that is not there or was left out.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    partitions: &[&TopicPartition],
    locked_row: LockedRow,
) -> Result<BTreeMap<TopicPartition, LockedPosition>, sqlx::Error> {
    let query = match locked_row {
        LockedRow::Wait => sqlx::query_as(
            "SELECT p.topic, p.partition, p.next_offset, p.log, p.stopped_reason IS NOT NULL
             FROM inbox.consumer_positions p
             JOIN unnest($1::text[], $2::integer[]) AS batch (topic, partition) USING (topic, partition)
             ORDER BY p.topic, p.partition FOR UPDATE OF p",
        ),
        LockedRow::Skip => sqlx::query_as(
            "SELECT p.topic, p.partition, p.next_offset, p.log, p.stopped_reason IS NOT NULL
             FROM inbox.consumer_positions p
             JOIN unnest($1::text[], $2::integer[]) AS batch (topic, partition) USING (topic, partition)
             ORDER BY p.topic, p.partition FOR UPDATE OF p SKIP LOCKED",
        ),
    };
    let (topics, numbers): (Vec<&str>, Vec<i32>) =
        partitions.iter().map(|id| (id.topic.as_str(), id.partition)).unzip();
    let rows: Vec<(String, i32, i64, i32, bool)> = query.bind(topics).bind(numbers).fetch_all(conn).await?;
    let found = rows.into_iter().map(|(topic, partition, next_offset, log, is_stopped)| {
        (TopicPartition { topic, partition }, LockedPosition { next_offset, log, is_stopped })
    });
    Ok(found.collect())
}

/// Where a partition stands once its records are applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advance<'a> {
    pub(crate) partition: &'a TopicPartition,
    pub(crate) next_offset: i64,
    /// The last record that was applied.
    pub(crate) last: Option<&'a Delivered>,
}

/// Moves positions, and marks the last record of each: where the log is another one, another record stands there. What has
/// no record leaves the mark.
pub(crate) async fn advance(conn: &mut PgConnection, advances: &[Advance<'_>]) -> Result<(), sqlx::Error> {
    let topics: Vec<&str> = advances.iter().map(|to| to.partition.topic.as_str()).collect();
    let partitions: Vec<i32> = advances.iter().map(|to| to.partition.partition).collect();
    let next_offsets: Vec<i64> = advances.iter().map(|to| to.next_offset).collect();
    let offsets: Vec<Option<i64>> = advances.iter().map(|to| to.last.map(|last| last.offset)).collect();
    let digest = |last: &Delivered| record_id::digest(last).to_vec();
    let digests: Vec<Option<Vec<u8>>> = advances.iter().map(|to| to.last.map(digest)).collect();
    let times: Vec<Option<DateTime<Utc>>> = advances.iter().map(|to| to.last.and_then(time)).collect();
    sqlx::query(
        "UPDATE inbox.consumer_positions p
         SET next_offset = batch.next_offset, updated_at = now(),
             last_record_offset = coalesce(batch.last_offset, p.last_record_offset),
             last_record_digest = coalesce(batch.digest, p.last_record_digest),
             last_record_at = CASE WHEN batch.last_offset IS NULL THEN p.last_record_at ELSE batch.last_at END
         FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bytea[], $6::timestamptz[])
             AS batch (topic, partition, next_offset, last_offset, digest, last_at)
         WHERE p.topic = batch.topic AND p.partition = batch.partition",
    )
    .bind(topics)
    .bind(partitions)
    .bind(next_offsets)
    .bind(offsets)
    .bind(digests)
    .bind(times)
    .execute(conn)
    .await?;
    Ok(())
}

fn time(record: &Delivered) -> Option<DateTime<Utc>> {
    let at = DateTime::<Utc>::from_timestamp_millis(record.timestamp_ms?)?;
    (at.timestamp() >= 0).then_some(at)
}
