//! What a rebuild asks of the inbox: how far each partition has been applied, and which of its records had no effect.

use std::collections::BTreeSet;

use messaging::TopicPartition;
use sqlx::PgConnection;
use uuid::Uuid;

/// Up to where a partition has been applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// Which partition.
    pub partition: TopicPartition,
    /// Every record before this offset was applied, skipped or dead-lettered.
    pub next_offset: i64,
}

/// How far each partition has been applied.
///
/// # Errors
/// When the database fails.
pub async fn applied(conn: &mut PgConnection) -> Result<Vec<Applied>, sqlx::Error> {
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT topic, partition, next_offset FROM inbox.consumer_positions ORDER BY topic, partition",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Applied::from).collect())
}

/// Waits for batches that are being applied, and keeps others from beginning until the transaction ends; but not the first of a
/// partition, which has no position yet.
///
/// # Errors
/// When the database fails.
pub async fn hold(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT FROM inbox.consumer_positions ORDER BY topic, partition FOR UPDATE")
        .execute(conn)
        .await?;
    Ok(())
}

/// Which of these records of a partition, by id and offset, have had no effect, although they are behind the position. A
/// dead letter, or what was given up, has had none wherever it stands. An undecidable one counts at its own place
/// and after it: an earlier copy was applied, and is forgotten.
///
/// # Errors
/// When the database fails.
pub async fn without_effect_at(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    records: &[(Uuid, i64)],
) -> Result<BTreeSet<(Uuid, i64)>, sqlx::Error> {
    let (ids, offsets): (Vec<Uuid>, Vec<i64>) = records.iter().copied().unzip();
    let found: Vec<(Uuid, i64)> = sqlx::query_as(
        r#"SELECT e.event_id, record.position
           FROM inbox.events e JOIN unnest($1::uuid[], $2::bigint[]) AS record (id, position) ON e.event_id = record.id
           WHERE e.outcome IN ('dead_lettered', 'discarded')
              OR e.outcome IN ('undecidable', 'undecidable_discarded')
                 AND (e.topic, e.partition) = ($3, $4) AND record.position >= e."offset""#,
    )
    .bind(ids)
    .bind(offsets)
    .bind(&partition.topic)
    .bind(partition.partition)
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().collect())
}

/// Which of these ids still have had no effect: dead letters, and what was given up.
///
/// # Errors
/// When the database fails.
pub async fn without_effect(conn: &mut PgConnection, ids: &[Uuid]) -> Result<BTreeSet<Uuid>, sqlx::Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT event_id FROM inbox.events
         WHERE event_id = ANY($1)
           AND outcome IN ('dead_lettered', 'discarded', 'undecidable', 'undecidable_discarded')",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().collect())
}

impl From<(String, i32, i64)> for Applied {
    fn from((topic, partition, next_offset): (String, i32, i64)) -> Self {
        Self { partition: TopicPartition { topic, partition }, next_offset }
    }
}
