//! What a rebuild asks of the inbox: how far each partition has been applied, and which of its records are parked.

use std::collections::BTreeSet;

use messaging::TopicPartition;
use sqlx::PgConnection;

/// Up to where a partition has been applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// Which partition.
    pub partition: TopicPartition,
    /// Every record before this offset was applied, skipped or parked.
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

/// The offsets in `from..to` whose records are parked, so have had no effect.
///
/// # Errors
/// When the database fails.
pub async fn parked(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    from: i64,
    to: i64,
) -> Result<BTreeSet<i64>, sqlx::Error> {
    let offsets: Vec<i64> = sqlx::query_scalar(
        r#"SELECT "offset" FROM inbox.parked
           WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4"#,
    )
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(from)
    .bind(to)
    .fetch_all(conn)
    .await?;
    Ok(offsets.into_iter().collect())
}

impl From<(String, i32, i64)> for Applied {
    fn from((topic, partition, next_offset): (String, i32, i64)) -> Self {
        Self { partition: TopicPartition { topic, partition }, next_offset }
    }
}
